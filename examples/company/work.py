"""What people do in a shift: they sign in, and do one task after another, each a few events. As fast as Python goes."""

from __future__ import annotations

import math
import random
from bisect import bisect
from datetime import date
from typing import Any, NamedTuple

from examples.company.people import Person
from examples.company.places import desk, phone, ward_station
from examples.company.shifts import Shift
from examples.company.writing import Happened, Terminal

__all__ = [
    "SERVICES_OF",
    "TASKS",
    "Step",
    "Task",
    "do_task",
    "patient_of_ward",
    "poisson",
    "sign_in",
    "terminal_of",
    "work",
]

BEDS = 28
OUTPATIENTS = 200_000
SERVICES_OF = {
    "nurse": "clinic",
    "doctor": "clinic",
    "clerk": "billing",
    "developer": "forge",
    "admin": "directory",
    "auditor": "audit-desk",
}


class Step(NamedTuple):
    """`pick`: how the resource is chosen. Done with this `chance`, 1 to `most` times, each about `gap_s` apart."""

    action: str
    resource_type: str
    pick: str
    chance: float = 1.0
    most: int = 1
    gap_s: float = 20.0
    reason: str = ""


class Task(NamedTuple):
    """`weight` against the others of the role. `closing`: so many times more when a month is closed."""

    weight: float
    steps: tuple[Step, ...]
    closing: float = 1.0


_CHART = Step("read", "patient_record", "task")
TASKS: dict[str, tuple[Task, ...]] = {
    "nurse": (
        Task(5, (_CHART, Step("write", "vital_signs", "task"))),
        Task(
            4, (Step("read", "medication_plan", "task"), Step("write", "medication_administration", "task", gap_s=40))
        ),
        Task(1.2, (Step("read", "patient_record", "bed", most=7, gap_s=15),)),
        Task(0.6, (_CHART, Step("write", "care_plan", "task", gap_s=120))),
    ),
    "doctor": (
        Task(
            4,
            (
                Step("read", "patient_record", "task", reason="treatment"),
                Step("read", "lab_result", "task", 0.8, 3),
                Step("read", "imaging", "task", 0.25, 2, 40),
                Step("write", "clinical_note", "task", 0.7, gap_s=90),
                Step("write", "order", "task", 0.3, 2),
            ),
        ),
        Task(
            2,
            (
                Step("read", "patient_record", "outpatient", reason="treatment"),
                Step("write", "prescription", "task", 0.6, gap_s=120),
            ),
        ),
        Task(0.12, (_CHART, Step("export", "discharge_letter", "task", gap_s=60, reason="discharge"))),
    ),
    "clerk": (
        Task(4, (Step("read", "patient_admin", "outpatient"), Step("write", "appointment", "task", 0.7, gap_s=60))),
        Task(
            4,
            (Step("read", "invoice", "invoice", 1.0, 2), Step("write", "invoice", "task", 0.6, gap_s=60)),
            2.0,
        ),
        Task(0.25, (Step("read", "report", "report", 1.0, 2), Step("export", "report", "report", 0.6)), 6.0),
    ),
    "developer": (
        Task(4, (Step("read", "repository", "repository", 1.0, 3), Step("write", "repository", "repository", 0.5))),
        Task(2, (Step("read", "ticket", "ticket", 1.0, 2), Step("write", "ticket", "task", 0.5, gap_s=60))),
        Task(0.3, (Step("deploy", "deployment", "repository"), Step("read", "service_log", "repository", 1.0, 4))),
    ),
    "admin": (
        Task(
            2, (Step("read", "user_account", "account", 1.0, 2), Step("password.reset", "user_account", "account", 0.2))
        ),
        Task(
            2, (Step("read", "server_config", "host", 1.0, 3), Step("config.change", "server_config", "host", 0.4, 2))
        ),
        Task(1, (Step("read", "ticket", "ticket"), Step("write", "ticket", "task", 0.6, gap_s=60))),
    ),
    "auditor": (
        Task(3, (Step("read", "audit_log", "report", 1.0, 5),)),
        Task(1, (Step("read", "invoice", "invoice", 1.0, 8, 30),), 2.0),
        Task(0.1, (Step("export", "report", "report"),)),
    ),
}
_RATES = {"nurse": 4.0, "doctor": 3.5, "clerk": 4.5, "developer": 3.0, "admin": 3.0, "auditor": 2.5}
"""Tasks an hour."""
_LEADING = Task(1.5, (Step("read", "roster", "report"), Step("write", "roster", "task", 0.5)))
_MISTAKE = 0.003


