"""A day at the clinic in a few seconds: real HTTP requests, seeded, and an exact account of what they must leave.

    python -m examples.clinic.load http://127.0.0.1:8000 --requests 500

Among the ordinary: one doctor (user-123) who reads patient-456's record with reasons, a curious clerk (user-302) who
tries to and is denied more than five times, failed logins, a report that always breaks, and paths that don't exist.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import httpx
from examples.clinic.people import USERS, User, password_of

CURIOUS_CLERK = "clerk.morel"
KNOWN_PATIENT = "patient-456"
_REASONS = ("treatment", "ward round", "lab result review", "medication check", "discharge planning")
_AGENTS = ("Mozilla/5.0 (X11; Linux x86_64) Firefox/150.0", "Mozilla/5.0 (Macintosh) Safari/619.1", "ward-tablet/3.2")


class Step(NamedTuple):
    """One request, and what must come of it. `extra_events`: events beside the request's one."""

    who: str | None
    method: str
    path: str
    status: int
    json: Any = None
    reason: str | None = None
    extra_events: int = 0


@dataclass
class Done:
    """What was done. `events`: how many audit events it must have made; `unexpected`: answers other than planned."""

    requests: int = 0
    events: int = 0
    by_status: Counter[int] = field(default_factory=Counter)
    by_result: Counter[str] = field(default_factory=Counter)
    denied_or_failed_by_actor: Counter[str] = field(default_factory=Counter)
    accesses_to_known_patient: int = 0
    unexpected: list[str] = field(default_factory=list)

    def add(self, step: Step, status: int) -> None:
        """One request was answered; the middleware's result mapping, once more and on its own."""
        result = "denied" if status in (401, 403) else "success" if status < 400 else "failure"
        self.requests += 1
        self.events += 1 + step.extra_events
        self.by_status[status] += 1
        self.by_result[result] += 1
        self.by_result["success"] += step.extra_events
        if result != "success":
            self.denied_or_failed_by_actor[USERS[step.who].id if step.who else "anonymous"] += 1
        if step.path == f"/patients/{KNOWN_PATIENT}/record":
            self.accesses_to_known_patient += 1 + step.extra_events
        if status != step.status:
            self.unexpected.append(f"{step.method} {step.path} by {step.who}: expected {step.status}, got {status}")


def plan(requests: int, seed: int) -> list[Step]:
    """The day's requests after everybody has logged in, in an order that does not matter."""
    rng = random.Random(seed)
    known = f"/patients/{KNOWN_PATIENT}/record"
    steps = [Step("dr.osei", "GET", known, 200, reason=reason) for reason in _REASONS]
    steps += [Step(CURIOUS_CLERK, "GET", known, 403) for _ in range(7)]
    steps += [Step("dr.lindqvist", "GET", known, 200, reason="emergency, patient unconscious", extra_events=1)]
    steps += [Step("dr.osei", "PATCH", known, 200, json={"medication": "amoxicillin 500 mg"}, reason="treatment")]
    steps += [Step("admin.silva", "POST", f"/patients/{KNOWN_PATIENT}/export", 200, reason="patient's request")]
    steps += [Step(None, "POST", "/login", 401, json={"name": "admin.silva", "password": f"guess-{n}"}) for n in "1234"]
    makers = (_read, _read, _read, _details, _details, _change, _appoint, _bill, _blunder)
    while len(steps) < requests:
        steps.append(rng.choice(makers)(rng))
    rng.shuffle(steps)
    return steps[: max(requests, 0)]


def _somebody(rng: random.Random, *roles: str) -> User:
    return rng.choice([user for user in USERS.values() if user.role in roles])


def _read(rng: random.Random) -> Step:
    user = _somebody(rng, "doctor", "nurse")
    patient = rng.choice(sorted(user.patients))
    return Step(user.name, "GET", f"/patients/{patient}/record", 200, reason=rng.choice(_REASONS))


def _details(rng: random.Random) -> Step:
    return Step(_somebody(rng, "doctor", "nurse", "clerk").name, "GET", f"/patients/{_patient(rng)}", 200)


