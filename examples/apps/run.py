"""`make examples`: four small applications write into one stack, and not one event is missing or doubled.

Django, Flask, FastAPI and Express run on their real servers and answer some hundreds of requests at once; each is
ended and started again in the midst. Then what the log has sealed is held against what was asked, and all is verified.
All of it lives in a temporary folder, which stays when something differs. Exit code 0 only if everything held.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import psycopg
from examples.apps.asking import Asked, drive
from examples.apps.comparing import compare, event_of, troubles
from examples.apps.judging import complaints_of, table_of
from examples.apps.plans import PLANS, SECRETS, Plan
from examples.apps.serving import ROOT, Application, NoExpress, Places, application, make_express
from examples.demo.story import Teller
from psycopg.sql import SQL, Identifier
from rich.console import Console
from rich.text import Text

from sealstream.cli.pipeline import prepare, process_specs
from sealstream.cli.progress import ChainProgress, chain_progress
from sealstream.cli.settings import Settings, write_settings
from sealstream.devstack import ProcessSpec, Stack
from sealstream.devstack.ports import HOST, free_port
from sealstream.errors import SealstreamError
from sealstream.kafka import read_until_end
from sealstream.layout import ChainTopics, OutboxTables, SegmentLimits
from sealstream.relaying import outbox_status

CHAIN = "main"
SEGMENTS = SegmentLimits(entries=250, seconds=2)
_PATIENCE_S = 180.0
_PROCESSES = ("sequencer", "checkpointing", "postgres-sink", "archive-sink", "collect")


class Examples:
    """One run."""

    def __init__(self, folder: Path, rounds: int, seed: int, teller: Teller) -> None:
        self.folder = folder
        self.rounds = rounds
        self.seed = seed
        self.teller = teller
        self.config = folder / "data" / "sealstream.toml"
        self._taken: set[int] = set()
        ports = {name: free_port(self._taken) for name in ("kafka", "postgres", "s3")}
        self.stack = Stack(folder / "data", ports=ports, progress=teller.say)
        self.settings: Settings
        self.invoices_dsn = ""
        self.applications: dict[str, Application] = {}
        self.running: dict[str, str] = {}  # each application's program, by its name under the supervisor

    def run(self) -> bool:
        """All of it; True when everything held."""
        plans = {name: make(random.Random(f"{self.seed}/{name}"), self.rounds) for name, make in PLANS.items()}
        try:
            with self.teller.doing("the npm package sealstream-express, and the shop that uses it"):
                make_express()
        except NoExpress as why:
            self.teller.say(f"Express is skipped, the others run: {why}")
            del plans["express"]
        self._start(list(plans))
        asked = self._ask(plans)
        self._end()
        entries = self._entries()
        services = [plan.service for plan in plans.values()]
        held = self._judge(plans, asked, entries, services)
        return self._verified() and held

    # --- the stack and the applications -----------------------------------------------------------------------------

    def _start(self, names: list[str]) -> None:
        endpoints = self.stack.start()
        with self.teller.doing("chain, topics, bucket with Object Lock, tables and roles"):
            self.settings = prepare(self.config, endpoints, limits=SEGMENTS)
            port, figures = free_port(self._taken), free_port(self._taken)
            write_settings(self.config, {"collect": {"port": port}, "metrics": {"ports": {"collect": figures}}})
            self.invoices_dsn = self._database("invoices")
        with self.teller.doing("sequencer, checkpointing, Postgres sink, archive sink, collector"):
            specs = process_specs(self.config, [CHAIN], collect=True)
            self.stack.start_processes([spec for spec in specs if spec.name.startswith(_PROCESSES)])
            key = json.loads(self._command("collect", "keys", "create", "shop", "--chain", CHAIN, "--json"))["key"]
        self._prepare_django()
        with self.teller.doing("the outbox's relay; " + ", ".join(names)):
            relay = [sys.executable, "-m", "sealstream.cli.entry", "--config", str(self.config), "outbox", "relay"]
            environment = {"SEALSTREAM_OUTBOX_DSN": self.invoices_dsn}
            self.stack.start_processes([ProcessSpec(name="outbox-relay", argv=relay, env=environment)])
            places = Places(
                chain=CHAIN,
                bootstrap=self.settings.kafka.bootstrap,
                invoices_dsn=self.invoices_dsn,
                spool=self.folder / "help-desk-spool",
                collector_url=f"http://{HOST}:{port}",
                collector_key=key,
            )
            for name in names:
                self.applications[name] = application(name, free_port(self._taken), places)
                self._start_application(name)

    def _database(self, name: str) -> str:
        """An application's own database on the stack's Postgres."""
        dsn = self.stack.endpoints().postgres_admin_dsn
        with psycopg.connect(dsn, autocommit=True) as connection:
            connection.execute(SQL("CREATE DATABASE {}").format(Identifier(name)))
        return urlunsplit(urlsplit(dsn)._replace(path=f"/{name}"))

    def _prepare_django(self) -> None:
        with self.teller.doing("the invoices' tables and people"):
            self._run([sys.executable, "-m", "examples.apps.django_app.prepare"], {"INVOICES_DSN": self.invoices_dsn})

    def _start_application(self, name: str) -> None:
        start = int(self.running.get(name, f"{name}-0").rpartition("-")[2]) + 1
        self.running[name] = f"{name}-{start}"
        self.stack.start_processes([self.applications[name].spec(start)])

    def _pid(self, name: str) -> int | None:
        return next((each.pid for each in self.stack.status() if each.name == self.running[name]), None)

    def _end_applications(self, *names: str) -> None:
        """SIGTERM, and what they do then: answer what they have heard, say what is still to be said, and end."""
        for name in names:
            pid = self._pid(name)
            if pid is None:
                raise RuntimeError(f"{name} has ended by itself; see {self.folder}/data/logs/{self.running[name]}.log")
            os.kill(pid, signal.SIGTERM)
        self._until("the applications to end", lambda: all(self._pid(name) is None for name in names))

    # --- asking -----------------------------------------------------------------------------------------------------

    def _ask(self, plans: dict[str, Plan]) -> dict[str, Asked]:
        asked = {name: Asked() for name in plans}
        planned = {name: len(plan.logins) + len(plan.asks) for name, plan in plans.items()}
        failed: list[BaseException] = []

        async def all_of_them() -> None:
            await asyncio.gather(*(drive(plans[name], self.applications[name].url, asked[name]) for name in plans))

        def work() -> None:
            try:
                asyncio.run(all_of_them())
            except BaseException as error:  # noqa: BLE001 - it is raised below, in the thread that waits
                failed.append(error)

        with self.teller.doing(
            f"{sum(planned.values())} requests, and each application ended and started in the midst"
        ):
            thread = threading.Thread(target=work, daemon=True)
            thread.start()
            for name in plans:
                self._until(
                    f"half of the requests to {name}",
                    lambda one=asked[name]: one.halfway.is_set() or not thread.is_alive(),  # type: ignore[misc]
                )
            for each in asked.values():
                each.go_on.set()
            time.sleep(0.02)  # so that each has something to answer while it ends
            self._end_applications(*plans)
            for name in plans:
                self._start_application(name)
            self._until("the last answers", lambda: not thread.is_alive())
        if failed:
            raise RuntimeError(f"the requests could not be made: {failed[0]!r}") from failed[0]
        return asked

    def _end(self) -> None:
        """End the applications, and wait until all that they have said is sealed and stored."""
        with self.teller.doing("every event sealed, signed, stored and archived"):
            *first, last = sorted(self.running, key="fastapi".__eq__)
            self._end_applications(*first)
            self._until(
                "the outbox to be empty", lambda: outbox_status(self.invoices_dsn, OutboxTables.of()).waiting == 0
            )
            size = self._sealed().size or 0
            pause = time.monotonic() + SEGMENTS.seconds + 0.5
            self._until("the segment's time to be over", lambda: time.monotonic() > pause)
            self._end_applications(last)  # its goodbye stands behind the time of the segment with all else, and ends it
            self._sealed()
            self._until_progress("every store to hold it", lambda now: _reached(now, size))

    def _sealed(self) -> ChainProgress:
        return self._until_progress("the input to be sealed", lambda now: now.waiting == 0)

    # --- judging ----------------------------------------------------------------------------------------------------

    def _entries(self) -> list[dict[str, Any]]:
        topic = ChainTopics.of(CHAIN, self.settings.kafka.prefix).chain
        return [
            json.loads(record.value or b"")
            for records in read_until_end(self.settings.kafka_settings(), topic)
            for record in records
        ]

    def _judge(
        self, plans: dict[str, Plan], asked: dict[str, Asked], entries: list[dict[str, Any]], services: list[str]
    ) -> bool:
        compared = compare(
            [event for each in asked.values() for event in each.expected],
            [event for each in asked.values() for event in each.perhaps],
            [event for entry in entries if (event := event_of(entry, services)) is not None],
        )
        complaints = troubles(entries, services, SECRETS) + complaints_of(plans, asked, compared)
        self.teller.console.print(table_of(plans, asked, compared))
        legend = "refused: while it was away, and asked again; unanswered: sent, its events may be there once or not"
        self.teller.console.print(Text(legend, style="dim"))
        for complaint in complaints[:40]:
            self.teller.console.print(Text(f"✗ {complaint}", style="red"))
        held = not complaints
        verdict = ("✓ not one missing, not one doubled", "green") if held else ("✗ the log differs", "bold red")
        self.teller.console.print(Text(*verdict))
        return held

    def _verified(self) -> bool:
        with self.teller.doing("sealstream verify all: every hash, link, root and signature, in all three stores"):
            done = self._sealstream("verify", "all")
        lines = [line for line in done.stdout.splitlines() if line.strip()]
        for line in lines:
            if done.returncode or " holds " in line:
                self.teller.say(line)
        if done.returncode:
            self.teller.say(f"verify all: exit code {done.returncode} {done.stderr[-2_000:]}")
        return done.returncode == 0

    # --- waiting and commands ---------------------------------------------------------------------------------------

    def _until(self, what: str, reached: Callable[[], bool]) -> None:
        deadline = time.monotonic() + _PATIENCE_S
        while not reached():
            self.stack.step()
            time.sleep(0.05)
            if time.monotonic() > deadline:
                states = ", ".join(f"{status.name} {status.state}" for status in self.stack.status())
                raise TimeoutError(f"waited {_PATIENCE_S:.0f} s for {what}: {states}; logs in {self.folder}/data/logs")

    def _until_progress(self, what: str, reached: Callable[[ChainProgress], bool]) -> ChainProgress:
        seen: list[ChainProgress] = []

        def look() -> bool:
            seen.append(chain_progress(self.settings, CHAIN))
            return reached(seen[-1])

        try:
            self._until(what, look)
        except TimeoutError as error:
            raise TimeoutError(f"{error}; {seen[-1]}") from error
        return seen[-1]

    def _sealstream(self, *words: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "sealstream.cli.entry", "--config", str(self.config), *words]
        environment = {**os.environ, "XDG_STATE_HOME": str(self.folder / "state")}  # what a verifier keeps of this log
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=300)

    def _command(self, *words: str) -> str:
        done = self._sealstream(*words)
        if done.returncode:
            raise RuntimeError(f"sealstream {' '.join(words[:3])}: {done.stderr[-2_000:]}")
        return done.stdout

    def _run(self, command: list[str], environment: dict[str, str]) -> None:
        done = subprocess.run(
            command, cwd=ROOT, env={**os.environ, **environment}, capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise RuntimeError(f"{' '.join(command[1:])}: {done.stderr[-2_000:]}")


def _reached(now: ChainProgress, size: int) -> bool:
    """All is sealed; all that the applications have said is signed, in Postgres and in the archive, too."""
    return now.waiting == 0 and all(
        (each or 0) >= size for each in (now.signed_size, now.postgres_size, now.archive_size)
    )


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def main() -> int:
    """Run the examples; the return value is the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--rounds", type=int, default=20, help="rounds of some six requests each (default: 20, at most 100)"
    )
    parser.add_argument("--seed", type=int, default=9, help="of the requests' order and ids (default: 9)")
    arguments = parser.parse_args()
    if not 1 <= arguments.rounds <= 100:
        parser.error("--rounds: expected 1 to 100")
    for number in (signal.SIGTERM, signal.SIGINT):  # also where a shell had SIGINT ignored
        signal.signal(number, _interrupt)
    width = None if sys.stdout.isatty() else int(os.environ.get("COLUMNS", "120"))
    teller = Teller(Console(highlight=False, width=width))
    began = time.monotonic()
    folder = Path(tempfile.mkdtemp(prefix="sealstream-examples-"))
    examples = Examples(folder, arguments.rounds, arguments.seed, teller)
    code = 2
    try:
        code = 0 if examples.run() else 1
    except KeyboardInterrupt:
        teller.say("stopped")
        code = 130
    except (SealstreamError, TimeoutError, RuntimeError, OSError, psycopg.Error, subprocess.SubprocessError) as error:
        teller.say(f"the examples could not go on: {error}")
    finally:
        for number in (signal.SIGTERM, signal.SIGINT):  # a second Ctrl-C must not leave half of it running
            signal.signal(number, signal.SIG_IGN)
        teller.say("stopping what was started")
        examples.stack.stop()
        if code in (0, 130):
            shutil.rmtree(folder, ignore_errors=True)
        else:
            teller.say(f"logs and data stay in {folder}/data")
    if code != 130:
        teller.say(f"{'all held' if code == 0 else 'NOT all held'}, {time.monotonic() - began:.0f} s")
    return code


if __name__ == "__main__":
    sys.exit(main())
