"""Who works when and where on a day: rotating and night shifts, office hours, duty, evenings at home. Pure.

A shift follows from the person, the day and the seed alone, so that anybody can ask for it again.
"""

from __future__ import annotations

import random
from datetime import date
from functools import lru_cache
from typing import Literal, NamedTuple

from examples.company.days import closing, moment, season, working_day
from examples.company.people import Person, Trip

__all__ = ["Place", "Shift", "shifts_of"]

Place = Literal["ward", "office", "home", "visits", "hotel", "phone"]

_ROTA = "EEEEE--LLLLL--NNNN---EEEEE--"
_NIGHTS = "NNNN---NNNNN--NNNN---NNNN---"
_MORNINGS = "EEEEE--EEEEE--EEEEE--EEEEE--"
_HOURS = {"E": (6, 14), "L": (14, 22), "N": (22, 30)}


class Shift(NamedTuple):
    """`begins`, `ends`: epoch seconds. `busy`: tasks against a usual hour's. `lunch`: epoch seconds, 0 for none."""

    person: Person
    day: date
    place: Place
    begins: float
    ends: float
    busy: float = 1.0
    lunch: float = 0.0
    trip: Trip | None = None
    night: bool = False

    def rng(self) -> random.Random:
        """Of what is done in it."""
        return random.Random(f"{self.person.seed}/{int(self.begins)}")


@lru_cache(maxsize=65_536)
def _rota(pattern: str, place: int) -> str:
    return {"rotating": _ROTA, "nights": _NIGHTS}.get(pattern, _MORNINGS)[place % 28]


def shifts_of(person: Person, day: date) -> list[Shift]:
    """The shifts that begin on this local day, in order."""
    if not person.works_on(day):
        return []
    rng = random.Random(f"{person.seed}/{day.toordinal()}")
    if person.role == "nurse":
        return _nursing(person, day, rng)
    if person.role == "doctor":
        return _doctoring(person, day, rng)
    return _office(person, day, rng)


def _nursing(person: Person, day: date, rng: random.Random) -> list[Shift]:
    letter = _rota(person.pattern, day.toordinal() + person.offset)
    if letter == "-" and rng.random() > 0.03:  # now and then somebody stands in
        return []
    first, last = _HOURS["E" if letter == "-" else letter]
    begins = moment(person.site, day, first) + rng.gauss(-300, 240)
    ends = moment(person.site, day, last) + rng.gauss(600, 400)
    place: Place = "visits" if person.pattern == "visits" else "ward"
    busy = season(day) * (0.45 if letter == "N" else 1.0)
    lunch = 0.0 if letter == "N" else begins + 4 * 3_600
    return [Shift(person, day, place, begins, ends, busy, lunch, night=letter == "N")]


def _doctoring(person: Person, day: date, rng: random.Random) -> list[Shift]:
    place = day.toordinal() + person.offset
    shifts = []
    weekend = not working_day(person.site, day)
    if weekend and place % 7 > 1:  # one weekend day in three or four
        return []
    trip = person.trip_on(day)
    begins = moment(person.site, day, 7) + rng.gauss(2_400, 900)
    ends = moment(person.site, day, 17) + rng.gauss(1_800, 2_400)
    if trip is not None:
        return [Shift(person, day, "hotel", begins + 3_600, ends, 0.25, begins + 5 * 3_600, trip)]
    busy = season(day) * (0.5 if weekend else 1.0)
    shifts.append(Shift(person, day, "ward", begins, ends, busy, begins + 5 * 3_600))
    if place % 9 == 0:
        night = Shift(person, day, "ward", ends + 1_800, moment(person.site, day, 30), 0.25, night=True)
        shifts.append(night)
    elif rng.random() < 0.03:
        late = moment(person.site, day, 20) + rng.random() * 5_400
        shifts.append(Shift(person, day, "phone", late, late + 1_200, 1.0))
    return shifts


def _office(person: Person, day: date, rng: random.Random) -> list[Shift]:
    trip = person.trip_on(day)
    shifts = []
    busy = 2.5 if closing(person.site, day) and person.role == "clerk" and person.team % 3 == 0 else 1.0
    if working_day(person.site, day) or rng.random() < 0.012:
        begins = moment(person.site, day, 0) + (person.starts + rng.gauss(0, 0.35)) * 3_600
        ends = begins + (8.5 + rng.gauss(0, 0.5)) * 3_600 + (3_600 if busy > 1 else 0)
        place: Place = "hotel" if trip else "home" if day.weekday() in person.remote else "office"
        lunch = moment(person.site, day, person.lunch) + rng.random() * 2_400
        shifts.append(Shift(person, day, place, begins, ends, busy * (0.6 if trip else 1.0), lunch, trip))
    if person.evenings and rng.random() < person.evenings:
        late = moment(person.site, day, 21) + rng.random() * 3_600
        shifts.append(Shift(person, day, "hotel" if trip else "home", late, late + 3_600, 0.8, trip=trip))
    if person.role == "admin" and day.weekday() == 1 and 8 <= day.day <= 14:  # the monthly window
        night = moment(person.site, day, 22)
        shifts.append(Shift(person, day, "home", night, night + 3 * 3_600, 3.0, night=True))
    return shifts
