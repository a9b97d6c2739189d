"""Where segments end: by the entries alone, however they arrive."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sealstream.layout import Cut, SegmentCutter, SegmentLimits

START = datetime(2026, 11, 23, 23, 59, 50, tzinfo=UTC)
WITHIN, BEFORE, WITH = Cut(False, False), Cut(True, False), Cut(False, True)


class E(NamedTuple):
    """An entry as the cutter sees it; `at`: seconds after START."""

    at: float
    kind: str = "event"
    size: int = 100


def stamp(at: float) -> str:
    return (START + timedelta(seconds=at)).replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"


def cuts(entries: list[E], limits: SegmentLimits) -> list[Cut]:
    cutter = SegmentCutter(limits)
    return [cutter.add(seq, entry.kind, stamp(entry.at), entry.size) for seq, entry in enumerate(entries)]


def segments_by_the_rules(entries: list[E], limits: SegmentLimits) -> list[tuple[int, int]]:
    """Another reading of the rules: (first, last) of every ended segment, reckoned anew from each segment's start."""
    ended, first = [], 0
    for seq, entry in enumerate(entries):
        if seq > first and stamp(entry.at)[:10] != stamp(entries[seq - 1].at)[:10]:
            ended.append((first, seq - 1))
            first = seq
        members = entries[first : seq + 1]
        events = [member.at for member in members if member.kind == "event"]
        if (
            len(members) == limits.entries
            or sum(member.size for member in members) >= limits.bytes
            or (
                events
                and timedelta(seconds=entry.at) - timedelta(seconds=events[0]) >= timedelta(seconds=limits.seconds)
            )
        ):
            ended.append((first, seq))
            first = seq + 1
    return ended


def segments_in_batches(entries: list[E], limits: SegmentLimits, splits: list[int]) -> list[tuple[int, int]]:
    """What a process finds that is restarted between batches: each time it feeds the open segment again."""
    ended: list[tuple[int, int]] = []
    first_open = 0
    edges = sorted({0, len(entries), *(split for split in splits if split < len(entries))})
    for start, end in itertools.pairwise(edges):
        cutter = SegmentCutter(limits, first_open)
        for seq in range(first_open, end):
            first_before = cutter.first_seq
            entry = entries[seq]
            cut = cutter.add(seq, entry.kind, stamp(entry.at), entry.size)
            if seq < start:
                assert cut == WITHIN  # the open segment, fed again, is still open
            if cut.before:
                ended.append((first_before, seq - 1))
            if cut.with_it:
                ended.append((seq if cut.before else first_before, seq))
        first_open = cutter.first_seq
    return ended


entries_lists = st.lists(
    st.builds(
        lambda step, kind, size: (step, kind, size),
        st.sampled_from([0, 0, 0.000001, 0.5, 1, 3, 4.999999, 5, 7, 40_000]),
        st.sampled_from(["event", "event", "control", "log"]),
        st.sampled_from([1, 10, 99, 100, 101, 500]),
    ),
    max_size=60,
)
limits_of_any_size = st.builds(
    SegmentLimits,
    entries=st.sampled_from([1, 2, 3, 7, 1000]),
    bytes=st.sampled_from([1, 100, 250, 1000, 10**6]),
    seconds=st.sampled_from([1, 5, 10, 300]),
)


def at_times(steps: list[tuple[float, str, int]]) -> list[E]:
    at, entries = 0.0, []
    for step, kind, size in steps:
        at = round(at + step, 6)
        entries.append(E(at, kind, size))
    return entries


@settings(max_examples=400)
@given(entries_lists.map(at_times), limits_of_any_size, st.lists(st.integers(0, 60), max_size=6))
def test_every_split_into_batches_gives_the_ends_that_the_rules_give(entries, limits, splits):
    expected = segments_by_the_rules(entries, limits)
    assert segments_in_batches(entries, limits, []) == expected
    assert segments_in_batches(entries, limits, splits) == expected


@settings(max_examples=200)
@given(entries_lists.map(at_times), limits_of_any_size)
def test_segments_follow_each_other_without_gap_and_keep_their_limits(entries, limits):
    ended = segments_in_batches(entries, limits, [])
    assert [first for first, _ in ended] == [0, *(last + 1 for _, last in ended)][: len(ended)]
    for first, last in ended:
        members = entries[first : last + 1]
        assert 1 <= len(members) <= limits.entries
        assert sum(member.size for member in members[:-1]) < limits.bytes
        assert len({stamp(member.at)[:10] for member in members}) == 1


