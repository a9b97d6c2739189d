"""What is usual for a subject, kept in a few numbers that forget: rates, levels, sizes. Pure; time is the records' own.

Why these are written here and not taken from `river`: docs/decisions/0260. Its own are what they are held against.
"""

from __future__ import annotations

import math
from functools import lru_cache

import msgspec

__all__ = ["Level", "Rate", "Sizes"]

_BINS_AN_OCTAVE = 4
_UNIT = 1_000
_REWEIGH_AT = 6


class Rate(msgspec.Struct, array_like=True):
    """Events an hour, by exponential forgetting: what was `half_life_s` ago weighs half.

    `begun`: since when the subject is known; before a half-life has passed, the time since then divides, but no less
    than a day: what a newcomer does in its first hour is not its rate.
    """

    weight: float = 0.0
    at: int = 0
    begun: int = 0
    half_life_s: float = 7 * 86_400.0

    def begin(self, second: int) -> None:
        """The subject is known from now on, if it was not before."""
        if not self.begun:
            self.begun = self.at = second

    def add(self, second: int, count: float) -> None:
        """`count` events happened in this second. Seconds may come a little out of order."""
        self.begin(second)
        if second > self.at:
            self.weight *= math.exp2((self.at - second) / self.half_life_s)
            self.at = second
        self.weight += count

    def an_hour(self, second: int) -> float:
        """As it was known at this second; 0 before anything was seen."""
        if not self.begun:
            return 0.0
        decay = self.half_life_s / math.log(2)
        seen_s = max(86_400.0, float(second - self.begun))
        effective_s = decay * (1 - math.exp(-seen_s / decay))
        return self.weight * math.exp2(min(0, self.at - second) / self.half_life_s) / effective_s * 3_600


class Level(msgspec.Struct, array_like=True):
    """Mean and deviation of values, by exponential weights (Finch: Incremental calculation of weighted mean and
    variance, 2009): the newest value weighs `fading`, the one before 1 - `fading` of that, and so on.
    """

    mean: float = 0.0
    variance: float = 0.0
    values: int = 0

    def add(self, value: float, fading: float) -> None:
        """The next value."""
        if not self.values:
            self.mean = value
        else:
            beyond = value - self.mean
            step = fading * beyond
            self.mean += step
            self.variance = (1 - fading) * (self.variance + beyond * step)
        self.values += 1

    @property
    def deviation(self) -> float:
        """In the values' unit."""
        return math.sqrt(self.variance)


class Sizes(msgspec.Struct, array_like=True):
    """How often values of which size came, by exponential forgetting: any quantile, to a fifth of its value.

    `weights`: by bin, four to a doubling; a value of `day` weighs 2 ** ((day - `zero`) / half-life) thousandths, so
    that nothing has to be weighed anew as days go by, except once in six half-lives.
    """

    weights: dict[int, int] = {}
    zero: int = 0

    def add(self, value: float, day: int, half_life_days: float) -> None:
        """A value of that day. Days may come a little out of order."""
        if not self.weights:
            self.zero = day
        days = day - self.zero
        if days / half_life_days > _REWEIGH_AT:
            self._reweigh(days / half_life_days)
            self.zero, days = day, 0
        place = _bin(value)
        self.weights[place] = self.weights.get(place, 0) + _weight(days, half_life_days)

    def quantile(self, part: float) -> float:
        """The size that so many of the values, by weight, do not exceed: the upper end of its bin; 0 without any."""
        left = part * sum(self.weights.values())
        for place in sorted(self.weights):
            left -= self.weights[place]
            if left <= 0:
                return math.exp2((place + 1) / _BINS_AN_OCTAVE)
        return 0.0

    def _reweigh(self, age: float) -> None:
        shrunk = {place: round(weight * math.exp2(-age)) for place, weight in self.weights.items()}
        self.weights = {place: weight for place, weight in shrunk.items() if weight}


@lru_cache(maxsize=1_024)
def _bin(value: float) -> int:
    return max(0, math.floor(math.log2(max(value, 1.0)) * _BINS_AN_OCTAVE))


@lru_cache(maxsize=1_024)
def _weight(days: int, half_life_days: float) -> int:
    return round(_UNIT * math.exp2(days / half_life_days))
