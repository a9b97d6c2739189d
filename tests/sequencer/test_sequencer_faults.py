"""Faults at every call and kills at any moment: no event is lost, none is sealed twice, and the chain continues."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest
from tests.long_runs import long_run

from sealstream.errors import Fenced, Unavailable
from sealstream.kafka import KafkaSettings, TransactionalProducer
from sealstream.sequencer import Pace, Sequencer, SequencerGroup

Log = Any  # the class of the fixture in conftest

QUICK = Pace(max_records=40, read_back_s=1.0, poll_s=0.02)


class Schedule:
    """Fails the n-th call from now: before it does anything, or after it did everything."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.fired: list[str] = []
        self.arm()

    def arm(self) -> None:
        """Where the next fault is; none any more after ten, so that the test ends."""
        self.left = 1 + self.random.randrange(self.random.choice((4, 60, 150))) if len(self.fired) < 10 else -1
        self.after = self.random.random() < 0.5

    def call(self, name: str, does: Callable[[], Any]) -> Any:
        self.left -= 1
        if self.left != 0:
            return does()
        result = does() if self.after else None
        self.fired.append(f"{'after' if self.after else 'before'} {name}")
        raise Fenced(f"a fault {'after' if self.after else 'before'} {name}") from None
        return result


def faulty(schedule: Schedule) -> Callable[[KafkaSettings, str], TransactionalProducer]:
    class Faulty(TransactionalProducer):
        def open(self) -> None:
            schedule.call("open", super().open)

        def begin(self) -> None:
            schedule.call("begin", super().begin)

        def produce(self, *args: Any, **more: Any) -> None:
            schedule.call("produce", lambda: TransactionalProducer.produce(self, *args, **more))

        def produce_all(self, topic: str, records: Sequence[tuple[bytes | None, bytes | None]]) -> None:
            for start in range(0, len(records), 7):
                some = records[start : start + 7]
                schedule.call("produce_all", lambda some=some: TransactionalProducer.produce_all(self, topic, some))

        def commit(self) -> None:
            schedule.call("commit", super().commit)

    return Faulty


def steps(sequencer: Sequencer, count: int, *, finishing: bool = False) -> None:
    for _ in range(count):
        sequencer.step()
        if finishing:
            sequencer.finish()


def settled(log: Log, sequencer: Sequencer, raw_offset: int) -> bool:
    return sequencer.tip is not None and sequencer.tip.raw_offset >= raw_offset


@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=long_run) for seed in range(1, 4))])
def test_a_fault_before_or_after_any_call_neither_loses_nor_repeats_an_event(log: Log, seed: int) -> None:
    schedule = Schedule(seed)
    values = [log.event(n) if n % 10 else b"malformed %d" % n for n in range(600)]
    log.send(values)
    log.send([log.control(n) for n in range(20)], log.topics.control)
    deadline = time.monotonic() + 100
    done = False
    while not done and time.monotonic() < deadline:
        sequencer = Sequencer(log.kafka, log.chain, pace=QUICK, open_producer=faulty(schedule))
        try:
            while not settled(log, sequencer, len(values) - 1):
                sequencer.step()
            sequencer.close()
            done = True
        except Unavailable:
            sequencer.abandon()
            schedule.arm()
    assert done
    entries = log.check_every_offset()
    assert [e["producer_seq"] for e in entries if e["action"] == "read"] == [n for n in range(600) if n % 10]
    assert [e["metadata"]["last_seq"] for e in entries if e["action"] == "store.expired"] == list(range(20))
    assert schedule.fired, "no fault was injected"


class Lies:
    """A producer whose commits, from the n-th on and k of them, are reported and did not happen."""

    def __init__(self, first: int, count: int) -> None:
        self.commits, self.first, self.count = 0, first, count

    def producer(self) -> Callable[[KafkaSettings, str], TransactionalProducer]:
        lies = self

        class Lying(TransactionalProducer):
            def commit(self) -> None:
                lies.commits += 1
                if lies.first <= lies.commits < lies.first + lies.count:
                    self.flush()
                    super().abort()
                else:
                    super().commit()

        return Lying


