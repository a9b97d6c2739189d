"""Which numbers of each producer are missing and which of those a `producer.gap` of the log names. Pure.

A producer numbers its events from 0 without gaps, so a number that never arrived is a loss upstream that the log must
have named; one that it did not name is unaccounted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

__all__ = ["ProducerLedger", "Ranges", "UnnamedNumbers"]


class UnnamedNumbers(NamedTuple):
    """Numbers `first` to `last` of a producer never arrived and no `producer.gap` names them; seen at `at_seq`."""

    producer_id: str
    first: int
    last: int
    at_seq: int


class Ranges:
    """A set of whole numbers as sorted, disjoint, inclusive ranges."""

    def __init__(self) -> None:
        self._ranges: list[tuple[int, int]] = []

    def __bool__(self) -> bool:
        return bool(self._ranges)

    def __iter__(self) -> Iterator[tuple[int, int]]:
        return iter(self._ranges)

    def __contains__(self, number: int) -> bool:
        return any(first <= number <= last for first, last in self._ranges)

    def overlaps(self, first: int, last: int) -> bool:
        """Whether any of `first` to `last` is in it."""
        return any(low <= last and high >= first for low, high in self._ranges)

    def covers(self, first: int, last: int) -> bool:
        """Whether all of `first` to `last` are in it."""
        return any(low <= first and last <= high for low, high in self._ranges)

    def add(self, first: int, last: int) -> None:
        """Include `first` to `last`."""
        kept = []
        for low, high in self._ranges:
            if high < first - 1 or low > last + 1:
                kept.append((low, high))
            else:
                first, last = min(first, low), max(last, high)
        kept.append((first, last))
        self._ranges = sorted(kept)

    def remove(self, first: int, last: int) -> None:
        """Leave `first` to `last` out."""
        kept = []
        for low, high in self._ranges:
            if low < first:
                kept.append((low, min(high, first - 1)))
            if high > last:
                kept.append((max(low, last + 1), high))
        self._ranges = [r for r in kept if r[0] <= r[1]]


class _Producer:
    __slots__ = ("at_seq", "last_seq", "missing", "named", "next")

    def __init__(self, first: int) -> None:
        self.next = first
        self.last_seq = -1
        self.missing = Ranges()
        self.named = Ranges()
        self.at_seq = -1


class ProducerLedger:
    """Feed it every numbered event and every `producer.gap` in the chain's order.

    `from_the_start` False: the reading began in the middle of the chain, so a producer's first number seen begins it.
    `explained(first, last)` says whether an entry at fault lies among these seqs: the number may have been there, and
    that fault is reported already.
    """

    def __init__(self, *, from_the_start: bool, explained: Callable[[int, int], bool]) -> None:
        self._from_the_start = from_the_start
        self._explained = explained
        self._producers: dict[str, _Producer] = {}

    def event(self, producer_id: str, number: int, seq: int) -> bool:
        """An event with this number was sealed at `seq`: whether one was before."""
        again = False
        producer = self._producers.get(producer_id)
        if producer is None:
            producer = self._producers[producer_id] = _Producer(0 if self._from_the_start else number)
        if number == producer.next:
            producer.next = number + 1
        elif number > producer.next:
            if not self._explained(producer.last_seq + 1, seq - 1):
                producer.missing.add(producer.next, number - 1)
                producer.at_seq = seq
            producer.next = number + 1
        elif producer.missing and number in producer.missing:
            producer.missing.remove(number, number)
        else:
            again = self._from_the_start
        producer.last_seq = seq
        return again

    def gap(self, producer_id: str, ranges: list[list[int]]) -> None:
        """The log itself named these numbers as missing."""
        producer = self._producers.get(producer_id)
        if producer is not None:
            for first, last in ranges:
                producer.named.add(first, last)

    def unnamed(self) -> list[UnnamedNumbers]:
        """What is missing and named by nobody."""
        found = []
        for producer_id, producer in self._producers.items():
            if producer.missing:
                left = Ranges()
                for first, last in producer.missing:
                    left.add(first, last)
                for first, last in producer.named:
                    left.remove(first, last)
                found += [UnnamedNumbers(producer_id, first, last, producer.at_seq) for first, last in left]
        return found
