"""One chain that is rolled up live: its reader, what follows it, and when a second that is not over is told.

A second that is over needs no clock: it is handed out by the entry that ended it. The clock here decides only how soon
one is told that is not over; what is told then, a later record of the same second stands for.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from sealstream.anomaly.following import Following
from sealstream.errors import ChainStopped
from sealstream.kafka import CommittedReader
from sealstream.layout import Figures, figures

__all__ = ["Followed", "Pace"]

_AT_ONCE = 10_000


class Pace(NamedTuple):
    """`max_entries`: of a transaction, roughly; `wait_s`: how long a step waits for entries; `quiet_s`: how long after
    its last entry a second is told; `open_s`: how long one that still grows may go untold; `read_back_s`: how long
    committed positions may take to appear.
    """

    max_entries: int = 50_000
    wait_s: float = 0.05
    quiet_s: float = 1.0
    open_s: float = 2.0
    read_back_s: float = 5.0


class Followed:
    """`name`: the chain's. `broken`: why it can't go on; what was counted before stands."""

    def __init__(
        self, name: str, reader: CommittedReader, following: Following, pace: Pace, clock: Callable[[], float]
    ) -> None:
        self.name = name
        self.reader = reader
        self.following = following
        self.broken: ChainStopped | None = None
        self._pace = pace
        self._clock = clock
        self._taken = 0
        self._came_at = self._told_at = clock()
        self._second = ""

    def take(self, wait_s: float) -> int:
        """Count what comes within `wait_s`; how many entries."""
        if self.broken is not None:
            return 0
        try:
            records = self.reader.read(_AT_ONCE, wait_s)
            self.following.take(records)
        except ChainStopped as error:
            self.broken = error
            return 0
        if records:
            self._taken += len(records)
            self._came_at = self._clock()
            if self.following.second != self._second:
                self._second, self._told_at = self.following.second, self._came_at
        return len(records)

    def tell_if_due(self, now: float) -> None:
        """Hand out the second that is not over: the chain is quiet, or time stands still in it."""
        if self.following.all_told:
            return
        if now - self._came_at >= self._pace.quiet_s or now - self._told_at >= self._pace.open_s:
            self.following.tell()
            self._told_at = now

    def count(self, tally: Figures) -> None:
        """Set the figures, once everything that was handed out is written."""
        following, name = self.following, self.name
        if self._taken:
            tally.add(figures.ENTRIES, self._taken, name)
            self._taken = 0
        tally.reached(name, following.done_size, following.second)
        at = self.reader.position() if following.all_told else following.goes_on_at
        tally.set(figures.NEXT_OFFSET, max(at, 0), name)
