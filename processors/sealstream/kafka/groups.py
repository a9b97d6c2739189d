"""Topics with several partitions, and the consumer group that reads them: where both stand, asked and set at once.

Each question opens and closes its own connection. What is set of a group is one request to its coordinator: a crash
leaves it done or not.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

from confluent_kafka import (
    Consumer,
    IsolationLevel,
    KafkaError,
    KafkaException,
    TopicCollection,
    TopicPartition,
)
from confluent_kafka.admin import AdminClient, OffsetSpec

from sealstream.errors import SealstreamError, Unavailable
from sealstream.kafka.admin import answers, describe
from sealstream.kafka.reader import CommittedReader
from sealstream.kafka.settings import (
    ANSWER_S,
    NO_COORDINATOR_YET,
    KafkaSettings,
    client_config,
    error_of,
    translated,
)

__all__ = [
    "Place",
    "committed_offsets",
    "end_offsets",
    "first_offsets",
    "first_record",
    "partition_counts",
    "set_offsets",
]

_JOINED = frozenset(
    {
        KafkaError.UNKNOWN_MEMBER_ID,
        KafkaError.ILLEGAL_GENERATION,
        KafkaError.NON_EMPTY_GROUP,
        KafkaError.REBALANCE_IN_PROGRESS,
    }
)
_PAUSE_S = 0.1
_RECORD_S = 5.0


class _HasMembers(Unavailable):
    """The group is somebody else's now."""


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


def committed_offsets(kafka: KafkaSettings, group: str, places: Iterable[Place]) -> dict[Place, int]:
    """Where the group goes on in each of these; those without a committed offset are absent.

    Asked by a consumer that joins nothing: the driver's admin client ends the whole program when the group's
    coordinator is not there yet, as on a broker that has just begun (librdkafka 5040).
    """
    asked = [TopicPartition(*place) for place in places]
    doing = f"asking for the offsets of group {group}"
    with _unjoined(kafka, group, doing) as consumer:
        found = _committed(consumer, asked)
    _answered(found, kafka, doing)
    return {Place(each.topic, each.partition): each.offset for each in found if each.offset >= 0}


def _committed(consumer: Consumer, asked: list[TopicPartition]) -> list[TopicPartition]:
    deadline = time.monotonic() + ANSWER_S
    while True:
        try:
            found: list[TopicPartition] = consumer.committed(asked, ANSWER_S)
            errors = [each.error for each in found if each.error is not None]
        except KafkaException as error:
            if error_of(error).code() not in NO_COORDINATOR_YET or time.monotonic() > deadline:
                raise
        else:
            if not any(error.code() in NO_COORDINATOR_YET for error in errors) or time.monotonic() > deadline:
                return found
        time.sleep(_PAUSE_S)


def set_offsets(kafka: KafkaSettings, group: str, offsets: Mapping[Place, int]) -> bool:
    """Let the group go on there. False when it has members, which alone may say where they are."""
    wanted = [TopicPartition(*place, offset) for place, offset in offsets.items()]
    doing = f"setting the offsets of group {group}"
    try:
        with _unjoined(kafka, group, doing) as consumer:
            _answered(consumer.commit(offsets=wanted, asynchronous=False), kafka, doing)
    except _HasMembers:
        return False
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


@contextmanager
def _unjoined(kafka: KafkaSettings, group: str, doing: str) -> Iterator[Consumer]:
    try:
        consumer = Consumer(
            client_config(
                kafka,
                {
                    "group.id": group,
                    "isolation.level": "read_committed",
                    "enable.auto.commit": False,
                    "socket.timeout.ms": int(ANSWER_S * 1000),
                },
            )
        )
    except KafkaException as error:
        raise translated(error_of(error), kafka, doing) from error
    try:
        yield consumer
    except KafkaException as error:
        raise _group_error(error_of(error), kafka, doing) from error
    finally:
        consumer.close()


def _answered(partitions: Sequence[TopicPartition], kafka: KafkaSettings, doing: str) -> Sequence[TopicPartition]:
    for each in partitions:
        if each.error is not None:
            raise _group_error(each.error, kafka, doing)
    return partitions


def _group_error(error: KafkaError, kafka: KafkaSettings, doing: str) -> SealstreamError:
    if error.code() in _JOINED:
        return _HasMembers(f"{doing}: {error.str()}")
    return translated(error, kafka, doing)


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
