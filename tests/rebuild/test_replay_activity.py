"""Activity rolled up again under another prefix: the same chain gives the same bytes, from Kafka or the archive."""

from __future__ import annotations

import uuid
from typing import Any

import pytest
from tests.anomaly.reading import newest, told
from tests.long_runs import long_run
from tests.pipeline import say
from tests.rebuild.conftest import Stores

from sealstream.anomaly.following import Following
from sealstream.cli.settings import write_settings
from sealstream.errors import Misconfigured
from sealstream.kafka import Record
from sealstream.layout.activity import ActivityTopics
from sealstream.rebuild import replay_activity

pytestmark = long_run

PARTITIONS = 2


@pytest.fixture
def prefix() -> str:
    """One that no other test has."""
    return f"p{uuid.uuid4().hex[:10]}"


def written(stores: Stores, prefix: str) -> list[list[tuple[int, bytes, bytes]]]:
    """Of both topics, partition, key and value in their order."""
    topics = ActivityTopics.of(prefix)
    return [
        [(each.partition, each.key, each.value) for each in told(stores.kafka, topic, PARTITIONS)]
        for topic in (topics.activity, topics.addresses)
    ]


def replayed(stores: Stores, prefix: str, source: str) -> str:
    """By the command; what it said."""
    write_settings(stores.config, {"activity": {"partitions": PARTITIONS}})
    said = say(stores.config, "replay", "activity", "--from", source, "--to", prefix, "--chain", stores.settings.name)
    assert said.code == 0, said.err
    return said.out


def test_two_replays_give_the_same_bytes_and_those_of_a_pure_roll_up(stores: Stores, prefix: str) -> None:
    size = stores.made.size
    assert f"{size:,} entries of chain {stores.settings.name} rolled up" in replayed(stores, prefix, "kafka")
    replayed(stores, f"{prefix}-again", "kafka")
    first = written(stores, prefix)
    assert first == written(stores, f"{prefix}-again")
    following = Following(stores.settings.name, "the chain", None)
    following.take([Record(seq, 0, None, value) for seq, value in enumerate(stores.made.values)])
    following.tell()
    outcome = following.handed_out()
    assert outcome is not None
    for found, expected in zip(first, (outcome.activity, outcome.addresses), strict=True):
        assert sorted((key, value) for _, key, value in found) == sorted(expected)


def test_what_the_archive_holds_is_rolled_up_and_what_came_since_is_added(stores: Stores, prefix: str) -> None:
    replayed(stores, prefix, "archive")
    held = written(stores, prefix)
    replayed(stores, prefix, "archive")
    assert written(stores, prefix) == held, "nothing came, and something was written"
    replayed(stores, prefix, "kafka")
    replayed(stores, f"{prefix}-again", "kafka")
    for topic in ("activity", "addresses"):
        both = [
            newest(told(stores.kafka, getattr(ActivityTopics.of(each), topic), PARTITIONS))
            for each in (prefix, f"{prefix}-again")
        ]
        assert both[0] == both[1]


def test_a_replay_that_was_broken_off_goes_on_to_the_same_bytes(
    stores: Stores, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sealstream.rebuild.activity_replay._ENTRIES", 300)

    def break_off(done: int, _total: int | None) -> None:
        if done > 700:
            raise KeyboardInterrupt

    def replay(to: str, **more: Any) -> int:
        return replay_activity(stores.settings, stores.kafka, None, to, partitions=PARTITIONS, **more)

    with pytest.raises(KeyboardInterrupt):
        replay(prefix, progress=break_off)
    assert written(stores, prefix)[0]
    assert replay(prefix) < stores.made.size
    replay(f"{prefix}-again")
    assert written(stores, prefix) == written(stores, f"{prefix}-again")


def test_the_chains_own_prefix_is_refused(stores: Stores) -> None:
    with pytest.raises(Misconfigured, match="run activity"):
        replay_activity(stores.settings, stores.kafka, None, stores.settings.prefix)
    for wrong in ("", "no spaces", "p/q"):
        said = say(
            stores.config, "replay", "activity", "--from", "kafka", "--to", wrong, "--chain", stores.settings.name
        )
        assert (said.code, "no prefix of topics" in said.err) == (2, True)
    said = say(stores.config, "replay", "activity", "--from", "kafka", "--chain", stores.settings.name)
    assert (said.code, "--to is missing" in said.err) == (2, True)
