"""`make growth`: one chain through the whole pipeline, from thousands of entries to millions, and what each mark costs.

At 100,000 entries and at every further mark: seconds and processor time per entry since the mark before, memory of each
process, how long a killed sequencer's chain stands still, how long each process takes to start, and bytes per entry in
Kafka, in Postgres (table and indexes) and in the archive. In the end one row is taken away and one is edited, as its
administrator can, and `reconcile` looks for them. Writes benchmarks/growth.md; the servers live in a temporary
directory and end with the run, also on Ctrl-C.

    .venv/bin/python benchmarks/growth.py [--entries 10000000] [--folder DIR]

Ten million entries need some 35 GB of disk and a quarter of an hour on two cores. The raw topic is filled ahead of the
sequencer by one producer process, which is not counted.
"""

from __future__ import annotations

import argparse
import asyncio
import multiprocessing
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import psutil
from confluent_kafka import Producer
from machine import described
from rich.console import Console
from workbench import example_event, quieten

from sealstream.archive import ArchiveStore
from sealstream.cli.pipeline import prepare, process_specs
from sealstream.cli.progress import ChainProgress, chain_progress
from sealstream.cli.reconcile import sources_of
from sealstream.cli.settings import Settings
from sealstream.cli.stores import archive_settings
from sealstream.devstack import Endpoints, Stack
from sealstream.devstack.ports import free_port
from sealstream.events import canonical_event
from sealstream.kafka import KafkaSettings, end_offset
from sealstream.layout import ChainTopics
from sealstream.rebuild import Verified, reconcile

OURS = ("sequencer", "checkpointing", "postgres-sink", "archive-sink")
SERVERS = ("kafka", "postgres", "s3")
FIRST_MARK = 100_000
RESULTS = Path(__file__).parent / "growth.md"
_AHEAD = 200_000


class Mark(NamedTuple):
    """What was seen when the chain had `entries`: `seconds` and `cpu_us` per entry are since the mark before."""

    entries: int
    us_per_entry: float
    cpu_us: dict[str, float]
    memory_mib: dict[str, float]
    kafka_bytes: float
    table_bytes: float
    index_bytes: float
    archive_bytes: float
    take_over_s: float
    starts_s: dict[str, float]


class Reconciled(NamedTuple):
    """`seconds` until `reconcile` had looked through all, and what it found."""

    what: str
    seconds: float
    found: str


def main() -> int:
    """Runs it."""
    parser = argparse.ArgumentParser(description="What entries cost as a chain grows")
    parser.add_argument("--entries", type=int, default=10_000_000, help="the last mark (%(default)s)")
    parser.add_argument(
        "--folder", type=Path, help="where the servers' data lies while it runs (a temporary directory)"
    )
    parser.add_argument("--write", action="store_true", help="write growth.md also below ten million entries")
    given = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    quieten()
    console = Console()
    marks = [mark for mark in (FIRST_MARK * 10**power for power in range(5)) if mark < given.entries]
    folder = Path(tempfile.mkdtemp(prefix="sealstream-growth-", dir=given.folder))
    reconciled: list[Reconciled] = []
    try:
        done = list(_grow(folder, [*marks, given.entries], console, reconciled))
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    text = _as_text(done, reconciled)
    console.print(text, markup=False)
    if given.write or given.entries >= 10_000_000:
        RESULTS.write_text(text)
    return 0


def _grow(folder: Path, marks: Sequence[int], console: Console, reconciled: list[Reconciled]) -> Iterator[Mark]:
    taken: set[int] = set()
    ports = {name: free_port(taken) for name in SERVERS}
    stack = Stack(folder / "data", ports=ports, progress=console.log)
    try:
        endpoints = stack.start()
        config = folder / "sealstream.toml"
        settings = prepare(config, endpoints)
        stack.start_processes(process_specs(config, ["main"]))
        with _producing(settings.kafka_settings(), marks[-1]):
            entries, begun, cpu = 0, time.monotonic(), _cpu(stack)
            for mark in marks:
                _wait_for(stack, settings, mark, console)
                took, now = time.monotonic() - begun, _cpu(stack)
                new = mark - entries
                sizes = _sizes(folder, settings, mark)
                seen = Mark(
                    mark,
                    took / new * 1e6,
                    {name: (now[name] - cpu.get(name, 0)) / new * 1e6 for name in now},
                    _memory(stack),
                    *sizes,
                    *_restarts(stack, settings),
                )
                console.log(seen)
                yield seen
                entries, begun, cpu = mark, time.monotonic(), _cpu(stack)
        for each in _reconcile(endpoints, settings, folder):
            console.log(each)
            reconciled.append(each)
    finally:
        stack.stop()


