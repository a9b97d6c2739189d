"""What the watch knows of an actor or an address, as sentences: each detector's state and what it would alert at. Pure.

A detector that has no words here is shown by what its state holds.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from datetime import date
from typing import Any, Literal, NamedTuple

import msgspec

from sealstream.anomaly.baseline import Baseline, Judging
from sealstream.anomaly.detecting import second_at
from sealstream.anomaly.detectors import DETECTORS
from sealstream.anomaly.habits import Habit
from sealstream.anomaly.watching import Subject, chosen
from sealstream.anomaly.wording import counted, rate, span

__all__ = ["Explained", "explained"]

_DAY_S = 86_400
_SHOWN = 6


class Explained(NamedTuple):
    """One detector's. `says`: what it looks for; `known`: what it knows, a sentence each; none: nothing was seen."""

    detector: str
    says: str
    known: Sequence[str]


class _Asked(NamedTuple):
    state: Any
    limits: Any
    second: int
    tenant: str


def explained(
    kind: Literal["actor", "address"],
    subject: Subject[Any],
    thresholds: Mapping[str, Mapping[str, Any]],
    second: int,
) -> list[Explained]:
    """What all detectors of this kind of subject know, as of a second."""
    tenant = next((record.tenant for record in subject.last.values() if getattr(record, "tenant", None)), "")
    found = []
    for detector in chosen({name: each for name, each in DETECTORS.items() if each.subject == kind}, thresholds):
        state = subject.states.get(detector.name)
        known: Sequence[str] = ()
        if state is not None and state != detector.state():
            asked = _Asked(state, detector.thresholds, second, tenant)
            known = _WORDS.get(detector.name, _as_it_is)(asked)
        found.append(Explained(detector.name, detector.says, list(known)))
    return found


def _failed_login_burst(asked: _Asked) -> list[str]:
    limits, usual = asked.limits, asked.state.usual.an_hour(asked.second)
    return [
        f"failed logins: {rate(usual)}",
        f"alerts at {limits.failures} within {span(limits.window_s)}, or {limits.slow_failures} within "
        f"{span(limits.slow_window_s)}, or {limits.usual_factor:g} times what is usual where that is more",
        *_told(asked),
    ]


def _password_spray(asked: _Asked) -> list[str]:
    limits, usual = asked.limits, asked.state.usual.an_hour(asked.second)
    return [
        f"actors who fail from here and don't get in: {rate(usual)}",
        f"alerts at {limits.actors} of them within {span(limits.window_s)}, or {limits.slow_actors} within "
        f"{span(limits.slow_window_s)}, or {limits.usual_factor:g} times what is usual where that is more",
        *_told(asked),
    ]


def _access_spike(asked: _Asked) -> list[str]:
    state, limits = asked.state, asked.limits
    return [
        _baseline("entries in ten minutes", state.short, _judging(limits, 600, limits.least_short, limits.min_buckets)),
        _baseline("entries in an hour", state.long, _judging(limits, 3_600, limits.least_long, limits.min_buckets)),
        *_told(asked),
    ]


def _mass_read(asked: _Asked) -> list[str]:
    state, limits = asked.state, asked.limits
    hour = _judging(limits, 3_600, limits.least_hour, limits.min_hours)
    day = _judging(limits, _DAY_S, limits.least_day, limits.min_days, limits.day_factor)
    return [
        _baseline("different resources in an hour", state.hour.baseline, hour),
        _baseline("different resources in a day", state.day.baseline, day),
        *_told(asked),
    ]


def _mass_export(asked: _Asked) -> list[str]:
    state, limits = asked.state, asked.limits
    day, half_life = asked.second // _DAY_S, limits.half_life_days
    lines = []
    for name, tally in sorted(state.kinds.items()):
        in_day, in_week = tally.greatest_day(half_life), tally.greatest_week(half_life)
        line = (
            f"exports of {name}: at most {in_day:.0f} in a day and {in_week:.0f} in seven; alerts above "
            f"{max(limits.least_day, limits.peak_factor * in_day):.0f} in a day"
        )
        if day - tally.begun >= limits.min_known_days:
            line += f", {max(limits.least_week, limits.peak_factor * in_week):.0f} in seven"
        lines.append(line)
    lines.append(f"alerts above {limits.least_new_week} in seven days of what it has never exported")
    if day - state.begun < limits.min_days:
        lines.append(f"not known well enough yet: {day - state.begun} of {limits.min_days} days")
    if state.told_day:
        lines.append(f"last alert on {second_at(state.told_day * _DAY_S)[:10]}")
    return lines


def _unusual_hour(asked: _Asked) -> list[str]:
    state, limits = asked.state, asked.limits
    zone = limits.zones.get(asked.tenant, limits.zone)
    days = state.week.active_days(limits.half_life_days)
    hours = ", ".join(f"{first:02d}:00-{last:02d}:59" for first, last in state.week.usual_hours(limits.usual_from))
    settled = days >= limits.min_days and state.week.latest - state.week.begun >= 7 * limits.min_weeks
    return [
        f"usually active {hours or 'at no hour in particular'} ({zone}), over {counted(round(days), 'day')}",
        f"alerts at {limits.entries} entries {limits.hours_away} or more hours away from those"
        if settled
        else f"not known well enough yet: expects {limits.min_days} days over {limits.min_weeks} weeks",
        *_told(asked),
    ]


