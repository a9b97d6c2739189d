"""The archive's ratios: building a checked object against pyarrow writing the same table, reading against DuckDB.

Run by itself (`python benchmarks/bench_archive.py`), or call `archive_write()` and `archive_read()`. Baseline and ours
take turns in one process, several rounds; a ratio is of medians.
"""

from __future__ import annotations

import io
import random
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from sealstream.archive import ColumnMaker, ObjectBuilder, Start, check_object, leaf_hashes, read_groups
from sealstream.archive.building import GROUP_ROWS
from sealstream.archive.folding import instant
from sealstream.events import canonical_event, format_timestamp
from sealstream.layout import SegmentLimits
from sealstream.layout.parquet import arrow_schema, parquet_writer_options
from sealstream.sealing import EMPTY_RANGE, Checkpoint, Written, extend, root, seal

MAKER = ColumnMaker()
LIMITS = SegmentLimits(entries=2**31, bytes=2**40, seconds=2**31)


class Compared(NamedTuple):
    """Rates in rows/s: medians, and the spread (min, max) of ours over the rounds."""

    name: str
    ours: float
    baseline: float
    spread: tuple[float, float]

    @property
    def ratio(self) -> float:
        """Ours over the baseline."""
        return self.ours / self.baseline

    def __str__(self) -> str:
        return (
            f"{self.name}: {self.ours:,.0f} rows/s ({self.spread[0]:,.0f} to {self.spread[1]:,.0f}) against "
            f"{self.baseline:,.0f}: {self.ratio:.2f}"
        )


def sealed_values(rows: int, seed: int = 1) -> list[bytes]:
    """A chain's worth of sealed entries whose events have about 470 bytes."""
    chance = random.Random(seed)
    values, prev_hash, at_us = [], bytes(32), 1_795_533_000_000_000
    for seq in range(rows):
        at_us += chance.randrange(200)
        time_text = format_timestamp(instant(at_us))
        event = canonical_event(
            {
                "id": f"01939e2c-{seq >> 16 & 0xFFFF:04x}-7000-8000-{chance.getrandbits(48):012x}",
                "timestamp": time_text,
                "actor_id": f"user-{chance.randrange(3_000)}",
                "actor_type": "user",
                "action": chance.choice(("patient.read", "patient.write", "login")),
                "resource_type": "patient",
                "resource_id": f"patient-{chance.randrange(50_000)}",
                "result": chance.choice(("success", "success", "success", "denied")),
                "ip_address": f"10.0.{chance.randrange(256)}.{chance.randrange(256)}",
                "session_id": f"{chance.getrandbits(128):032x}",
                "metadata": {"http_status": 200, "duration_ms": chance.randrange(900), "route": "/patients/{id}"},
                "producer_id": "01939e2c-0000-7000-8000-0123456789ab",
                "producer_seq": seq,
            }
        )
        sealed = seal(event, Written("main", -1, "event", seq, time_text, seq, time_text), prev_hash)
        values.append(sealed.to_bytes())
        prev_hash = sealed.hash
    return values


def compare(name: str, rows: int, ours: Callable[[], Any], baseline: Callable[[], Any], rounds: int) -> Compared:
    """Times both in turns."""
    times: tuple[list[float], list[float]] = ([], [])
    for _ in range(rounds):
        for work, spent in ((baseline, times[1]), (ours, times[0])):
            begin = time.perf_counter()
            work()
            spent.append(time.perf_counter() - begin)
    mine, theirs = statistics.median(times[0]), statistics.median(times[1])
    return Compared(name, rows / mine, rows / theirs, (rows / max(times[0]), rows / min(times[0])))


def build(values: list[bytes]) -> bytes:
    """What the sink does with a segment's entries: check every seal, fold the tree, make columns, write Parquet."""
    builder = ObjectBuilder(Start(EMPTY_RANGE, bytes(32)), LIMITS, MAKER)
    try:
        for begin in range(0, len(values), 10_000):
            builder.add(values[begin : begin + 10_000])
        return builder.finish()
    finally:
        builder.close()


def archive_write(rows: int = 100_000, rounds: int = 5) -> Compared:
    """Sealed entries to a checked object, against pyarrow writing the very table that it holds."""
    values = sealed_values(rows)
    table = pq.read_table(pa.BufferReader(build(values)), use_threads=False)

    def bare() -> None:
        out = io.BytesIO()
        with pq.ParquetWriter(out, arrow_schema(), **parquet_writer_options(GROUP_ROWS)) as writer:
            writer.write_table(table, row_group_size=GROUP_ROWS)

    return compare("archive sink, checked and written", rows, lambda: build(values), bare, rounds)


def archive_read(rows: int = 100_000, rounds: int = 5) -> list[Compared]:
    """Every hash recomputed from Parquet, and a whole object checked, against DuckDB's sha256 over the same file."""
    values = sealed_values(rows)
    data = build(values)
    hashes = [bytes.fromhex(value[-66:-2].decode()) for value in values]
    compact_range = extend(EMPTY_RANGE, hashes)
    signed = Checkpoint("x", rows, root(compact_range))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "object.parquet"
        path.write_bytes(data)
        connection = duckdb.connect()

        def bare() -> None:
            connection.sql(f"SELECT max(sha256(body)) FROM '{path}'").fetchall()

        def rehash() -> None:
            for table in read_groups(path.read_bytes(), ("body", "prev_hash", "hash")):
                leaf_hashes(table)

        def check() -> None:
            check_object(path.read_bytes(), Start(EMPTY_RANGE, bytes(32)), signed, LIMITS, MAKER)

        return [
            compare("archive read, every hash recomputed", rows, rehash, bare, rounds),
            compare("archive object checked whole (links, root, hot columns)", rows, check, bare, rounds),
        ]


if __name__ == "__main__":
    values = sealed_values(1_000)
    print(f"mean sealed entry: {sum(map(len, values)) / len(values):.0f} bytes")
    print(archive_write())
    for result in archive_read():
        print(result)
