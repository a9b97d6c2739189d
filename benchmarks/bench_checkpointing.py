"""Checkpointing against a loop that only reads the topic: the same committed entries, consumer settings and run.

Ours is timed from its first batch of a chain that nobody has signed until every entry is checked and in the tree, with
all that was due on the way signed, committed and read back. Each round has a chain of its own, since the next life of
checkpointing would begin at the last segment.
"""

from __future__ import annotations

import time
from dataclasses import replace

from confluent_kafka import Consumer, TopicPartition
from rows import REACHED, Row
from workbench import HEAD_START_S, BenchChain, Workbench, profiled

from sealstream.checkpointing import Checkpointing
from sealstream.kafka import CommittedReader, KafkaSettings, Record, end_offset


class _Counting(CommittedReader):
    """Tells how far it has come."""

    furthest = 0

    def read(self, limit: int, timeout_s: float) -> list[Record]:
        records = super().read(limit, timeout_s)
        self.furthest = self.position()
        return records


def reading(kafka: KafkaSettings, topic: str) -> float:
    """Seconds that a loop takes which takes every value and does nothing with it."""
    end = end_offset(kafka, topic, committed=True)
    consumer = Consumer(
        {
            "bootstrap.servers": kafka.bootstrap,
            "group.id": "bench-reading",
            "enable.auto.commit": False,
            "enable.auto.offset.store": False,
            "enable.partition.eof": True,
            "isolation.level": "read_committed",
            "auto.offset.reset": "error",
            "fetch.queue.backoff.ms": 2,
            "queued.max.messages.kbytes": 32_768,
        }
    )
    consumer.assign([TopicPartition(topic, 0, 0)])
    size = position = 0
    time.sleep(HEAD_START_S)
    begun = time.perf_counter()
    while position < end:
        for message in consumer.consume(10_000, 0.05):
            position = message.offset() + 1
            if message.error() is None:
                size += len(message.value())
            else:
                position = end
    took = time.perf_counter() - begun
    consumer.close()
    return took


def checkpointing(kafka: KafkaSettings, chain: BenchChain) -> float:
    """Seconds from the first batch until all that is committed now is checked and grown, and what was due is signed."""
    end = end_offset(kafka, chain.topics.chain, committed=True)
    readers: list[_Counting] = []

    def open_reader(settings: KafkaSettings, topic: str, offset: int) -> CommittedReader:
        reader = _Counting(settings, topic, offset)
        if topic == chain.topics.chain:
            readers.append(reader)
        return reader

    process = Checkpointing(kafka, chain.settings, chain.signer, open_reader=open_reader)
    try:
        process.step()
        time.sleep(HEAD_START_S)
        begun = time.perf_counter()
        while readers[-1].furthest < end:
            process.step()
        took = time.perf_counter() - begun
        while process.step():  # sign the last entries too, for whoever comes next; it is due within a second
            pass
        return took
    finally:
        process.close()


def ensure_signed(bench: Workbench, number: int, signed: set[str]) -> BenchChain:
    """The sealed chain of this round, signed."""
    chain = bench.sealed_chain(number)
    if chain.settings.name not in signed:
        checkpointing(bench.kafka, chain)
        signed.add(chain.settings.name)
    return chain


def measure(bench: Workbench) -> list[Row]:
    """Checkpointing's row."""
    kafka = bench.kafka
    ours: list[float] = []
    bare: list[float] = []
    for number in bench.each_round("checkpointing"):
        chain = bench.sealed_chain(number)
        entries = bench.events
        for which in (0, 1) if number % 2 == 0 else (1, 0):
            if which == 0:
                bare.append(entries / reading(kafka, chain.topics.chain))
            else:
                ours.append(entries / checkpointing(kafka, chain))
                bench.signed.add(chain.settings.name)
    row = Row(
        "checkpointing",
        "checkpointing: every hash, link, number, time and the account checked, tree grown, signed",
        "a loop that only reads the topic",
        "entries/s",
        goal=0.3,
        ours=ours,
        baseline=bare,
        durability="notes in a Kafka transaction each, read back; the reading loop writes nothing",
        remedy="Every entry is hashed twice (itself, and the tree above it) and its `written` is matched and compared, "
        "in Python; the reading loop is librdkafka's alone, in another thread.",
    )
    if row.verdict == REACHED:
        return [row]
    chain = bench.sealed_chain(bench.rounds)
    profile = profiled(lambda: checkpointing(kafka, chain))
    bench.signed.add(chain.settings.name)
    return [replace(row, profile=profile)]
