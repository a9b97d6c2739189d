"""What a client sent, as the sequencer will read it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from sealstream.client import AuditClient, clear
from sealstream.client.testing import Recorded, recording
from sealstream.events import validate_event
from sealstream.kafka import KafkaSettings, read_until_end
from sealstream.layout import ChainSettings, ChainTopics

Sent = Callable[[], list[dict[str, Any]]]


@pytest.fixture
def sent(kafka: KafkaSettings, chain: ChainSettings) -> Sent:
    """All events in the chain's raw topic, in order; each is valid and already canonical, or the test fails."""

    def read() -> list[dict[str, Any]]:
        events = []
        for records in read_until_end(kafka, ChainTopics.of(chain.name).raw):
            for record in records:
                assert record.value is not None
                assert validate_event(record.value).canonical == record.value
                events.append(json.loads(record.value))
        return events

    return read


@pytest.fixture
def make_client(kafka: KafkaSettings, chain: ChainSettings) -> Iterator[Callable[..., AuditClient]]:
    """`make_client(**options)`: a client of the test's chain, closed when the test ends."""
    made: list[AuditClient] = []

    def make(**options: Any) -> AuditClient:
        made.append(AuditClient(chain.name, **{"bootstrap": kafka.bootstrap, **options}))
        return made[-1]

    yield make
    for client in made:
        client.close(0.1)


@pytest.fixture
def recorded() -> Iterator[Recorded]:
    """What clients report, in memory."""
    with recording() as events:
        yield events


@pytest.fixture(autouse=True)
def _nothing_bound() -> Iterator[None]:
    clear()
    yield
    clear()
