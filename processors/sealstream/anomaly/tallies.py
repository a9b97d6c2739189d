"""How much of something came on each of the last days, and the greatest day and week before. Pure; days are of UTC.

The invariants: the week that is open teaches nothing before it is over, so what drips into it is held against weeks
that it is no part of; and a flood teaches no more than some times the greatest before, so the next one is not usual.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import msgspec

from sealstream.anomaly.detecting import merged_ranges

__all__ = ["Tally"]

_DAY_S = 86_400
_WEEK = 7
_TEACHES_TIMES = 4
_TEACHES_LEAST = 40
_RANGES_TODAY = 12
_RANGES_BEFORE = 2
_MAX_CHAINS = 2


class Day(msgspec.Struct, array_like=True):
    """`day`: its number. `start`: the second of the first of `count`. `seqs`: its newest entries, by chain; only two
    ranges of a day that is over.
    """

    day: int
    start: int
    count: int = 0
    seqs: dict[str, list[list[int]]] = {}


class Tally(msgspec.Struct, array_like=True):
    """`begun`: the first day of all. `days`: those of the open week and the one before it that had any, the oldest
    first. `day_peak`, `week_peak`: the greatest of those before, as of the days `day_peak_at`, `week_peak_at`.
    """

    begun: int = 0
    days: list[Day] = []
    day_peak: float = 0.0
    day_peak_at: int = 0
    week_peak: float = 0.0
    week_peak_at: int = 0

    @property
    def newest(self) -> int:
        """The newest day with any."""
        return self.days[-1].day

    def add(self, second: int, count: int, chain: str, seqs: Iterable[Sequence[int]], *, half_life_days: float) -> None:
        """So many came in this second, by these entries. A late second falls into the newest day."""
        day = second // _DAY_S
        if not self.days:
            self.begun = day
            self.days.append(Day(day, second))
        elif day > self.newest:
            self._close(day, half_life_days)
            self.days.append(Day(day, second))
        newest = self.days[-1]
        newest.count += count
        if chain in newest.seqs or len(newest.seqs) < _MAX_CHAINS:
            newest.seqs[chain] = merged_ranges([*newest.seqs.get(chain, ()), *seqs])[-_RANGES_TODAY:]

    def sum(self, days: int) -> int:
        """How many in so many days, of which the newest is the last."""
        return sum(each.count for each in self.days if each.day > self.newest - days)

    def start(self, days: int) -> int:
        """The first second of those."""
        return next(each.start for each in self.days if each.day > self.newest - days)

    def seqs(self, days: int, chain: str) -> list[list[int]]:
        """The entries of those that are known."""
        of_days = [each for each in self.days if each.day > self.newest - days]
        return merged_ranges(pair for each in of_days for pair in each.seqs.get(chain, ()))

    def chains(self, days: int) -> set[str]:
        """Whose entries they are."""
        return {chain for each in self.days if each.day > self.newest - days for chain in each.seqs}

    def greatest_day(self, half_life_days: float) -> float:
        """Before the newest day, as far as it is remembered."""
        return _faded(self.day_peak, self.newest - self.day_peak_at, half_life_days)

    def greatest_week(self, half_life_days: float) -> float:
        """Of seven days that were over before the open week, as far as it is remembered."""
        return _faded(self.week_peak, self.newest - self.week_peak_at, half_life_days)

    def _close(self, day: int, half_life_days: float) -> None:
        newest = self.days[-1]
        before = _faded(self.day_peak, newest.day - self.day_peak_at, half_life_days)
        if newest.count > before:
            self.day_peak, self.day_peak_at = _taught(newest.count, before), newest.day
        for over in [each for each in self.days if each.day <= day - _WEEK]:
            week = sum(each.count for each in self.days if over.day - _WEEK < each.day <= over.day)
            before = _faded(self.week_peak, over.day - self.week_peak_at, half_life_days)
            if week > before:
                self.week_peak, self.week_peak_at = _taught(week, before), over.day
            over.seqs.clear()
        newest.seqs = {chain: ranges[-_RANGES_BEFORE:] for chain, ranges in newest.seqs.items()}
        self.days = [each for each in self.days if each.day > day - 2 * _WEEK]


def _faded(peak: float, days: int, half_life_days: float) -> float:
    return peak * math.exp2(-max(days, 0) / half_life_days)


def _taught(count: int, before: float) -> float:
    return min(float(count), max(_TEACHES_LEAST, round(_TEACHES_TIMES * before, 2)))
