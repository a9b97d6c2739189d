"""Topics with several partitions, and the consumer group that reads them: where both stand, asked and set at once.

Each question opens and closes its own connection. What is set of a group is one request to its coordinator: a crash
leaves it done or not.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from confluent_kafka import (
    ConsumerGroupTopicPartitions,
    IsolationLevel,
    KafkaError,
    KafkaException,
    TopicCollection,
    TopicPartition,
)
from confluent_kafka.admin import AdminClient, OffsetSpec

from sealstream.errors import Unavailable
from sealstream.kafka.admin import answers, describe
from sealstream.kafka.reader import CommittedReader
from sealstream.kafka.settings import ANSWER_S, KafkaSettings, translated

__all__ = [
    "Place",
    "committed_offsets",
    "end_offsets",
    "first_offsets",
    "first_record",
    "partition_counts",
    "set_offsets",
]

_PAUSE_S = 0.1
_RECORD_S = 5.0


class Place(NamedTuple):
    """One partition of a topic."""

    topic: str
    partition: int


def partition_counts(kafka: KafkaSettings, topics: Iterable[str]) -> dict[str, int]:
    """How many partitions each has. Raises `Misconfigured` for one that does not exist."""
    return {name: len(described.partitions) for name, described in describe(kafka, list(topics)).items()}


def first_offsets(kafka: KafkaSettings, places: Iterable[Place]) -> dict[Place, int]:
    """The first offset that each still has."""
    return _offsets(kafka, places, OffsetSpec.earliest(), IsolationLevel.READ_UNCOMMITTED)


def end_offsets(kafka: KafkaSettings, places: Iterable[Place]) -> dict[Place, int]:
    """The offset behind everything decided, of each; markers and aborted records may stand before it."""
    return _offsets(kafka, places, OffsetSpec.latest(), IsolationLevel.READ_COMMITTED)


def committed_offsets(kafka: KafkaSettings, group: str) -> dict[Place, int]:
    """Where the group goes on, by partition; those without a committed offset are absent."""
    (answer,) = answers(
        kafka,
        f"asking for the offsets of group {group}",
        lambda client: client.list_consumer_group_offsets(
            [ConsumerGroupTopicPartitions(group)], require_stable=True, request_timeout=ANSWER_S
        ),
    ).values()
    if isinstance(answer, KafkaError):
        if answer.code() == KafkaError.GROUP_ID_NOT_FOUND:
            return {}
        raise translated(answer, kafka, f"asking for the offsets of group {group}")
    return {Place(each.topic, each.partition): each.offset for each in answer.topic_partitions if each.offset >= 0}


def set_offsets(kafka: KafkaSettings, group: str, offsets: Mapping[Place, int]) -> bool:
    """Let the group go on there. False when it has members, which alone may say where they are."""
    wanted = ConsumerGroupTopicPartitions(group, [TopicPartition(*place, offset) for place, offset in offsets.items()])
    doing = f"setting the offsets of group {group}"
    (answer,) = answers(
        kafka, doing, lambda client: client.alter_consumer_group_offsets([wanted], request_timeout=ANSWER_S)
    ).values()
    errors: list[KafkaError] = [answer] if isinstance(answer, KafkaError) else []
    if not errors:
        errors = [each.error for each in answer.topic_partitions if each.error is not None]
    for error in errors:
        if error.code() in (KafkaError.UNKNOWN_MEMBER_ID, KafkaError.NON_EMPTY_GROUP, KafkaError.REBALANCE_IN_PROGRESS):
            return False
        raise translated(error, kafka, doing)
    return True


def first_record(kafka: KafkaSettings, place: Place, offset: int) -> int | None:
    """The offset of the first committed record at `offset` or behind it; None when there is none.

    Raises `InputLost`, and `Unavailable`.
    """
    deadline = time.monotonic() + _RECORD_S
    with CommittedReader(
        kafka, place.topic, offset, partition=place.partition, fetch_wait_s=0.05, ahead_kb=64
    ) as reader:
        end = end_offsets(kafka, [place])[place]
        while reader.position() < end:
            if records := reader.read(1, _PAUSE_S):
                return records[0].offset
            if time.monotonic() > deadline:
                raise Unavailable(f"{place.topic}: nothing came from offset {offset} in {_RECORD_S:.0f} s")
    return None


def _offsets(
    kafka: KafkaSettings, places: Iterable[Place], which: OffsetSpec, level: IsolationLevel
) -> dict[Place, int]:
    """All answers; a leader that has just come back does not know yet, and says so by an offset below zero."""
    asked = {TopicPartition(*place): which for place in places}

    def when_connected(client: AdminClient) -> Any:
        # As for one partition: while no broker is connected, the driver looks for leaders in vain, and again after 3 s.
        topics = TopicCollection(list({each.topic for each in asked}))
        for described in client.describe_topics(topics).values():
            described.result(2 * ANSWER_S)
        return client.list_offsets(asked, isolation_level=level, request_timeout=ANSWER_S)

    doing = f"asking for offsets of {', '.join(sorted({each.topic for each in asked}))}"
    deadline = time.monotonic() + ANSWER_S
    while asked:
        found: Mapping[Any, Any] = answers(kafka, doing, when_connected)
        failures = [each for each in found.values() if isinstance(each, KafkaError)]
        if not failures and all(each.offset >= 0 for each in found.values()):
            return {Place(key.topic, key.partition): int(each.offset) for key, each in found.items()}
        if time.monotonic() > deadline:
            if failures:
                raise translated(failures[0], kafka, doing) from KafkaException(failures[0])
            raise Unavailable(f"{doing}: its leader at Kafka {kafka.bootstrap} gave no offset in {ANSWER_S:.0f} s")
        time.sleep(_PAUSE_S)
    return {}
