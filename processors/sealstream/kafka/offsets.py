"""Where a topic begins and ends, as its leader says. Each question opens and closes its own connection."""

from __future__ import annotations

import time

from confluent_kafka import IsolationLevel, TopicPartition
from confluent_kafka.admin import OffsetSpec

from sealstream.errors import Unavailable
from sealstream.kafka.admin import ask
from sealstream.kafka.settings import ANSWER_S, KafkaSettings

__all__ = ["end_offset", "start_offset"]

_PAUSE_S = 0.05


def start_offset(kafka: KafkaSettings, topic: str, *, partition: int = 0) -> int:
    """The first offset that the topic still has."""
    return _offset(kafka, topic, partition, OffsetSpec.earliest(), IsolationLevel.READ_UNCOMMITTED)


def end_offset(kafka: KafkaSettings, topic: str, *, committed: bool, partition: int = 0) -> int:
    """The offset behind everything (high watermark), or behind everything decided (last stable offset).

    They differ exactly while a transaction is open.
    """
    level = IsolationLevel.READ_COMMITTED if committed else IsolationLevel.READ_UNCOMMITTED
    return _offset(kafka, topic, partition, OffsetSpec.latest(), level)


def _offset(kafka: KafkaSettings, topic: str, partition: int, which: OffsetSpec, level: IsolationLevel) -> int:
    """The broker's answer, once it has one.

    A leader that has just been elected, or has just come back, does not know yet how far its followers are; the driver
    then gives an offset below zero and no error. Taken for an answer it would make a chain look empty.
    """
    deadline = time.monotonic() + ANSWER_S
    while True:
        answer = ask(
            kafka,
            f"asking for an offset of {topic}",
            topic,
            lambda client: client.list_offsets({TopicPartition(topic, partition): which}, isolation_level=level),
        )
        if answer.offset >= 0:
            return int(answer.offset)
        if time.monotonic() > deadline:
            raise Unavailable(f"{topic}: its leader at Kafka {kafka.bootstrap} gave no offset in {ANSWER_S:.0f} s")
        time.sleep(_PAUSE_S)
