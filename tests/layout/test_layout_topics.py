"""Topics: their names, what they must be created with, and the headers beside a checkpoint."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sealstream.layout import (
    ChainTopics,
    CheckpointHeaders,
    checkpoint_headers,
    checkpointing_transactional_id,
    parse_checkpoint_headers,
    sequencer_group,
    sequencer_transactional_id,
)


def test_a_chain_owns_seven_topics():
    assert ChainTopics.of("main") == (
        "audit.raw.main",
        "audit.control.main",
        "audit.chain.main",
        "audit.producers.main",
        "audit.deadletter.main",
        "audit.checkpoints.main",
        "audit.segments.main",
    )
    assert ChainTopics.of("phi-0", prefix="x.y").chain == "x.y.chain.phi-0"


def test_two_chains_share_no_topic_and_no_transactional_id():
    names = ["main", "main-2", "a", "b"]
    topics = [topic for name in names for topic in ChainTopics.of(name)]
    ids = [make(name) for name in names for make in (sequencer_transactional_id, checkpointing_transactional_id)]
    assert len(set(topics)) == len(topics)
    assert len(set(ids)) == len(ids)
    assert sequencer_group() == "audit-sequencer"


def test_topics_that_hold_the_history_are_never_cleaned_by_time_or_size():
    configs = {topic.name.split(".")[1]: topic for topic in ChainTopics.of("main").configs()}
    assert set(configs) == set(ChainTopics._fields)
    for name in ("raw", "control", "chain", "segments"):
        assert configs[name].config["cleanup.policy"] == "delete"
        assert configs[name].config["retention.ms"] == "-1"
        assert configs[name].config["retention.bytes"] == "-1"
    assert configs["producers"].config == {"cleanup.policy": "compact"}
    assert configs["deadletter"].config["retention.ms"] == str(90 * 24 * 3600 * 1000)
    assert configs["checkpoints"].config["retention.ms"] == str(7 * 24 * 3600 * 1000)
    for name in ("raw", "control", "chain"):
        assert configs[name].config["message.timestamp.type"] == "LogAppendTime"
    assert {topic.partitions for topic in configs.values()} == {1}


hashes = st.lists(st.binary(min_size=32, max_size=32), max_size=6).map(tuple)
numbers = st.integers(0, 2**53 - 1)
headers_of_any_kind = st.builds(lambda held, at: CheckpointHeaders(held, at), hashes, numbers) | st.builds(
    lambda held, at, first, last: CheckpointHeaders(held, at, first, last), hashes, numbers, numbers, numbers
)


@given(headers_of_any_kind)
def test_headers_survive_the_way_there_and_back(headers):
    listed = checkpoint_headers(headers)
    assert all(isinstance(name, str) and isinstance(value, bytes) for name, value in listed)
    assert parse_checkpoint_headers(listed) == headers
    assert parse_checkpoint_headers(reversed([("other", b"x"), *listed])) == headers


@pytest.mark.parametrize(
    ("headers", "words"),
    [
        ([], "compact_range"),
        ([("compact_range", b"")], "chain_offset"),
        ([("compact_range", b"x" * 33), ("chain_offset", b"1")], "33 bytes"),
        ([("compact_range", b""), ("chain_offset", b"x")], "chain_offset"),
        ([("compact_range", b""), ("chain_offset", b"")], "chain_offset"),
        ([("compact_range", b""), ("chain_offset", b" 1")], "chain_offset"),
        ([("compact_range", b""), ("chain_offset", b"1_0")], "chain_offset"),
        ([("compact_range", b""), ("chain_offset", b"-1")], "chain_offset"),
        ([("compact_range", b""), ("chain_offset", b"1"), ("first_seq", b"1")], "last_seq"),
        ([("compact_range", b""), ("chain_offset", b"1"), ("last_seq", b"1")], "first_seq"),
        ([("compact_range", b""), ("chain_offset", b"1"), ("first_seq", b"1"), ("last_seq", b"b")], "last_seq"),
    ],
)
def test_missing_or_malformed_headers_are_named(headers, words):
    with pytest.raises(ValueError, match=words):
        parse_checkpoint_headers(headers)
