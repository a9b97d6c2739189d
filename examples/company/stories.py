"""What an attack's label says, and the stage that attacks are set on: who can be a victim, on which day. Seeded."""

from __future__ import annotations

import random
from collections.abc import Sequence
from datetime import date, timedelta
from typing import TYPE_CHECKING, Literal, NamedTuple

if TYPE_CHECKING:
    from examples.company.people import Person, Role
    from examples.company.services import Service
    from examples.company.shifts import Shift

__all__ = ["STRENGTHS", "Label", "Stage", "Story", "Strength"]

Strength = Literal["weak", "medium", "strong"]
STRENGTHS: tuple[Strength, ...] = ("weak", "medium", "strong")


class Label(NamedTuple):
    """Which attack an event belongs to. `number`: which of those of its name and strength."""

    story: str
    strength: Strength
    number: int = 0


class Story(NamedTuple):
    """One attack. `actors`, `addresses`: about whom an alert may be. `first_s`, `last_s`: its window in epoch seconds.

    `found_by`: the detectors of which at least one should find it.
    """

    label: Label
    actors: frozenset[str]
    addresses: frozenset[str]
    first_s: int
    last_s: int
    found_by: tuple[str, ...]


class Stage:
    """Where one attack takes place: dice of its own, and people whom no other attack has had.

    `first`, `last`: the days in which attacks may lie.
    """

    def __init__(self, seed: str, staff: Sequence[Person], taken: set[str], first: date, last: date) -> None:
        self.rng = random.Random(seed)
        self.staff = staff
        self.first = first
        self.last = last
        self._taken = taken

    def day(self, lasting: int = 1) -> date:
        """A day from which so many days are left."""
        span = (self.last - self.first).days + 1 - lasting
        return self.first + timedelta(days=self.rng.randrange(max(span, 1)))

    def take(self, actor_id: str) -> bool:
        """Whether this actor was still free; it no longer is."""
        if actor_id in self._taken:
            return False
        self._taken.add(actor_id)
        return True

    def some(self, services: Sequence[Service]) -> Service:
        """A service; another one each time, while there are any."""
        free = [service for service in services if service.id not in self._taken] or list(services)
        service = self.rng.choice(free)
        self._taken.add(service.id)
        return service

    def somebody(self, *roles: Role, lasting: int = 1) -> tuple[Person, Shift]:
        """Somebody of these roles with an ordinary shift on some day, at a usual place."""
        from examples.company.shifts import shifts_of

        for _ in range(10_000):
            person, day = self.rng.choice(self.staff), self.day(lasting)
            if person.role not in roles or person.pattern == "visits" or person.joined or person.promoted:
                continue
            if person.left is not None and person.left < day + timedelta(days=lasting):
                continue
            shifts = [
                shift for shift in shifts_of(person, day) if shift.trip is None and shift.ends > shift.begins + 18_000
            ]
            if shifts and self.take(person.id):
                return person, shifts[0]
        raise ValueError(f"too few {' and '.join(roles)}s for so many attacks: expected more people")

    def many(self, count: int) -> list[Person]:
        """So many people, whoever they are; others may have them, too."""
        return self.rng.sample(self.staff, min(count, len(self.staff)))
