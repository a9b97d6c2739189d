"""What is usual for a subject, kept in a few numbers: rates that forget. Pure; time is the records' own."""

from __future__ import annotations

import math

import msgspec

__all__ = ["Rate"]


class Rate(msgspec.Struct, array_like=True):
    """Events an hour, by exponential forgetting: what was `half_life_s` ago weighs half.

    `begun`: the first second that was counted; before a half-life has passed, the time that was seen divides.
    """

    weight: float = 0.0
    at: int = 0
    begun: int = 0
    half_life_s: float = 7 * 86_400.0

    def add(self, second: int, count: float) -> None:
        """`count` events happened in this second. Seconds may come a little out of order."""
        if not self.begun:
            self.begun = self.at = second
        if second > self.at:
            self.weight *= math.exp2((self.at - second) / self.half_life_s)
            self.at = second
        self.weight += count

    def an_hour(self, second: int) -> float:
        """As it was known at this second; 0 before anything was seen."""
        if not self.begun:
            return 0.0
        decay = self.half_life_s / math.log(2)
        seen_s = max(3_600.0, float(second - self.begun))
        effective_s = decay * (1 - math.exp(-seen_s / decay))
        return self.weight * math.exp2(min(0, self.at - second) / self.half_life_s) / effective_s * 3_600
