"""The activity roll-up against a transactional loop that only copies the chain: the same entries, broker and run.

`activity` rolls up what the sequencer sealed at full speed, tens of thousands of entries to a second; `activity-sparse`
a chain that was sealed at a thousand entries a second, as most are: nearly every entry then is a record of its own.
"""

from __future__ import annotations

import time
import uuid
from dataclasses import replace

from bench_sequencer import copying
from rows import REACHED, Row
from workbench import HEAD_START_S, Workbench, example_event, profiled

from sealstream.anomaly import ActivityRollUp
from sealstream.events import canonical_event
from sealstream.kafka import KafkaSettings, TransactionalProducer, create_topics, last_record
from sealstream.layout import ChainSettings, ChainTopics, Figures, Retention, TopicConfig, decode_entry, figures
from sealstream.layout.activity import ActivityTopics
from sealstream.sealing import Written, genesis_hash, seal

_A_SECOND = 1_000


class _Clock:
    """Stands, so that nothing is told before its second is over; then all that is left is due."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def rolling_up(kafka: KafkaSettings, chain: ChainSettings, count: int) -> float:
    """Seconds from the first batch until all is written and read back."""
    create_topics(kafka, ActivityTopics.of(chain.prefix).configs())
    clock, tally = _Clock(), Figures()
    process = ActivityRollUp(kafka, [chain], clock=clock, tally=tally)
    try:
        process.step()
        time.sleep(HEAD_START_S)
        begun = time.perf_counter()
        while (tally.value(figures.ENTRIES, chain.name) or 0) < count:
            process.step()
        clock.now = 60.0
        while (tally.value(figures.LAST_SEQ, chain.name) or 0) < count - 1:
            process.step()
        return time.perf_counter() - begun
    finally:
        process.close()


def measure(bench: Workbench) -> list[Row]:
    """Both rows."""
    return [
        _measured(bench, "activity", "sealed at full speed", 0.25),
        _measured(bench, "activity-sparse", f"sealed at {_A_SECOND:,} a second", None),
    ]


def _measured(bench: Workbench, name: str, how: str, goal: float | None) -> Row:
    kafka = bench.kafka
    ours: list[float] = []
    bare: list[float] = []

    def chain_of(number: int) -> ChainSettings:
        return bench.sealed_chain(number).settings if goal is not None else _sparse_chain(kafka, bench.events)

    for number in bench.each_round(name):
        chain = chain_of(number)
        topic = ChainTopics.of(chain.name).chain
        count = _size(kafka, topic)
        copy = f"copy.{name}.{chain.name}"
        create_topics(kafka, [TopicConfig(copy, {"cleanup.policy": "delete"})])
        for which in (0, 1) if number % 2 == 0 else (1, 0):
            if which == 0:
                bare.append(count / copying(kafka, topic, copy, count))
            else:
                ours.append(count / rolling_up(kafka, chain, count))
    row = Row(
        name,
        f"activity roll-up, read-back on: a chain {how}",
        "the transactional loop that only copies it",
        "entries/s",
        goal=goal,
        ours=ours,
        baseline=bare,
        durability="both: Kafka transactions, acks=all on one broker, in its page cache",
        remedy="Each entry is decoded and counted in Python, and a record is encoded for each actor and second; a "
        "compiled core for both would change it.",
    )
    if goal is None or row.verdict == REACHED:
        return row
    chain = chain_of(bench.rounds)
    count = _size(kafka, ChainTopics.of(chain.name).chain)
    return replace(row, profile=profiled(lambda: rolling_up(kafka, chain, count)))


def _size(kafka: KafkaSettings, topic: str) -> int:
    last = last_record(kafka, topic)
    assert last is not None
    return decode_entry(last.value or b"").written.seq + 1


def _sparse_chain(kafka: KafkaSettings, count: int) -> ChainSettings:
    """Entries as the sequencer would have sealed them, at another pace."""
    name = f"bench-{uuid.uuid4().hex[:12]}"
    topics = ChainTopics.of(name)
    create_topics(kafka, [config for config in topics.configs() if config.name == topics.chain])
    link = genesis_hash(f"bench.example/{name}")
    producer = TransactionalProducer(kafka, f"bench-{name}")
    producer.open()
    for first in range(0, count, 10_000):
        values = []
        for number in range(first, min(first + 10_000, count)):
            second, part = divmod(number, _A_SECOND)
            now = f"2026-11-24T{3 + second // 3600:02}:{second // 60 % 60:02}:{second % 60:02}.{part * 1_000:06}Z"
            event = canonical_event(example_event(number) | {"timestamp": now})
            entry = seal(event, Written(name, -1, "event", number, now, number, now), link)
            link = entry.hash
            values.append((None, entry.to_bytes()))
        producer.begin()
        producer.produce_all(topics.chain, values)
        producer.commit()
    producer.close()
    return ChainSettings(name, "bench.example", "vkey", Retention("soc2", 366))
