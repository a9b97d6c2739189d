"""Faults at every call and kills at any moment: nothing is missing, and what is written again only counts more."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest
from tests.anomaly.conftest import PARTITIONS, Board, Chain, until
from tests.long_runs import long_run

from sealstream.anomaly import Pace
from sealstream.errors import Fenced, Unavailable
from sealstream.kafka import CommittedReader, Record, TransactionalProducer

pytestmark = long_run

QUICK = Pace(max_entries=60, wait_s=0.01, quiet_s=0.1, open_s=0.3, read_back_s=1.0)


class Schedule:
    """Fails the n-th call from now: before it does anything, or after it did everything."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.fired: list[str] = []
        self.arm()

    def arm(self) -> None:
        """Where the next fault is; none any more after twelve, so that the test ends."""
        self.left = 1 + self.random.randrange(self.random.choice((6, 30, 90))) if len(self.fired) < 12 else -1
        self.after = self.random.random() < 0.6

    def call(self, name: str, does: Callable[[], Any]) -> Any:
        self.left -= 1
        if self.left != 0:
            return does()
        result = does() if self.after else None
        self.fired.append(f"{'after' if self.after else 'before'} {name}")
        raise Fenced(f"a fault {'after' if self.after else 'before'} {name}") from None
        return result


def faulty(schedule: Schedule) -> dict[str, Any]:
    """What opens producers and readers that fail as scheduled."""

    class Producer(TransactionalProducer):
        def open(self) -> None:
            schedule.call("open", super().open)

        def begin(self) -> None:
            schedule.call("begin", super().begin)

        def spread(self, topic: str, records: Sequence[tuple[bytes, bytes]]) -> None:
            for start in range(0, len(records), 5):
                some = records[start : start + 5]
                schedule.call("spread", lambda some=some: TransactionalProducer.spread(self, topic, some))

        def flush(self) -> None:
            schedule.call("flush", super().flush)

        def produce_all(self, topic: str, records: Sequence[tuple[bytes | None, bytes | None]]) -> None:
            schedule.call("produce_all", lambda: TransactionalProducer.produce_all(self, topic, records))

        def commit(self) -> None:
            schedule.call("commit", super().commit)

    class Reader(CommittedReader):
        def read(self, limit: int, timeout_s: float) -> list[Record]:
            records: list[Record] = super().read(min(limit, 40), timeout_s)
            return schedule.call("read", lambda: records) if records else records

    return {"open_producer": Producer, "open_reader": Reader}


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("seed", [0, 1, *(pytest.param(seed, marks=long_run) for seed in range(2, 12))])
def test_a_fault_before_or_after_any_call_leaves_nothing_out_and_writes_nothing_twice(board: Board, seed: int) -> None:
    chains = [board.chain(), board.chain()]
    rng = random.Random(seed)
    for chain in chains:
        for _ in range(40):
            chain.add(rng.randrange(1, 20), later_s=rng.choice((0, 0.01, 0.3)))
        chain.write(chain.values[:-100])
    schedule = Schedule(seed)
    deadline = time.monotonic() + 200
    waiting, written = list(chains), {chain: len(chain.values) - 100 for chain in chains}
    while time.monotonic() < deadline:
        process = board.roll_up(*chains, pace=QUICK, **faulty(schedule))
        try:
            while not all(board.through(chain, written[chain] - 1)() for chain in chains):
                process.step()
            if not waiting:
                break
            last = waiting.pop()
            last.write(last.values[written[last] :])
            written[last] = len(last.values)
        except Unavailable:
            schedule.arm()
        finally:
            process.close()
    assert time.monotonic() < deadline
    assert len(schedule.fired) > 5, schedule.fired
    board.check(*chains)


class Lies(TransactionalProducer):
    """The second commit is reported and did not happen."""

    commits = 0

    def commit(self) -> None:
        type(self).commits += 1
        if type(self).commits == 2:
            self.flush()
            super().abort()
        else:
            super().commit()


def test_a_transaction_reported_as_committed_that_does_not_appear_is_found_and_healed(
    board: Board, chain: Chain
) -> None:
    class Lying(Lies):
        commits = 0

    chain.write(chain.add(300, later_s=0.05))
    process = board.roll_up(chain, pace=QUICK, open_producer=Lying)
    with pytest.raises(Fenced, match="were not seen within"):
        until(process, lambda: False)
    process.close()
    assert Lying.commits == 2, "a transaction was committed on top of one that nobody has seen"
    process = board.roll_up(chain, pace=QUICK)
    until(process, board.through(chain))
    board.check(chain)


_PROCESS = """
import sys, time
from sealstream.anomaly import ActivityRollUp, Pace
from sealstream.errors import Unavailable
from sealstream.kafka import KafkaSettings
from sealstream.layout import ChainSettings, Retention
bootstrap, prefix, partitions, *names = sys.argv[1:]
chains = [ChainSettings(name, "log.example", "vkey", Retention("soc2", 366), prefix=prefix) for name in names]
print("ready", flush=True)
while True:
    process = ActivityRollUp(
        KafkaSettings(bootstrap), chains, partitions=int(partitions), pace=Pace(max_entries=500, quiet_s=0.2)
    )
    try:
        while True:
            process.step()
    except Unavailable:
        process.close()
"""


@pytest.fixture
def start(board: Board) -> Iterator[Callable[..., subprocess.Popen[bytes]]]:
    """Starts the roll-up in processes of their own, which are gone when the test ends."""
    started: list[subprocess.Popen[bytes]] = []

    def begin(*chains: Chain) -> subprocess.Popen[bytes]:
        names = [chain.name for chain in chains]
        arguments = [board.kafka.bootstrap, board.prefix, str(PARTITIONS), *names]
        started.append(subprocess.Popen([sys.executable, "-c", _PROCESS, *arguments]))
        return started[-1]

    yield begin
    for one in started:
        one.kill()
        one.wait()


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_killed_roll_up_goes_on_to_the_same_bytes(
    board: Board, start: Callable[..., subprocess.Popen[bytes]]
) -> None:
    chains, rng = [board.chain(), board.chain()], random.Random(3)
    for _ in range(4):
        running = start(*chains)
        before = len(board.told(board.topics.activity))
        deadline = time.monotonic() + 60
        while len(board.told(board.topics.activity)) == before:
            for chain in chains:
                chain.write(chain.add(rng.randrange(300), later_s=rng.choice((0.001, 0.01, 0.1))))
            assert time.monotonic() < deadline
        time.sleep(rng.uniform(0, 0.5))
        running.send_signal(signal.SIGKILL)
        running.wait()
    last = board.roll_up(*chains, pace=QUICK)
    until(last, lambda: all(board.through(chain)() for chain in chains))
    board.check(*chains)


def test_a_roll_up_that_was_frozen_and_comes_back_writes_nothing_twice(
    board: Board, chain: Chain, start: Callable[..., subprocess.Popen[bytes]]
) -> None:
    first = start(chain)
    chain.write(chain.add(200, later_s=0.05))
    deadline = time.monotonic() + 30
    while not board.told(board.topics.activity):
        assert time.monotonic() < deadline
    first.send_signal(signal.SIGSTOP)
    chain.write(chain.add(200, later_s=0.05))
    second = board.roll_up(chain, pace=QUICK)
    until(second, board.through(chain))
    second.close()
    first.send_signal(signal.SIGCONT)  # it finds itself fenced, begins anew, and fences in turn
    chain.write(chain.add(200, later_s=0.05))
    time.sleep(2)
    first.kill()
    last = board.roll_up(chain, pace=QUICK)
    until(last, board.through(chain))
    board.check(chain)
