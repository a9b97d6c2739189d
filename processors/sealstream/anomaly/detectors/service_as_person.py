"""A service behaves as a person, or a person's id appears as a service: somebody uses an account that isn't theirs.

A service that opens a browser, signs in after weeks in which it never had to, or is suddenly a user: its key has fallen
into somebody's hands. A person's id in a program's mouth: its session was taken along.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import ClassVar, Literal

import msgspec

from sealstream.anomaly.actions import LOGIN, traits
from sealstream.anomaly.detecting import Finding, Thresholds, merged_ranges, quoted, window_query
from sealstream.anomaly.episodes import Episode
from sealstream.anomaly.runs import Kind, Run
from sealstream.anomaly.wording import counted, listed
from sealstream.layout.activity import Activity, Cell

__all__ = ["ServiceAsPerson"]

_DAY_S = 86_400
_SERVICE, _PERSONS = "service", ("user", "admin")


class _Thresholds(Thresholds, frozen=True):
    """Who was active as one kind alone on `min_days` days, with nothing else in the last `pure_days`, is known as it.
    `quiet_s`: no second alert.
    """

    min_days: int = 7
    pure_days: int = 60
    quiet_s: int = 86_400


class _State(msgspec.Struct):
    """Days of activity as a service and as a person, each with its newest day; the newest days on which it used a
    browser as a service, and on which it signed in as one.
    """

    service_days: int = 0
    service_day: int = 0
    person_days: int = 0
    person_day: int = 0
    browser_day: int = 0
    login_day: int = 0
    episode: Episode = msgspec.field(default_factory=Episode)


class ServiceAsPerson:
    """What kind of actor somebody is, against what it was."""

    name: ClassVar[str] = "service_as_person"
    says: ClassVar[str] = "a service acts as a person, or a person's id as a service"
    subject: ClassVar[Literal["actor", "address"]] = "actor"
    state = _State
    thresholds = _Thresholds()

    def detect(self, state: _State, seen: Activity, second: int) -> tuple[_State, Sequence[Finding]]:
        day = second // _DAY_S
        for cell in seen.cells:
            kind = cell.actor_type
            if kind in _PERSONS:
                if state.person_day < day:
                    break
            elif kind == _SERVICE and (
                state.service_day < day
                or (cell.browsers and state.browser_day < day)
                or (state.login_day < day and traits(cell.action) & LOGIN)
            ):
                break
        else:
            return state, ()
        days = {"service": state.service_days, "person": state.person_days}
        odd = self._odd(state, seen.cells, day)
        if not odd or not state.episode.tells(second, self.thresholds.quiet_s):
            return state, ()
        was = "person" if "acts as a service" in odd else "service"
        return state, (self._finding(seen, second, odd, was, days[was]),)

    def ahead(self, state: _State, run: Run) -> Iterator[int]:
        """What it was today already, it may be."""
        day, seconds = run.day, run.seconds
        places = [
            place for kind, place in run.firsts.items() if kind.is_success and not self._is_known(state, kind, day)
        ]
        for place in sorted(places):
            if not self._is_known(state, run.kinds[place], day):
                yield seconds[place]

    def _is_known(self, state: _State, kind: Kind, day: int) -> bool:
        if kind.actor_type in _PERSONS:
            return state.person_day >= day
        return kind.actor_type != _SERVICE or (
            state.service_day >= day
            and (not kind.browsers or state.browser_day >= day)
            and (state.login_day >= day or not kind.traits & LOGIN)
        )

    def _odd(self, state: _State, cells: Sequence[Cell], day: int) -> dict[str, list[Cell]]:
        """What is odd about these, in words; then they are known."""
        done = [cell for cell in cells if cell.result == "success"]
        as_person = [cell for cell in done if cell.actor_type in _PERSONS]
        as_service = [cell for cell in done if cell.actor_type == _SERVICE]
        by_browser = [cell for cell in as_service if cell.browsers]
        logins = [cell for cell in as_service if traits(cell.action) & LOGIN]
        limits, odd = self.thresholds, {}
        if state.service_days >= limits.min_days and self._is_past(state.person_day, day):
            if as_person:
                odd["acts as a person"] = as_person
            if by_browser and self._is_past(state.browser_day, day):
                odd["uses a browser"] = by_browser
            if logins and self._is_past(state.login_day, day):
                odd["logs in"] = logins
        if as_service and state.person_days >= limits.min_days and self._is_past(state.service_day, day):
            odd["acts as a service"] = as_service
        if as_person and day > state.person_day:
            state.person_day, state.person_days = day, state.person_days + 1
        if as_service and day > state.service_day:
            state.service_day, state.service_days = day, state.service_days + 1
        if by_browser:
            state.browser_day = max(state.browser_day, day)
        if logins:
            state.login_day = max(state.login_day, day)
        return odd

    def _is_past(self, last_day: int, day: int) -> bool:
        """Whether it was never so, or so long ago that it tells nothing any more."""
        return not last_day or day - last_day > self.thresholds.pure_days

    def _finding(self, seen: Activity, second: int, odd: dict[str, list[Cell]], was: str, days: int) -> Finding:
        cells = [cell for found in odd.values() for cell in found]
        addresses = sorted({cell.ip_address for cell in cells if cell.ip_address})
        actions = sorted({cell.action for cell in cells})
        return Finding(
            severity="high",
            confidence=min(0.9, 0.5 + 0.02 * days),
            summary=(
                f"{seen.actor_id} {' and '.join(odd)}: {listed(actions)} from "
                f"{listed(addresses) or 'an unknown address'}; usual is a {was}, "
                f"on {counted(days, 'day')} of activity and nothing else"
            ),
            window=(second, second),
            key_s=second - second % _DAY_S,
            query=window_query(
                seen.chain,
                second,
                second,
                f"actor:{quoted(seen.actor_id)}",
                *sorted({f"actor_type:{cell.actor_type}" for cell in cells}),
            ),
            score=float(len(odd)),
            seen={"how": ", ".join(odd), "address": addresses[0] if addresses else ""},
            usual={"kind": was, "days": days},
            seqs=merged_ranges(pair for cell in cells for pair in cell.seqs),
        )
