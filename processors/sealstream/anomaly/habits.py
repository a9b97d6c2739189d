"""Which of a kind of things an actor has to do with: its addresses, its networks, the types it works on. Pure.

What matters is not whether something is new but how seldom this actor meets anything new of that kind: someone who
travels has a new network each week. So days with something new are counted against days of activity, and the newest
weigh most.
"""

from __future__ import annotations

import math
from functools import lru_cache
from hashlib import sha256
from ipaddress import ip_network

import msgspec

__all__ = ["Habit", "network_of", "short"]

_FADING = 0.99
_MAX_CHARACTERS = 24


class Habit(msgspec.Struct, array_like=True):
    """`known`: by name (`short`), the day it was last seen. `days`: of activity, `novel`: of those, the ones that
    brought something new, both with the weight of the newest; `day`: the newest; `is_novel`: whether it brought any.
    """

    known: dict[str, int] = {}
    days: float = 0.0
    novel: float = 0.0
    day: int = 0
    is_novel: bool = False

    def is_known(self, name: str) -> bool:
        """Whether it was seen before."""
        return name in self.known

    def bits(self) -> float:
        """How surprising something new is, in bits: the negative logarithm of how often a day brings it."""
        return -math.log2((self.novel + 0.5) / (self.days + 1))

    def add(self, name: str, day: int, size: int, keep_days: int, *, counts: bool) -> None:
        """It was seen on this day. Beyond `size` the one that was not seen for longest is forgotten, and what was not
        seen for `keep_days`. `counts`: whether something new counts, which it does not while all is new.
        """
        if day > self.day:
            self.day, self.is_novel = day, False
            self.days = round(self.days * _FADING + 1, 3) if counts else self.days
            self.novel = round(self.novel * _FADING, 3)
        last = self.known.get(name)
        if last is None:
            if counts and not self.is_novel:
                self.novel, self.is_novel = self.novel + 1, True
            self._make_room(day, size, keep_days)
            self.known[name] = day
        elif day > last:
            self.known[name] = day

    def _make_room(self, day: int, size: int, keep_days: int) -> None:
        for name in [name for name, last in self.known.items() if day - last > keep_days]:
            del self.known[name]
        while len(self.known) >= size:
            del self.known[min(self.known, key=lambda name: (self.known[name], name))]


@lru_cache(maxsize=8_192)
def short(name: str) -> str:
    """A name as habits keep it: itself, or a digest where it is long."""
    return name if len(name) <= _MAX_CHARACTERS else f"#{sha256(name.encode()).hexdigest()[:12]}"


@lru_cache(maxsize=8_192)
def network_of(address: str) -> str:
    """The /24 or /48 that an address belongs to; the address itself where it is none."""
    try:
        return str(ip_network(f"{address}/{48 if ':' in address else 24}", strict=False))
    except ValueError:
        return address
