"""Who owns a chain, when the driver forgets where Kafka is."""

from __future__ import annotations

import time

import pytest
from tests.kafka.forgetful_proxy import ForgetfulProxy

from sealstream.errors import Unavailable
from sealstream.kafka import KafkaSettings, create_topics
from sealstream.layout import TopicConfig
from sealstream.sequencer.ownership import Ownership

WITHIN_S = 30.0


def test_a_consumer_that_has_forgotten_the_brokers_gives_up_and_the_next_one_owns(
    kafka: KafkaSettings, chain_name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sealstream.sequencer.ownership._OUTSIDE_S", 1.5)
    create_topics(kafka, [TopicConfig(chain_name, {})])
    proxy = ForgetfulProxy(kafka.bootstrap)
    settings = KafkaSettings(proxy.bootstrap, {**kafka.options, "topic.metadata.refresh.interval.ms": "300"})
    heard: list[tuple[str, str]] = []

    def joined() -> Ownership:
        return Ownership(
            settings,
            chain_name,
            [chain_name],
            gained=lambda topic: heard.append(("gained", topic)),
            revoked=lambda topic: heard.append(("revoked", topic)),
            lost=lambda topic: heard.append(("lost", topic)),
        )

    def poll(ownership: Ownership, until: int) -> None:
        deadline = time.monotonic() + WITHIN_S
        while len(heard) < until and time.monotonic() < deadline:
            ownership.poll(0.1)

    ownership = joined()
    try:
        poll(ownership, 1)
        assert heard == [("gained", chain_name)]
        proxy.forgetful = True
        with pytest.raises(Unavailable, match="has not taken us for"):
            poll(ownership, 10)
        assert heard == [("gained", chain_name), ("lost", chain_name)], "nobody seals for a group that has dropped us"
        assert proxy.forgotten
    finally:
        ownership.close()
    proxy.forgetful = False
    ownership = joined()
    try:
        poll(ownership, 3)
        assert heard[2:] == [("gained", chain_name)]
    finally:
        ownership.close()
        proxy.close()
