"""A chain of its own for each test, with topics under a prefix of its own; what a pure roll-up makes of it; and one
ordinary season for all detectors' tests, made once.
"""

from __future__ import annotations

import random
import uuid
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any

import pytest
from tests.anomaly.ordinary import company
from tests.anomaly.reading import Told, newest, told
from tests.anomaly.stories import watched
from tests.markers import wait_for_markers

from sealstream.anomaly import ActivityRollUp
from sealstream.anomaly.following import Following
from sealstream.events import format_timestamp
from sealstream.kafka import KafkaSettings, Record, TransactionalProducer, create_topics
from sealstream.layout import ChainSettings, ChainTopics, Figures, Retention, figures
from sealstream.layout.activity import ActivityTopics
from sealstream.layout.alerts import Alert
from sealstream.sealing import Written, canonical_json, genesis_hash, seal

BEGIN = datetime(2026, 11, 2, 9, 0, tzinfo=UTC)
PARTITIONS = 3


class Chain:
    """One chain under test: entries are sealed here, as the sequencer does it, at any time."""

    def __init__(self, kafka: KafkaSettings, prefix: str) -> None:
        self.kafka = kafka
        self.name = f"w{uuid.uuid4().hex[:10]}"
        self.settings = ChainSettings(self.name, "log.example", "vkey", Retention("soc2", 366), prefix=prefix)
        self.topic = ChainTopics.of(self.name, prefix).chain
        create_topics(
            kafka, [config for config in ChainTopics.of(self.name, prefix).configs() if config.name == self.topic]
        )
        self.values: list[bytes] = []
        self._link = genesis_hash(self.settings.origin)
        self._now = BEGIN
        self._rng = random.Random(self.name)

    def add(self, count: int = 1, *, later_s: float = 0.0, kind: str = "event", **fields: Any) -> list[bytes]:
        """More entries, each so much later; what is not said is drawn: some fail, some are about accounts."""
        return [self._add(timedelta(seconds=later_s), kind, fields) for _ in range(count)]

    def _add(self, later: timedelta, kind: str, fields: dict[str, Any]) -> bytes:
        self._now += later
        seq, rng, now = len(self.values), self._rng, format_timestamp(self._now)
        event = {
            "id": str(uuid.UUID(int=seq)),
            "timestamp": now,
            "actor_id": f"user-{rng.randrange(7)}",
            "actor_type": "user",
            "action": rng.choice(("read", "write", "login")),
            "resource_type": rng.choice(("record", "record", "user")),
            "resource_id": f"user-{rng.randrange(9)}",
            "result": rng.choice(("success", "success", "denied")),
            "ip_address": rng.choice(("10.0.0.7", "2001:db8::7")),
            **fields,
        }
        received = None if kind == "log" else now
        entry = seal(canonical_json(event), Written(self.name, -1, kind, seq, received, seq, now), self._link)
        self._link = entry.hash
        self.values.append(entry.to_bytes())
        return self.values[-1]

    def write(self, values: Sequence[bytes], *, each: int = 50) -> None:
        """Into the chain's topic, in transactions of so many, which leave markers between."""
        producer = self._producer()
        for first in range(0, len(values), each):
            producer.begin()
            for value in values[first : first + each]:
                producer.produce(self.topic, value)
            producer.commit()
        wait_for_markers(self.kafka, self.topic)

    @cache  # noqa: B019 - it lives as long as its test
    def _producer(self) -> TransactionalProducer:
        producer = TransactionalProducer(self.kafka, f"test-{self.name}")
        producer.open()
        return producer

    def close(self) -> None:
        self._producer().close()

    def rolled_up(self) -> tuple[dict[tuple[str, str, str], bytes], dict[tuple[str, str, str], bytes]]:
        """What a pure roll-up makes of the whole chain: activity and addresses, by chain, subject and second."""
        following = Following(self.name, "the chain", None)
        following.take([Record(offset, 0, None, value) for offset, value in enumerate(self.values)])
        following.tell()
        outcome = following.handed_out()
        assert outcome is not None
        activity, addresses = (
            {Told(0, 0, key, value).identity: value for key, value in records}
            for records in (outcome.activity, outcome.addresses)
        )
        assert (len(activity), len(addresses)) == (len(outcome.activity), len(outcome.addresses))
        return activity, addresses


class Board:
    """All chains of one prefix, and the topics that the roll-up writes to."""

    def __init__(self, kafka: KafkaSettings) -> None:
        self.kafka = kafka
        self.prefix = f"p{uuid.uuid4().hex[:10]}"
        self.topics = ActivityTopics.of(self.prefix)
        create_topics(kafka, self.topics.configs(PARTITIONS))
        self.tally = Figures()
        self._open: list[ActivityRollUp | Chain] = []

    def chain(self) -> Chain:
        """A new chain."""
        self._open.append(made := Chain(self.kafka, self.prefix))
        return made

    def roll_up(self, *chains: Chain, **more: Any) -> ActivityRollUp:
        """A process for these chains, closed when the test ends; `tally` is what the newest one counts."""
        self.tally = more.setdefault("tally", Figures())
        made = ActivityRollUp(self.kafka, [chain.settings for chain in chains], partitions=PARTITIONS, **more)
        self._open.append(made)
        return made

    def through(self, chain: Chain, seq: int | None = None) -> Callable[[], bool]:
        """Whether the newest process has told everything through this entry; by default the chain's last."""
        last = len(chain.values) - 1 if seq is None else seq
        return lambda: (told := self.tally.value(figures.LAST_SEQ, chain.name)) is not None and told >= last

    def told(self, topic: str) -> list[Told]:
        """Every record of a topic that a reader sees."""
        return told(self.kafka, topic, PARTITIONS)

    def newest(self, topic: str) -> dict[tuple[str, str, str], bytes]:
        """The last record of each chain, subject and second; see `newest`."""
        return newest(self.told(topic))

    def check(self, *chains: Chain) -> None:
        """What stands there for good is what a pure roll-up makes of each chain, and nothing else."""
        activity, addresses = self.newest(self.topics.activity), self.newest(self.topics.addresses)
        expected: tuple[dict[Any, bytes], dict[Any, bytes]] = ({}, {})
        for chain in chains:
            for whole, one in zip(expected, chain.rolled_up(), strict=True):
                whole.update(one)
        assert activity == expected[0]
        assert addresses == expected[1]

    def close(self) -> None:
        for each in self._open:
            each.close()


@pytest.fixture
def board(kafka: KafkaSettings) -> Iterator[Board]:
    """A prefix of this test's own, with the roll-up's topics."""
    made = Board(kafka)
    yield made
    made.close()


@pytest.fixture
def chain(board: Board) -> Chain:
    """A chain under it."""
    return board.chain()


def until(process: ActivityRollUp, done: Callable[[], bool], *, most_steps: int = 2_000) -> None:
    """Step until it holds."""
    for _ in range(most_steps):
        if done():
            return
        process.step()
    raise AssertionError(f"not after {most_steps} steps")


@pytest.fixture(scope="session")
def ordinary_alerts() -> list[Alert]:
    """What all detectors say of eight people and a service in ten weeks in which nobody does anything wrong."""
    return watched(company(people=8, services=1, days=70, seed=7).records())
