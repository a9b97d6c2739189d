"""What is done once, with a ticket: accounts for those who join and return, none for those who left, other roles."""

from __future__ import annotations

import random
from collections.abc import Sequence
from datetime import date, timedelta

from examples.company.days import moment, working_day
from examples.company.people import Person
from examples.company.shifts import Shift, shifts_of
from examples.company.work import terminal_of
from examples.company.writing import Happened

__all__ = ["errands"]


def errands(seed: str, staff: Sequence[Person], begins: date, days: int, leaving: set[str]) -> list[Happened]:
    """All of them. `leaving`: whose leaving is part of an attack; nobody closes their account in time."""
    rng, out = random.Random(f"{seed}/errands"), list[Happened]()
    for person in staff:
        if person.joined:
            _do(
                rng,
                staff,
                person,
                person.joined - timedelta(days=1),
                ("account.create", "role.grant"),
                "onboarding",
                out,
            )
        if person.promoted:
            _do(rng, staff, person, person.promoted, ("role.grant",), "promotion", out)
        for day, _team in person.moves:
            _do(rng, staff, person, day, ("role.revoke", "role.grant"), "transfer", out)
        if person.id in leaving:
            continue
        if person.left:
            _do(rng, staff, person, person.left + timedelta(days=1), ("role.revoke", "account.disable"), "leaver", out)
        if person.before:
            back = next(last for first, last in person.away if first == person.before + timedelta(days=1))
            _do(rng, staff, person, back, ("account.enable",), "back from leave", out)
    ends = begins + timedelta(days=days)
    return [each for each in out if begins.isoformat() <= each.event["timestamp"][:10] < ends.isoformat()]


def _do(
    rng: random.Random,
    staff: Sequence[Person],
    person: Person,
    day: date,
    actions: tuple[str, ...],
    why: str,
    out: list[Happened],
) -> None:
    """An administrator of the site does it in office hours of that day or the last working day before."""
    while not working_day(person.site, day):
        day -= timedelta(days=1)
    admins = [each for each in staff if each.role == "admin" and each.id != person.id]
    near = [each for each in admins if each.site == person.site] or admins
    rng.shuffle(near)
    at = moment(person.site, day, 9) + rng.random() * 18_000
    shift = next((shift for each in near for shift in shifts_of(each, day)[:1]), None)
    if shift is None:
        shift = Shift(near[0], day, "office", at, at + 3_600)
    at = min(max(at, shift.begins), shift.ends)
    terminal = terminal_of(shift, out, rng)
    ticket = f"{why}, ticket-{rng.randrange(100_000)}"
    for number, action in enumerate(actions):
        terminal.does(at + 40 * number, action, "user_account", person.id, reason=ticket)
