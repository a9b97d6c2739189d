"""How much of something came on each of the last days, and the greatest day and week before. Pure; days are of UTC.

The invariant: the week that is open teaches nothing before it is over, so what drips into it is held against weeks that
it is no part of.
"""

from __future__ import annotations

import math

import msgspec

__all__ = ["Tally"]

_DAY_S = 86_400
_WEEK = 7


class Day(msgspec.Struct, array_like=True):
    """`day`: its number. `start`: the second of the first of `count`."""

    day: int
    start: int
    count: int = 0


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

    def add(self, second: int, count: int, half_life_days: float) -> None:
        """So many came in this second. A late second falls into the newest day."""
        day = second // _DAY_S
        if not self.days:
            self.begun = day
            self.days.append(Day(day, second))
        elif day > self.newest:
            self._close(day, half_life_days)
            self.days.append(Day(day, second))
        self.days[-1].count += count

    def sum(self, days: int) -> int:
        """How many in so many days, of which the newest is the last."""
        return sum(each.count for each in self.days if each.day > self.newest - days)

    def start(self, days: int) -> int:
        """The first second of those."""
        return next(each.start for each in self.days if each.day > self.newest - days)

    def greatest_day(self, half_life_days: float) -> float:
        """Before the newest day, as far as it is remembered."""
        return _faded(self.day_peak, self.newest - self.day_peak_at, half_life_days)

    def greatest_week(self, half_life_days: float) -> float:
        """Of seven days that were over before the open week, as far as it is remembered."""
        return _faded(self.week_peak, self.newest - self.week_peak_at, half_life_days)

    def _close(self, day: int, half_life_days: float) -> None:
        newest = self.days[-1]
        if newest.count > _faded(self.day_peak, newest.day - self.day_peak_at, half_life_days):
            self.day_peak, self.day_peak_at = newest.count, newest.day
        for over in [each for each in self.days if each.day <= day - _WEEK]:
            week = sum(each.count for each in self.days if over.day - _WEEK < each.day <= over.day)
            if week > _faded(self.week_peak, over.day - self.week_peak_at, half_life_days):
                self.week_peak, self.week_peak_at = week, over.day
        self.days = [each for each in self.days if each.day > day - 2 * _WEEK]


def _faded(peak: float, days: int, half_life_days: float) -> float:
    return peak * math.exp2(-max(days, 0) / half_life_days)