# The load


@contextmanager
def _producing(kafka: KafkaSettings, count: int) -> Iterator[None]:
    process = multiprocessing.get_context("spawn").Process(target=_fill, args=(kafka, count), daemon=True)
    process.start()
    try:
        yield
    finally:
        process.terminate()
        process.join()


def _fill(kafka: KafkaSettings, count: int) -> None:
    """In a process of its own: fills the raw topic, at most `_AHEAD` events before the sequencer."""
    topics = ChainTopics.of("main")
    producer = Producer({"bootstrap.servers": kafka.bootstrap, "enable.idempotence": True, "linger.ms": 5})
    for sent in range(count):
        if sent % 10_000 == 0:
            producer.flush(60)
            # A transaction's marker is an offset, so this is somewhat more than was sealed: good enough for a distance.
            while sent - end_offset(kafka, topics.chain, committed=True) > _AHEAD:
                time.sleep(0.05)
        producer.produce(topics.raw, canonical_event(example_event(sent)), partition=0)
    producer.flush(60)


def _wait_for(stack: Stack, settings: Settings, mark: int, console: Console) -> None:
    """Until Postgres has so many entries and the archive all but the open segment."""
    said = time.monotonic()
    while True:
        stack.step()
        progress = chain_progress(settings, "main")
        if (progress.postgres_size or 0) >= mark and (progress.archive_size or 0) >= mark - 110_000:
            return
        if time.monotonic() - said > 15:
            said = time.monotonic()
            console.log(_where(progress, mark))
        time.sleep(0.2)


def _where(progress: ChainProgress, mark: int) -> str:
    return (
        f"{progress.size or 0:,} of {mark:,} sealed, {progress.waiting or 0:,} wait, "
        f"{progress.postgres_size or 0:,} in Postgres, {progress.archive_size or 0:,} in the archive"
    )


# What is measured


def _processes(stack: Stack) -> dict[str, list[psutil.Process]]:
    """Each supervised process with its children."""
    found: dict[str, list[psutil.Process]] = {}
    for status in stack.status():
        if status.pid is not None:
            one = psutil.Process(status.pid)
            found[status.name] = [one, *one.children(recursive=True)]
    return found


def _cpu(stack: Stack) -> dict[str, float]:
    """Seconds of processor time so far, by process."""
    used: dict[str, float] = {}
    for name, family in _processes(stack).items():
        for each in family:
            times = each.cpu_times()
            used[name] = used.get(name, 0) + times.user + times.system
        used[name] += family[0].cpu_times().children_user + family[0].cpu_times().children_system
    return used


def _memory(stack: Stack) -> dict[str, float]:
    return {name: family[0].memory_info().rss / 1024**2 for name, family in _processes(stack).items() if name in OURS}


def _sizes(folder: Path, settings: Settings, mark: int) -> tuple[float, float, float, float]:
    """Bytes per entry: of raw and chain topic together, of Postgres's table and indexes, of the archive."""
    kafka = sum(
        each.stat().st_size
        for topic in ("audit.raw.main-0", "audit.chain.main-0")
        for each in (folder / "data").rglob(f"{topic}/*.log")
    )
    table, indexes = asyncio.run(_postgres_sizes(settings.postgres.reader_dsn))
    store = ArchiveStore(archive_settings(settings), "main")
    archived, rows = 0, 0
    for segment in store.segments():
        archived += sum(version.size for version in (*segment.object.versions, *segment.manifest.versions))
        rows = max(rows, segment.name.last_seq + 1)
    store.close()
    return kafka / mark, table / mark, indexes / mark, archived / max(rows, 1)


async def _postgres_sizes(dsn: str) -> tuple[int, int]:
    connection: Any = await asyncpg.connect(dsn)
    try:
        row = await connection.fetchrow(
            "SELECT sum(pg_table_size(inhrelid))::bigint, sum(pg_indexes_size(inhrelid))::bigint "
            "FROM pg_inherits WHERE inhparent = 'audit_log'::regclass"
        )
        return row[0], row[1]
    finally:
        await connection.close()


def _restarts(stack: Stack, settings: Settings) -> tuple[float, dict[str, float]]:
    """Kills each process once; seconds until the chain grows again, and until each store is level again.

    The load goes on meanwhile, so a store is level when it has what was sealed at the moment of the kill, and more.
    """
    took = {}
    for name, member in zip(OURS, ("size", "signed_size", "postgres_size", None), strict=True):
        if member is None:
            continue
        before = getattr(chain_progress(settings, "main"), member) or 0
        begun = time.monotonic()
        os.kill(_processes(stack)[name][0].pid, signal.SIGKILL)
        while (getattr(chain_progress(settings, "main"), member) or 0) <= before + 25_000:
            if time.monotonic() - begun > 60:
                break
            stack.step()
            time.sleep(0.02)
            if (sealed := chain_progress(settings, "main")).waiting == 0 and (getattr(sealed, member) or 0) > before:
                break
        took[name] = time.monotonic() - begun
    return took["sequencer"], took


