"""From `emit()` to sealed and to a row in Postgres at 1,000 events/s; then what 300,000 events do to the processes.

The pipeline's four processes run as `sealstream up` starts them, without the watch's (`bench_raised.py` has those), on
this benchmark's own servers. A client emits at a steady pace in this process; one thread reads the chain as committed,
another asks Postgres every few milliseconds, and each event's times are compared. All three share one interpreter and
the cores with everything else, so what is measured is the upper bound of what a reader elsewhere would see. Then a load
as fast as the client can send it, and the peak of each process's memory (VmHWM) after each half of it.
"""

from __future__ import annotations

import asyncio
import threading
import time
from pathlib import Path

import asyncpg
import bench_rates
from bench_client import quantile
from rows import Row
from workbench import Workbench

from sealstream.cli.pipeline import prepare, process_specs
from sealstream.client import AuditClient
from sealstream.kafka import CommittedReader, KafkaSettings, end_offset
from sealstream.layout import ChainTopics, decode_entry

RATE = 1_000
ASKING_S = 0.004
_WATCH = ("activity", "anomaly", "watch")


class _Seen(threading.Thread):
    """When each event's id was first seen somewhere."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.at: dict[str, float] = {}
        self.stopping = threading.Event()
        self.ready = threading.Event()
        self.failed: Exception | None = None

    def run(self) -> None:
        try:
            self.watch()
        except Exception as error:  # noqa: BLE001 - told to whoever waits
            self.failed = error
            self.ready.set()

    def watch(self) -> None:
        raise NotImplementedError


class _InTheChain(_Seen):
    def __init__(self, kafka: KafkaSettings, topic: str) -> None:
        super().__init__()
        self._kafka, self._topic = kafka, topic

    def watch(self) -> None:
        with CommittedReader(self._kafka, self._topic, end_offset(self._kafka, self._topic, committed=True)) as reader:
            reader.read(1, 0.2)
            self.ready.set()
            while not self.stopping.is_set():
                records = reader.read(10_000, 0.2)
                now = time.perf_counter()
                for record in records:
                    self.at[decode_entry(record.value or b"").id] = now


class _InPostgres(_Seen):
    def __init__(self, dsn: str) -> None:
        super().__init__()
        self._dsn = dsn
        self.newest = -1

    def watch(self) -> None:
        asyncio.run(self._ask())

    async def _ask(self) -> None:
        connection = await asyncpg.connect(self._dsn)
        self.newest = await connection.fetchval("SELECT coalesce(max(seq), -1) FROM audit_log WHERE chain = 'main'")
        statement = await connection.prepare(
            "SELECT seq, id::text FROM audit_log WHERE chain = 'main' AND seq > $1 ORDER BY seq LIMIT 10000"
        )
        self.ready.set()
        while not self.stopping.is_set():
            rows = await statement.fetch(self.newest)
            now = time.perf_counter()
            for seq, event_id in rows:
                self.at[event_id] = now
                self.newest = seq
            await asyncio.sleep(0 if len(rows) == 10_000 else ASKING_S)
        await connection.close()


def steady(client: AuditClient, seconds: float) -> dict[str, float]:
    """Emits `RATE` events/s, and gives the time just before each call by the event's id."""
    emitted: dict[str, float] = {}
    begun = time.perf_counter()
    for number in range(int(RATE * seconds)):
        due = begun + number / RATE
        while (wait_s := due - time.perf_counter()) > 0:
            time.sleep(wait_s)
        now = time.perf_counter()
        event_id = _emit(client, number)
        if event_id is None:
            raise RuntimeError(f"an event was dropped while measuring: {client.stats()}")
        emitted[event_id] = now
    return emitted


def _emit(client: AuditClient, number: int) -> str | None:
    return client.emit(
        "patient.read",
        actor_id=f"user-{number % 1000}",
        resource_type="patient",
        resource_id=f"patient-{number % 50_000:06}",
        ip_address="10.20.30.40",
        session_id=f"session-{number % 5000:08}",
        tenant="clinic-1",
        metadata={"http_status": 200, "duration_ms": 12},
    )


def _wait(seen: _Seen, wanted: dict[str, float], timeout_s: float = 60) -> list[int]:
    """Nanoseconds from emitting to seeing of each event, sorted."""
    deadline = time.monotonic() + timeout_s
    while not wanted.keys() <= seen.at.keys():
        if seen.failed is not None:
            raise seen.failed
        if time.monotonic() > deadline:
            raise RuntimeError(f"{len(wanted.keys() - seen.at.keys())} events were not seen within {timeout_s} s")
        time.sleep(0.05)
    return sorted(int((seen.at[event_id] - at) * 1e9) for event_id, at in wanted.items())


def peaks(bench: Workbench) -> dict[str, float]:
    """Each process's largest resident size so far, in MiB."""
    found = {}
    for status in bench.stack.status():
        if status.pid is None:
            continue
        text = Path(f"/proc/{status.pid}/status").read_text()
        found[status.name] = int(text.split("VmHWM:")[1].split()[0]) / 1024
    return found


