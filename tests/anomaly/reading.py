"""What a reader sees of activity, in all partitions, and what of it stands."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import NamedTuple

from confluent_kafka import Consumer, KafkaError, TopicPartition

from sealstream.kafka import KafkaSettings

__all__ = ["Told", "newest", "told"]


class Told(NamedTuple):
    """One record of activity or of an address, as a reader sees it."""

    partition: int
    offset: int
    key: bytes
    value: bytes

    @property
    def identity(self) -> tuple[str, str, str]:
        """Chain, subject, second: a later record of the same stands instead."""
        members = json.loads(self.value)
        return members["chain"], members.get("actor_id") or members["ip_address"], members["second"]

    @property
    def last_seq(self) -> int:
        """The last entry that is counted."""
        members = json.loads(self.value)
        return max(each["seqs"][-1][1] for each in [*members.get("cells", []), *members.get("received", [])])


def told(kafka: KafkaSettings, topic: str, partitions: int) -> list[Told]:
    """Every committed record, by partition and offset."""
    consumer = Consumer(
        {
            "bootstrap.servers": kafka.bootstrap,
            "group.id": "test",
            "isolation.level": "read_committed",
            "enable.partition.eof": True,
            "enable.auto.commit": False,
        }
    )
    consumer.assign([TopicPartition(topic, partition, 0) for partition in range(partitions)])
    found: list[Told] = []
    open_partitions = set(range(partitions))
    while open_partitions:
        for message in consumer.consume(10_000, 0.05):
            if message.error() is None:
                found.append(Told(message.partition(), message.offset(), message.key(), message.value()))
            else:
                assert message.error().code() == KafkaError._PARTITION_EOF, message.error()
                open_partitions.discard(message.partition())
    consumer.close()
    return sorted(found)


def newest(records: Sequence[Told]) -> dict[tuple[str, str, str], bytes]:
    """The last record of each chain, subject and second. Each record before it counts less, or it is a repeat."""
    last: dict[tuple[str, str, str], Told] = {}
    for record in records:
        before = last.get(record.identity)
        assert before is None or before.last_seq < record.last_seq, f"written twice: {record}"
        assert before is None or before.partition == record.partition
        last[record.identity] = record
    return {identity: record.value for identity, record in last.items()}
