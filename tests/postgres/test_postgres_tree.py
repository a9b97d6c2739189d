"""The stored tree: the same range however much of it is in memory."""

from __future__ import annotations

from hashlib import sha256

import pytest

from sealstream.postgres import tree
from sealstream.postgres.tree import StoredTree
from sealstream.sealing import EMPTY_RANGE, extend

LEAVES = [sha256(bytes([i % 256, i // 256])).digest() for i in range(400)]


def range_of(size):
    return extend(EMPTY_RANGE, LEAVES[:size])


@pytest.mark.parametrize("in_memory", [10, 64, 1_000])
@pytest.mark.parametrize("started_at", [0, 1, 100])
@pytest.mark.parametrize("read_at_once", [7, 10_000])
def test_a_range_is_the_same_from_rows_and_from_memory(monkeypatch, in_memory, started_at, read_at_once):
    monkeypatch.setattr(tree, "MAX_IN_MEMORY", in_memory)
    monkeypatch.setattr(tree, "READ_AT_ONCE", read_at_once)
    stored = StoredTree([EMPTY_RANGE, EMPTY_RANGE], started_at, lambda first, end: LEAVES[first:end])
    for start in range(started_at, 400, 20):
        stored.add(LEAVES[start : start + 20])
        size = min(start + 20, 400)
        assert stored.size == size
        for at in (1, max(1, size - 25), size - 1, size):
            assert stored.range_at(at) == range_of(at)


def test_later_ranges_begin_at_signed_ones(monkeypatch):
    asked = []

    def read(first, end):
        asked.append((first, end))
        return LEAVES[first:end]

    stored = StoredTree([range_of(64), range_of(100)], 150, read)
    assert stored.range_at(150) == range_of(150)
    assert stored.range_at(70) == range_of(70)  # a segment's note may come after a larger checkpoint's
    assert asked == [(100, 150), (64, 70)]
    stored.add(LEAVES[150:300])
    stored.keep(range_of(200), ends_segment=True)
    asked.clear()
    assert stored.range_at(300) == range_of(300)
    assert asked == []
    assert stored.segment_size == 200


@pytest.mark.parametrize("size", [63, 151])
def test_no_range_below_the_segment_or_above_the_tree(size):
    stored = StoredTree([range_of(64), range_of(100)], 150, lambda first, end: LEAVES[first:end])
    with pytest.raises(ValueError, match="no range"):
        stored.range_at(size)


def test_memory_is_bounded_without_any_note(monkeypatch):
    monkeypatch.setattr(tree, "MAX_IN_MEMORY", 50)
    stored = StoredTree([EMPTY_RANGE, EMPTY_RANGE], 0, lambda first, end: LEAVES[first:end])
    for start in range(0, 400, 10):
        stored.add(LEAVES[start : start + 10])
        assert len(stored._recent) <= 50
