"""A quarter of an hour of a clinic's log, with things that go wrong on purpose, and the dashboards' pictures of it.

    python -m grafana.pictures.run --minutes 12

Needs `prometheus` on the PATH beside what draw.py needs. Starts a stack in a folder of its own, on free ports: servers,
every process, a collector, an outbox, two targets, and a Prometheus that scrapes them all every five seconds. All of it
ends with this program. What goes wrong, by share of the time: see `_STORY`.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import json
import os
import random
import secrets
import signal
import subprocess
import sys
import tempfile
import threading
import time
import tomllib
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import httpx
from confluent_kafka import Producer
from examples.clinic.attack import attack
from examples.clinic.load import run as load

from grafana.pictures.draw import Span, draw
from sealstream.client import Outbox
from sealstream.devstack.ports import free_port
from sealstream.events import new_event_id

_ROOT = Path(__file__).resolve().parents[3]
_SCRAPE_S = 5
_SERVERS = ("kafka", "postgres", "s3")


class Run:
    """What runs, and where. Made by `_started`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.config = folder / "sealstream.toml"
        self.children: dict[str, subprocess.Popen[bytes]] = {}
        self.over = threading.Event()
        taken: set[int] = set()
        names = (*_SERVERS, "clinic", "collect", "relay", "prometheus")
        self.ports = {name: free_port(taken) for name in names}
        self.receiver = _Receiver()

    @property
    def settings(self) -> dict[str, Any]:
        return tomllib.loads(self.config.read_text())

    def url(self, name: str) -> str:
        return f"http://127.0.0.1:{self.ports[name]}"

    def database(self, name: str) -> str:
        """The DSN of the superuser for this database of the stack's server."""
        dsn: str = self.settings["postgres"]["admin_dsn"]
        return urlunsplit(urlsplit(dsn)._replace(path=f"/{name}"))

    def sealstream(self, *words: str) -> str:
        """Run a command; returns its output. A failure is told, and no more."""
        command = [sys.executable, "-m", "sealstream.cli.entry", "--config", str(self.config), *words]
        done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=300, env=self.environment)
        if done.returncode:
            print(
                f"sealstream {' '.join(words)}: exit {done.returncode}: {(done.stderr or done.stdout).strip()[-500:]}"
            )
        return done.stdout.strip()

    @property
    def environment(self) -> dict[str, str]:
        return os.environ | {"SEALSTREAM_HOME": str(self.folder), "XDG_STATE_HOME": str(self.folder / "state")}

    def start(self, name: str, *command: str, **environment: str) -> None:
        with (self.folder / f"{name}.log").open("ab") as log:
            self.children[name] = subprocess.Popen(
                command, cwd=_ROOT, stdout=log, stderr=log, env=self.environment | environment
            )

    def stop_all(self) -> None:
        for child in self.children.values():
            child.terminate()
        for child in self.children.values():
            with suppress(subprocess.TimeoutExpired):
                child.wait(30)
            child.kill()


class _Receiver(ThreadingHTTPServer):
    """Takes what is forwarded; /siem is `away` for a while, and refuses every two-thousandth message."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Take)
        self.away = False
        self.taken = 0
        threading.Thread(target=self.serve_forever, daemon=True).start()


class _Take(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        receiver = self.server
        assert isinstance(receiver, _Receiver)
        status = 204
        if self.path == "/siem":
            receiver.taken += 1
            status = 503 if receiver.away else 422 if receiver.taken % 2000 == 0 else 204
        self.send_response(status)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing is said."""


@contextmanager
def _started(folder: Path) -> Iterator[Run]:
    """The whole of it, ready; ended in order behind it."""
    run = Run(folder)
    target = {"kind": "webhook", "allow_networks": ["127.0.0.0/8"]}
    run.config.write_text(
        f'[collect]\nport = {run.ports["collect"]}\n[reviews]\nevery = "day"\n[metrics]\nask_every_seconds = {_SCRAPE_S}\n'
        + "".join(
            f'[forward.targets.{name}]\nkind = "{target["kind"]}"\nurl = "http://127.0.0.1:{run.receiver.server_port}/{name}"\n'
            f'secret = "whsec_{base64.b64encode(secrets.token_bytes(32)).decode()}"\nwhat = "{what}"\n'
            f"allow_networks = {json.dumps(target['allow_networks'])}\n"
            for name, what in (("soc", "alerts"), ("siem", "entries"))
        )
    )
    run.config.chmod(0o600)
    with ExitStack() as ends:
        ends.callback(run.receiver.shutdown)
        ports = [f"--{name}-port={run.ports[name]}" for name in _SERVERS]
        up = [sys.executable, "-m", "sealstream.cli.entry", "up", "--detach", "--segment-seconds=60", *ports]
        ends.callback(run.sealstream, "down", "--data-dir", str(folder))
        subprocess.run([*up, "--data-dir", str(folder)], check=True, timeout=300, env=run.environment)
        ends.callback(run.stop_all)
        asyncio.run(_outbox(run))
        _clinic(run)
        relay = ("outbox", "relay", f"--metrics-port={run.ports['relay']}")
        run.start("relay", sys.executable, "-m", "sealstream.cli.entry", "--config", str(run.config), *relay,
                  SEALSTREAM_OUTBOX_DSN=run.database("billing"))  # fmt: skip
        _prometheus(run)
        ends.callback(run.over.set)
        yield run


