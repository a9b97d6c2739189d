"""An actor exports far more of a kind of thing than it ever does, in a day or drop by drop over a week.

One export is one entry, however much it takes along, so exports are not weighed with reads but counted by themselves,
and by resource type: who exports reports each day may still be new to exporting patients. A week is judged once a
month of it is known, since months have a rhythm of their own; a type that was never exported before, at once.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import ClassVar, Literal, NamedTuple

import msgspec

from sealstream.anomaly.actions import EXPORT, traits, traits_of
from sealstream.anomaly.detecting import Finding, Thresholds, quoted, window_query
from sealstream.anomaly.habits import short
from sealstream.anomaly.runs import Run
from sealstream.anomaly.tallies import Tally
from sealstream.anomaly.wording import counted, span
from sealstream.layout.activity import OTHERS, Activity, Cell

__all__ = ["MassExport"]

_DAY_S = 86_400
_WEEK = 7
_MAX_KINDS = 5
_PERSONS = ("user", "admin")


class _Thresholds(Thresholds, frozen=True):
    """A mass is more exports of one resource type than `least_day` in a day and than `peak_factor` times the greatest
    day before, or more than `least_week` in seven days and than `peak_factor` times the greatest such week before; each
    greatest is forgotten by half in `half_life_days`. Weeks count for types that have been exported for
    `min_known_days`; for those that were not before this week, `least_new_week` are a mass. Before an actor is known
    for `min_days` the limit is `fresh_day` in a day, for persons. While it goes on it is told once in `again_days`, and
    once more on a day on which it has become critical, which it is from `high_factor` times the limit on.
    """

    least_day: int = 15
    least_week: int = 20
    least_new_week: int = 12
    peak_factor: float = 2.0
    min_days: int = 10
    min_known_days: int = 35
    fresh_day: int = 40
    half_life_days: float = 60.0
    again_days: int = 7
    high_factor: float = 5.0


class _State(msgspec.Struct):
    """`begun`: the day on which the actor was first seen. `kinds`: its exports by resource type (`habits.short`), or
    `OTHERS`. `told_day`: of the newest finding; `is_critical`: whether that was so.
    """

    begun: int = 0
    kinds: dict[str, Tally] = {}
    told_day: int = 0
    is_critical: bool = False


class _Mass(NamedTuple):
    score: float
    name: str
    tally: Tally
    days: int
    exports: int
    limit: int
    usual_most: int


class MassExport:
    """How many exports an actor makes of each kind of thing, against its own days and weeks."""

    name: ClassVar[str] = "mass_export"
    says: ClassVar[str] = "an actor exports far more of a kind of thing than it ever does, in a day or over a week"
    subject: ClassVar[Literal["actor", "address"]] = "actor"
    state = _State
    thresholds = _Thresholds()

    def detect(self, state: _State, seen: Activity, second: int) -> tuple[_State, Sequence[Finding]]:
        if not state.begun and seen.cells:
            state.begun = second // _DAY_S
        if not traits_of(seen) & EXPORT:
            return state, ()
        exports = [cell for cell in seen.cells if traits(cell.action) & EXPORT and cell.result == "success"]
        if not exports:
            return state, ()
        masses = []
        for cell in exports:
            name = self._name(state, cell, second // _DAY_S)
            tally = state.kinds.setdefault(name, Tally())
            tally.add(second, cell.count, seen.chain, cell.seqs, half_life_days=self.thresholds.half_life_days)
            masses += self._masses(state, name, tally, second // _DAY_S, is_person=cell.actor_type in _PERSONS)
        mass = max(masses, key=lambda each: each.score, default=None)
        if mass is None or not self._tells(state, mass.score, second // _DAY_S):
            return state, ()
        return state, (self._finding(state, seen, second, mass),)

    def ahead(self, state: _State, run: Run) -> Iterator[int]:
        """Nothing but exports matters, once it is known since when the actor is there."""
        if not state.begun and run.seconds:
            state.begun = run.day
        yield from run.concerned(EXPORT)

    def _name(self, state: _State, cell: Cell, day: int) -> str:
        """What a cell's exports are counted as: where there are too many kinds, a new one is one of the others, unless
        one was not seen for long.
        """
        name = short(cell.resource_type)
        if name in state.kinds or len(state.kinds) < _MAX_KINDS:
            return name
        oldest = min(state.kinds, key=lambda each: (state.kinds[each].newest, each))
        if day - state.kinds[oldest].newest <= 3 * self.thresholds.half_life_days:
            return OTHERS
        del state.kinds[oldest]
        return name

    def _masses(self, state: _State, name: str, tally: Tally, day: int, *, is_person: bool) -> list[_Mass]:
        limits = self.thresholds
        if day - state.begun < limits.min_days:
            return [_mass(name, tally, 1, limits.fresh_day, 0)] if is_person else []
        in_day, in_week = tally.greatest_day(limits.half_life_days), tally.greatest_week(limits.half_life_days)
        found = [_mass(name, tally, 1, max(limits.least_day, limits.peak_factor * in_day), in_day)]
        known_days = day - tally.begun
        if known_days < _WEEK:
            found.append(_mass(name, tally, _WEEK, limits.least_new_week, 0))
        elif known_days >= limits.min_known_days:
            found.append(_mass(name, tally, _WEEK, max(limits.least_week, limits.peak_factor * in_week), in_week))
        return found

    def _tells(self, state: _State, score: float, day: int) -> bool:
        """Whether it is so, and to be told: once in some days, unless it has become critical; never twice on one."""
        if score <= 1 or day <= state.told_day:
            return False
        is_critical = score >= self.thresholds.high_factor
        if day - state.told_day < self.thresholds.again_days and (state.is_critical or not is_critical):
            return False
        state.told_day, state.is_critical = day, is_critical
        return True

    def _finding(self, state: _State, seen: Activity, second: int, mass: _Mass) -> Finding:
        limits, tally, name = self.thresholds, mass.tally, mass.name
        day = second // _DAY_S
        begin = tally.start(mass.days)
        what = f"{counted(mass.exports, 'export')} of {'other types' if name == OTHERS else name}"
        if day - state.begun < limits.min_days:
            usual = f"what is usual is not known yet, up to {mass.limit} a day are passed over"
        elif day - tally.begun < _WEEK:
            usual = f"there was none before, in {counted(day - state.begun, 'day')}"
        else:
            usual = f"the most in {counted(mass.days, 'day')} was {mass.usual_most}"
        terms = [] if name == OTHERS or name.startswith("#") else [f"resource_type:{quoted(name)}"]
        return Finding(
            severity="critical" if state.is_critical else "high" if mass.days == 1 else "medium",
            confidence=min(0.99, 1 - 0.5 / mass.score),
            summary=f"{seen.actor_id} made {what} in {span(second - begin + 1)}; {usual}",
            window=(begin, second),
            key_s=day * _DAY_S,
            query=window_query(
                sorted({*tally.chains(mass.days), seen.chain}),
                begin,
                second,
                f"actor:{quoted(seen.actor_id)}",
                *terms,
                "result:success",
            ),
            score=mass.score,
            seen={"exports": mass.exports, "days": mass.days, "type": name},
            usual={"most": mass.usual_most, "limit": mass.limit, "known_days": day - tally.begun},
            seqs=tally.seqs(mass.days, seen.chain),
        )


def _mass(name: str, tally: Tally, days: int, limit: float, usual_most: float) -> _Mass:
    count = tally.sum(days)
    return _Mass(count / max(limit, 1), name, tally, days, count, round(limit), round(usual_most))
