"""A person's week, hour by hour, as it was lived over the last months: in the person's own time zone. Pure.

Hours of activity are counted, not entries: one busy evening does not make evenings usual.
"""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta, tzinfo
from functools import lru_cache
from zoneinfo import ZoneInfo

import msgspec

__all__ = ["DayHours", "LocalHour", "Week", "local_hour"]

_UNIT = 100
_REWEIGH_AT = 6
_FADING = 0.99


class LocalHour(msgspec.Struct, array_like=True, frozen=True):
    """An hour on somebody's clock. `number`: of all hours by that clock, so that the next one is one more; `day`: the
    number of its date; `weekday`: 0 is Monday.
    """

    number: int
    day: int
    weekday: int
    hour: int


class Week(msgspec.Struct, array_like=True):
    """`slots`: by weekday and hour, 168; `days`: by weekday; both count hundredths of hours and days with activity, of
    which those `half_life_days` before weigh half. Newer ones are given more weight instead of taking it from the older
    ones; `zero` is the day with weight 1. `begun`, `latest`: the first and last day.
    """

    slots: list[int] = []
    days: list[int] = []
    zero: int = 0
    begun: int = 0
    latest: int = 0

    def add(self, hour: LocalHour, half_life_days: float) -> None:
        """There was activity in this hour. Each hour is to be added once; hours may come out of order."""
        if not self.slots:
            self.slots, self.days = [0] * 168, [0] * 7
            self.zero = self.begun = self.latest = hour.day
            self.days[hour.weekday] = _UNIT
        age = (hour.day - self.zero) / half_life_days
        if age > _REWEIGH_AT:
            shrink = math.exp2(-age)
            self.slots = [round(weight * shrink) for weight in self.slots]
            self.days = [round(weight * shrink) for weight in self.days]
            self.zero, age = hour.day, 0.0
        weight = round(_UNIT * math.exp2(age))
        if hour.day > self.latest:
            self.latest = hour.day
            self.days[hour.weekday] += weight
        self.slots[hour.weekday * 24 + hour.hour] += weight

    def active_days(self, half_life_days: float) -> float:
        """How many days with activity it rests on, by weight as of the last one."""
        return sum(self.days) / self._unit(half_life_days)

    def likelihood(self, hour: LocalHour, half_life_days: float) -> float:
        """The part of days on which there is activity in this hour or one beside it: the lesser of that over all days
        and over days of this weekday. Never 0: that it was not seen in n days says less, the fewer they are.
        """
        if not self.slots:
            return 1.0
        unit, slots = self._unit(half_life_days), self.slots
        here = hour.weekday * 24 + hour.hour
        before, behind = (here - 1) % 168, (here + 1) % 168
        on_weekday = (slots[before] + slots[here] + slots[behind]) / unit
        on_all = (sum(slots[before % 24 :: 24]) + sum(slots[hour.hour :: 24]) + sum(slots[behind % 24 :: 24])) / unit
        return min(_smoothed(on_all, sum(self.days) / unit), _smoothed(on_weekday, self.days[hour.weekday] / unit))

    def hours_away(self, hour: LocalHour, usual_from: float) -> int:
        """How many hours lie between this hour and the nearest, in a day's circle, that is active on at least
        `usual_from` of all days; 12 where none is.
        """
        usual = self._active_hours(usual_from)
        return min((min((each - hour.hour) % 24, (hour.hour - each) % 24) for each in usual), default=12)

    def usual_hours(self, usual_from: float) -> list[tuple[int, int]]:
        """The hours that are active on at least `usual_from` of all days, as runs: first and last, both included."""
        runs: list[tuple[int, int]] = []
        for each in self._active_hours(usual_from):
            if runs and runs[-1][1] == each - 1:
                runs[-1] = (runs[-1][0], each)
            else:
                runs.append((each, each))
        return runs

    def _active_hours(self, usual_from: float) -> list[int]:
        if not self.slots:
            return []
        least = usual_from * sum(self.days)
        return [each for each in range(24) if sum(self.slots[each::24]) >= least]

    def _unit(self, half_life_days: float) -> float:
        return _UNIT * math.exp2((self.latest - self.zero) / half_life_days)


class DayHours(msgspec.Struct, array_like=True):
    """Which of the 24 hours of a day see activity, in UTC: the shape of a day, for whom a week would be too much.

    `days`: days with activity; `hours`: by hour, of those, the ones with activity in it; both with the weight of the
    newest. `newest`: the newest hour, counted from 1970; `bits`: how surprising activity in it was before it came, as
    the negative logarithm of the part of days that had any in it or in one beside it, whichever had most.
    """

    hours: list[float] = []
    days: float = 0.0
    newest: int = 0
    bits: float = 0.0

    def add(self, number: int) -> None:
        """There was activity in this hour, counted from 1970. An hour that comes late is passed over."""
        if number <= self.newest:
            return
        if not self.hours:
            self.hours = [0.0] * 24
        if number // 24 > self.newest // 24:
            self.hours = [round(weight * _FADING, 2) for weight in self.hours]
            self.days = round(self.days * _FADING + 1, 2)
        most = max(self.hours[(number + step) % 24] for step in (-1, 0, 1))
        self.bits = round(-math.log2(min(1.0, (most + 0.5) / self.days)), 2)
        self.hours[number % 24] += 1
        self.newest = number


@lru_cache(maxsize=4_096)
def local_hour(zone: str, quarter: int) -> LocalHour:
    """The hour on a zone's clock in which the `quarter`-th quarter of an hour since 1970 lies: all clocks of the world
    differ from UTC by quarters. Raises `zoneinfo.ZoneInfoNotFoundError`.
    """
    local = datetime.fromtimestamp(quarter * 900, UTC).astimezone(_zone(zone))
    offset = local.utcoffset() or timedelta(0)
    number = (quarter * 900 + int(offset.total_seconds())) // 3_600
    return LocalHour(number, local.toordinal(), local.weekday(), local.hour)


@lru_cache(maxsize=64)
def _zone(name: str) -> tzinfo:
    return UTC if name == "UTC" else ZoneInfo(name)


def _smoothed(active: float, days: float) -> float:
    return min(1.0, (active + 0.5) / (days + 1))
