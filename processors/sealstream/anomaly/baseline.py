"""How much a subject does in ten minutes, an hour, a day, and from how much on that is unusual for it. Pure.

Only buckets in which it did anything count: what is asked is how much, not when. Below `gate` nothing is reckoned, so
that counting on costs a comparison. The invariant: what is above the limit teaches no more than twice the limit, so a
flood does not make the next flood usual at once; what lasts is learned within some buckets.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import msgspec

from sealstream.anomaly.usual import Level, Sizes
from sealstream.anomaly.windows import add_ranges

__all__ = ["Baseline", "Judging"]

_DAY_S = 86_400
_SHOWN_RANGES = 16
_NEVER = 2**53


class Judging(msgspec.Struct, frozen=True):
    """How a limit is reckoned: the greatest of these.

    `least`: nothing below is unusual. `factor` times the size that `quantile` of all buckets do not exceed. The mean
    and `deviations` deviations. `peak_factor` times the greatest bucket so far, which is forgotten by half in
    `half_life_days`. Before `min_buckets` buckets over `min_days` days the limit is `fresh`; 0: none.
    """

    width_s: int
    least: int
    factor: float
    quantile: float
    deviations: float
    peak_factor: float
    min_buckets: int
    min_days: int
    half_life_days: float
    fading: float
    fresh: int = 0


class Baseline(msgspec.Struct, array_like=True):
    """One width of buckets. `number`: of the open bucket, which holds `count`, began with second `start` and goes on to
    `end`. `gate`: the count at which to ask `above`. `limit`: of the open bucket; 0: not reckoned. `begun`: the number
    of the first bucket. `level`, `sizes`, `peak` (as of bucket `peak_number`): what the closed ones teach. `seqs`: the
    open bucket's chains, and by each the entries that a detector wants to show.
    """

    number: int = 0
    count: int = 0
    gate: int = 0
    limit: int = 0
    begun: int = 0
    start: int = 0
    end: int = 0
    level: Level = msgspec.field(default_factory=Level)
    sizes: Sizes = msgspec.field(default_factory=Sizes)
    peak: float = 0.0
    peak_number: int = 0
    seqs: dict[str, list[list[int]]] = {}

    def moved(self, second: int, judging: Judging) -> bool:
        """Let this second be in the open bucket; whether it opened a new one. A late second falls into the open one."""
        number = second // judging.width_s
        if number <= self.number:
            return False
        if self.count:
            self._close(judging)
        if not self.begun:
            self.begun = number
        self.number, self.count, self.start, self.end = number, 0, second, second
        self.gate, self.limit = (min(judging.least, judging.fresh or judging.least) + 1) // 2, 0
        self.seqs.clear()
        return True

    def above(self, second: int, chain: str, seqs: Sequence[Sequence[int]], judging: Judging) -> float:
        """The count by its limit, once the gate is reached; 0 where there is no limit, or not half of it is reached.

        What is beyond half of the limit is kept as evidence.
        """
        if not self.limit:
            self.limit = self._limit(judging)
            self.gate = (self.limit + 1) // 2 if self.limit else _NEVER
        if self.count < self.gate:
            return 0.0
        self.end = max(self.end, second)
        add_ranges(self.seqs, chain, seqs, _SHOWN_RANGES)
        return self.count / self.limit

    def is_known(self, judging: Judging) -> bool:
        """Whether enough was seen to tell what is usual."""
        days = (self.number - self.begun) * judging.width_s / _DAY_S
        return self.level.values >= judging.min_buckets and days >= judging.min_days

    def usual_most(self, judging: Judging) -> int:
        """The size that the quantile of all buckets do not exceed."""
        return math.floor(self.sizes.quantile(judging.quantile))

    def _limit(self, judging: Judging) -> int:
        if not self.is_known(judging):
            return judging.fresh
        return math.ceil(
            max(
                judging.least,
                judging.factor * self.usual_most(judging),
                self.level.mean + judging.deviations * self.level.deviation,
                judging.peak_factor * self._faded_peak(judging),
            )
        )

    def _close(self, judging: Judging) -> None:
        value = float(min(self.count, 2 * self.limit) if self.limit else self.count)
        self.level.add(value, judging.fading)
        self.sizes.add(value, self.number * judging.width_s // _DAY_S, judging.half_life_days)
        if value > self.peak or value > self._faded_peak(judging):
            self.peak, self.peak_number = value, self.number

    def _faded_peak(self, judging: Judging) -> float:
        days = (self.number - self.peak_number) * judging.width_s / _DAY_S
        return self.peak * math.exp2(-days / judging.half_life_days)