def measure(bench: Workbench) -> list[Row]:
    """Latency, then throughput and memory of the whole pipeline."""
    bench.say("latency: starting the pipeline")
    config = bench.folder / "pipeline" / "sealstream.toml"
    settings = prepare(config, bench.endpoints)
    pipeline = [spec for spec in process_specs(config, ["main"]) if spec.name not in _WATCH]
    bench.stack.start_processes(pipeline)
    topics = ChainTopics.of("main")
    in_chain, in_postgres = _InTheChain(bench.kafka, topics.chain), _InPostgres(settings.postgres.reader_dsn)
    for seen in (in_chain, in_postgres):
        seen.start()
        seen.ready.wait(30)
    sealed_p99: list[float] = []
    stored_p99: list[float] = []
    medians: list[tuple[float, float]] = []
    try:
        with AuditClient("main", bench.kafka.bootstrap, source={"service": "clinic"}) as client:
            warm = steady(client, 3)
            _wait(in_postgres, warm)
            for _ in bench.each_round("latency at 1,000 events/s"):
                emitted = steady(client, 8 if bench.events > 20_000 else 2)
                sealed, stored = _wait(in_chain, emitted), _wait(in_postgres, emitted)
                sealed_p99.append(quantile(sealed, 0.99) / 1000)
                stored_p99.append(quantile(stored, 0.99) / 1000)
                medians.append((quantile(sealed, 0.5) / 1000, quantile(stored, 0.5) / 1000))
            in_chain.stopping.set()
            in_chain.join(10)
            faster = bench_rates.measure(bench, settings.postgres.reader_dsn)
            whole = _load(bench, client, in_postgres)
    finally:
        in_chain.stopping.set()
        in_postgres.stopping.set()
    statuses = [status for status in bench.stack.status() if status.restarts or status.state != "running"]
    if statuses:
        raise RuntimeError(f"processes did not run through: {statuses}")
    remedy = "The goal is for a quiet machine; a 99th percentile is first to feel other work: see the load above."
    return [
        Row(
            "emit to sealed, p99",
            "emit to sealed (committed in the chain, seen by a reader), 99th percentile at 1,000 events/s",
            "",
            "ms",
            goal=60,
            at_most=True,
            ours=sealed_p99,
            durability="committed in Kafka, acks=all on one broker, in its page cache",
            remark=f"median {_span([median[0] for median in medians])} ms",
            remedy=remedy,
        ),
        Row(
            "emit to Postgres, p99",
            "emit to a row in Postgres, 99th percentile at 1,000 events/s",
            "",
            "ms",
            goal=300,
            at_most=True,
            ours=stored_p99,
            durability="committed in Postgres with fsync",
            remark=f"median {_span([median[1] for median in medians])} ms; asked every {ASKING_S * 1000:.0f} ms",
            remedy=remedy,
        ),
        *faster,
        *whole,
    ]


def _span(values: list[float]) -> str:
    return f"{min(values):.1f} to {max(values):.1f}"


def _load(bench: Workbench, client: AuditClient, in_postgres: _InPostgres) -> list[Row]:
    """Two halves of a load; all of it must be in Postgres after each."""
    half = bench.events * 3 // 5
    rates = []
    after: list[dict[str, float]] = []
    for part in (1, 2):
        bench.say(f"memory: {half:,} events through all processes, half {part} of 2")
        target = in_postgres.newest + half
        begun = time.perf_counter()
        for number in range(half):
            while number % 1_000 == 0 and client.stats().pending > 50_000:
                time.sleep(0.01)
            if _emit(client, number) is None:
                raise RuntimeError(f"an event was dropped: {client.stats()}")
        deadline = time.monotonic() + 600
        while in_postgres.newest < target:
            if in_postgres.failed is not None or time.monotonic() > deadline:
                raise RuntimeError(f"Postgres stands at {in_postgres.newest}, not at {target}") from in_postgres.failed
            time.sleep(0.02)
        rates.append(half / (time.perf_counter() - begun))
        time.sleep(6)  # the archive sink comes last
        after.append(peaks(bench))
    ours = {name: size for name, size in after[1].items() if name not in ("kafka", "postgres", "s3")}
    largest = max(ours, key=lambda name: ours[name])
    sizes = [f"{name} {size:.0f} MiB ({after[0][name]:.0f} after the first half)" for name, size in ours.items()]
    return [
        Row(
            "whole pipeline",
            "whole pipeline at full load, all processes and servers on these cores: from emit to a row in Postgres",
            "",
            "events/s",
            goal=None,
            ours=rates,
            durability="Kafka in its page cache, Postgres with fsync",
            remark=f"{half:,} events, twice",
        ),
        Row(
            "memory",
            f"memory, peak resident size of the largest process ({largest}) after {2 * half:,} events at full load",
            "",
            "MiB",
            goal=512,
            at_most=True,
            ours=[ours[largest]],
            remark=", ".join(sizes),
            remedy="See the figures of each process.",
        ),
    ]