def _clinic(run: Run) -> None:
    command = ("-m", "uvicorn", "--factory", "examples.clinic.app:create_app", "--no-proxy-headers")
    more = ("--port", str(run.ports["clinic"]), "--log-level", "warning", "--timeout-keep-alive", "75")
    environment = {"SEALSTREAM_BOOTSTRAP": run.settings["kafka"]["bootstrap"], "CLINIC_TRUSTED_PROXIES": "127.0.0.1"}
    run.start("clinic", sys.executable, *command, *more, **environment)


def _prometheus(run: Run) -> None:
    ports = [*run.settings["metrics"]["ports"].values(), run.ports["relay"]]
    (run.folder / "prometheus.yml").write_text(
        json.dumps(
            {
                "global": {"scrape_interval": f"{_SCRAPE_S}s", "evaluation_interval": f"{_SCRAPE_S}s"},
                "rule_files": [str(_ROOT / "deploy/prometheus/sealstream.rules.yml")],
                "scrape_configs": [
                    {
                        "job_name": "sealstream",
                        "static_configs": [{"targets": [f"127.0.0.1:{port}" for port in ports]}],
                    }
                ],
            }
        )
    )
    options = ("--config.file", str(run.folder / "prometheus.yml"), "--storage.tsdb.path", str(run.folder / "tsdb"))
    run.start("prometheus", "prometheus", *options, f"--web.listen-address=127.0.0.1:{run.ports['prometheus']}")


async def _outbox(run: Run) -> None:
    """An application's database with an outbox."""
    connection = await asyncpg.connect(run.database("postgres"))
    try:
        await connection.execute("CREATE DATABASE billing")
    finally:
        await connection.close()
    run.sealstream("outbox", "init", "--dsn", run.database("billing"))


# --- what people and applications do, each in a thread of its own until it is over ------------------------------------


def _staff(run: Run) -> None:
    """Shifts of requests, a few at a time, now and then many."""
    seed = 0
    while not run.over.is_set():
        seed += 1
        with suppress(httpx.HTTPError):  # the clinic is still starting
            asyncio.run(load(run.url("clinic"), requests=400 if seed % 6 == 0 else 60, seed=seed, concurrency=3))
        run.over.wait(4)


def _scanner(run: Run) -> None:
    """A device that writes over HTTP, at times something that is no event, at times with a key that is none."""
    key, rng = run.sealstream("collect", "keys", "create", "scanner", "--chain", "main").split()[-1], random.Random(7)
    while not run.over.wait(0.7):
        what = rng.choices(("good", "bad", "some", "stranger"), (30, 2, 2, 1))[0]
        events = [_event("scan.read", "scanner-7") for _ in range(rng.randint(1, 12))]
        if what in ("bad", "some"):
            events = [event | {"result": "maybe"} for event in events] + (events if what == "some" else [])
        headers = {"Authorization": f"Bearer {key if what != 'stranger' else 'slk_' + 'x' * 43}"}
        with suppress(httpx.HTTPError):
            httpx.post(f"{run.url('collect')}/v1/events", json=events, headers=headers, timeout=30)


def _billing(run: Run) -> None:
    """Transactions with an event each, and a burst of them each minute."""

    async def work() -> None:
        outbox, last = Outbox(source={"service": "billing"}), time.monotonic()
        connection = await asyncpg.connect(run.database("billing"))
        try:
            while not run.over.is_set():
                burst = time.monotonic() - last > 60
                last = time.monotonic() if burst else last
                async with connection.transaction():
                    for number in range(3000 if burst else 2):
                        await outbox.aemit(
                            connection,
                            "invoice.approve",
                            actor_id="service-billing",
                            actor_type="service",
                            resource_type="invoice",
                            resource_id=f"inv-{number}",
                        )
                await asyncio.sleep(0.5)
        finally:
            await connection.close()

    asyncio.run(work())


def _event(action: str, actor: str, **more: Any) -> dict[str, Any]:
    now = datetime.now(UTC).isoformat().replace("+00:00", "Z")
    event = {"id": str(new_event_id()), "timestamp": now, "actor_id": actor, "actor_type": "service", "action": action}
    return event | {"resource_type": "device", "resource_id": actor, "result": "success"} | more


