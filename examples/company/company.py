"""The company's days: everybody's shifts, all services, what is done once, and the attacks, in the order of time.

The same seed and size give the same events, byte for byte. Memory: some hours of events, however many days.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, time, timedelta
from operator import attrgetter

from examples.company import attacks_from_within as within
from examples.company import attacks_on_accounts as outside
from examples.company.errands import errands
from examples.company.people import Person, hire
from examples.company.services import SERVICES, run_service
from examples.company.shifts import Shift, shifts_of
from examples.company.stories import STRENGTHS, Label, Stage, Story
from examples.company.work import work
from examples.company.writing import Happened

__all__ = ["ATTACKS", "Company"]

ATTACKS: dict[str, Callable[[Stage, Label], tuple[Story, list[Happened]]]] = {
    "password guessing": outside.password_guessing,
    "password spray": outside.password_spray,
    "slow spray": outside.slow_spray,
    "stolen credential": outside.stolen_credential,
    "dormant return": outside.dormant_return,
    "service key": outside.service_key_used_by_person,
    "snooping": within.snooping,
    "export before leaving": within.export_before_leaving,
    "denied scan": within.denied_scan,
    "privilege escalation": within.privilege_escalation,
    "break-glass": within.break_glass_without_reason,
    "drip": within.drip,
}
"""By name; each in every strength."""
_LEAVING = frozenset({"dormant return", "export before leaving"})


class Company:
    """`people` at work for `days` from `begins` on, with each attack in each strength so many `times`.

    Attacks lie behind the first `warm_up` days, in which what is usual can be learned. `staff`, `stories`: what there
    is to know about it. Iterating gives what happens; it can be done again.
    """

    def __init__(
        self,
        seed: int = 1,
        people: int = 2_000,
        *,
        begins: date = date(2026, 10, 5),
        days: int = 56,
        warm_up: int = 28,
        times: int = 4,
    ) -> None:
        self.begins = begins
        self.days = days
        self.warm_up = warm_up
        self._seed = f"company/{seed}/{people}"
        self._size = people / 2_000
        self.staff = hire(random.Random(self._seed), people, begins, days)
        self.stories: list[Story] = []
        self._once: list[Happened] = []
        self._attack(times)
        leaving = {actor for story in self.stories if story.label.story in _LEAVING for actor in story.actors}
        self._once += errands(self._seed, self.staff, begins, days, leaving)
        for person in self.staff:
            if person.before is not None and person.before < begins:
                outside.worked_before(person, self._once)

    @property
    def scored_from(self) -> int:
        """The end of the warm-up in epoch seconds."""
        return _midnight(self.begins + timedelta(days=self.warm_up))

    @property
    def ends(self) -> int:
        """The end of the last day in epoch seconds."""
        return _midnight(self.begins + timedelta(days=self.days))

    def __iter__(self) -> Iterator[Happened]:
        first = _midnight(self.begins)
        by_hour: dict[int, list[Happened]] = {}
        _sort_in(by_hour, self._once)
        waiting: dict[int, list[Shift]] = {}
        for hour in sorted(hour for hour in by_hour if hour < first // 3_600 - 14):
            yield from sorted(by_hour.pop(hour), key=attrgetter("at"))
        for hour in range(first // 3_600 - 14, self.ends // 3_600):
            if (hour * 3_600 - first + 14 * 3_600) % 86_400 == 0:
                day = self.begins + timedelta(days=(hour * 3_600 - first + 14 * 3_600) // 86_400)
                _sort_in(by_hour, self._begin_day(day, waiting))
            made: list[Happened] = []
            for shift in waiting.pop(hour, ()):
                work(shift, made)
            _sort_in(by_hour, made)
            yield from sorted(by_hour.pop(hour, ()), key=attrgetter("at"))

    def _begin_day(self, day: date, waiting: dict[int, list[Shift]]) -> list[Happened]:
        for person in self.staff:
            for shift in shifts_of(person, day):
                waiting.setdefault(int(shift.begins) // 3_600, []).append(shift)
        made: list[Happened] = []
        for service in SERVICES:
            run_service(service, day, self._seed, self._size, made)
        return made

    def _attack(self, times: int) -> None:
        taken: set[str] = set()
        first, last = self.begins + timedelta(days=self.warm_up), self.begins + timedelta(days=self.days - 2)
        free: list[Person] = self.staff
        for number in range(times):
            for name, attack in ATTACKS.items():
                for strength in STRENGTHS:
                    stage = Stage(f"{self._seed}/{name}/{strength}/{number}", free, taken, first, last)
                    story, happened = attack(stage, Label(name, strength, number))
                    self.stories.append(story)
                    self._once += happened


def _midnight(day: date) -> int:
    return int(datetime.combine(day, time(), UTC).timestamp())


def _sort_in(by_hour: dict[int, list[Happened]], happened: list[Happened]) -> None:
    for each in happened:
        hour = int(each.at) // 3_600
        if hour in by_hour:
            by_hour[hour].append(each)
        else:
            by_hour[hour] = [each]
