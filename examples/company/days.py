"""What kind of day it is: weekends, holidays of a country, the closing of a month, the season; local hours. Pure."""

from __future__ import annotations

import math
from datetime import date, datetime, timedelta
from functools import lru_cache

from examples.company.places import Site

__all__ = ["closing", "moment", "season", "working_day"]

_FIXED = {
    "de": ((1, 1), (5, 1), (10, 3), (10, 31), (12, 24), (12, 25), (12, 26), (12, 31)),
    "us": ((1, 1), (6, 19), (7, 4), (11, 11), (12, 24), (12, 25)),
    "in": ((1, 1), (1, 26), (8, 15), (10, 2), (12, 25)),
}
_DIWALI = {2025: date(2025, 10, 20), 2026: date(2026, 11, 9), 2027: date(2027, 10, 29), 2028: date(2028, 10, 17)}


@lru_cache(maxsize=16_384)
def moment(site: Site, day: date, hour: int) -> float:
    """A local hour as epoch seconds; 24 and above are of the next day. Summer time counts."""
    local = datetime(day.year, day.month, day.day, hour % 24, tzinfo=site.zone) + timedelta(days=hour // 24)
    return local.timestamp()


@lru_cache(maxsize=4_096)
def working_day(site: Site, day: date) -> bool:
    """Whether offices work."""
    return day.weekday() < 5 and day not in _holidays(site.country, day.year)


@lru_cache(maxsize=4_096)
def closing(site: Site, day: date) -> bool:
    """Whether a month is being closed: its last two working days, and the next month's first three."""
    if not working_day(site, day):
        return False
    before = sum(working_day(site, day.replace(day=n)) for n in range(1, day.day))
    first_of_next = (day.replace(day=1) + timedelta(days=32)).replace(day=1)
    left = (first_of_next - day).days
    after = sum(working_day(site, day + timedelta(days=n)) for n in range(1, left))
    return before < 3 or after < 2


def season(day: date) -> float:
    """How much a hospital has to do: a fifth more in the middle of January than on average, as much less in July."""
    return 1 + 0.2 * math.cos(2 * math.pi * (day.timetuple().tm_yday - 15) / 365)


@lru_cache(maxsize=64)
def _holidays(country: str, year: int) -> frozenset[date]:
    days = {date(year, month, day) for month, day in _FIXED[country]}
    easter = _easter(year)
    if country == "de":
        days |= {easter + timedelta(days=n) for n in (-2, 1, 39, 50)}
    elif country == "us":
        days |= {
            _nth(year, 1, 0, 3),
            _nth(year, 9, 0, 1),
            _nth(year, 11, 3, 4),
            _nth(year, 11, 3, 4) + timedelta(days=1),
        }
    elif year in _DIWALI:
        days |= {_DIWALI[year], _DIWALI[year] + timedelta(days=1)}
    return frozenset(days)


def _nth(year: int, month: int, weekday: int, number: int) -> date:
    first = date(year, month, 1)
    return first + timedelta(days=(weekday - first.weekday()) % 7 + 7 * (number - 1))


def _easter(year: int) -> date:
    """By the rule of Gauss, for 1900 to 2099."""
    moon = (19 * (year % 19) + 24) % 30
    sunday = (2 * (year % 4) + 4 * (year % 7) + 6 * moon + 5) % 7
    day = 22 + moon + sunday
    if (moon == 29 and sunday == 6) or (moon == 28 and sunday == 6 and year % 19 > 10):
        day -= 7
    return date(year, 3, 1) + timedelta(days=day - 1)
