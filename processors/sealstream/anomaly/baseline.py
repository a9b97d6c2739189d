"""How much a subject does in ten minutes, an hour, a day, and from how much on that is unusual for it. Pure.

Only buckets in which it did anything count: what is asked is how much, not when. The limit is reckoned once, when a
bucket closes, so that counting on costs a comparison. The invariant: what is above the limit teaches no more than twice
the limit, so a flood does not make the next flood usual at once; what lasts is learned within some buckets.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import msgspec

from sealstream.anomaly.usual import Level, Sizes
from sealstream.anomaly.windows import add_ranges

__all__ = ["Baseline", "Judging"]

_DAY_S = 86_400


class Judging(msgspec.Struct, frozen=True):
    """How a limit is reckoned: the greatest of these.

    `least`: nothing below is unusual. `factor` times the size that `quantile` of all buckets do not exceed. The mean
    and `deviations` deviations. `peak_factor` times the greatest bucket so far, which is forgotten by half in
    `half_life_days`. Before `min_buckets` buckets over `min_days` days there is no limit.
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


class Baseline(msgspec.Struct, array_like=True):
    """One width of buckets. `number`: of the open bucket, which holds `count`, began with second `start` and goes on to
    `end`. `limit`: above it a bucket is unusual; 0: not known yet. `begun`: the number of the first bucket. `level`,
    `sizes`, `peak` (as of bucket `peak_number`): what the closed ones teach; `usual_most`: the quantile of it. `seqs`:
    the open bucket's chains, and by each the entries that a detector wants to show.
    """

    number: int = 0
    count: int = 0
    limit: int = 0
    begun: int = 0
    start: int = 0
    end: int = 0
    level: Level = msgspec.field(default_factory=Level)
    sizes: Sizes = msgspec.field(default_factory=Sizes)
    peak: float = 0.0
    peak_number: int = 0
    usual_most: float = 0.0
    seqs: dict[str, list[list[int]]] = {}

    def moved(self, second: int, judging: Judging) -> bool:
        """Let this second be in the open bucket; whether it opened a new one. A late second falls into the open one."""
        number = second // judging.width_s
        if number <= self.number:
            self.end = max(self.end, second)
            return False
        if self.count:
            self._close(judging)
        if not self.begun:
            self.begun = number
        self.number, self.count, self.start, self.end = number, 0, second, second
        self.seqs.clear()
        return True

    def known_days(self, judging: Judging) -> float:
        """For how long it was seen."""
        return (self.number - self.begun) * judging.width_s / _DAY_S

    def add_seqs(self, chain: str, seqs: Sequence[Sequence[int]]) -> None:
        """Entries of the open bucket."""
        add_ranges(self.seqs, chain, seqs, 16)

    def _close(self, judging: Judging) -> None:
        value = float(min(self.count, 2 * self.limit) if self.limit else self.count)
        day = self.number * judging.width_s // _DAY_S
        self.level.add(value, judging.fading)
        self.sizes.add(value, day, judging.half_life_days)
        faded = self._peak_at(self.number, judging)
        if value > faded:
            self.peak, self.peak_number = value, self.number
        if self.level.values < judging.min_buckets or self.known_days(judging) < judging.min_days:
            return
        self.usual_most = math.floor(self.sizes.quantile(judging.quantile))
        self.limit = math.ceil(
            max(
                judging.least,
                judging.factor * self.usual_most,
                self.level.mean + judging.deviations * self.level.deviation,
                judging.peak_factor * self._peak_at(self.number, judging),
            )
        )

    def _peak_at(self, number: int, judging: Judging) -> float:
        days = (number - self.peak_number) * judging.width_s / _DAY_S
        return self.peak * math.exp2(-days / judging.half_life_days)