def _first_seen(asked: _Asked) -> list[str]:
    state, limits = asked.state, asked.limits
    kinds = (
        ("networks", state.networks),
        ("addresses", state.addresses),
        ("resource types", state.types),
        ("actions", state.actions),
    )
    lines = [f"{name}: {_habit(habit)}" for name, habit in kinds]
    if state.active <= limits.min_days:
        lines.append(f"not known well enough yet: {state.active} of more than {limits.min_days} days of activity")
    else:
        lines.append(f"alerts at {limits.bits:g} bits of surprise within {span(limits.window_s)}")
    return [*lines, *_told(asked)]


def _denied_scan(asked: _Asked) -> list[str]:
    limits, usual = asked.limits, asked.state.usual.an_hour(asked.second)
    return [
        f"denials: {rate(usual)}",
        f"alerts at {limits.resources} resources, {limits.types} types or {limits.denials} denials within "
        f"{span(limits.window_s)}; {limits.slow_resources}, {limits.slow_types} or {limits.slow_denials} within "
        f"{span(limits.slow_window_s)}",
        *_told(asked),
    ]


def _privilege_change_then_use(asked: _Asked) -> list[str]:
    state = asked.state
    lines = [f"has done: {_names(state.deeds)}"]
    for grant in state.grants:
        lines.append(f"{grant.action} by {grant.by or 'itself'} on {second_at(grant.second)}")
    return [*lines, *_told(asked)]


def _break_glass_without_reason(asked: _Asked) -> list[str]:
    return [
        f"emergency access, with and without a reason: {rate(asked.state.usual.an_hour(asked.second))}",
        "alerts at one without a reason",
        *_told(asked),
    ]


def _dormant_actor(asked: _Asked) -> list[str]:
    state, limits = asked.state, asked.limits
    limit_s = max(limits.dormant_days * _DAY_S, limits.pause_factor * state.longest_s)
    return [
        f"last active {second_at(state.last_s)}, on {counted(state.days, 'day')} so far; its longest pause was "
        f"{span(state.longest_s)}",
        f"alerts when it is active again after {span(limit_s)}"
        if state.days >= limits.min_days
        else f"not known well enough yet: expects {limits.min_days} days of activity",
    ]


def _service_as_person(asked: _Asked) -> list[str]:
    state = asked.state
    return [
        f"acted as a service on {counted(state.service_days, 'day')}, as a person on "
        f"{counted(state.person_days, 'day')}",
        *_told(asked),
    ]


_WORDS: Mapping[str, Callable[[_Asked], Sequence[str]]] = {
    "failed_login_burst": _failed_login_burst,
    "password_spray": _password_spray,
    "access_spike": _access_spike,
    "unusual_hour": _unusual_hour,
    "first_seen": _first_seen,
    "mass_read": _mass_read,
    "mass_export": _mass_export,
    "denied_scan": _denied_scan,
    "privilege_change_then_use": _privilege_change_then_use,
    "break_glass_without_reason": _break_glass_without_reason,
    "dormant_actor": _dormant_actor,
    "service_as_person": _service_as_person,
}


def _as_it_is(asked: _Asked) -> list[str]:
    held: dict[str, Any] = msgspec.to_builtins(asked.state)
    return [f"{name}: {msgspec.json.encode(value).decode()[:200]}" for name, value in held.items()]


def _judging(limits: Any, width_s: int, least: int, min_buckets: int, factor: float | None = None) -> Judging:
    return Judging(
        width_s=width_s,
        least=least,
        factor=limits.factor if factor is None else factor,
        quantile=limits.quantile,
        deviations=limits.deviations,
        peak_factor=limits.peak_factor,
        min_buckets=min_buckets,
        min_days=limits.min_days,
        half_life_days=limits.half_life_days,
        fading=limits.fading,
    )


def _baseline(what: str, baseline: Baseline, judging: Judging) -> str:
    seen = f"{what}: usually {baseline.level.mean:.0f}, the most lately {baseline.peak:.0f}"
    if not baseline.is_known(judging):
        wanted = f"{judging.min_buckets} such times over {counted(judging.min_days, 'day')}"
        return f"{seen}; not known well enough yet: expects {wanted}"
    asked = copy.deepcopy(baseline)
    asked.limit = 0
    asked.above(asked.start, "", (), judging)  # which reckons its limit
    return f"{seen}, {baseline.usual_most(judging)} is hardly ever exceeded; alerts above {asked.limit}"


def _habit(habit: Habit) -> str:
    return f"{_names(habit.known)}; a new one is worth {habit.bits():.1f} bits"


def _names(known: Mapping[str, int]) -> str:
    """Names with the day (its number since 1970) on which each was last seen, the newest first."""
    newest = sorted(known, key=lambda name: (-known[name], name))
    shown = ", ".join(f"{name} ({_day(known[name])})" for name in newest[:_SHOWN])
    more = f" and {len(newest) - _SHOWN} more" if len(newest) > _SHOWN else ""
    return f"{shown}{more}" or "none"


def _day(number: int) -> str:
    return date.fromordinal(number + date(1970, 1, 1).toordinal()).isoformat()


def _told(asked: _Asked) -> list[str]:
    told_s = asked.state.episode.told_s
    return [f"last alert {second_at(told_s)}"] if told_s else []