def _reconcile(endpoints: Endpoints, settings: Settings, folder: Path) -> Iterator[Reconciled]:
    """With the processes running, and nothing to do."""
    database = urlsplit(settings.postgres.reader_dsn).path
    admin = urlunsplit(urlsplit(endpoints.postgres_admin_dsn)._replace(path=database))
    size = chain_progress(settings, "main").postgres_size or 0
    asyncio.run(_tamper(admin, gone=size // 2, edited=size // 2 + 1000))
    verified = Verified(folder / "objects.json")
    for what, store, quick in (
        ("Postgres, `--quick`", "postgres", True),
        ("Postgres", "postgres", False),
        ("archive, first time", "archive", False),
        ("archive, seen before", "archive", False),
        ("Kafka", "kafka", False),
    ):
        begun = time.monotonic()
        sources = sources_of(settings, (store,))
        result = reconcile(settings.chain("main"), sources, quick=quick, verified=verified)
        found = ", ".join(f"{each.fault.kind} {each.fault.seqs()}" for each in result.differences)
        yield Reconciled(what, time.monotonic() - begun, found or "-")


async def _tamper(admin_dsn: str, *, gone: int, edited: int) -> None:
    connection: Any = await asyncpg.connect(admin_dsn)
    try:
        await connection.execute("ALTER TABLE audit_log DISABLE TRIGGER ALL")
        await connection.execute("DELETE FROM audit_log WHERE chain = 'main' AND seq = $1", gone)
        await connection.execute(
            "UPDATE audit_log SET actor_id = 'nobody', body = body || ' ' WHERE chain = 'main' AND seq = $1", edited
        )
    finally:
        await connection.close()


# The page


def _as_text(marks: Sequence[Mark], reconciled: Sequence[Reconciled]) -> str:
    lines = [
        "# Growth",
        "",
        "Written by `make growth`: one chain, all processes and servers on the same cores, the raw topic filled just",
        "ahead of the sequencer. Per-entry figures are of the entries since the mark before.",
        "",
        "| | |",
        "|---|---|",
        *(f"| {label} | {text} |" for label, text in described()),
        f"| date | {datetime.now(UTC):%Y-%m-%d %H:%M} UTC |",
        "",
        "| | " + " | ".join(f"{mark.entries:,}" for mark in marks) + " |",
        "|---" * (len(marks) + 1) + "|",
    ]

    def row(label: str, values: Sequence[str]) -> None:
        lines.append(f"| {label} | " + " | ".join(values) + " |")

    row("microseconds an entry, raw topic to row and object", [f"{mark.us_per_entry:.1f}" for mark in marks])
    for name in (*OURS, *SERVERS):
        row(f"processor time an entry, {name} (us)", [f"{mark.cpu_us.get(name, 0):.1f}" for mark in marks])
    for name in OURS:
        row(f"memory of {name} (MiB)", [f"{mark.memory_mib.get(name, 0):.0f}" for mark in marks])
    row("bytes an entry in Kafka, raw and chain topic", [f"{mark.kafka_bytes:.0f}" for mark in marks])
    row("bytes an entry in Postgres, table", [f"{mark.table_bytes:.0f}" for mark in marks])
    row("bytes an entry in Postgres, indexes", [f"{mark.index_bytes:.0f}" for mark in marks])
    row("bytes an entry in the archive", [f"{mark.archive_bytes:.0f}" for mark in marks])
    row("seconds from kill -9 of the sequencer until 25,000 more are sealed", [f"{m.take_over_s:.1f}" for m in marks])
    for name, what in (("checkpointing", "checkpointing"), ("postgres-sink", "the Postgres sink")):
        # At the last mark nothing is sent any more: what is level again there waits for the next heartbeat.
        row(f"seconds, the same for {what}", [*(f"{mark.starts_s.get(name, 0):.1f}" for mark in marks[:-1]), "-"])
    first, last = marks[0], marks[-1]
    lines += [
        "",
        f"An entry at {last.entries:,} costs {last.us_per_entry / first.us_per_entry:.2f} of one at {first.entries:,}.",
        "",
        f"`sealstream reconcile` on the {last.entries:,}, one row taken away and one edited without its hash:",
        "",
        "| store | seconds | found |",
        "|---|---|---|",
        *(f"| {each.what} | {each.seconds:.1f} | {each.found} |" for each in reconciled),
        "",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
