"""The last minutes or hours of a subject, as a few buckets that slide: how many, which entries, which places. Pure.

The invariant: what a window holds is bounded by its number of buckets, whatever is put into it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec

from sealstream.anomaly.detecting import merged_ranges

__all__ = ["Bucket", "Window", "add_ranges"]

_MAX_RANGES = 6
_MAX_MARKS = 6
_MAX_CHAINS = 3
_MAX_MARK_CHARACTERS = 48


class Bucket(msgspec.Struct, array_like=True):
    """A part of a window. `start`, `end`: the first and the last second that fell into it. `seqs`: by chain. `marks`: a
    few texts, such as addresses. `one`, `other`: bitmaps of things to be told apart (`sketching`).
    """

    start: int
    end: int
    count: int = 0
    seqs: dict[str, list[list[int]]] = {}
    marks: list[str] = []
    one: bytearray = bytearray()
    other: bytearray = bytearray()

    def add(self, count: int, chain: str, seqs: Sequence[Sequence[int]]) -> None:
        """So many more, by these entries."""
        self.count += count
        add_ranges(self.seqs, chain, seqs, _MAX_RANGES)

    def note(self, mark: str) -> None:
        """One of the texts; those beyond the first few are not kept."""
        mark = mark[:_MAX_MARK_CHARACTERS]
        if len(self.marks) < _MAX_MARKS and mark not in self.marks:
            self.marks.append(mark)


class Window(msgspec.Struct, array_like=True):
    """Its buckets, the oldest first. How wide they are, and how many, is the detector's to say, the same each time."""

    buckets: list[Bucket] = []

    def slide(self, second: int, bucket_s: int, length: int) -> list[Bucket]:
        """Let it end with this second; returns the buckets that have left it, which are older than `length` of them."""
        oldest = second - second % bucket_s - bucket_s * (length - 1)
        stay = 0
        while stay < len(self.buckets) and self.buckets[stay].start < oldest:
            stay += 1
        left, self.buckets = self.buckets[:stay], self.buckets[stay:]
        return left

    def bucket(self, second: int, bucket_s: int) -> Bucket:
        """The one that this second falls into, made when it is needed. A late second falls into the newest."""
        begin = second - second % bucket_s
        if not self.buckets or self.buckets[-1].start < begin:
            self.buckets.append(Bucket(second, second))
        newest = self.buckets[-1]
        newest.end = max(newest.end, second)
        return newest

    @property
    def count(self) -> int:
        """Over all of it."""
        return sum(bucket.count for bucket in self.buckets)

    @property
    def start(self) -> int:
        """The first second of what is in it; it must not be empty."""
        return self.buckets[0].start

    @property
    def end(self) -> int:
        """The last one."""
        return self.buckets[-1].end

    @property
    def marks(self) -> list[str]:
        """All texts, in order."""
        return sorted({mark for bucket in self.buckets for mark in bucket.marks})

    @property
    def chains(self) -> list[str]:
        """Those with entries in it, in order."""
        return sorted({chain for bucket in self.buckets for chain in bucket.seqs})

    def seqs(self, chain: str) -> list[list[int]]:
        """The entries of one chain."""
        return merged_ranges(pair for bucket in self.buckets for pair in bucket.seqs.get(chain, ()))


def add_ranges(
    known: dict[str, list[list[int]]], chain: str, seqs: Iterable[Sequence[int]], limit: int = _MAX_RANGES
) -> None:
    """Put entries of a chain to those that are known; beyond `limit` ranges the last one reaches to the end."""
    ranges = known.get(chain)
    if ranges is None:
        if len(known) >= _MAX_CHAINS:
            return
        ranges = known[chain] = []
    for first, last in seqs:
        if not ranges:
            ranges.append([first, last])
        elif first > ranges[-1][1]:
            if first == ranges[-1][1] + 1 or len(ranges) >= limit:
                ranges[-1][1] = last
            else:
                ranges.append([first, last])
        else:
            ranges[:] = merged_ranges([*ranges, (first, last)], limit)
