"""The sequencer, everything on, against a transactional loop that only copies: the same records, broker and run.

Each round preloads a new chain's raw topic, copies it once with the bare loop and seals it once with the sequencer, one
after the other; rounds repeat both, so that whatever else the machine does meets both alike. The bare loop is tuned as
our reader and producer are (`fetch.queue.backoff.ms` above all), batches of 10,000, offsets in the transaction.

    python benchmarks/bench_sequencer.py --bootstrap localhost:9092 --events 300000 --rounds 3
"""

from __future__ import annotations

import argparse
import statistics
import time
import uuid
from collections.abc import Iterator
from typing import NamedTuple

from confluent_kafka import Consumer, Producer, TopicPartition

from sealstream.events import canonical_event, new_event_id
from sealstream.kafka import KafkaSettings, create_topics
from sealstream.layout import ChainSettings, ChainTopics, Retention, TopicConfig
from sealstream.sealing import new_signing_key, signer
from sealstream.sequencer import Sequencer

BATCH = 10_000


class Round(NamedTuple):
    """Events per second of both, in one round."""

    copying: float
    sealing: float

    @property
    def ratio(self) -> float:
        """Sealing against copying."""
        return self.sealing / self.copying


def example_event(number: int) -> bytes:
    """An event of about 470 bytes, as the client sends it."""
    return canonical_event(
        {
            "id": new_event_id(),
            "timestamp": "2026-11-24T03:00:00.123456Z",
            "actor_id": f"user-{number % 1000}",
            "actor_type": "user",
            "action": "patient.read",
            "resource_type": "patient",
            "resource_id": f"patient-{number:06}",
            "result": "success",
            "ip_address": "10.20.30.40",
            "session_id": f"session-{number % 5000:08}",
            "tenant": "clinic-1",
            "source": {"service": "clinic", "version": "1.0.0", "host": "web-1"},
            "metadata": {"http_status": 200, "duration_ms": 12},
            "producer_id": "web-1/4711/0193a8f2",
            "producer_seq": number,
        }
    )


def new_chain() -> ChainSettings:
    """A chain of its own for one round."""
    name = f"bench-{uuid.uuid4().hex[:12]}"
    vkey = signer(new_signing_key(f"bench.example/{name}")).vkey
    return ChainSettings(name, "bench.example", vkey, Retention("soc2", 366))


def preload(kafka: KafkaSettings, topic: str, events: list[bytes]) -> None:
    """Everything into the raw topic, before any clock runs."""
    producer = Producer(
        {
            "bootstrap.servers": kafka.bootstrap,
            "enable.idempotence": True,
            "linger.ms": 20,
            "batch.num.messages": 10_000,
            "queue.buffering.max.messages": 500_000,
            "queue.buffering.max.kbytes": 1_000_000,
        }
    )
    for event in events:
        producer.produce(topic, event, partition=0)
    producer.flush(120)


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


def sealing(kafka: KafkaSettings, chain: ChainSettings, count: int) -> float:
    """Seconds that the sequencer takes, from its first batch to the last one committed and read back."""
    sequencer = Sequencer(kafka, chain)
    sequencer.step()
    begun = time.perf_counter()
    while (tip := sequencer.tip) is None or tip.raw_offset < count - 1:
        sequencer.step()
    sequencer.finish()
    took = time.perf_counter() - begun
    sequencer.close()
    return took


def rounds(kafka: KafkaSettings, count: int, times: int) -> Iterator[Round]:
    """Interleaved: in odd rounds the sequencer goes first."""
    for number in range(times):
        chain = new_chain()
        topics = ChainTopics.of(chain.name)
        copy = f"copy.{chain.name}"
        create_topics(kafka, [*topics.configs(), TopicConfig(copy, {"cleanup.policy": "delete"})])
        preload(kafka, topics.raw, [example_event(n) for n in range(count)])
        if number % 2:
            sealed_s = sealing(kafka, chain, count)
            copied_s = copying(kafka, topics.raw, copy, count)
        else:
            copied_s = copying(kafka, topics.raw, copy, count)
            sealed_s = sealing(kafka, chain, count)
        yield Round(count / copied_s, count / sealed_s)


def main() -> None:
    """Print each round and the median."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--bootstrap", default="localhost:9092")
    options.add_argument("--events", type=int, default=300_000)
    options.add_argument("--rounds", type=int, default=3)
    given = options.parse_args()
    print(f"{len(example_event(1))} bytes an event, {given.events} events, {given.rounds} rounds")
    measured = []
    for one in rounds(KafkaSettings(given.bootstrap), given.events, given.rounds):
        print(f"copying {one.copying:>9,.0f}/s   sealing {one.sealing:>9,.0f}/s   ratio {one.ratio:.2f}")
        measured.append(one)
    print(f"median ratio {statistics.median(one.ratio for one in measured):.2f}")


if __name__ == "__main__":
    main()
