"""The demo of docker-compose.yml: a day at the clinic, an attack that is raised, and every store verified.

    docker compose run --rm demo            # the stack must run: docker compose up --wait

It does what anybody could: it sends requests to the clinic over HTTP, and asks the log with the commands that a person
would type, as the user `cli`, who reads. Exit 0 when the attack was raised and all stores hold what they must.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import httpx
from examples.clinic.attack import ADDRESS, attack
from examples.clinic.load import run as drive
from examples.demo.watching import account_to_attack, raised_after

from sealstream.cli.progress import ChainProgress, chain_progress
from sealstream.cli.settings import Settings, load_settings
from sealstream.errors import SealstreamError
from sealstream.kafka import read_until_end
from sealstream.layout import ChainTopics, decode_entry

__all__ = ["main"]

CHAIN = "main"
_PATIENCE_S = 300.0


def say(text: str) -> None:
    """A line, now."""
    print(text, flush=True)


def until(what: str, found: Callable[[], bool], within_s: float = _PATIENCE_S) -> None:
    """Ask until it is so. Raises `TimeoutError`."""
    deadline = time.monotonic() + within_s
    while not found():
        if time.monotonic() > deadline:
            raise TimeoutError(f"waited {within_s:.0f} s for {what}")
        time.sleep(1)


def command(*words: str) -> int:
    """Run `sealstream` as a person would; its exit code."""
    say(f"\n$ sealstream {' '.join(words)}")
    return subprocess.run(["sealstream", *words], check=False, env=os.environ | {"COLUMNS": "120"}).returncode


def work(settings: Settings, url: str, requests: int) -> int:
    """An ordinary day; how many events it must have left."""
    say(f"{requests} requests to the clinic at {url}")
    done = asyncio.run(drive(url, requests))
    if done.unexpected:
        raise RuntimeError(f"the clinic answered otherwise than expected: {done.unexpected[:3]}")
    say(f"they made {done.events} audit events")
    until("them to be sealed", lambda: chain_progress(settings, CHAIN, stores=False).waiting == 0)
    return done.events


def entries(settings: Settings) -> list[bytes]:
    """All that is sealed, in order."""
    kafka, topic = settings.kafka_settings(), ChainTopics.of(CHAIN, settings.kafka.prefix).chain
    return [record.value for batch in read_until_end(kafka, topic) for record in batch if record.value is not None]


def attacked(settings: Settings, url: str) -> bool:
    """An attack, and whether the watch raised it."""
    account = account_to_attack(settings, CHAIN, datetime.now(UTC))
    begins = datetime.now(UTC)
    done = attack(url, account)
    say(f"{done.guesses} wrong passwords for {account} from {ADDRESS}, then the right one, and {done.records} records")
    until(
        "the watch to raise the attack",
        lambda: raised_after(settings, CHAIN, done.account, begins, lambda: entries(settings)) is not None,
    )
    return command("alerts", "list", "--subject", done.account) == 0


def verified(settings: Settings) -> bool:
    """Whether all three stores hold, once each has every event, and all that there is now is signed and in Postgres."""
    written = [decode_entry(entry).written for entry in entries(settings)]
    size = written[-1].seq + 1
    # What the log says of itself ends no segment: it is archived with the next event.
    events = max(each.seq for each in written if each.kind == "event") + 1

    def everywhere() -> bool:
        now: ChainProgress = chain_progress(settings, CHAIN)
        stored = all(each is not None and each >= size for each in (now.signed_size, now.postgres_size))
        return stored and now.archive_size is not None and now.archive_size >= events

    say(
        f"\nwaiting for all {size} entries to be signed and in Postgres, all events in the archive (a segment's minute)"
    )
    until("every store to have them", everywhere)
    asked = command("ask", "failures")
    return command("verify", "all") == 0 and asked == 0


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description="A day at the clinic, an attack, and every store verified.")
    parser.add_argument("--url", default="http://clinic:8000")
    parser.add_argument("--requests", type=int, default=300)
    given = parser.parse_args()
    try:
        settings = load_settings(Path(os.environ["SEALSTREAM_CONFIG"]))
        work(settings, given.url, given.requests)
        held = attacked(settings, given.url) and verified(settings)
    except (SealstreamError, TimeoutError, RuntimeError, LookupError, httpx.HTTPError) as error:
        say(f"the demo could not go on: {error}")
        return 2
    say(
        "\nthe attack was raised, and every store holds what was sealed"
        if held
        else "\nsomething does not hold: see above"
    )
    return 0 if held else 1


if __name__ == "__main__":
    sys.exit(main())
