"""What `emit()` costs the application that calls it, call by call, and what the bare driver costs for the same bytes.

A client on the real broker, with a bound actor and a request's context, emits as fast as it can in one thread; each
call is timed by itself. The bare `produce` queues events of the same size that were made before any clock ran. A second
client, in mode `spool` (fsync `interval`), does the same in each round. Nothing may be dropped or lost: then the
figures would be of something else.
"""

from __future__ import annotations

import tempfile
import time
from dataclasses import replace

from confluent_kafka import Producer
from rows import REACHED, Row
from workbench import Workbench, example_event, profiled

from sealstream.client import AuditClient, context
from sealstream.events import canonical_event


def emitting(client: AuditClient, count: int) -> list[int]:
    """Nanoseconds of each call, sorted."""
    spent = []
    clock = time.perf_counter_ns
    emit = client.emit
    request = {"tenant": "clinic-1", "session_id": "session-00000042", "ip_address": "10.20.30.40"}
    with context(actor_id="user-123", actor_type="user", **request):
        for number in range(count):
            begun = clock()
            emit(
                "patient.read",
                resource_type="patient",
                resource_id=f"patient-{number:06}",
                metadata={"http_status": 200, "duration_ms": 12},
            )
            spent.append(clock() - begun)
    return sorted(spent)


def producing(producer: Producer, topic: str, values: list[bytes]) -> list[int]:
    """Nanoseconds of each call, sorted."""
    spent = []
    clock = time.perf_counter_ns
    produce = producer.produce
    for value in values:
        begun = clock()
        produce(topic, value, partition=0)
        spent.append(clock() - begun)
    return sorted(spent)


def quantile(ordered: list[int], share: float) -> float:
    """In microseconds."""
    return ordered[min(int(len(ordered) * share), len(ordered) - 1)] / 1000


def measure(bench: Workbench) -> list[Row]:
    """The rows of `emit`."""
    count = min(bench.events // 5, 40_000)
    chain = bench.new_chain()
    values = [canonical_event(example_event(number)) for number in range(count)]
    bare = Producer({"bootstrap.servers": bench.kafka.bootstrap, "enable.idempotence": True, "linger.ms": 5})
    medians: list[float] = []
    tails: list[float] = []
    bare_medians: list[float] = []
    bare_tails: list[float] = []
    spooled: list[float] = []
    with (
        tempfile.TemporaryDirectory() as spool,
        AuditClient(chain.settings.name, bench.kafka.bootstrap, source={"service": "clinic"}) as client,
        AuditClient(
            chain.settings.name,
            bench.kafka.bootstrap,
            source={"service": "clinic"},
            mode="spool",
            spool_directory=spool,
        ) as spooling,
    ):
        emitting(client, 1_000)
        emitting(spooling, 1_000)
        for _ in bench.each_round("emit"):
            spent = emitting(client, count)
            client.flush(30)
            medians.append(quantile(spent, 0.5))
            tails.append(quantile(spent, 0.99))
            spooled.append(quantile(emitting(spooling, count), 0.5))
            spooling.flush(30)
            spent = producing(bare, chain.topics.raw, values)
            bare.flush(30)
            bare_medians.append(quantile(spent, 0.5))
            bare_tails.append(quantile(spent, 0.99))
        for stats in (client.stats(), spooling.stats()):
            if stats.dropped or stats.undelivered:
                raise RuntimeError(f"events were lost while measuring: {stats}")
        row = Row(
            "emit, median",
            "`emit()`, median of a call, back to back in one thread",
            "",
            "us",
            goal=20,
            at_most=True,
            ours=medians,
            durability="in memory until acknowledged (acks=all, idempotent); never waits",
            remark=f"{count:,} calls a round; bare `produce` of prepared bytes: {min(bare_medians):.1f} to "
            f"{max(bare_medians):.1f} us",
            remedy="Context, validation, canonical form and number are Python code in the caller's thread.",
        )
        if row.verdict != REACHED:
            row = replace(row, profile=profiled(lambda: emitting(client, count)))
    return [
        row,
        Row(
            "emit, p99",
            "`emit()`, 99th percentile of a call",
            "",
            "us",
            goal=None,
            ours=tails,
            remark=f"bare `produce`: {min(bare_tails):.1f} to {max(bare_tails):.1f} us",
        ),
        Row(
            "emit, spool",
            "`emit()` in mode `spool`, median of a call",
            "the same call in mode `best_effort`",
            "us",
            goal=None,
            ours=spooled,
            baseline=medians,
            at_most=True,
            durability="on disk before Kafka gets it: no end of the process loses it; a loss of power, the last second",
        ),
    ]
