"""Where people work: sites with their time zones, and the addresses of wards, offices, homes, phones and hotels.

Addresses are of ranges that nobody routes: 10/8 within the company, 198.18/15 and 2001:db8::/32 as the internet.
"""

from __future__ import annotations

import random
from typing import NamedTuple
from zoneinfo import ZoneInfo

__all__ = ["BROWSERS", "PROGRAMS", "SITES", "Home", "Site", "desk", "hotel", "phone", "strange", "ward_station"]


class Site(NamedTuple):
    """`wards`: of its hospital, if it has one. `starts`: the hour at which its offices begin."""

    number: int
    name: str
    zone: ZoneInfo
    country: str
    wards: int
    starts: float


SITES = (
    Site(1, "hamburg", ZoneInfo("Europe/Berlin"), "de", 24, 8.0),
    Site(2, "boston", ZoneInfo("America/New_York"), "us", 16, 8.5),
    Site(3, "pune", ZoneInfo("Asia/Kolkata"), "in", 0, 9.5),
)

BROWSERS = (
    "Mozilla/5.0 (X11; Linux x86_64) Firefox/150.0",
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 Chrome/149.0",
    "Mozilla/5.0 (Macintosh; Intel Mac OS X 15_5) AppleWebKit/605.1.15 Safari/619.1",
    "Mozilla/5.0 (iPad; CPU OS 20_1 like Mac OS X) AppleWebKit/605.1.15 Mobile",
)
PROGRAMS = ("python-httpx/0.28", "Go-http-client/2.0", "Java/25.0.1", "curl/8.15.0")

_STATIONS = 8
_GATES = 4


def ward_station(site: Site, ward: int, rng: random.Random) -> str:
    """One of a ward's shared computers."""
    return f"10.{site.number}.{ward}.{10 + int(rng.random() * _STATIONS)}"


def desk(site: Site, person: int) -> str:
    """What the internet sees of an office: all of a floor come from one address."""
    return f"198.51.100.{site.number * 32 + person % _GATES}"


def phone(site: Site, rng: random.Random) -> str:
    """A carrier's address, another one nearly each time."""
    return f"100.{64 + site.number * 8 + int(rng.random() * 2)}.{rng.randrange(256)}.{rng.randrange(1, 255)}"


def hotel(rng: random.Random) -> str:
    """Somewhere that nobody has been yet."""
    return f"198.19.{rng.randrange(128)}.{rng.randrange(1, 255)}"


def strange(rng: random.Random) -> str:
    """Where an attacker sits."""
    if rng.random() < 0.25:
        return f"2001:db8:f{rng.randrange(1, 4096):03x}:{_groups(rng, 5)}"
    return f"198.19.{rng.randrange(128, 256)}.{rng.randrange(1, 255)}"


class Home:
    """A household's connection: IPv4 that its provider changes now and then, or an IPv6 prefix with a new end a day."""

    __slots__ = ("_end", "_pool", "_prefix")

    def __init__(self, rng: random.Random) -> None:
        self._prefix = (
            f"2001:db8:{rng.randrange(1, 0xEFFF):x}:{rng.randrange(1, 0xFFFF):x}" if rng.random() < 0.4 else ""
        )
        self._pool = rng.randrange(0, 256, 4)
        self._end = rng.randrange(1, 255)

    def address(self, day: int) -> str:
        """On this day (its ordinal)."""
        rng = random.Random(self._end * 1_000_003 + self._pool * 7919 + (day if self._prefix else day // 30))
        if self._prefix:
            return f"{self._prefix}:{_groups(rng, 4)}"
        return f"198.18.{self._pool + rng.randrange(4)}.{rng.randrange(1, 255)}"


def _groups(rng: random.Random, count: int) -> str:
    """None of them 0, so that RFC 5952 has nothing to shorten."""
    return ":".join(f"{rng.randrange(1, 0xFFFF):x}" for _ in range(count))
