"""From `emit()` to sealed and to a row in Postgres at rates beyond what one thread can watch, on the running pipeline.

A process of its own emits; every hundredth of a second one event is a probe, and only probes are looked for, so that
watching costs little. Clocks are the kernel's monotonic one, the same in all processes. A rate that the pipeline can't
hold shows as latency that grows while it lasts; the row then says how many events were waiting at the end.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import threading
import time
from contextlib import suppress
from multiprocessing.connection import Connection

import asyncpg
from bench_client import quantile
from rows import Row
from workbench import Workbench

from sealstream.client import AuditClient
from sealstream.errors import Unavailable
from sealstream.kafka import CommittedReader, KafkaSettings, end_offset
from sealstream.layout import ChainTopics, decode_entry

RATES = (10_000, 30_000)
PROBES = 100
"""A second."""

_PROBE = b'"action":"latency.probe"'
_SECONDS = 8
_PATIENCE_S = 120
"""How long a probe is waited for: a rate beyond what the machine sustains has a figure, too."""


def measure(bench: Workbench, dsn: str) -> list[Row]:
    """Two rows a rate; the pipeline of `main` runs and is idle."""
    rows = []
    for rate in RATES:
        bench.say(f"latency at {rate:,} events/s")
        sealed, stored, emitted, waiting = _at(bench, dsn, rate, _SECONDS if bench.events > 20_000 else 2)
        held = f"emitted {emitted:,.0f} events/s; {waiting:,} were not yet in Postgres when the last was emitted"
        if unseen := sum(each >= _PATIENCE_S * 10**9 for each in stored):
            _settle(dsn)
            held += f"; {unseen} of {len(stored)} probes were not there after {_PATIENCE_S} s, and count as that"
        for what, found in (
            ("sealed (committed in the chain, seen by a reader)", sealed),
            ("a row in Postgres", stored),
        ):
            rows.append(
                Row(
                    f"emit to {what.split(' (')[0]}, {rate:,}/s",
                    f"emit to {what}, 99th percentile at {rate:,} events/s",
                    "",
                    "ms",
                    goal=None,
                    ours=[quantile(found, 0.99) / 1000],
                    remark=f"median {quantile(found, 0.5) / 1000:.1f} ms; {held}",
                )
            )
    return rows


def _at(bench: Workbench, dsn: str, rate: int, seconds: float) -> tuple[list[int], list[int], float, int]:
    """Nanoseconds from emitting to sealed and to stored of each probe, sorted; the rate; what waited at the end."""
    topic = ChainTopics.of("main").chain
    chain: dict[str, int] = {}
    postgres: dict[str, int] = {}
    stop = threading.Event()
    start = end_offset(bench.kafka, topic, committed=True)
    newest = asyncio.run(_newest(dsn))
    watchers = [
        threading.Thread(target=_watch_chain, args=(bench.kafka, topic, start, chain, stop), daemon=True),
        threading.Thread(target=lambda: asyncio.run(_watch_postgres(dsn, newest, postgres, stop)), daemon=True),
    ]
    for watcher in watchers:
        watcher.start()
    ours, theirs = multiprocessing.get_context("spawn").Pipe()
    process = multiprocessing.get_context("spawn").Process(
        target=_emit, args=(theirs, bench.kafka.bootstrap, rate, seconds), daemon=True
    )
    process.start()
    count, took = ours.recv()
    waiting = count - (asyncio.run(_newest(dsn)) - newest)
    probes = ours.recv()
    process.join(30)
    deadline = time.monotonic() + _PATIENCE_S
    while not (probes.keys() <= chain.keys() and probes.keys() <= postgres.keys()) and time.monotonic() < deadline:
        time.sleep(0.05)
    stop.set()
    for watcher in watchers:
        watcher.join(10)
    return (
        sorted(_waited(chain, event_id, at) for event_id, at in probes.items()),
        sorted(_waited(postgres, event_id, at) for event_id, at in probes.items()),
        count / took,
        max(waiting, 0),
    )


def _waited(seen: dict[str, int], event_id: str, at: int) -> int:
    return seen[event_id] - at if event_id in seen else _PATIENCE_S * 10**9


def _emit(told: Connection, bootstrap: str, rate: int, seconds: float) -> None:
    """In a process of its own. Tells first how many it emitted and in how many seconds, then each probe's time."""
    probes: dict[str, int] = {}
    count, each = int(rate * seconds), rate // PROBES
    with AuditClient("main", bootstrap, source={"service": "clinic"}, max_pending_bytes=1 << 30) as client:
        client.emit("warm.up", resource_type="patient", resource_id="patient-1")
        client.flush(30)
        begun = time.monotonic()
        for number in range(count):
            if number % 10 == 0 and (wait_s := begun + number / rate - time.monotonic()) > 0.0005:
                time.sleep(wait_s)
            action = "patient.read" if number % each else "latency.probe"
            now = time.monotonic_ns()
            event_id = client.emit(
                action,
                actor_id=f"user-{number % 1000}",
                resource_type="patient",
                resource_id=f"patient-{number % 50_000:06}",
                ip_address="10.20.30.40",
                session_id=f"session-{number % 5000:08}",
                tenant="clinic-1",
                metadata={"http_status": 200, "duration_ms": 12},
            )
            if event_id is None:
                raise RuntimeError(f"an event was dropped while measuring: {client.stats()}")
            if action == "latency.probe":
                probes[event_id] = now
        told.send((count, time.monotonic() - begun))
        told.send(probes)


def _watch_chain(kafka: KafkaSettings, topic: str, start: int, seen: dict[str, int], stop: threading.Event) -> None:
    while not stop.is_set():
        with (
            suppress(Unavailable),
            CommittedReader(kafka, topic, start) as reader,
        ):  # a broker at its limits answers late
            while not stop.is_set():
                records = reader.read(10_000, 0.2)
                now = time.monotonic_ns()
                for record in records:
                    start = record.offset + 1
                    if _PROBE in (record.value or b""):
                        seen[decode_entry(record.value or b"").id] = now


async def _newest(dsn: str) -> int:
    connection = await asyncpg.connect(dsn)
    try:
        newest: int = await connection.fetchval("SELECT coalesce(max(seq), -1) FROM audit_log WHERE chain = 'main'")
        return newest
    finally:
        await connection.close()


def _settle(dsn: str, longest_s: float = 600) -> None:
    """Until nothing more comes, so that what is measured next meets a pipeline that is idle."""
    deadline, before = time.monotonic() + longest_s, -1
    while (newest := asyncio.run(_newest(dsn))) > before and time.monotonic() < deadline:
        before = newest
        time.sleep(5)


async def _watch_postgres(dsn: str, newest: int, seen: dict[str, int], stop: threading.Event) -> None:
    connection = await asyncpg.connect(dsn)
    statement = await connection.prepare(
        "SELECT seq, id::text FROM audit_log "
        "WHERE chain = 'main' AND seq > $1 AND action = 'latency.probe' ORDER BY seq"
    )
    while not stop.is_set():
        rows = await statement.fetch(newest)
        now = time.monotonic_ns()
        for seq, event_id in rows:
            seen[event_id] = now
            newest = seq
        await asyncio.sleep(0.004)
    await connection.close()
