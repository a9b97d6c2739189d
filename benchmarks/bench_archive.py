"""The archive sink, from Kafka to locked objects, against pyarrow writing the same prepared tables into memory.

Ours reads the chain and the signed segments, checks every hash, link and root, makes the columns, writes Parquet, puts
object and manifest under COMPLIANCE lock, and has each segment's statement sealed by a sequencer that runs beside, in a
process of its own, as it would. A second row measures the middle alone: entries in memory to a checked object.
`folder_copy` gives what was archived as an auditor's copy in a folder, which `bench_verify` reads.
"""

from __future__ import annotations

import io
import multiprocessing
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from multiprocessing.synchronize import Event
from pathlib import Path

import boto3
import pyarrow as pa
import pyarrow.parquet as pq
from bench_checkpointing import ensure_signed
from rows import REACHED, Row
from workbench import BenchChain, Workbench, profiled, quieten

from sealstream.archive import ArchiveSettings, ArchiveSink, ColumnMaker, ObjectBuilder, Start
from sealstream.archive.building import GROUP_ROWS
from sealstream.kafka import KafkaSettings, last_record, read_until_end
from sealstream.layout import ChainSettings, parse_checkpoint_headers
from sealstream.layout.parquet import arrow_schema, parquet_writer_options
from sealstream.sealing import EMPTY_RANGE, genesis_hash
from sealstream.sequencer import Sequencer


def _seal_beside(bootstrap: str, chain: ChainSettings, ready: Event, stop: Event) -> None:
    quieten()
    sequencer = Sequencer(KafkaSettings(bootstrap), chain)
    sequencer.step()
    ready.set()
    while not stop.is_set():
        sequencer.step()
    sequencer.close()


@contextmanager
def sequencer_beside(kafka: KafkaSettings, chain: ChainSettings) -> Iterator[None]:
    """The chain's sequencer, in a process of its own."""
    spawn = multiprocessing.get_context("spawn")
    ready, stop = spawn.Event(), spawn.Event()
    process = spawn.Process(target=_seal_beside, args=(kafka.bootstrap, chain, ready, stop), daemon=True)
    process.start()
    try:
        if not ready.wait(60):
            raise RuntimeError("the sequencer beside did not start")
        yield
    finally:
        stop.set()
        process.join(20)
        if process.is_alive():
            process.kill()


def new_bucket(bench: Workbench, chain: BenchChain) -> ArchiveSettings:
    """A bucket with Object Lock for this chain."""
    ends = bench.endpoints
    settings = ArchiveSettings(
        chain.settings.name, ends.s3_endpoint_url, ends.s3_region, ends.s3_access_key, ends.s3_secret_key
    )
    _client(settings).create_bucket(Bucket=settings.bucket, ObjectLockEnabledForBucket=True)
    return settings


def _client(settings: ArchiveSettings):
    return boto3.client(
        "s3",
        endpoint_url=settings.endpoint_url,
        region_name=settings.region,
        aws_access_key_id=settings.access_key,
        aws_secret_access_key=settings.secret_key,
    )


def archiving(
    bench: Workbench,
    chain: BenchChain,
    settings: ArchiveSettings,
    run: Callable[[Callable[[], object]], object] = lambda work: work(),
) -> tuple[int, float]:
    """Rows archived, and the seconds from the sink's first look until the last segment's statement is sealed.

    `run` is given the work, to profile it.
    """
    newest = last_record(bench.kafka, chain.topics.segments)
    if newest is None:
        raise RuntimeError("no segment of the chain is signed")
    rows = (parse_checkpoint_headers(newest.headers).last_seq or 0) + 1
    with sequencer_beside(bench.kafka, chain.settings):
        sink = ArchiveSink(bench.kafka, chain.settings, settings, trim_every_s=None)
        try:
            begun = time.perf_counter()
            run(lambda: _archive(sink, rows))
            return rows, time.perf_counter() - begun
        finally:
            sink.close()


def _archive(sink: ArchiveSink, rows: int) -> None:
    while sink.next_seq < rows:
        sink.step()
    while not sink.step():
        pass


