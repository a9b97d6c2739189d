"""Who works here: roles, sites, habits, and what the weeks bring them: leave, illness, trips, joining, leaving."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import Literal

from examples.company.places import BROWSERS, SITES, Home, Site

__all__ = ["Pattern", "Person", "Role", "Trip", "hire"]

Role = Literal["nurse", "doctor", "clerk", "developer", "admin", "auditor"]
Pattern = Literal["rotating", "nights", "mornings", "visits", "duty", "office", "flexible"]

_ROLES: tuple[tuple[Role, float, tuple[float, float, float]], ...] = (
    ("nurse", 0.38, (0.6, 0.4, 0.0)),
    ("doctor", 0.16, (0.6, 0.4, 0.0)),
    ("clerk", 0.27, (0.4, 0.3, 0.3)),
    ("developer", 0.14, (0.2, 0.2, 0.6)),
    ("admin", 0.03, (0.5, 0.2, 0.3)),
    ("auditor", 0.02, (0.5, 0.5, 0.0)),
)
"""Each role's share, and how it is spread over the sites."""


@dataclass(slots=True)
class Trip:
    """Days away, both inclusive, at a place where this person has not been."""

    first: date
    last: date
    address: str


@dataclass(slots=True)
class Person:
    """One of the staff.

    `team`: the ward, or the office. `starts`, `lunch`: usual local hours. `pace`: how much gets done, 1 being usual.
    `clumsy`: the share of logins with a wrong password first. `remote`: weekdays at home. `evenings`: the share of
    days with an hour's work at night. `joined`: the first day, None: long ago; `left`: the last one. `away`: days off,
    first and last. `moves`: from this day in that team. `promoted`: from this day with a leader's rights. `before`: the
    last day on which they worked before a long absence, or for ever.
    """

    number: int
    role: Role
    site: Site
    team: int
    pattern: Pattern
    offset: int
    starts: float
    lunch: int
    pace: float
    clumsy: float
    remote: frozenset[int]
    evenings: float
    home: Home
    agent: str
    seed: str
    joined: date | None = None
    left: date | None = None
    promoted: date | None = None
    before: date | None = None
    away: list[tuple[date, date]] = field(default_factory=list)
    trips: list[Trip] = field(default_factory=list)
    moves: list[tuple[date, int]] = field(default_factory=list)

    @property
    def id(self) -> str:
        """As the log calls them."""
        return f"user-{self.number:05d}"

    @property
    def actor_type(self) -> str:
        """As the log calls it."""
        return "admin" if self.role == "admin" else "user"

    @property
    def portal(self) -> bool:
        """Signs in through an old portal, which reports a failed login as `anonymous`."""
        return self.role == "clerk" and self.site.name == "boston" and self.team % 2 == 0

    def team_on(self, day: date) -> int:
        """The ward or office of that day."""
        return next((team for begins, team in reversed(self.moves) if day >= begins), self.team)

    def works_on(self, day: date) -> bool:
        """Employed, and not away."""
        if (self.joined and day < self.joined) or (self.left and day > self.left):
            return False
        return not any(first <= day <= last for first, last in self.away)

    def trip_on(self, day: date) -> Trip | None:
        """The trip of that day."""
        return next((trip for trip in self.trips if trip.first <= day <= trip.last), None)


def hire(rng: random.Random, people: int, begins: date, days: int) -> list[Person]:
    """So many people, and what happens to them in these days. Each role has somebody."""
    staff: list[Person] = []
    for role, share, spread in _ROLES:
        for _ in range(max(2, round(people * share)) if role != "nurse" else 0):
            staff.append(_person(rng, len(staff) + 1, role, rng.choices(SITES, spread)[0], people))
    nurses = _ROLES[0]
    while len(staff) < max(people, 12):
        staff.append(_person(rng, len(staff) + 1, "nurse", rng.choices(SITES, nurses[2])[0], people))
    for person in staff:
        _live(rng, person, begins, days)
    return staff


def _person(rng: random.Random, number: int, role: Role, site: Site, people: int) -> Person:
    office = role not in ("nurse", "doctor")
    pattern: Pattern = "office"
    if role == "nurse":
        pattern = rng.choices(("rotating", "nights", "mornings", "visits"), (0.62, 0.12, 0.22, 0.04))[0]
    elif role == "doctor":
        pattern = "duty"
    elif role == "developer":
        pattern = "flexible"
    wards = max(1, min(site.wards, round(site.wards * people / 2_000)))
    return Person(
        number=number,
        role=role,
        site=site,
        team=rng.randrange(1, 1 + (9 if office else wards)),
        pattern=pattern,
        offset=rng.randrange(28),
        starts=site.starts + rng.gauss(0, 0.4) + (rng.uniform(0, 2) if role == "developer" else 0),
        lunch=rng.choice((11, 12, 12, 12, 13)) + (1 if site.name == "pune" else 0),
        pace=min(3.0, rng.lognormvariate(0, 0.35)),
        clumsy=min(0.2, rng.lognormvariate(-3.6, 0.8)),
        remote=frozenset(rng.sample(range(5), rng.choice((0, 1, 2, 2, 3)))) if office else frozenset(),
        evenings=rng.choice((0.0, 0.05, 0.15, 0.3)) if role in ("developer", "admin") else 0.0,
        home=Home(rng),
        agent=rng.choice(BROWSERS),
        seed=f"{rng.getrandbits(48):x}",
    )


def _live(rng: random.Random, person: Person, begins: date, days: int) -> None:
    """Draws what the days bring."""
    day = begins
    while day < begins + timedelta(days=days):
        chance = rng.random()
        if chance < 0.008:
            _leave(person, day, rng.choice((5, 7, 12, 14)))
        elif chance < 0.018:
            _leave(person, day, rng.choice((1, 1, 2, 3, 5)))
        elif chance < 0.0205 and person.role in ("doctor", "developer", "admin", "auditor"):
            last = day + timedelta(days=rng.randrange(1, 5))
            person.trips.append(Trip(day, last, f"198.19.{rng.randrange(128)}.{rng.randrange(1, 255)}"))
            day = last
        day += timedelta(days=1)
    chance, when = rng.random(), begins + timedelta(days=rng.randrange(days))
    if chance < 0.0007 * days:
        person.joined = when
    elif chance < 0.0013 * days:
        person.left = when
    elif chance < 0.0020 * days:
        person.moves.append((when, person.team % (person.site.wards or 9) + 1))
    elif chance < 0.0026 * days:
        person.promoted = when
    elif chance < 0.0027 * days:  # back after half a year with a child
        person.before = begins - timedelta(days=rng.randrange(60, 200))
        person.away.append((person.before + timedelta(days=1), when))


def _leave(person: Person, first: date, days: int) -> None:
    person.away.append((first, first + timedelta(days=days - 1)))