# --- what goes wrong --------------------------------------------------------------------------------------------------


def _guess(run: Run) -> None:
    print(attack(run.url("clinic"), "dr.osei"))


def _guess_again(run: Run) -> None:
    print(attack(run.url("clinic"), "nurse.kaur", guesses=30))


def _write_rubbish(run: Run) -> None:
    """No events, a repeat, skipped numbers, a clock that is ahead, a signature by a key that nobody knows."""
    stream, ahead = str(new_event_id()), (datetime.now(UTC) + timedelta(seconds=20)).isoformat().replace("+00:00", "Z")
    said = [_event("door.open", "door-3", producer_id=stream, producer_seq=number) for number in (0, 1, 2, 2, 9)]
    said += [_event("door.open", "door-4", timestamp=ahead)]
    said += [
        _event("door.open", "door-5", signature={"key": "door+0a0b0c0d", "value": base64.b64encode(b"x" * 64).decode()})
    ]
    said[3] = said[2]
    producer = Producer({"bootstrap.servers": run.settings["kafka"]["bootstrap"]})
    for value in (b"not JSON", b"{}", b'{"id": 7}', *(json.dumps(event).encode() for event in said)):
        producer.produce("audit.raw.main", value)
    producer.flush(30)


def _lock_out(run: Run) -> None:
    """Postgres lets the sink in no longer, as a server does that has too many connections."""
    asyncio.run(_as_admin(run, "ALTER ROLE sealstream_sink CONNECTION LIMIT 0"))
    asyncio.run(
        _as_admin(run, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'sealstream_sink'")
    )


def _let_in(run: Run) -> None:
    asyncio.run(_as_admin(run, "ALTER ROLE sealstream_sink CONNECTION LIMIT -1"))


async def _as_admin(run: Run, statement: str) -> None:
    connection = await asyncpg.connect(run.database("sealstream"))
    try:
        await connection.execute(statement)
    finally:
        await connection.close()


def _receiver_away(run: Run) -> None:
    run.receiver.away = True


def _receiver_back(run: Run) -> None:
    run.receiver.away = False


def _kill_the_sink(run: Run) -> None:
    """As a machine does that runs out of memory; its supervisor starts it again."""
    processes = json.loads(run.sealstream("status", "--json"))["processes"]
    pid = next(each["pid"] for each in processes if each["name"] == "postgres-sink")
    os.kill(pid, signal.SIGKILL)


def _review(run: Run) -> None:
    now = datetime.now(UTC)
    period = f"{now - timedelta(minutes=2):%Y-%m-%dT%H:%M:%SZ}..{now - timedelta(minutes=1):%Y-%m-%dT%H:%M:%SZ}"
    print(run.sealstream("review", "start", "--period", period, "--verify", "postgres"))
    print(run.sealstream("verify", "all"))


_STORY: tuple[tuple[float, Callable[[Run], None]], ...] = (
    (0.15, _guess),
    (0.25, _write_rubbish),
    (0.35, _lock_out),
    (0.48, _let_in),
    (0.55, _receiver_away),
    (0.63, _receiver_back),
    (0.70, _guess_again),
    (0.78, _kill_the_sink),
    (0.85, _review),
)


def _tell(run: Run, minutes: float) -> Span:
    """Wait for the first scrape, then let happen what happens."""
    for work in (_staff, _scanner, _billing):
        threading.Thread(target=work, args=(run,), daemon=True).start()
    time.sleep(3 * _SCRAPE_S)
    start = time.time()
    for share, deed in _STORY:
        time.sleep(max(0.0, start + share * minutes * 60 - time.time()))
        print(f"{datetime.now(UTC):%H:%M:%S} {deed.__name__.strip('_').replace('_', ' ')}", flush=True)
        deed(run)
    time.sleep(max(0.0, start + minutes * 60 - time.time()))
    return Span(int(start), int(time.time()), _SCRAPE_S)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description="Run a clinic's log, and draw the dashboards from it.")
    parser.add_argument("--minutes", type=float, default=12)
    parser.add_argument("--stay", action="store_true", help="go on until Enter, so that draw.py can draw again")
    given = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    with tempfile.TemporaryDirectory(prefix="sealstream-pictures-") as name, _started(Path(name)) as run:
        span = _tell(run, given.minutes)
        print(f"from {run.url('prometheus')}, {datetime.fromtimestamp(span.start, UTC):%Y-%m-%dT%H:%M:%SZ} "
              f"to {datetime.fromtimestamp(span.end, UTC):%Y-%m-%dT%H:%M:%SZ}", flush=True)  # fmt: skip
        try:
            print("\n".join(str(picture) for picture in draw(run.url("prometheus"), span)))
        except RuntimeError as error:
            print(error)
        if given.stay:
            input("Enter ends it. ")


if __name__ == "__main__":
    main()