def folder_copy(bench: Workbench, chain: BenchChain, settings: ArchiveSettings) -> Path:
    """The bucket's newest versions in a folder."""
    folder = bench.folder / settings.bucket
    client = _client(settings)
    for page in client.get_paginator("list_objects_v2").paginate(Bucket=settings.bucket):
        for item in page.get("Contents", []):
            path = folder / item["Key"]
            path.parent.mkdir(parents=True, exist_ok=True)
            client.download_file(settings.bucket, item["Key"], str(path))
    return folder


def writing(tables: list[pa.Table]) -> float:
    """Seconds that pyarrow takes to write the prepared tables, with the sink's own options, into memory."""
    begun = time.perf_counter()
    for table in tables:
        with pq.ParquetWriter(io.BytesIO(), arrow_schema(), **parquet_writer_options(GROUP_ROWS)) as writer:
            writer.write_table(table, row_group_size=GROUP_ROWS)
    return time.perf_counter() - begun


def building(chain: BenchChain, segments: list[list[bytes]]) -> float:
    """Seconds from sealed entries in memory to checked objects in memory."""
    maker = ColumnMaker()
    begun = time.perf_counter()
    start = Start(EMPTY_RANGE, genesis_hash(chain.settings.origin))
    for values in segments:
        builder = ObjectBuilder(start, chain.settings.limits, maker)
        for at in range(0, len(values), 10_000):
            builder.add(values[at : at + 10_000])
        builder.finish()
        start = builder.fold.end
        builder.close()
    took = time.perf_counter() - begun
    maker.close()
    return took


def archived_copy(bench: Workbench, number: int) -> tuple[BenchChain, Path]:
    """The chain of this round, archived, and a copy of its archive in a folder."""
    if number not in bench.archived:
        chain = ensure_signed(bench, number, bench.signed)
        settings = new_bucket(bench, chain)
        archiving(bench, chain, settings)
        bench.archived[number] = (chain, folder_copy(bench, chain, settings))
    return bench.archived[number]


def measure(bench: Workbench) -> list[Row]:
    """The archive sink's rows."""
    whole: list[float] = []
    core: list[float] = []
    bare: list[float] = []
    entries = 0
    for number in bench.each_round("archive sink"):
        chain = ensure_signed(bench, number, bench.signed)
        settings = new_bucket(bench, chain)
        entries, took = archiving(bench, chain, settings)
        whole.append(entries / took)
        folder = folder_copy(bench, chain, settings)
        bench.archived[number] = (chain, folder)
        tables = [pq.read_table(path) for path in sorted((folder / "entries").rglob("*.parquet"))]
        rows = sum(len(table) for table in tables)
        bare.append(rows / writing(tables))
        segments = _segments(bench, chain, [len(table) for table in tables])
        del tables
        core.append(rows / building(chain, segments))
        del segments
    against = "pyarrow writing the same prepared tables, in memory"
    remedy = (
        "The sink hashes and compares every entry, folds the tree, takes the columns out of the JSON and then does the "
        "very same write; reading from Kafka and putting to S3 come on top, one segment after the other: reading the "
        "next while one is written, in another process, would change it."
    )
    rows_of = [
        Row(
            "archive sink",
            "archive sink, from Kafka to S3: checked, written, locked, its statement sealed",
            against,
            "rows/s",
            goal=0.5,
            ours=whole,
            baseline=bare,
            durability="objects under COMPLIANCE lock in SeaweedFS; pyarrow: in memory",
            remark=f"{entries:,} rows in whole segments, each round another chain",
            remedy=remedy,
        ),
        Row(
            "archive sink's middle",
            "archive sink's middle: sealed entries in memory to a checked Parquet object",
            against,
            "rows/s",
            goal=0.5,
            ours=core,
            baseline=bare,
            durability="both in memory",
            remedy=remedy,
        ),
    ]
    if rows_of[0].verdict == REACHED:
        return rows_of
    chain = ensure_signed(bench, bench.rounds, bench.signed)
    settings = new_bucket(bench, chain)
    profile: list[str] = []
    archiving(bench, chain, settings, lambda work: profile.append(profiled(work)))
    return [replace(rows_of[0], profile=profile[0]), rows_of[1]]


def _segments(bench: Workbench, chain: BenchChain, lengths: list[int]) -> list[list[bytes]]:
    """The chain's entries, cut where the objects are."""
    values = [record.value or b"" for batch in read_until_end(bench.kafka, chain.topics.chain) for record in batch]
    segments = []
    for length in lengths:
        segments.append(values[:length])
        values = values[length:]
    return segments
