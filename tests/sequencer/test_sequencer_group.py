"""A sequencer process with several chains: each fares by itself, and what a person must decide ends it loudly."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest
import structlog
from confluent_kafka import Consumer, TopicPartition

from sealstream.errors import InputLost, Misconfigured, Unavailable
from sealstream.kafka import trim
from sealstream.layout import sequencer_group
from sealstream.sequencer import Sequencer, SequencerGroup
from sealstream.sequencer.group import ChainWorker

Log = Any  # the class of the fixture in conftest


def sealed(log: Log) -> list[int]:
    return [entry["producer_seq"] for entry in log.entries() if entry["action"] == "read"]


def step_until(group: SequencerGroup, condition: Callable[[], bool], timeout_s: float = 30) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        group.step()
        assert time.monotonic() < deadline, f"not within {timeout_s} s"


def lose_input(log: Log) -> None:
    """Five sealed, ten sent, four of these trimmed before they were sealed."""
    log.send([log.event(n) for n in range(5)])
    sequencer = Sequencer(log.kafka, log.chain)
    sequencer.step()
    done = log.all_sealed()
    while not done(sequencer):
        sequencer.step()
    sequencer.close()
    log.send([log.event(n) for n in range(5, 15)])
    trim(log.kafka, log.topics.raw, 9)


def test_a_chain_that_stops_does_not_stop_the_others(log: Log, another_log: Log) -> None:
    lose_input(log)
    before = log.entries()
    group = SequencerGroup(log.kafka, {each.chain.name: each.chain for each in (log, another_log)})
    try:
        another_log.send([another_log.event(n) for n in range(10)])
        step_until(group, lambda: sealed(another_log) == list(range(10)))
        for _ in range(3):
            group.step()
    finally:
        group.close()
    assert log.entries() == before


def test_the_groups_offsets_say_what_is_sealed_also_of_what_came_last(log: Log) -> None:
    def committed() -> list[int]:
        consumer = Consumer({"bootstrap.servers": log.kafka.bootstrap, "group.id": sequencer_group()})
        try:
            inputs = [TopicPartition(topic, 0) for topic in (log.topics.raw, log.topics.control)]
            return [each.offset for each in consumer.committed(inputs, timeout=10)]
        finally:
            consumer.close()

    log.send([log.event(0), b"not an event"])
    log.send([log.control(0)], log.topics.control)
    group = SequencerGroup(log.kafka, {log.chain.name: log.chain})
    try:
        step_until(group, lambda: committed() == [2, 1])
        log.send([log.event(1)])
        step_until(group, lambda: sealed(log) == [0, 1])
    finally:
        group.close()
    assert committed() == [3, 1]


def test_the_only_chain_stopping_ends_the_process_with_its_reason(log: Log) -> None:
    lose_input(log)
    group = SequencerGroup(log.kafka, {log.chain.name: log.chain})
    try:
        with pytest.raises(InputLost, match="accept-input-lost"):
            step_until(group, lambda: False)
    finally:
        group.close()


def test_an_operators_decision_lets_the_chain_go_on_once(log: Log) -> None:
    lose_input(log)
    group = SequencerGroup(log.kafka, {log.chain.name: log.chain}, accept_input_lost=True)
    try:
        step_until(group, lambda: sealed(log) == [*range(5), *range(9, 15)])
    finally:
        group.close()
    assert [entry["action"] for entry in log.entries()].count("input.lost") == 1


def test_chains_of_two_prefixes_are_refused(log: Log) -> None:
    other = log.chain._replace(name="other", prefix="elsewhere")
    with pytest.raises(Misconfigured, match="one prefix"):
        SequencerGroup(log.kafka, {log.chain.name: log.chain, "other": other})
    with pytest.raises(Misconfigured, match="no chains"):
        SequencerGroup(log.kafka, {})


class Failing:
    """Stands for a sequencer whose every transaction fails."""

    transactions_seen = 0
    built = 0

    def __init__(self) -> None:
        Failing.built += 1

    def step(self) -> bool:
        raise Unavailable("the broker is away")

    def abandon(self) -> None:
        """Nothing is held."""


def test_three_failures_in_a_row_alarm() -> None:
    with structlog.testing.capture_logs() as said:
        worker = ChainWorker("c", Failing, lambda name: None)  # type: ignore[arg-type]
        deadline = time.monotonic() + 20
        while Failing.built < 4 and time.monotonic() < deadline:
            time.sleep(0.05)
        worker.give_up(lost=False)
    assert [one["log_level"] for one in said][:3] == ["warning", "warning", "critical"]
    assert worker.ended_by is None


def test_a_fault_of_ours_in_a_thread_is_not_silent() -> None:
    def build() -> Sequencer:
        raise ZeroDivisionError("ours")

    worker = ChainWorker("c", build, lambda name: None)
    deadline = time.monotonic() + 20
    while worker.ended_by is None and time.monotonic() < deadline:
        time.sleep(0.05)
    worker.give_up(lost=True)
    assert isinstance(worker.ended_by, ZeroDivisionError)