def poisson(rng: random.Random, mean: float) -> int:
    """How often something happens that happens so often on average."""
    if mean > 30:
        return max(0, round(rng.gauss(mean, math.sqrt(mean))))
    limit, number, product = math.exp(-mean), 0, rng.random()
    while product > limit:
        number += 1
        product *= rng.random()
    return number


def patient_of_ward(person: Person, team: int, day: date, bed: int) -> str:
    """Who lies there: each bed has another patient every few days."""
    stay = 3 + (bed * 7 + team) % 6
    return f"patient-{person.site.number}{team:02d}{bed:02d}-{(day.toordinal() + bed) // stay}"


def terminal_of(shift: Shift, out: list[Happened], rng: random.Random, **more: Any) -> Terminal:
    """Where a person sits in this shift."""
    person = shift.person
    return Terminal(
        out,
        rng,
        person.id,
        person.actor_type,
        address=_address(shift, rng),
        agent=person.agent,
        tenant=person.site.name,
        service=SERVICES_OF[person.role],
        **more,
    )


def sign_in(terminal: Terminal, person: Person, at: float, failures: int = 0) -> float:
    """A login, after so many wrong passwords; when it is done."""
    rng = terminal.rng
    for _ in range(failures):
        if person.portal:
            who = {"actor_id": "anonymous", "actor_type": "anonymous"}
            terminal.does(at, "login", "user_account", person.id, "failure", **who)
        else:
            terminal.does(at, "login", "user_account", person.id, "failure")
        at += 4 + rng.random() * 20
    terminal.does(at, "login", "user_account", person.id)
    return at + 2 + rng.random() * 10


def work(shift: Shift, out: list[Happened]) -> None:
    """A whole shift. Events may lie some minutes beyond its end."""
    person, rng = shift.person, shift.rng()
    desks = _desks(shift)
    tasks, weights = _tasks(person, shift)
    pace = _RATES[person.role] * person.pace * shift.busy
    at = shift.begins
    terminal = _arrives(shift, at, out, rng)
    moves_at = at + rng.uniform(3_600, 9_000) if desks else math.inf
    if shift.place == "visits":
        terminal.synced_at = at + rng.uniform(3_600, 10_800)
    while True:
        resting = shift.lunch <= at < shift.lunch + 3_000
        at += rng.expovariate(pace * (0.2 if resting else 1.0) / 3_600)
        if at >= shift.ends:
            break
        if at > moves_at:
            terminal = _arrives(shift, at, out, rng)
            moves_at = at + rng.uniform(3_600, 9_000)
        if 0 < terminal.synced_at < at:
            terminal.synced_at = at + rng.uniform(3_600, 10_800)
        at = max(at, do_task(terminal, shift, tasks[bisect(weights, rng.random() * weights[-1])], at))
    terminal.does(max(at, shift.ends), "logout", "session", terminal.shared["session_id"])
    if shift.night and person.role == "doctor" and rng.random() < 0.2:
        _break_glass(shift, terminal)


