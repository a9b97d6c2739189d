"""The sequencer, everything on, against a transactional loop that only copies: the same records, broker and run.

Each round preloads a new chain's raw topic, copies it once with the bare loop and seals it once with the sequencer, one
after the other. The bare loop is tuned as our reader and producer are (`fetch.queue.backoff.ms` above all), batches of
10,000, offsets in the transaction. `growth` seals one long chain and compares its late entries with its early ones.
"""

from __future__ import annotations

import time
from contextlib import ExitStack
from dataclasses import replace

from confluent_kafka import Consumer, Producer, TopicPartition
from rows import REACHED, Row
from workbench import HEAD_START_S, Workbench, preload, profiled, seal_until, sealing

from sealstream.kafka import KafkaSettings, create_topics
from sealstream.layout import TopicConfig
from sealstream.sequencer import Sequencer

BATCH = 10_000
DURABILITY = "both: one Kafka transaction a batch, acks=all on one broker, in its page cache"


def copying(kafka: KafkaSettings, source: str, target: str, count: int) -> float:
    """Seconds that a transactional loop takes which only copies."""
    consumer = Consumer(
        {
            "bootstrap.servers": kafka.bootstrap,
            "group.id": f"copy-{target}",
            "enable.auto.commit": False,
            "enable.auto.offset.store": False,
            "isolation.level": "read_committed",
            "auto.offset.reset": "error",
            "fetch.queue.backoff.ms": 2,
            "queued.min.messages": 200_000,
            "queued.max.messages.kbytes": 65_536,
        }
    )
    producer = Producer(
        {
            "bootstrap.servers": kafka.bootstrap,
            "transactional.id": f"copy-{target}",
            "linger.ms": 5,
            "batch.num.messages": 10_000,
            "batch.size": 1_000_000,
            "queue.buffering.max.messages": 500_000,
            "queue.buffering.max.kbytes": 1_000_000,
        }
    )
    producer.init_transactions(30)
    consumer.assign([TopicPartition(source, 0, 0)])
    time.sleep(HEAD_START_S)
    done = 0
    begun = time.perf_counter()
    while done < count:
        messages = consumer.consume(BATCH, 1.0)
        if not messages:
            continue
        producer.begin_transaction()
        produce = producer.produce
        for message in messages:
            produce(target, message.value(), message.key(), 0)
        offsets = [TopicPartition(source, 0, messages[-1].offset() + 1)]
        producer.send_offsets_to_transaction(offsets, consumer.consumer_group_metadata())
        producer.commit_transaction()
        done += len(messages)
    took = time.perf_counter() - begun
    consumer.close()
    return took


def measure(bench: Workbench) -> list[Row]:
    """The sequencer's row."""
    kafka, count = bench.kafka, bench.events
    copied: list[float] = []
    sealed: list[float] = []
    for number in bench.each_round("sequencer"):
        chain = bench.new_chain()
        copy = f"copy.{chain.settings.name}"
        create_topics(kafka, [TopicConfig(copy, {"cleanup.policy": "delete"})])
        preload(kafka, chain.topics.raw, count)
        if number % 2:
            sealed.append(count / sealing(kafka, chain, count))
            copied.append(count / copying(kafka, chain.topics.raw, copy, count))
        else:
            copied.append(count / copying(kafka, chain.topics.raw, copy, count))
            sealed.append(count / sealing(kafka, chain, count))
        bench.keep_sealed(number, chain)
    row = Row(
        "sequencer",
        "sequencer, everything on (validation, deduplication, accounting, read-back)",
        "the same transactional loop that only copies",
        "events/s",
        goal=0.45,
        first_goal=0.3,
        ours=sealed,
        baseline=copied,
        durability=DURABILITY,
        remark=f"{count:,} events of about 470 bytes, batches of up to {BATCH:,}",
        remedy="Decoding, canonical form and hashing of each event are one thread's work in Python; a compiled core "
        "for the batch, or one process that validates beside the one that seals, would change it.",
    )
    if row.verdict == REACHED:
        return [row]
    chain = bench.new_chain()
    preload(kafka, chain.topics.raw, count)
    return [replace(row, profile=profiled(lambda: sealing(kafka, chain, count)))]


def growth(bench: Workbench) -> list[Row]:
    """What an entry costs late in a long chain, against early in a short one; slices of both take turns."""
    short, slice_events, slices = bench.long_events // 10, bench.events // 10, 5
    spare = (slice_events + BATCH) * slices  # a slice ends with a whole batch
    long = bench.long_events
    bench.say(f"growth: sealing {long:,} entries first")
    chains = [bench.new_chain(), bench.new_chain()]
    with ExitStack() as held:
        sequencers = []
        for chain, before in zip(chains, (short, long), strict=True):
            preload(bench.kafka, chain.topics.raw, before + spare)
            sequencer = Sequencer(bench.kafka, chain.settings)
            held.callback(sequencer.close)
            seal_until(sequencer, before)
            sequencer.finish()
            sequencers.append(sequencer)
        early: list[float] = []
        late: list[float] = []
        for number in range(slices):
            bench.say(f"growth, slice {number + 1} of {slices}")
            for which in (0, 1) if number % 2 == 0 else (1, 0):
                (early, late)[which].append(_cost_us(sequencers[which], slice_events))
    bench.keep_long(chains[1])
    return [
        Row(
            "growth",
            f"sequencer, cost of an entry behind {long:,} others",
            f"behind {short:,} others, in another chain",
            "us/entry",
            goal=1.05,
            at_most=True,
            ours=late,
            baseline=early,
            durability=DURABILITY,
            remark=f"{slices} slices of {slice_events:,} events or somewhat more; the goal is for 10 million entries",
            remedy="Nothing in the sequencer grows with the chain but what it remembers of the last 200,000 entries, "
            "which fills up first; short slices on a busy machine differ by more than the goal allows.",
        )
    ]


def _cost_us(sequencer: Sequencer, least: int) -> float:
    """Microseconds an event, of at least so many more, from the first step until all of them are read back."""
    tip = sequencer.tip
    first = 0 if tip is None else tip.raw_offset + 1
    begun = time.perf_counter()
    seal_until(sequencer, first + least)
    sequencer.finish()
    took = time.perf_counter() - begun
    tip = sequencer.tip
    return took / ((0 if tip is None else tip.raw_offset + 1) - first) * 1e6