@pytest.mark.parametrize("first", [1, 2, 4])
def test_a_transaction_reported_as_committed_that_does_not_appear_is_found_and_healed(log: Log, first: int) -> None:
    lies = Lies(first, 1)
    values = [log.event(n) for n in range(200)]
    log.send(values)
    sequencer = Sequencer(log.kafka, log.chain, pace=QUICK, open_producer=lies.producer())
    with pytest.raises(Fenced):
        steps(sequencer, 100, finishing=True)
    sequencer.abandon()
    seen = len(log.entries())
    second = Sequencer(log.kafka, log.chain, pace=QUICK, open_producer=lies.producer())
    while not settled(log, second, 199):
        second.step()
    second.close()
    entries = log.check_every_offset()
    assert [e["producer_seq"] for e in entries if e["action"] == "read"] == list(range(200))
    assert lies.commits > first
    assert seen <= 40 * (first - 1) + 3


def test_nothing_is_committed_after_a_transaction_that_was_not_seen(log: Log) -> None:
    lies = Lies(2, 1)
    log.send([log.event(n) for n in range(200)])
    sequencer = Sequencer(log.kafka, log.chain, pace=QUICK, open_producer=lies.producer())
    with pytest.raises(Fenced):
        steps(sequencer, 100)
    sequencer.abandon()
    assert lies.commits == 2, "a batch was committed on top of one that nobody has seen"
    assert [e["action"] for e in log.entries()] == ["chain.created", "sequencer.started"]


def test_a_torn_transaction_is_found_and_its_visible_part_is_gone_on_from(log: Log) -> None:
    torn: list[str] = []

    class Tearing(TransactionalProducer):
        def produce_all(self, topic: str, records: Sequence[tuple[bytes | None, bytes | None]]) -> None:
            if len(records) > 25 and not torn:  # of this batch the first entries are committed, the rest is not
                super().produce_all(topic, records[:25])
                super().commit()
                super().begin()
                torn.append("open")
                records = records[25:]
            super().produce_all(topic, records)

        def commit(self) -> None:
            if torn == ["open"]:
                torn.append("aborted")
                self.flush()
                super().abort()
            else:
                super().commit()

    log.send([log.event(n) for n in range(100)])
    sequencer = Sequencer(log.kafka, log.chain, pace=QUICK, open_producer=Tearing)
    with pytest.raises(Fenced):
        steps(sequencer, 100)
    sequencer.abandon()
    visible = log.entries()
    assert 2 < len(visible) < 42
    second = Sequencer(log.kafka, log.chain, pace=QUICK)
    while not settled(log, second, 99):
        second.step()
    second.close()
    entries = log.check_every_offset()
    assert entries[: len(visible)] == visible
    assert [e["producer_seq"] for e in entries if e["action"] == "read"] == list(range(100))


_PROCESS = """
import sys
from sealstream.kafka import KafkaSettings
from sealstream.layout import ChainSettings, Retention
from sealstream.sequencer import Pace, SequencerGroup
bootstrap, name, vkey = sys.argv[1:]
chain = ChainSettings(name, "log.example", vkey, Retention("soc2", 366), prefix=sys.argv[2])
group = SequencerGroup(KafkaSettings(bootstrap), {name: chain}, pace=Pace(max_records=200))
print("ready", flush=True)
while True:
    group.step()
"""


@pytest.fixture
def process(log: Log) -> Iterator[Callable[[], subprocess.Popen[bytes]]]:
    """Starts sequencer processes, which are gone when the test ends."""
    started: list[subprocess.Popen[bytes]] = []

    def start() -> subprocess.Popen[bytes]:
        code = _PROCESS.replace("prefix=sys.argv[2]", "prefix='audit'")
        arguments = [log.kafka.bootstrap, log.chain.name, log.chain.vkey]
        started.append(subprocess.Popen([sys.executable, "-c", code, *arguments]))
        return started[-1]

    yield start
    for one in started:
        one.kill()
        one.wait()


def sealed_events(log: Log) -> int:
    return sum(1 for entry in log.entries() if entry["action"] == "read")