def do_task(terminal: Terminal, shift: Shift, task: Task, at: float) -> float:
    """The steps of a task, from then on; when the last one is done."""
    rng, subject = terminal.rng, ""
    for step in task.steps:
        if step.chance < 1 and rng.random() > step.chance:
            continue
        for _ in range(1 + int(rng.random() * step.most)):
            if step.pick != "task" or not subject:
                subject = _resource(shift, step, rng)
            result = "success"
            if rng.random() < _MISTAKE:
                result = "denied" if rng.random() < 0.4 else "failure"
            if step.reason and rng.random() < 0.6:
                terminal.does(at, step.action, step.resource_type, subject, result, reason=step.reason)
            else:
                terminal.does(at, step.action, step.resource_type, subject, result)
            at += step.gap_s * (0.3 + 1.4 * rng.random())
    return at


def _arrives(shift: Shift, at: float, out: list[Happened], rng: random.Random) -> Terminal:
    person = shift.person
    terminal = terminal_of(shift, out, rng)
    clumsy = person.clumsy * (2.0 if shift.day.weekday() == 0 else 1.0)
    failures = 0
    if rng.random() < clumsy:
        failures = rng.choice((1, 1, 1, 2, 2, 3))
    elif rng.random() < 0.0003:
        failures = rng.randrange(4, 8)  # a new password that did not stick
    sign_in(terminal, person, at, failures)
    return terminal


def _break_glass(shift: Shift, terminal: Terminal) -> None:
    """An emergency on another ward, with its reason."""
    rng, person = terminal.rng, shift.person
    at = rng.uniform(shift.begins, shift.ends - 600)
    patient = patient_of_ward(person, 1 + rng.randrange(max(person.site.wards, 1)), shift.day, rng.randrange(BEDS))
    reason = rng.choice(("emergency, patient unconscious", "resuscitation", "on call, attending not reachable"))
    terminal.does(at, "break_glass", "patient_record", patient, reason=reason)
    for number in range(1 + rng.randrange(3)):
        terminal.does(at + 20 + 40 * number, "read", "patient_record", patient, reason=reason)


def _desks(shift: Shift) -> bool:
    """Whether one goes from one shared computer to another."""
    return shift.place == "ward"


def _address(shift: Shift, rng: random.Random) -> str:
    person = shift.person
    if shift.trip is not None:
        return shift.trip.address
    if shift.place == "ward":
        return ward_station(person.site, person.team_on(shift.day), rng)
    if shift.place == "home":
        return person.home.address(shift.day.toordinal())
    if shift.place in ("visits", "phone"):
        return phone(person.site, rng)
    return desk(person.site, person.number)


def _tasks(person: Person, shift: Shift) -> tuple[list[Task], list[float]]:
    """What there is to do, and the weights added up."""
    tasks = list(TASKS[person.role])
    if person.promoted and shift.day >= person.promoted:
        tasks.append(_LEADING)
    total, weights = 0.0, []
    for task in tasks:
        total += task.weight * (task.closing if shift.busy > 2 else 1.0)
        weights.append(total)
    return tasks, weights


def _resource(shift: Shift, step: Step, rng: random.Random) -> str:
    person, pick = shift.person, step.pick
    if pick in ("task", "bed"):
        if not person.site.wards:
            return f"patient-{int(rng.random() * OUTPATIENTS)}"
        bed = int(rng.random() * BEDS) if pick == "bed" else (person.number * 5 + int(rng.random() * 9)) % BEDS
        return patient_of_ward(person, person.team_on(shift.day), shift.day, bed)
    if pick == "outpatient":
        return f"patient-{int(rng.random() * OUTPATIENTS)}"
    if pick == "invoice":
        return f"invoice-{shift.day.toordinal()}-{int(rng.random() * 9_000)}"
    if pick == "repository":
        return f"repo-{person.team}-{int(rng.random() * 6)}"
    if pick == "ticket":
        return f"ticket-{shift.day.toordinal() - int(rng.random() * 5)}-{int(rng.random() * 60)}"
    if pick == "account":
        return f"user-{1 + int(rng.random() * 2_000):05d}"
    if pick == "host":
        return f"host-{int(rng.random() * 80)}"
    return f"report-{person.team}-{int(rng.random() * 12)}"
