"""Who works at the clinic and who is treated there: in memory, with the passwords of an example."""

from __future__ import annotations

import hmac
import secrets
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

Role = Literal["nurse", "doctor", "clerk", "admin", "billing"]


class User(NamedTuple):
    """`patients`: whom they treat; others only with a reason."""

    id: str
    name: str
    role: Role
    patients: frozenset[str] = frozenset()

    @property
    def actor_type(self) -> Literal["user", "service", "admin"]:
        """As the audit log calls it."""
        return "service" if self.role == "billing" else "admin" if self.role == "admin" else "user"


class Session(NamedTuple):
    """`id` is for the log; the token that proves it stays between the browser and the clinic."""

    id: str
    user: User


def _patients(first: int, last: int) -> frozenset[str]:
    return frozenset(f"patient-{number}" for number in range(first, last + 1))


USERS = {
    user.name: user
    for user in [
        User("user-123", "dr.osei", "doctor", _patients(450, 469)),
        User("user-124", "dr.lindqvist", "doctor", _patients(470, 489)),
        User("user-201", "nurse.adeyemi", "nurse", _patients(450, 474)),
        User("user-202", "nurse.kaur", "nurse", _patients(475, 489)),
        User("user-301", "clerk.brandt", "clerk"),
        User("user-302", "clerk.morel", "clerk"),
        User("user-900", "admin.silva", "admin"),
        User("service-billing", "billing", "billing"),
    ]
}


def password_of(name: str) -> str:
    """An example's password."""
    return f"{name}-secret"


@dataclass
class Clinic:
    """The records, appointments and sessions of one process."""

    records: dict[str, dict[str, str]] = field(default_factory=dict)
    appointments: dict[str, dict[str, str]] = field(default_factory=dict)
    sessions: dict[str, Session] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for patient in sorted(_patients(450, 489)):
            self.records[patient] = {"name": f"Name of {patient}", "allergies": "none known", "medication": "none"}

    def log_in(self, name: str, password: str) -> tuple[str, Session] | None:
        """A new token and its session, or None."""
        user = USERS.get(name)
        if user is None or not hmac.compare_digest(password.encode(), password_of(name).encode()):
            return None
        token, session = secrets.token_urlsafe(24), Session(f"session-{secrets.token_hex(8)}", user)
        self.sessions[token] = session
        return token, session
