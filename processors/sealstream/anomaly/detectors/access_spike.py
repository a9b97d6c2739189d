"""An actor does far more than it ever does: a script runs under its name, or somebody is emptying the system.

Ten minutes and an hour are each held against the actor's own such times: the mean and its deviation, the size that 99
of 100 do not exceed, and the greatest so far.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import ClassVar, Literal

import msgspec

from sealstream.anomaly.actions import LOGIN, traits
from sealstream.anomaly.baseline import Baseline, Judging
from sealstream.anomaly.detecting import Finding, Thresholds, merged_ranges, quoted, window_query
from sealstream.anomaly.episodes import Episode
from sealstream.anomaly.runs import Run
from sealstream.anomaly.wording import span
from sealstream.layout.activity import Activity

__all__ = ["AccessSpike"]

_SHORT_S = 600
_LONG_S = 3_600


class _Thresholds(Thresholds, frozen=True):
    """A spike is more than `least_short` entries in ten minutes, or `least_long` in an hour, and more than `factor`
    times the size that `quantile` of the actor's active ones do not exceed, its mean and `deviations` deviations, and
    `peak_factor` times its greatest, each forgotten by half in `half_life_days`; in the mean the newest weighs
    `fading`. Before `min_buckets` active ones over `min_days` days nothing is a spike. It is over after `quiet_s`; from
    `high_factor` times the limit on it is high.
    """

    least_short: int = 60
    least_long: int = 150
    factor: float = 3.5
    quantile: float = 0.99
    deviations: float = 6.0
    peak_factor: float = 1.5
    min_buckets: int = 30
    min_days: int = 7
    half_life_days: float = 30.0
    fading: float = 0.02
    high_factor: float = 4.0
    quiet_s: int = 7_200


class _State(msgspec.Struct):
    """`short`: ten minutes; `long`: an hour."""

    short: Baseline = msgspec.field(default_factory=Baseline)
    long: Baseline = msgspec.field(default_factory=Baseline)
    episode: Episode = msgspec.field(default_factory=Episode)


class AccessSpike:
    """How many entries an actor makes, against its own baseline."""

    name: ClassVar[str] = "access_spike"
    says: ClassVar[str] = "an actor does far more in ten minutes or an hour than it ever does"
    subject: ClassVar[Literal["actor", "address"]] = "actor"
    state = _State

    thresholds = _Thresholds()

    def detect(self, state: _State, seen: Activity, second: int) -> tuple[_State, Sequence[Finding]]:
        count = 0
        for cell in seen.cells:
            if cell.result == "success" or not traits(cell.action) & LOGIN:
                count += cell.count
        if not count:
            return state, ()
        short, long = state.short, state.long
        if second // _SHORT_S != short.number:
            short.moved(second, _judging(self.thresholds, _SHORT_S))
            if second // _LONG_S != long.number:
                long.moved(second, _judging(self.thresholds, _LONG_S))
        short.count += count
        long.count += count
        if seen.chain not in short.seqs:
            short.seqs.setdefault(seen.chain, [])
            long.seqs.setdefault(seen.chain, [])
        if short.count < short.gate and long.count < long.gate:
            return state, ()
        return state, self._beyond_gate(state, seen, second)

    def ahead(self, state: _State, run: Run) -> Iterator[int]:
        """Below the gates an entry is one more, whatever it is."""
        counted = run.seconds
        if run.traits & LOGIN:
            counted = [
                second
                for second, kind in zip(counted, run.kinds, strict=True)
                if kind.is_success or not kind.traits & LOGIN
            ]
        short, long, place = state.short, state.long, 0
        while place < len(counted):
            second = counted[place]
            number = second // _SHORT_S
            if number != short.number:
                short.moved(second, _judging(self.thresholds, _SHORT_S))
                if second // _LONG_S != long.number:
                    long.moved(second, _judging(self.thresholds, _LONG_S))
            end = bisect_left(counted, (number + 1) * _SHORT_S, place)
            room = min(short.gate - short.count, long.gate - long.count) - 1
            if end - place > room:  # up to the second that reaches a gate
                end = bisect_left(counted, counted[place + room], place) if room > 0 else place
            if end > place:
                short.count += end - place
                long.count += end - place
                short.seqs.setdefault(run.chain, [])
                long.seqs.setdefault(run.chain, [])
                place = end
            else:
                yield second
                place = bisect_right(counted, second, place)

    def _beyond_gate(self, state: _State, seen: Activity, second: int) -> Sequence[Finding]:
        seqs = sorted(pair for cell in seen.cells for pair in cell.seqs)
        above = []
        for baseline, width_s in ((state.short, _SHORT_S), (state.long, _LONG_S)):
            judging = _judging(self.thresholds, width_s)
            above.append((baseline.above(second, seen.chain, seqs, judging), judging, baseline))
        score, judging, baseline = max(above, key=lambda each: each[0])
        if score <= 1 or not state.episode.tells(second, self.thresholds.quiet_s):
            return ()
        most, taken_s = baseline.usual_most(judging), baseline.end - baseline.start + 1
        finding = Finding(
            severity="high" if score >= self.thresholds.high_factor else "medium",
            confidence=min(0.99, 1 - 0.5 / score),
            summary=(
                f"{baseline.count} entries of {seen.actor_id} in {span(taken_s)}; usual is "
                f"{baseline.level.mean:.0f} in {span(judging.width_s)}, and {judging.quantile * 100:g} of 100 have at "
                f"most {most}"
            ),
            window=(baseline.start, baseline.end),
            key_s=Episode.key_s(second, self.thresholds.quiet_s),
            query=window_query(sorted(baseline.seqs), baseline.start, baseline.end, f"actor:{quoted(seen.actor_id)}"),
            score=score,
            seen={"entries": baseline.count, "seconds": taken_s},
            usual={
                "entries": round(baseline.level.mean, 1),
                "deviation": round(baseline.level.deviation, 1),
                "most": most,
                "limit": baseline.limit,
            },
            seqs=merged_ranges(baseline.seqs.get(seen.chain, ())),
        )
        return (finding,)


@lru_cache(maxsize=64)
def _judging(limits: _Thresholds, width_s: int) -> Judging:
    return Judging(
        width_s=width_s,
        least=limits.least_short if width_s == _SHORT_S else limits.least_long,
        factor=limits.factor,
        quantile=limits.quantile,
        deviations=limits.deviations,
        peak_factor=limits.peak_factor,
        min_buckets=limits.min_buckets,
        min_days=limits.min_days,
        half_life_days=limits.half_life_days,
        fading=limits.fading,
    )