def wait_for(condition: Callable[[], bool], timeout_s: float) -> float:
    begun = time.monotonic()
    while time.monotonic() - begun < timeout_s:
        if condition():
            return time.monotonic() - begun
        time.sleep(0.1)
    raise AssertionError(f"not within {timeout_s} s")


@long_run
@pytest.mark.slow
def test_a_killed_sequencer_neither_loses_nor_repeats_an_event(
    log: Log, process: Callable[[], subprocess.Popen[bytes]]
) -> None:
    count, rng = 6_000, random.Random(1)
    sent = 0
    for _ in range(3):
        running = process()
        before = sealed_events(log)
        for _ in range(10):
            log.send([log.event(n) for n in range(sent, sent + count // 30)])
            sent += count // 30
        wait_for(lambda before=before: sealed_events(log) > before, 30)
        time.sleep(rng.uniform(0, 0.3))
        running.send_signal(signal.SIGKILL)
        running.wait()
    last = Sequencer(log.kafka, log.chain)
    while not settled(log, last, count - 1):
        last.step()
    last.close()
    entries = log.check_every_offset()
    assert [e["producer_seq"] for e in entries if e["action"] == "read"] == list(range(count))


@long_run
@pytest.mark.slow
def test_a_standby_takes_over_from_a_killed_owner_in_under_ten_seconds(
    log: Log, process: Callable[[], subprocess.Popen[bytes]]
) -> None:
    owner = process()
    log.send([log.event(n) for n in range(100)])
    wait_for(lambda: sealed_events(log) == 100, 30)
    standby = SequencerGroup(log.kafka, {log.chain.name: log.chain})
    try:
        for _ in range(5):
            standby.step()
        assert standby.owned == [], "the owner lives"
        owner.send_signal(signal.SIGKILL)
        killed = time.monotonic()
        log.send([log.event(n) for n in range(100, 200)])
        while sealed_events(log) < 200:
            standby.step()
            assert time.monotonic() - killed < 30
        took = time.monotonic() - killed
        assert took < 10, f"the standby took {took:.1f} s"
    finally:
        standby.close()
    entries = log.check_every_offset()
    assert [e["action"] for e in entries].count("sequencer.started") == 2
    assert entries[-1]["action"] == "sequencer.stopped"


@long_run
@pytest.mark.slow
def test_an_owner_that_was_frozen_and_comes_back_breaks_nothing(
    log: Log, process: Callable[[], subprocess.Popen[bytes]]
) -> None:
    first = process()
    log.send([log.event(n) for n in range(50)])
    wait_for(lambda: sealed_events(log) == 50, 30)
    second = process()
    first.send_signal(signal.SIGSTOP)
    log.send([log.event(n) for n in range(50, 100)])
    wait_for(lambda: sealed_events(log) == 100, 30)
    first.send_signal(signal.SIGCONT)
    for start in range(100, 200, 10):
        log.send([log.event(n) for n in range(start, start + 10)])
        time.sleep(0.1)
    wait_for(lambda: sealed_events(log) == 200, 30)
    first.kill()
    second.kill()
    entries = log.check_every_offset()
    assert [e["producer_seq"] for e in entries if e["action"] == "read"] == list(range(200))


def test_a_chain_is_handed_over_in_order_when_its_owner_leaves(log: Log) -> None:
    first = SequencerGroup(log.kafka, {log.chain.name: log.chain})
    second = SequencerGroup(log.kafka, {log.chain.name: log.chain})
    try:
        wait_for(lambda: first.step() or second.step(), 20)
        log.send([log.event(0)])
        wait_for(lambda: sealed_events(log) == 1, 20)
        owner, other = (first, second) if first.owned else (second, first)
        owner.close()
        wait_for(lambda: other.step() and bool(other.owned), 20)
        log.send([log.event(1)])
        wait_for(lambda: sealed_events(log) == 2, 20)
    finally:
        first.close()
        second.close()
    actions = [e["action"] for e in log.check_every_offset()]
    assert actions == [
        "chain.created",
        "sequencer.started",
        "read",
        "sequencer.stopped",
        "sequencer.started",
        "read",
        "sequencer.stopped",
    ]
