"""Attacks by those who have an account: snooping, carrying data away at once or in drips, probing, climbing."""

from __future__ import annotations

from datetime import timedelta

from examples.company.attacks_on_accounts import Told, told
from examples.company.days import moment
from examples.company.people import Person
from examples.company.shifts import Shift, shifts_of
from examples.company.stories import Label, Stage
from examples.company.work import OUTPATIENTS, terminal_of
from examples.company.writing import Happened, Terminal

__all__ = [
    "break_glass_without_reason",
    "denied_scan",
    "drip",
    "export_before_leaving",
    "privilege_escalation",
    "snooping",
]

_POWERS = (
    ("read", "user_account"),
    ("config.change", "server_config"),
    ("export", "database"),
    ("password.reset", "user_account"),
)
_KINDS = ("patient_record", "invoice", "server_config", "user_account", "audit_log", "payroll", "contract", "database")


def snooping(stage: Stage, label: Label) -> Told:
    """Somebody reads through the records of a whole shift: 2.5, 5, 12 times as many as they read in all otherwise."""
    times = {"weak": 2.5, "medium": 5.0, "strong": 12.0}[label.strength]
    person, shift = stage.somebody("nurse", "doctor", "clerk")
    rng, out = stage.rng, list[Happened]()
    terminal = terminal_of(shift, out, rng, label=label)
    kind = "patient_admin" if person.role == "clerk" else "patient_record"
    for _ in range(int(times * 40 * person.pace)):
        at = rng.uniform(shift.begins + 600, shift.ends - 600)
        terminal.does(at, "read", kind, f"patient-{rng.randrange(OUTPATIENTS)}")
    return told(label, [person.id], [], out, ("mass_read", "access_spike"))


def export_before_leaving(stage: Stage, label: Label) -> Told:
    """On their last day somebody takes along what they can: 25, 80, 300 exports within hours."""
    exports, hours = {"weak": (25, 5), "medium": (80, 4), "strong": (300, 2)}[label.strength]
    person, shift = stage.somebody("doctor", "clerk", "developer")
    rng, out = stage.rng, list[Happened]()
    person.left = shift.day
    terminal = terminal_of(shift, out, rng, label=label)
    kinds = {"doctor": "patient_record", "clerk": "report", "developer": "repository"}
    begins = rng.uniform(shift.begins, max(shift.begins + 1, shift.ends - hours * 3_600))
    for at in sorted(begins + rng.random() * hours * 3_600 for _ in range(exports)):
        terminal.does(at, "export", kinds[person.role], f"{kinds[person.role]}-{rng.randrange(5_000)}")
    return told(label, [person.id], [], out, ("mass_export", "access_spike"))


def denied_scan(stage: Stage, label: Label) -> Told:
    """Somebody tries what they may not: 15, 50, 250 resources in half an hour, all denied."""
    tries, kinds = {"weak": (15, 2), "medium": (50, 4), "strong": (250, 8)}[label.strength]
    person, shift = stage.somebody("nurse", "clerk", "developer", "auditor")
    rng, out = stage.rng, list[Happened]()
    terminal = terminal_of(shift, out, rng, label=label)
    begins = rng.uniform(shift.begins, shift.ends - 1_800)
    tried = rng.sample(_KINDS, kinds)
    for at in sorted(begins + rng.random() * 1_800 for _ in range(tries)):
        kind = rng.choice(tried)
        terminal.does(at, "read", kind, f"{kind}-{rng.randrange(5_000)}", "denied")
    return told(label, [person.id], [], out, ("denied_scan",))


def privilege_escalation(stage: Stage, label: Label) -> Told:
    """Rights and their use: given by another account and used 4 times hours later; 15 times at once; given to oneself,
    and used 40 times within minutes.
    """
    uses, wait_s, gap_s = {"weak": (4, 7_200, 120), "medium": (15, 120, 20), "strong": (40, 60, 8)}[label.strength]
    person, shift = stage.somebody("clerk", "developer", "nurse")
    rng, out = stage.rng, list[Happened]()
    at = rng.uniform(shift.begins, shift.ends - 10_000)
    terminal = terminal_of(shift, out, rng, label=label)
    actors = [person.id]
    if label.strength == "strong":
        terminal.does(at, "role.grant", "user_account", person.id, changed_fields=["roles"])
    else:
        other, elsewhere = stage.somebody("admin") if label.strength == "medium" else _any_admin(stage, shift)
        granting = terminal_of(elsewhere, out, rng, label=label)
        granting.does(at, "role.grant", "user_account", person.id, changed_fields=["roles"])
        actors.append(other.id)
    at += wait_s
    for number in range(uses):
        action, kind = _POWERS[number % len(_POWERS)]
        terminal.does(at, action, kind, f"{kind}-{rng.randrange(500)}")
        at += gap_s * (0.5 + rng.random())
    return told(label, actors, [], out, ("privilege_change_then_use",))


def break_glass_without_reason(stage: Stage, label: Label) -> Told:
    """The glass is broken for 1, 3, 10 patients, and nobody says why."""
    patients = {"weak": 1, "medium": 3, "strong": 10}[label.strength]
    person, shift = stage.somebody("nurse", "doctor")
    rng, out = stage.rng, list[Happened]()
    terminal = terminal_of(shift, out, rng, label=label)
    at = rng.uniform(shift.begins, shift.ends - 7_200)
    for _ in range(patients):
        patient = f"patient-{rng.randrange(OUTPATIENTS)}"
        terminal.does(at, "break_glass", "patient_record", patient)
        terminal.does(at + 15, "read", "patient_record", patient)
        at += 60 + rng.random() * 500
    return told(label, [person.id], [], out, ("break_glass_without_reason",))


def drip(stage: Stage, label: Label) -> Told:
    """Exports a little above what is usual, on eight working days: 5, 12, 30 a day."""
    exports = {"weak": 5, "medium": 12, "strong": 30}[label.strength]
    person, shift = stage.somebody("doctor", "clerk", lasting=11)
    rng, out = stage.rng, list[Happened]()
    for number in range(11):
        for each in shifts_of(person, shift.day + timedelta(days=number))[:1]:
            terminal = terminal_of(each, out, rng, label=label)
            _carry(terminal, each, exports)
    return told(label, [person.id], [], out, ("mass_export",))


def _carry(terminal: Terminal, shift: Shift, exports: int) -> None:
    rng = terminal.rng
    for at in sorted(rng.uniform(shift.begins, shift.ends) for _ in range(exports)):
        terminal.does(at, "export", "patient_record", f"patient-{rng.randrange(OUTPATIENTS)}")


def _any_admin(stage: Stage, shift: Shift) -> tuple[Person, Shift]:
    """An admin at the same time, who has been had by nobody or by somebody."""
    admins = [person for person in stage.staff if person.role == "admin" and person.left is None]
    admin = stage.rng.choice(admins)
    begins = moment(admin.site, shift.day, 9)
    return admin, next(iter(shifts_of(admin, shift.day)), Shift(admin, shift.day, "office", begins, begins + 28_800))
