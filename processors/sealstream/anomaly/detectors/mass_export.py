"""An actor exports far more of a kind of thing than it ever does, in a day or drop by drop over a week.

One export is one entry, however much it takes along, so exports are not weighed with reads but counted by themselves,
and by resource type: who exports reports each day may still be new to exporting patients. A week is judged once a
month of it is known, since months have a rhythm of their own; a type that was never exported before, at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Literal, NamedTuple

import msgspec

from sealstream.anomaly.actions import EXPORT, traits, traits_of
from sealstream.anomaly.detecting import Finding, Thresholds, merged_ranges, quoted, window_query
from sealstream.anomaly.habits import short
from sealstream.anomaly.tallies import Tally
from sealstream.anomaly.wording import counted, span
from sealstream.layout.activity import OTHERS, Activity, Cell

__all__ = ["MassExport"]

_DAY_S = 86_400
_WEEK = 7
_MAX_KINDS = 6
_SHOWN_RANGES = 12
_MAX_CHAINS = 2
_PERSONS = ("user", "admin")


class _Thresholds(Thresholds, frozen=True):
    """A mass is more exports of one resource type than `least_day` in a day and than `peak_factor` times the greatest
    day before, or more than `least_week` in seven days and than `peak_factor` times the greatest such week before; each
    greatest is forgotten by half in `half_life_days`. Weeks count for types that have been exported for
    `min_known_days`, and for those that were not before this week. Before an actor is known for `min_days` the limit is
    `fresh_day` in a day, for persons. While it goes on it is told once in `again_days`, or when it has doubled; from
    `high_factor` times the limit it is high.
    """

    least_day: int = 15
    least_week: int = 12
    peak_factor: float = 2.0
    min_days: int = 10
    min_known_days: int = 35
    fresh_day: int = 40
    half_life_days: float = 60.0
    again_days: int = 7
    high_factor: float = 2.0


class _Kind(msgspec.Struct, array_like=True):
    """Exports of one resource type. `seqs`: the newest entries, by chain."""

    tally: Tally = msgspec.field(default_factory=Tally)
    seqs: dict[str, list[list[int]]] = {}


class _State(msgspec.Struct):
    """`begun`: the day on which the actor was first seen. `kinds`: by resource type (`habits.short`), or `OTHERS`.

    `told_day`, `told_score`: the newest finding.
    """

    begun: int = 0
    kinds: dict[str, _Kind] = {}
    told_day: int = 0
    told_score: float = 0.0


class _Mass(NamedTuple):
    score: float
    name: str
    kind: _Kind
    days: int
    count: int
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
            name, kind = self._kind(state, cell, second // _DAY_S)
            kind.tally.add(second, cell.count, self.thresholds.half_life_days)
            _keep(kind.seqs, seen.chain, cell.seqs)
            masses += self._masses(state, name, kind, second // _DAY_S, is_person=cell.actor_type in _PERSONS)
        mass = max(masses, key=lambda each: each.score, default=None)
        if mass is None or not self._tells(state, mass.score, second // _DAY_S):
            return state, ()
        return state, (self._finding(state, seen, second, mass),)

    def _kind(self, state: _State, cell: Cell, day: int) -> tuple[str, _Kind]:
        """Where there are too many kinds, a new one is one of the others, unless one was not seen for long."""
        name = short(cell.resource_type)
        if name not in state.kinds and len(state.kinds) >= _MAX_KINDS:
            oldest = min(state.kinds, key=lambda each: (state.kinds[each].tally.newest, each))
            if day - state.kinds[oldest].tally.newest > 3 * self.thresholds.half_life_days:
                del state.kinds[oldest]
            else:
                name = OTHERS
        return name, state.kinds.setdefault(name, _Kind())

    def _masses(self, state: _State, name: str, kind: _Kind, day: int, *, is_person: bool) -> list[_Mass]:
        limits, tally = self.thresholds, kind.tally
        if day - state.begun < limits.min_days:
            return [_mass(name, kind, 1, limits.fresh_day, 0)] if is_person else []
        days, weeks = tally.greatest_day(limits.half_life_days), tally.greatest_week(limits.half_life_days)
        found = [_mass(name, kind, 1, max(limits.least_day, limits.peak_factor * days), round(days))]
        known_days = day - tally.begun
        if known_days < _WEEK or known_days >= limits.min_known_days:
            found.append(_mass(name, kind, _WEEK, max(limits.least_week, limits.peak_factor * weeks), round(weeks)))
        return found

    def _tells(self, state: _State, score: float, day: int) -> bool:
        """Whether it is so and to be told; no two on one day."""
        if score <= 1 or day <= state.told_day:
            return False
        if day - state.told_day < self.thresholds.again_days and score < 2 * state.told_score:
            return False
        state.told_day, state.told_score = day, round(score, 2)
        return True

    def _finding(self, state: _State, seen: Activity, second: int, mass: _Mass) -> Finding:
        limits, tally, name = self.thresholds, mass.kind.tally, mass.name
        day = second // _DAY_S
        begin = tally.start(mass.days)
        of = "of other types" if name == OTHERS else f"of {name}"
        if day - state.begun < limits.min_days:
            usual = f"what is usual is not known yet, up to {mass.limit} a day are passed over"
        elif day - tally.begun < _WEEK:
            usual = f"there was none before, in {counted(day - state.begun, 'day')}"
        else:
            usual = f"the most in {span(mass.days * _DAY_S)} was {mass.usual_most}"
        terms = [] if name == OTHERS or name.startswith("#") else [f"resource_type:{quoted(name)}"]
        return Finding(
            severity="high" if mass.score >= limits.high_factor else "medium",
            confidence=min(0.99, 1 - 0.5 / mass.score),
            summary=f"{seen.actor_id} made {counted(mass.count, 'export')} {of} in {_within(begin, second)}; {usual}",
            window=(begin, second),
            key_s=day * _DAY_S,
            query=window_query(
                sorted({*mass.kind.seqs, seen.chain}),
                begin,
                second,
                f"actor:{quoted(seen.actor_id)}",
                *terms,
                "result:success",
            ),
            score=mass.score,
            seen={"exports": mass.count, "days": mass.days, "type": name},
            usual={"most": mass.usual_most, "limit": mass.limit, "known_days": day - tally.begun},
            seqs=merged_ranges(mass.kind.seqs.get(seen.chain, ())),
        )


def _mass(name: str, kind: _Kind, days: int, limit: float, usual_most: int) -> _Mass:
    count = kind.tally.sum(days)
    return _Mass(count / limit, name, kind, days, count, round(limit), usual_most)


def _within(begin: int, end: int) -> str:
    return span(end - begin + 1)


def _keep(known: dict[str, list[list[int]]], chain: str, seqs: Sequence[Sequence[int]]) -> None:
    """The newest entries; those before are let go."""
    ranges = known.get(chain)
    if ranges is None:
        if len(known) >= _MAX_CHAINS:
            return
        ranges = known[chain] = []
    known[chain] = merged_ranges([*ranges, *seqs])[-_SHOWN_RANGES:]
