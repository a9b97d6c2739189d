"""The Merkle tree of what is stored: ranges at signed sizes, and the entries' hashes above them.

A note is signed after its entries can be read, so the sink has mostly stored them when it comes. What is needed to
compute the root at its size is kept in memory, up to a bound; beyond it, and after a start, the hashes are read from
the rows themselves. The invariant: `range_at(size)` is the range over the stored entries' hashes and nothing else.
A crash leaves nothing: a start begins at the newest stored notes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import islice

from sealstream.sealing import CompactRange, extend

__all__ = ["StoredTree"]

MAX_IN_MEMORY = 262_144
READ_AT_ONCE = 10_000


class StoredTree:
    """`ranges`: at the newest segment's note and at the newest checkpoint; `size`: how many entries are stored.

    `read(first_seq, end_seq)` gives stored hashes.
    """

    def __init__(self, ranges: Iterable[CompactRange], size: int, read: Callable[[int, int], Iterable[bytes]]) -> None:
        self._segment, self._newest = ranges
        self._read = read
        self._recent: list[bytes] = []
        self._recent_first = size

    @property
    def segment_size(self) -> int:
        """Up to where the newest segment's note reaches; the tree can't go back below it."""
        return self._segment.size

    @property
    def size(self) -> int:
        """How many entries the tree is over."""
        return self._recent_first + len(self._recent)

    def add(self, hashes: Iterable[bytes]) -> None:
        """The hashes of the next entries, which are being stored."""
        self._recent += hashes
        if len(self._recent) > MAX_IN_MEMORY:
            half = len(self._recent) // 2
            del self._recent[:half]
            self._recent_first += half

    def range_at(self, size: int) -> CompactRange:
        """The range over the first `size` entries; `size` is at least the last segment's and at most the tree's."""
        compact_range = self._newest if self._segment.size <= self._newest.size <= size else self._segment
        if not compact_range.size <= size <= self.size:
            raise ValueError(
                f"no range of {size} entries: there is one of {compact_range.size}, and {self.size} entries"
            )
        for first in range(compact_range.size, min(size, self._recent_first), READ_AT_ONCE):
            end = min(first + READ_AT_ONCE, size, self._recent_first)
            compact_range = extend(compact_range, self._read(first, end))
        start, end = compact_range.size - self._recent_first, size - self._recent_first
        return extend(compact_range, islice(self._recent, start, end)) if start < end and end > 0 else compact_range

    def keep(self, compact_range: CompactRange, *, ends_segment: bool) -> None:
        """A range whose root was signed: later ones begin at it."""
        if not ends_segment:
            self._newest = compact_range
            return
        self._segment = compact_range
        passed = max(compact_range.size - self._recent_first, 0)
        del self._recent[:passed]
        self._recent_first += passed
