"""Somebody guesses a password of the clinic's, gets in, and looks around: over HTTP, from an address never seen before.

    python -m examples.clinic.attack http://127.0.0.1:8000 --account dr.osei

What the watch should make of it: `failed_login_burst` twice, for the guesses, and for the success behind them.
"""

from __future__ import annotations

import argparse
from typing import NamedTuple

import httpx
from examples.clinic.people import USERS, password_of

__all__ = ["ADDRESS", "GUESSES", "Attack", "attack"]

ADDRESS = "203.0.113.66"
GUESSES = 17
_AGENT = "python-requests/2.32"


class Attack(NamedTuple):
    """What was done. `account`: whose it is, by id; `guesses`: passwords that were wrong; `records`: read then."""

    account: str
    guesses: int
    records: int


def attack(url: str, account: str, guesses: int = GUESSES) -> Attack:
    """Guess wrong so often, then right, then read three records. Raises `httpx.HTTPError` when nobody answers."""
    user = USERS[account]
    wanted = [*sorted(user.patients)[:3], *(f"patient-{number}" for number in range(450, 453))][:3]
    headers = {"X-Forwarded-For": ADDRESS, "User-Agent": _AGENT}
    with httpx.Client(base_url=url, headers=headers, timeout=30) as http:
        for number in range(guesses):
            answer = http.post("/login", json={"name": account, "password": f"winter-{2010 + number}"})
            if answer.status_code != 401:
                raise RuntimeError(f"a wrong password was answered with {answer.status_code}: expected 401")
        token = http.post("/login", json={"name": account, "password": password_of(account)}).json()["token"]
        http.headers["Authorization"] = f"Bearer {token}"
        for patient in wanted:
            http.get(f"/patients/{patient}")
    return Attack(user.id, guesses, len(wanted))


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description="Guess a password of the clinic's, and get in.")
    parser.add_argument("url")
    parser.add_argument("--account", default="dr.osei", choices=sorted(USERS))
    parser.add_argument("--guesses", type=int, default=GUESSES)
    given = parser.parse_args()
    done = attack(given.url, given.account, given.guesses)
    print(f"{done.guesses} wrong passwords for {done.account} from {ADDRESS}, then the right one")


if __name__ == "__main__":
    main()
