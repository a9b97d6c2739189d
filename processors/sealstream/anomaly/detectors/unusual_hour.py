"""A person is active at an hour at which it never is: a stolen session works where its thief's day is.

The week that was lived in the last months says what is usual, by the clock of the actor's time zone. An event that
waited in a spool is judged by when it happened, not by when it was sealed.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from typing import ClassVar, Literal
from zoneinfo import ZoneInfo

import msgspec

from sealstream.anomaly.actions import LATE, LOGIN, traits, traits_of
from sealstream.anomaly.detecting import Finding, Thresholds, epoch_of, merged_ranges, quoted, window_query
from sealstream.anomaly.episodes import Episode
from sealstream.anomaly.hours import LocalHour, Week, local_hour
from sealstream.anomaly.runs import Run
from sealstream.anomaly.windows import add_ranges
from sealstream.layout.activity import Activity, Cell

__all__ = ["UnusualHour"]

_QUARTER_S = 900
_REMEMBERED = 48
_ODD_FOR_HOURS = 24
_ODD_HOURS = 12
_SHOWN_RANGES = 4
_LATE_DAYS = 14
_PERSONS = ("user", "admin")
_DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")


class _Thresholds(Thresholds, frozen=True):
    """An hour is unusual when the actor is active around it on less than `likelihood` of its days, and it is at least
    `hours_away` from any hour that is active on `usual_from` of them; it is told from `entries` entries in such hours
    on. Before `min_days` active days over `min_weeks` weeks nothing is. `half_life_days`: by then half is forgotten.
    `quiet_s`: without any, an episode is over. `zone`, `zones`: the clock of actors, and that of those whose tenant is
    named, as in `Europe/Berlin`.
    """

    likelihood: float = 0.04
    hours_away: int = 4
    usual_from: float = 0.1
    entries: int = 4
    min_days: int = 10
    min_weeks: int = 3
    half_life_days: float = 60.0
    quiet_s: int = 43_200
    zone: str = "UTC"
    zones: Mapping[str, str] = {}

    def __post_init__(self) -> None:
        for name in {self.zone, *self.zones.values()} - {"UTC"}:
            try:
                ZoneInfo(name)
            except (ValueError, KeyError, OSError) as error:
                raise ValueError(
                    f"{name!r} is no time zone of this machine: expected one such as Europe/Berlin"
                ) from error


class _Odd(msgspec.Struct, array_like=True):
    """An unusual hour. `first_s`, `last_s`: the seconds of its records; `likelihood`: as it was known before it."""

    hour: LocalHour
    first_s: int
    last_s: int
    likelihood: float
    away: int
    count: int = 0
    seqs: dict[str, list[list[int]]] = {}


class _State(msgspec.Struct):
    """`quarter`: the quarter of an hour in which all is known to be usual. `known`: numbers of the hours that were
    learned last; `odd`: those that wait to be learned until they are a day old.
    """

    week: Week = msgspec.field(default_factory=Week)
    quarter: int = 0
    known: list[int] = []
    odd: dict[int, _Odd] = {}
    episode: Episode = msgspec.field(default_factory=Episode)


class UnusualHour:
    """The hours in which a person is active, against its own week."""

    name: ClassVar[str] = "unusual_hour"
    says: ClassVar[str] = "a person is active at an hour at which it never is"
    subject: ClassVar[Literal["actor", "address"]] = "actor"
    state = _State
    thresholds = _Thresholds()

    def detect(self, state: _State, seen: Activity, second: int) -> tuple[_State, Sequence[Finding]]:
        quarter = second // _QUARTER_S
        if quarter == state.quarter and not traits_of(seen) & LATE:
            return state, ()
        limits = self.thresholds
        zone = limits.zones.get(seen.tenant or "", limits.zone)
        is_odd = False
        for at, cells in _by_quarter(seen.cells, second).items():
            odd = self._odd_hour(state, local_hour(zone, at), second)
            if odd is not None:
                is_odd = True
                odd.first_s, odd.last_s = min(odd.first_s, second), max(odd.last_s, second)
                odd.count += sum(cell.count for cell in cells)
                add_ranges(odd.seqs, seen.chain, sorted(pair for cell in cells for pair in cell.seqs), _SHOWN_RANGES)
            elif at == quarter:
                state.quarter = quarter
        if not is_odd:
            return state, ()
        entries = sum(odd.count for odd in state.odd.values())
        if entries < limits.entries or not state.episode.tells(second, limits.quiet_s):
            return state, ()
        return state, (self._finding(state, seen, second, entries, zone),)

    def ahead(self, state: _State, run: Run) -> Iterator[int]:
        """An hour that is usual is learned."""
        zones = self.thresholds.zones
        tenants = {kind.tenant for kind in run.firsts} if zones else {None}
        if run.traits & LATE or len(tenants) > 1:
            yield from run.moments
            return
        zone = zones.get(tenants.pop() or "", self.thresholds.zone) if tenants else self.thresholds.zone
        seconds, kinds, place, usual = run.seconds, run.kinds, 0, -1
        while place < len(seconds):
            second, kind = seconds[place], kinds[place]
            quarter = second // _QUARTER_S
            if quarter == state.quarter:
                place = bisect_left(seconds, (quarter + 1) * _QUARTER_S, place)
            elif not _is_persons(kind.actor_type, kind.result, kind.traits):
                place += 1
            elif (hour := local_hour(zone, quarter)).number == usual or self._odd_hour(state, hour, second) is None:
                usual, state.quarter = hour.number, quarter
            else:
                yield second
                place = bisect_right(seconds, second, place)

    def _odd_hour(self, state: _State, hour: LocalHour, second: int) -> _Odd | None:
        """The hour where it is unusual; one that is usual is learned."""
        if hour.number in state.known:
            return None
        odd = state.odd.get(hour.number)
        if odd is not None:
            return odd
        for number in [number for number in state.odd if hour.number - number > _ODD_FOR_HOURS]:
            self._learn(state, state.odd.pop(number).hour)
        limits, week = self.thresholds, state.week
        likelihood = week.likelihood(hour, limits.half_life_days)
        if (
            likelihood < limits.likelihood
            and len(state.odd) < _ODD_HOURS
            and week.latest - week.begun >= 7 * limits.min_weeks
            and week.active_days(limits.half_life_days) >= limits.min_days
            and (away := week.hours_away(hour, limits.usual_from)) >= limits.hours_away
        ):
            state.odd[hour.number] = _Odd(hour, second, second, round(likelihood, 4), away)
            return state.odd[hour.number]
        self._learn(state, hour)
        return None

    def _learn(self, state: _State, hour: LocalHour) -> None:
        state.week.add(hour, self.thresholds.half_life_days)
        state.known.append(hour.number)
        del state.known[:-_REMEMBERED]

    def _finding(self, state: _State, seen: Activity, second: int, entries: int, zone: str) -> Finding:
        limits = self.thresholds
        hours = [state.odd[number] for number in sorted(state.odd)]
        begin, end = min(odd.first_s for odd in hours), max(odd.last_s for odd in hours)
        oddest = min(hours, key=lambda odd: odd.likelihood)
        usual = ", ".join(f"{first:02d}:00-{last:02d}:59" for first, last in state.week.usual_hours(limits.usual_from))
        when = ", ".join(f"{_DAYS[odd.hour.weekday]} {odd.hour.hour:02d}:00" for odd in hours[:3])
        return Finding(
            severity="medium" if oddest.away >= 5 or entries >= 10 * limits.entries else "low",
            confidence=min(0.9, 1 - oddest.likelihood / limits.likelihood / 2),
            summary=(
                f"{seen.actor_id} was active on {when} ({zone}), {entries} entries; usual is {usual or 'no hour'}, and "
                f"around this hour {oddest.likelihood * 100:.1f} of 100 days, {oddest.away} hours away"
            ),
            window=(begin, end),
            key_s=Episode.key_s(second, limits.quiet_s),
            query=window_query(
                sorted({chain for odd in hours for chain in odd.seqs}), begin, end, f"actor:{quoted(seen.actor_id)}"
            ),
            score=limits.likelihood / oddest.likelihood,
            seen={"entries": entries, "hour": f"{_DAYS[oddest.hour.weekday]} {oddest.hour.hour:02d}:00", "zone": zone},
            usual={
                "hours": usual,
                "likelihood": oddest.likelihood,
                "days": round(state.week.active_days(limits.half_life_days), 1),
            },
            seqs=merged_ranges(pair for odd in hours for pair in odd.seqs.get(seen.chain, ())),
        )


@lru_cache(maxsize=1_024)
def _quarter_of(hour: str) -> int:
    return epoch_of(f"{hour}:00:00Z") // _QUARTER_S


def _is_persons(actor_type: str, result: str, found: int) -> bool:
    """Whether it shows that a person is there: a login that fails shows nothing."""
    return actor_type in _PERSONS and (result == "success" or not found & LOGIN)


def _by_quarter(cells: Sequence[Cell], second: int) -> dict[int, list[Cell]]:
    """What the actor itself did, by when it happened; a clock that is far off tells nothing."""
    found: dict[int, list[Cell]] = {}
    now = second // _QUARTER_S
    for cell in cells:
        if not _is_persons(cell.actor_type, cell.result, traits(cell.action)):
            continue
        at = now if cell.hour is None else _quarter_of(cell.hour)
        if now - _LATE_DAYS * 96 <= at <= now + 4:
            found.setdefault(at, []).append(cell)
    return found
