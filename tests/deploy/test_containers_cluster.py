"""The profile `cluster` in containers: three brokers, of which one is killed, and everything goes on."""

from __future__ import annotations

from typing import Any

import pytest
from tests.long_runs import long_run
from tests.providers.composed import Composed

pytestmark = [long_run, pytest.mark.timeout(1_800)]

HELD = "the attack was raised, and every store holds what was sealed"


@pytest.fixture(scope="module")
def stack(make_composed: Any) -> Composed:
    composed: Composed = make_composed("cluster", CHAIN_SEGMENT_SECONDS="20")
    return composed


def test_every_topic_has_three_replicas(stack: Composed) -> None:
    brokers = [name for name, state in stack.states().items() if name.startswith("kafka-") and state == "healthy"]
    assert sorted(brokers) == ["kafka-1", "kafka-2", "kafka-3"]
    topics = ["exec", "-T", "kafka-1", "/opt/kafka/bin/kafka-topics.sh", "--bootstrap-server", "localhost:9094"]
    said = stack.run(
        *topics, "--command-config", "/run/secrets/client.properties", "--describe", "--under-min-isr-partitions"
    )
    assert said.strip() == ""
    said = stack.run(*topics, "--command-config", "/run/secrets/client.properties", "--describe")
    audit = [line for line in said.splitlines() if line.startswith("Topic: audit.")]
    assert audit
    assert all("ReplicationFactor: 3" in line and "min.insync.replicas=2" in line for line in audit)


def test_with_a_broker_less_the_demo_holds(stack: Composed) -> None:
    assert HELD in stack.run("run", "--rm", "-T", "demo", "--requests", "60", timeout=900)
    stack.run("kill", "kafka-3")
    assert HELD in stack.run("run", "--rm", "-T", "demo", "--requests", "60", timeout=900)


def test_the_broker_comes_back_and_has_everything(stack: Composed) -> None:
    stack.up()
    assert stack.states()["kafka-3"] == "healthy"
    stack.run("kill", "kafka-1")
    assert HELD in stack.run("run", "--rm", "-T", "demo", "--requests", "60", timeout=900)
