"""Attacks from outside: guessed, sprayed, stolen and forgotten credentials, and a service's key in a person's hands."""

from __future__ import annotations

import random
from datetime import timedelta

from examples.company.days import moment
from examples.company.people import Person
from examples.company.places import BROWSERS, desk, strange
from examples.company.services import SERVICES
from examples.company.shifts import shifts_of
from examples.company.stories import Label, Stage, Story
from examples.company.work import OUTPATIENTS, SERVICES_OF, work
from examples.company.writing import Happened, Terminal

__all__ = [
    "dormant_return",
    "password_guessing",
    "password_spray",
    "service_key_used_by_person",
    "slow_spray",
    "stolen_credential",
    "told",
    "worked_before",
]

Told = tuple[Story, list[Happened]]


def password_guessing(stage: Stage, label: Label) -> Told:
    """One account's password is guessed from one address: 15 in 3 minutes, 60 in 4, 500 in 8, which then succeeds."""
    tries, minutes = {"weak": (15, 3), "medium": (60, 4), "strong": (500, 8)}[label.strength]
    person, shift = stage.somebody("nurse", "doctor", "clerk", "developer", "admin")
    rng, out, address = stage.rng, list[Happened](), strange(stage.rng)
    at = moment(person.site, shift.day, 0) + rng.random() * 80_000
    terminal = _from_outside(person, address, rng, out, label)
    for when in _spread(rng, at, minutes * 60, tries):
        _fails(terminal, person, when)
    last = at + minutes * 60
    if label.strength == "strong":
        terminal.does(last, "login", "user_account", person.id)
        for number in range(5):
            terminal.does(last + 20 * number + 20, "read", "patient_record", _outpatient(rng))
    return told(label, [person.id, "anonymous"], [address], out, ("failed_login_burst",))


def password_spray(stage: Stage, label: Label) -> Told:
    """One or two passwords are tried on many accounts within minutes: 25, 80, 400 of them."""
    accounts, minutes = {"weak": (25, 10), "medium": (80, 10), "strong": (400, 15)}[label.strength]
    return _spray(stage, label, accounts, minutes * 60)


def slow_spray(stage: Stage, label: Label) -> Told:
    """The same with patience: 40 accounts over 36 hours, 90 over 24, 250 over 24."""
    accounts, hours = {"weak": (40, 36), "medium": (90, 24), "strong": (250, 24)}[label.strength]
    return _spray(stage, label, accounts, hours * 3_600)


def stolen_credential(stage: Stage, label: Label) -> Told:
    """A login that succeeds, from a network that is new to the person, when they never work; 6, 25, 120 reads."""
    reads, hour = {"weak": (6, 21.5), "medium": (25, 2), "strong": (120, 3)}[label.strength]
    person, shift = stage.somebody("clerk", "auditor", "developer")
    rng, out, address = stage.rng, list[Happened](), strange(stage.rng)
    at = moment(person.site, shift.day, int(hour)) + (hour % 1 + rng.random()) * 3_600
    terminal = _from_outside(person, address, rng, out, label)
    terminal.does(at, "login", "user_account", person.id)
    kinds = {"clerk": "patient_admin", "auditor": "invoice", "developer": "repository"}
    for _ in range(reads):
        at += 5 + rng.random() * 25
        terminal.does(at, "read", kinds[person.role], f"{kinds[person.role]}-{rng.randrange(OUTPATIENTS)}")
    return told(label, [person.id], [address], out, ("first_seen", "unusual_hour"))


def dormant_return(stage: Stage, label: Label) -> Told:
    """An account that nobody has used for 70, 120, 250 days signs in and reads."""
    idle, reads = {"weak": (70, 4), "medium": (120, 10), "strong": (250, 40)}[label.strength]
    person, shift = stage.somebody("clerk", "developer", "doctor")
    rng, out, address = stage.rng, list[Happened](), strange(stage.rng)
    person.left = shift.day - timedelta(days=idle)
    person.before = person.left
    at = moment(person.site, shift.day, 9) + rng.random() * 25_000
    terminal = _from_outside(
        person, desk(person.site, person.number) if rng.random() < 0.5 else address, rng, out, label
    )
    terminal.does(at, "login", "user_account", person.id)
    for _ in range(reads):
        at += 10 + rng.random() * 40
        terminal.does(at, "read", "patient_admin", _outpatient(rng))
    return told(label, [person.id], [address], out, ("dormant_actor",))


def service_key_used_by_person(stage: Stage, label: Label) -> Told:
    """A service's key in a browser: 3 requests from the office, 15 from an office, 60 from outside."""
    requests = {"weak": 3, "medium": 15, "strong": 60}[label.strength]
    rng, out = stage.rng, list[Happened]()
    service = stage.some(SERVICES)
    address = strange(rng) if label.strength == "strong" else desk(service.site, rng.randrange(4))
    at = moment(service.site, stage.day(), 10) + rng.random() * 25_000
    terminal = Terminal(
        out,
        rng,
        service.id,
        "service",
        address=address,
        agent=rng.choice(BROWSERS),
        tenant=service.site.name,
        service=service.id.partition("-")[0],
        label=label,
    )
    for _ in range(requests):
        action, resource_type = rng.choice(service.actions)
        terminal.does(at, action, resource_type, f"{resource_type}-{rng.randrange(40_000)}")
        at += 3 + rng.random() * 40
    return told(label, [service.id], [], out, ("service_as_person",))


def worked_before(person: Person, out: list[Happened]) -> None:
    """Two weeks' work up to the last day before somebody stayed away."""
    assert person.before is not None
    left, person.left, away = person.left, None, person.away
    person.away = []
    for number in range(14, -1, -1):
        for shift in shifts_of(person, person.before - timedelta(days=number)):
            work(shift, out)
    person.left, person.away = left, away


def _spray(stage: Stage, label: Label, accounts: int, lasting_s: float) -> Told:
    rng, out, address = stage.rng, list[Happened](), strange(stage.rng)
    people = stage.many(accounts)
    at = moment(people[0].site, stage.day(3), 0) + rng.random() * 80_000
    for person, when in zip(people, _spread(rng, at, lasting_s, len(people)), strict=True):
        _fails(_from_outside(person, address, rng, out, label), person, when)
    return told(label, [], [address], out, ("password_spray",))


def _from_outside(person: Person, address: str, rng: random.Random, out: list[Happened], label: Label) -> Terminal:
    return Terminal(
        out,
        rng,
        person.id,
        person.actor_type,
        address=address,
        agent=rng.choice(BROWSERS),
        tenant=person.site.name,
        service=SERVICES_OF[person.role],
        label=label,
    )


def _fails(terminal: Terminal, person: Person, at: float) -> None:
    who = {"actor_id": "anonymous", "actor_type": "anonymous"} if person.portal else {}
    terminal.does(at, "login", "user_account", person.id, "failure", **who)


def _spread(rng: random.Random, at: float, lasting_s: float, count: int) -> list[float]:
    return sorted(at + rng.random() * lasting_s for _ in range(count))


def _outpatient(rng: random.Random) -> str:
    return f"patient-{rng.randrange(OUTPATIENTS)}"


def told(label: Label, actors: list[str], addresses: list[str], out: list[Happened], by: tuple[str, ...]) -> Told:
    """The story of these events."""
    times = [each.at for each in out]
    return Story(label, frozenset(actors), frozenset(addresses), int(min(times)), int(max(times)), by), out
