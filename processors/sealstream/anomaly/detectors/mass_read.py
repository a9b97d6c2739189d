"""An actor reads far more different things than usual: data is being carried off, fast or all day long.

An hour and a day are each held against the actor's own; someone new is held against a fixed limit, and only a person.
How much an export takes along nobody sees here, so it counts as one thing; `mass_export` counts exports by themselves.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import ClassVar, Literal

import msgspec

from sealstream.anomaly.actions import EXPORT, READ, traits, traits_of
from sealstream.anomaly.baseline import Baseline, Judging
from sealstream.anomaly.detecting import Finding, Thresholds, merged_ranges, quoted, window_query
from sealstream.anomaly.episodes import Episode
from sealstream.anomaly.runs import Run
from sealstream.anomaly.sketching import Distinct
from sealstream.anomaly.wording import span
from sealstream.layout.activity import Activity, Cell

__all__ = ["MassRead"]

_HOUR_S = 3_600
_DAY_S = 86_400
_HOUR_BYTES = 256
_DAY_BYTES = 512
_HOUR_SURE, _DAY_SURE = 4 * _HOUR_BYTES, 4 * _DAY_BYTES  # up to here `least` is more than half of the count
_TAKES = READ | EXPORT
_PERSONS = ("user", "admin")


class _Thresholds(Thresholds, frozen=True):
    """A mass is more different resources than `least_hour` in an hour, or `least_day` in a day, and than `factor` times
    (in a day `day_factor`) the size that `quantile` of the actor's do not exceed, its mean and `deviations` deviations,
    and `peak_factor` times its greatest, each forgotten by half in `half_life_days`; in the mean the newest weighs
    `fading`. Before an actor has read in `min_hours` hours over `min_days` days the limits are `fresh_hour` and
    `fresh_day`, for persons. It is over after `quiet_s`; from `high_factor` times the limit it is critical.
    """

    least_hour: int = 60
    least_day: int = 60
    factor: float = 3.5
    day_factor: float = 1.5
    quantile: float = 0.99
    deviations: float = 4.0
    peak_factor: float = 1.5
    min_hours: int = 20
    min_days: int = 5
    fresh_hour: int = 400
    fresh_day: int = 1_000
    half_life_days: float = 30.0
    fading: float = 0.03
    high_factor: float = 5.0
    quiet_s: int = 21_600


class _Span(msgspec.Struct, array_like=True):
    """An hour or a day. `resources`: what was read in the open one."""

    baseline: Baseline = msgspec.field(default_factory=Baseline)
    resources: Distinct = msgspec.field(default_factory=Distinct)


class _State(msgspec.Struct):
    hour: _Span = msgspec.field(default_factory=_Span)
    day: _Span = msgspec.field(default_factory=_Span)
    episode: Episode = msgspec.field(default_factory=Episode)


class MassRead:
    """How many different resources an actor reads, against its own hours and days."""

    name: ClassVar[str] = "mass_read"
    says: ClassVar[str] = "an actor reads many different resources"
    subject: ClassVar[Literal["actor", "address"]] = "actor"
    state = _State
    thresholds = _Thresholds()
    concerns: ClassVar[int] = _TAKES

    def detect(self, state: _State, seen: Activity, second: int) -> tuple[_State, Sequence[Finding]]:
        if not traits_of(seen) & _TAKES:
            return state, ()
        reads = [cell for cell in seen.cells if traits(cell.action) & _TAKES and cell.result == "success"]
        if not reads:
            return state, ()
        hour, day = state.hour, state.day
        if second // _HOUR_S != hour.baseline.number:
            _move(hour, second, _judging(self.thresholds, _HOUR_S))
            _move(day, second, _judging(self.thresholds, _DAY_S))
        new = False
        for cell in reads:
            for resource in cell.resources:
                digest = int(resource, 16)
                if hour.resources.add(digest, _HOUR_BYTES):
                    day.resources.add(digest, _DAY_BYTES)
                    new = True
            if cell.unlisted:
                hour.resources.beyond += cell.unlisted
                day.resources.beyond += cell.unlisted
                new = True
        if seen.chain not in hour.baseline.seqs:
            hour.baseline.seqs.setdefault(seen.chain, [])
            day.baseline.seqs.setdefault(seen.chain, [])
        if not new:
            return state, ()
        least, of_day = hour.resources.least, day.resources.least
        if (least < hour.baseline.gate and least < _HOUR_SURE) and (of_day < day.baseline.gate and of_day < _DAY_SURE):
            return state, ()
        return state, self._beyond_gate(state, seen, second, reads)

    def ahead(self, state: _State, run: Run) -> Iterator[int]:
        """Below the gates a resource is one more."""
        if not run.traits & _TAKES:
            return
        kinds = run.kinds
        reads = [place for place, kind in enumerate(kinds) if kind.traits & _TAKES and kind.is_success]
        seconds, hour, day = run.seconds, state.hour, state.day
        at = 0
        while at < len(reads):
            second = seconds[reads[at]]
            number = second // _HOUR_S
            if number != hour.baseline.number:
                _move(hour, second, _judging(self.thresholds, _HOUR_S))
                _move(day, second, _judging(self.thresholds, _DAY_S))
            end = bisect_left(reads, (number + 1) * _HOUR_S, at, key=seconds.__getitem__)
            room = min(hour.baseline.gate, _HOUR_SURE) - hour.resources.least
            room = min(room, min(day.baseline.gate, _DAY_SURE) - day.resources.least) - 1
            if end - at > room:  # up to the second that may reach a gate
                end = bisect_left(reads, seconds[reads[at + room]], at, key=seconds.__getitem__) if room > 0 else at
            if end == at:
                yield second
                at = bisect_right(reads, second, at, key=seconds.__getitem__)
                continue
            new = hour.resources.add_all(run.digests(reads[at:end]), _HOUR_BYTES)
            if new:
                day.resources.add_all(new, _DAY_BYTES)
            hour.baseline.seqs.setdefault(run.chain, [])
            day.baseline.seqs.setdefault(run.chain, [])
            at = end

    def _beyond_gate(self, state: _State, seen: Activity, second: int, reads: Sequence[Cell]) -> Sequence[Finding]:
        seqs = sorted(pair for cell in reads for pair in cell.seqs)
        is_person = reads[0].actor_type in _PERSONS
        above = []
        for each, width_s in ((state.hour, _HOUR_S), (state.day, _DAY_S)):
            judging = _judging(self.thresholds, width_s)
            each.baseline.count = each.resources.count
            score = each.baseline.above(second, seen.chain, seqs, judging)
            if score > 1 and (is_person or each.baseline.is_known(judging)):
                above.append((score, judging, each))
        if not above or not state.episode.tells(second, self.thresholds.quiet_s):
            return ()
        return (self._finding(seen, second, *max(above, key=lambda each: each[0])),)

    def _finding(self, seen: Activity, second: int, score: float, judging: Judging, mass: _Span) -> Finding:
        baseline = mass.baseline
        taken_s = baseline.end - baseline.start + 1
        is_known, most = baseline.is_known(judging), baseline.usual_most(judging)
        if is_known:
            usual = (
                f"usual is {baseline.level.mean:.0f} in {span(judging.width_s)}, and {judging.quantile * 100:g} of 100 "
                f"have at most {most}"
            )
        else:
            usual = f"what is usual is not known yet, up to {baseline.limit} in {span(judging.width_s)} are passed over"
        return Finding(
            severity="critical" if score >= self.thresholds.high_factor else "high",
            confidence=min(0.99, 1 - 0.5 / score) if is_known else 0.5,
            summary=(f"{seen.actor_id} read about {baseline.count} different resources in {span(taken_s)}; {usual}"),
            window=(baseline.start, baseline.end),
            key_s=Episode.key_s(second, self.thresholds.quiet_s),
            query=window_query(
                sorted(baseline.seqs),
                baseline.start,
                baseline.end,
                f"actor:{quoted(seen.actor_id)}",
                "result:success",
            ),
            score=score,
            seen={"resources": baseline.count, "seconds": taken_s},
            usual={"resources": round(baseline.level.mean, 1), "most": most, "limit": baseline.limit},
            seqs=merged_ranges(baseline.seqs.get(seen.chain, ())),
        )


def _move(each: _Span, second: int, judging: Judging) -> None:
    each.baseline.count = each.resources.count
    if each.baseline.moved(second, judging):
        each.resources.clear()


@lru_cache(maxsize=64)
def _judging(limits: _Thresholds, width_s: int) -> Judging:
    return Judging(
        width_s=width_s,
        least=limits.least_hour if width_s == _HOUR_S else limits.least_day,
        factor=limits.factor if width_s == _HOUR_S else limits.day_factor,
        quantile=limits.quantile,
        deviations=limits.deviations,
        peak_factor=limits.peak_factor,
        min_buckets=limits.min_hours if width_s == _HOUR_S else limits.min_days,
        min_days=limits.min_days,
        half_life_days=limits.half_life_days,
        fading=limits.fading,
        fresh=limits.fresh_hour if width_s == _HOUR_S else limits.fresh_day,
    )