def _change(rng: random.Random) -> Step:
    change = {"allergies": rng.choice(["none known", "penicillin", "latex"]), "medication": f"dose {rng.random():.2f}"}
    path = f"/patients/{_patient(rng)}/record"
    return Step(_somebody(rng, "doctor").name, "PATCH", path, 200, json=change, reason="treatment")


def _appoint(rng: random.Random) -> Step:
    at = f"2026-12-{rng.randint(1, 28):02d}T{rng.randint(8, 17):02d}:00"
    path = f"/patients/{_patient(rng)}/appointments"
    return Step(_somebody(rng, "clerk", "nurse").name, "POST", path, 201, json={"at": at, "purpose": "check-up"})


def _bill(rng: random.Random) -> Step:
    invoice = {"patient_id": _patient(rng), "cents": rng.randint(1_000, 90_000), "ordered_by": "user-301"}
    return Step("billing", "POST", "/invoices", 201, json=invoice)


def _blunder(rng: random.Random) -> Step:
    """What goes wrong on any day."""
    makers: list[Callable[[], Step]] = [
        lambda: Step("nurse.kaur", "GET", "/patients/patient-999/record", 404, reason="typo", extra_events=1),
        lambda: Step("clerk.brandt", "POST", f"/patients/{_patient(rng)}/appointments", 422, json={"at": "tomorrow"}),
        lambda: Step("clerk.brandt", "DELETE", f"/appointments/appointment-{rng.randint(1, 99)}", 404),
        lambda: Step("nurse.adeyemi", "PATCH", f"/patients/{_patient(rng)}/record", 403, json={}),
        lambda: Step(None, "GET", f"/patients/{_patient(rng)}", 401),
        lambda: Step("admin.silva", "GET", "/reports/monthly", 500),
        lambda: Step(None, "GET", f"/wp-admin/{rng.randint(1, 999)}.php", 404),
    ]
    return rng.choice(makers)()


def _patient(rng: random.Random) -> str:
    return f"patient-{rng.randint(450, 489)}"


async def run(url: str, requests: int = 500, seed: int = 7, concurrency: int = 8) -> Done:
    """Log everybody in, then send `requests` planned requests, `concurrency` at a time."""
    done, rng = Done(), random.Random(seed)
    homes = {name: (f"198.51.100.{rng.randint(1, 254)}", rng.choice(_AGENTS)) for name in [*sorted(USERS), ""]}
    async with httpx.AsyncClient(base_url=url, timeout=30) as http:
        tokens = {}
        for name in sorted(USERS):
            step = Step(name, "POST", "/login", 200, json={"name": name, "password": password_of(name)})
            answer = await _send(http, step, {}, homes)
            done.add(step, answer.status_code)
            tokens[name] = answer.json()["token"]
        steps = iter(plan(requests, seed))

        async def work() -> None:
            for step in steps:  # shared: each worker takes the next
                done.add(step, (await _send(http, step, tokens, homes)).status_code)

        await asyncio.gather(*(work() for _ in range(concurrency)))
    return done


async def _send(
    http: httpx.AsyncClient, step: Step, tokens: dict[str, str], homes: dict[str, tuple[str, str]]
) -> httpx.Response:
    address, agent = homes[step.who or ""]
    headers = {"User-Agent": agent, "X-Forwarded-For": address}
    if step.who in tokens:
        headers["Authorization"] = f"Bearer {tokens[step.who]}"
    if step.reason:
        headers["X-Access-Reason"] = step.reason
    if step.status == 500:
        headers["Connection"] = "close"  # the server closes it after an exception; a next request on it would be lost
    return await http.request(step.method, step.path, json=step.json, headers=headers)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description="Drive the clinic with real requests.")
    parser.add_argument("url")
    parser.add_argument("--requests", type=int, default=500)
    parser.add_argument("--seed", type=int, default=7)
    given = parser.parse_args()
    done = asyncio.run(run(given.url, given.requests, given.seed))
    print(f"{done.requests} requests, which must have made {done.events} audit events")
    print("by status:", dict(sorted(done.by_status.items())), "by result:", dict(sorted(done.by_result.items())))
    for complaint in done.unexpected:
        print("unexpected:", complaint)
    sys.exit(1 if done.unexpected else 0)


if __name__ == "__main__":
    main()