def test_a_segment_ends_with_its_last_allowed_entry():
    assert cuts([E(11)] * 5, SegmentLimits(entries=2)) == [WITHIN, WITH, WITHIN, WITH, WITHIN]


def test_a_segment_ends_when_its_bytes_reach_the_limit():
    assert cuts([E(11, size=size) for size in (50, 49, 1, 100, 99)], SegmentLimits(bytes=100)) == [
        WITHIN,
        WITHIN,
        WITH,
        WITH,
        WITHIN,
    ]


def test_a_segment_ends_by_the_time_since_its_first_event():
    limits = SegmentLimits(seconds=5)
    assert cuts([E(11, "log"), E(100, "control"), E(101), E(105.999999, "log"), E(106, "log")], limits) == [
        WITHIN,
        WITHIN,
        WITHIN,
        WITHIN,
        WITH,
    ]


def test_without_an_event_no_clock_runs():
    day = [E(10 + minute * 60, "log") for minute in range(1440)]
    assert set(cuts(day, SegmentLimits(entries=10_000, seconds=1))) == {WITHIN}


def test_a_new_day_in_utc_ends_the_open_segment_before_its_first_entry():
    assert cuts([E(9, "log"), E(9.999999), E(10), E(11)], SegmentLimits()) == [WITHIN, WITHIN, BEFORE, WITHIN]


def test_an_entry_may_end_yesterdays_segment_and_todays_at_once():
    assert cuts([E(9), E(10)], SegmentLimits(bytes=150)) == [WITHIN, BEFORE]
    assert cuts([E(9), E(10, size=150)], SegmentLimits(bytes=150)) == [WITHIN, Cut(True, True)]


def test_a_new_day_right_after_a_segments_end_ends_no_empty_segment():
    assert cuts([E(8), E(9), E(10)], SegmentLimits(entries=2)) == [WITHIN, WITH, WITHIN]


def test_the_open_segments_first_entry_is_known():
    cutter = SegmentCutter(SegmentLimits(entries=2), first_seq=40)
    assert cutter.first_seq == 40
    cutter.add(40, "event", stamp(11), 1)
    assert cutter.first_seq == 40
    cutter.add(41, "event", stamp(11), 1)
    assert cutter.first_seq == 42
    cutter.add(42, "event", stamp(11), 1)
    cutter.add(43, "event", stamp(11 + 86400), 1)
    assert cutter.first_seq == 43


@pytest.mark.parametrize("limits", [SegmentLimits(entries=1), SegmentLimits(bytes=1)])
def test_the_smallest_limits_make_a_segment_of_each_entry(limits):
    assert cuts([E(9), E(10), E(11)], limits) == [WITH, WITH, WITH]


def segments_in_runs(entries: list[E], limits: SegmentLimits, length: int) -> list[tuple[int, int]]:
    """Whole runs where the cutter takes them, one by one where it does not."""
    ended, cutter = [], SegmentCutter(limits)
    for start in range(0, len(entries), length):
        run = entries[start : start + length]
        if cutter.add_run(len(run), stamp(run[-1].at), sum(entry.size for entry in run)):
            continue
        for seq, entry in enumerate(run, start):
            first_before = cutter.first_seq
            cut = cutter.add(seq, entry.kind, stamp(entry.at), entry.size)
            if cut.before:
                ended.append((first_before, seq - 1))
            if cut.with_it:
                ended.append((seq if cut.before else first_before, seq))
    return ended


@settings(max_examples=400)
@given(entries_lists.map(at_times), limits_of_any_size, st.integers(1, 9))
def test_runs_give_the_ends_that_single_entries_give(entries, limits, length):
    assert segments_in_runs(entries, limits, length) == segments_by_the_rules(entries, limits)


def test_a_run_is_taken_when_it_can_change_no_segment():
    cutter = SegmentCutter(SegmentLimits(entries=10, bytes=1000, seconds=5))
    assert not cutter.add_run(1, stamp(11), 1)  # the first event is to come
    cutter.add(0, "event", stamp(11), 100)
    assert cutter.add_run(8, stamp(15), 800)
    assert not cutter.add_run(1, stamp(15), 1)
    assert cutter.add(9, "event", stamp(15), 1) == WITH
