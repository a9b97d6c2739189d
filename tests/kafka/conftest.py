"""A topic of its own for each test."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator

import pytest

from sealstream.kafka import KafkaSettings, TransactionalProducer, create_topics
from sealstream.layout import TopicConfig


@pytest.fixture
def topic(kafka: KafkaSettings) -> str:
    """An empty topic with one partition, kept for ever."""
    name = f"kafka-tests.{uuid.uuid4().hex}"
    create_topics(kafka, [TopicConfig(name, {"cleanup.policy": "delete", "retention.ms": "-1"})])
    return name


@pytest.fixture
def open_producer(kafka: KafkaSettings, topic: str) -> Iterator[Callable[..., TransactionalProducer]]:
    """Opens producers, all with the topic's own transactional id unless told otherwise."""
    opened: list[TransactionalProducer] = []

    def make(transactional_id: str = topic, **named: float) -> TransactionalProducer:
        producer = TransactionalProducer(kafka, transactional_id, **named)
        opened.append(producer)
        producer.open()
        return producer

    yield make
    for producer in opened:
        producer.close()
