"""A producer's numbers: what is missing, what was seen, what was given up; against a model of all numbers."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sealstream.errors import NotCanonical
from sealstream.events import MAX_INTEGER
from sealstream.sequencer.producers import (
    AS_OF_KEY,
    MAX_MISSING_RANGES,
    AsOf,
    ProducerState,
    Source,
    decode_as_of,
    decode_state,
    encode_as_of,
    encode_state,
    producer_of,
    record_key,
    source_of,
)

AT = "2026-11-24T03:00:00.000000Z"
numbers = st.integers(0, 40)


@given(st.lists(st.tuples(numbers, st.none() | numbers), max_size=60))
def test_a_number_is_seen_exactly_when_it_was_sealed(sealed: list[tuple[int, int | None]]) -> None:
    state, seen, named = ProducerState(), set(), set()
    for number, closes_at in sealed:
        for first, last in state.sealed(number, AT, closes_at):
            fresh = set(range(first, last + 1))
            assert not fresh & (seen | named), "a gap names numbers that were sealed or named before"
            named |= fresh
        seen.add(number)
        for probe in range(state.next + 2):
            assert state.knows(probe) == ("seen" if probe in seen else "new")
        missing = {n for first, last in state.missing for n in range(first, last + 1)}
        assert missing == set(range(state.next)) - seen
        assert missing <= named, "every number that is missing was named"
        assert state.missing == sorted(state.missing)


@given(st.lists(numbers, max_size=30))
def test_a_state_survives_its_record(sealed: list[int]) -> None:
    state = ProducerState(source=Source("billing", ""))
    for number in sealed:
        state.sealed(number, AT, None)
    again = decode_state(encode_state(state))
    assert [getattr(again, name) for name in ProducerState.__slots__] == [
        getattr(state, name) for name in ProducerState.__slots__
    ]


def test_a_record_of_before_sources_were_remembered_is_read() -> None:
    old = b'{"closed":false,"floor":0,"last_seen":"","missing":[[1,2]],"next":4,"silent":false}'
    state = decode_state(old)
    assert (state.next, state.missing, state.source) == (4, [(1, 2)], None)


@pytest.mark.parametrize(
    ("event", "source"),
    [
        (b'{"action":"a","source":{"host":"h","service":"billing","version":"1"}}', ("billing", "h")),
        (b'{"action":"a","source":{"host":"h"}}', ("", "h")),
        (b'{"action":"a","metadata":{"a":1,"source":{"host":"h"}}}', ("", "")),
        (b'{"action":"a","source":{"service":7}}', ("", "")),
        (b'{"action":"a","source":{"service":"' + b"s" * 500 + b'"}}', ("s" * 128, "")),
    ],
)
def test_an_event_says_whose_it_is(event: bytes, source: tuple[str, str]) -> None:
    assert source_of(event) == source


def test_beyond_4096_missing_ranges_the_oldest_are_given_up_and_the_floor_rises() -> None:
    state = ProducerState()
    for number in range(1, 2 * MAX_MISSING_RANGES + 3, 2):  # every even number is missing
        state.sealed(number, AT, None)
    assert len(state.missing) == MAX_MISSING_RANGES
    assert state.floor == 1
    assert state.knows(0) == "unsure"
    assert state.knows(1) == "seen"
    assert state.knows(2) == "new"


def test_producer_closed_closes_only_a_stream_of_which_nothing_beyond_was_seen() -> None:
    state = ProducerState()
    assert state.sealed(0, AT, 3) == [(1, 2)], "what it counts and was never seen is missing"
    assert state.closed
    assert state.sealed(1, AT, None) == []
    assert state.closed, "a late event that fills a hole does not open the stream again"
    assert state.sealed(3, AT, None) == []
    assert not state.closed, "an event beyond its end does"
    state.sealed(4, AT, 2)
    assert not state.closed, "a closing that contradicts what was seen closes nothing"


def test_the_largest_number_has_a_statable_next() -> None:
    state = ProducerState()
    assert state.sealed(MAX_INTEGER, AT, None) == [(0, MAX_INTEGER - 1)]
    assert state.next == MAX_INTEGER + 1
    assert state.stated_next == MAX_INTEGER
    assert decode_state(encode_state(state)).knows(MAX_INTEGER) == "seen"


def test_keys_of_events_controls_and_the_as_of_record_never_meet() -> None:
    assert producer_of(record_key("event", "p")) == ("event", "p")
    assert producer_of(record_key("control", "p")) == ("control", "p")
    assert len({record_key("event", "control"), record_key("control", ""), AS_OF_KEY, record_key("event", "p")}) == 4
    as_of = AsOf(7, "raw-id", "control-id")
    assert decode_as_of(encode_as_of(as_of)) == as_of


@pytest.mark.parametrize("value", [b"", b"{}", b"[]", b"\xff", b'{"next":"1"}'])
def test_a_malformed_record_is_refused(value: bytes) -> None:
    with pytest.raises(NotCanonical):
        decode_state(value)
    with pytest.raises(NotCanonical):
        decode_as_of(value)
