"""The demo's attack on the clinic, and what people do about it: raised, explained, acknowledged, judged, reviewed.

What the watch says is read from the chain, and people's part is done with the commands that they would type.
"""

from __future__ import annotations

import math
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

from examples.clinic.people import USERS

from sealstream.alerts import Book, Case
from sealstream.cli.alerts import read_book
from sealstream.cli.settings import Settings
from sealstream.events import parse_timestamp
from sealstream.layout import decode_entry

__all__ = ["BURST", "Command", "Raised", "account_to_attack", "is_ready", "raised_after", "run_command", "span_of"]

BURST = 8
"""So many failed logins within three minutes are a burst, by the detector's defaults."""

_QUIET = timedelta(minutes=30)


class Command(NamedTuple):
    """A command as it is typed, what it printed, and its exit code."""

    words: Sequence[str]
    output: str
    code: int


class Raised(NamedTuple):
    """An attack's alerts, in the chain's order. `after_s`: from the guess that made it a burst, as its event's own
    timestamp says, to when the first alert was sealed.
    """

    cases: list[Case]
    after_s: float


def is_ready(settings: Settings, process: str) -> bool:
    """Whether a process does its work, as its own probe says."""
    port = settings.metrics.ports.get(process)
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=2) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def account_to_attack(settings: Settings, chain: str, now: datetime) -> str:
    """Somebody whom no alert is about that may still go on: an attack that goes on is told once.

    Raises `LookupError` when there is nobody left.
    """
    about = {case.subject for case in read_book(settings, [chain]).cases.values() if case.at > now - 2 * _QUIET}
    for name, user in USERS.items():
        if user.id not in about and user.role in ("doctor", "nurse", "clerk"):
            return name
    raise LookupError(
        "every account of the clinic was attacked within the last hour, and an attack that goes on is told once: "
        "expected a rest of an hour, or another --data-dir"
    )


def raised_after(
    settings: Settings, chain: str, account: str, begins: datetime, values: Callable[[], list[bytes]]
) -> Raised | None:
    """The alerts about this account since then, once both are sealed: of the guesses, and of the success behind them.

    `values`: gives the chain's entries; asked only when the alerts are there.
    """
    book: Book = read_book(settings, [chain])
    about = [case for case in book.cases.values() if case.subject == account and case.at >= begins]
    cases = sorted(about, key=lambda case: case.seq)
    if len(cases) < 2:
        return None
    entries = [decode_entry(value) for value in values()]
    failed = sorted(
        parse_timestamp(entry.timestamp)
        for entry in entries
        if (entry.action, entry.resource_id) == ("login", account) and entry.result != "success"
    )
    burst_at = [each for each in failed if each >= begins][BURST - 1]
    return Raised(cases, (cases[0].at - burst_at).total_seconds())


def run_command(config: Path, *words: str, width: int = 120) -> Command:
    """Run `sealstream` as a person would."""
    command = [sys.executable, "-m", "sealstream.cli.entry", "--config", str(config.absolute()), *words]
    done = subprocess.run(
        command,
        check=False,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        stdin=subprocess.DEVNULL,
        env=os.environ | {"COLUMNS": str(width)},
        timeout=120,
    )
    return Command(words, done.stdout.rstrip(), done.returncode)


def span_of(begins: datetime) -> str:
    """From then to now, as a period that is over: this waits until it is."""
    first = begins.replace(microsecond=0)
    ends = datetime.fromtimestamp(math.ceil(time.time()), UTC)
    time.sleep(max(0.0, ends.timestamp() - time.time()))
    return f"{first:%Y-%m-%dT%H:%M:%SZ}..{ends:%Y-%m-%dT%H:%M:%SZ}"
