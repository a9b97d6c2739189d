"""One chain with everything around it, every part a real program: servers, our processes, applications, the network.

The bench's owner calls `wait` and `until` instead of sleeping: they look after the programs, which start again when
they end, as under any supervisor. What a fault breaks it mends itself; the bench knows nothing of faults.
"""

from __future__ import annotations

import itertools
import shutil
import signal
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

from tests.faults.clock import set_clock
from tests.faults.program import Program
from tests.faults.proxy import Network
from tests.faults.servers import Disk, Servers
from tests.faults.watching import Journals, Watcher
from tests.pipeline import PROCESSES, Pipeline, as_role, sql

from sealstream.cli.chain import create_chain
from sealstream.cli.settings import load_settings, write_settings
from sealstream.devstack import ProcessSpec
from sealstream.errors import SealstreamError
from sealstream.kafka import last_record
from sealstream.layout import SegmentLimits
from sealstream.layout.tables import Roles
from sealstream.postgres import migrate
from sealstream.sealing import open_checkpoint

__all__ = ["APPLICATIONS", "CHAIN", "CLIENTS", "Bench", "NotRecovered"]

CHAIN = "main"
CLIENTS = ["sequencer", "sequencer-2", "checkpointing", "postgres-sink", "archive-sink", "applications"]
APPLICATIONS = ("app-a", "app-b", "app-c")
_LIMITS = SegmentLimits(entries=5_000, bytes=50_000_000, seconds=10)
_LOG = "audit.example.com/faults"
_TICK_S = 0.1


class NotRecovered(AssertionError):
    """Something that must come about again did not, in time."""


class Bench:
    """`rate`: events a second of all applications together. `start()`, then faults, then `rest()`, then `stop()`."""

    def __init__(self, folder: Path, *, rate: float, heap: str = "448m") -> None:
        self.folder = folder
        self.rate = rate
        self.network = Network()
        self.servers = Servers(folder / "servers", CLIENTS, self.network, heap)
        self.logs = Disk(folder / "logs", 256 << 20)
        self.processes: dict[str, Program] = {}
        self.applications: dict[str, Program] = {}
        self.clocks: dict[str, Path] = {}
        self._lives = itertools.count()
        self.expected_alarms = 0
        self.stopping = threading.Event()
        self.earlier: dict[str, list[dict[int, bytes | None]]] = {"raw": [], "control": []}
        (folder / "journals").mkdir()
        (folder / "tmp").mkdir()
        self.journals = Journals(folder / "journals")

    # --- beginning and end

    def start(self) -> None:
        """Servers, chain, processes, applications."""
        self.servers.start()
        self.until(self.servers.ready, 120, "servers ready")
        self._make_chain()
        self.watcher = Watcher(self.pipeline.kafka, self.pipeline.topics.chain)
        self.watcher.start()
        for name in PROCESSES:
            self.process(name).start()
        for name in APPLICATIONS:
            self.start_application(name)
        self.until(lambda: self.watcher.size > 20, 60, "the first entries")

    def stop(self) -> None:
        """Whatever happened, leave nothing behind but logs."""
        for program in (*self.applications.values(), *self.processes.values()):
            program.resume()
            program.kill()
        if hasattr(self, "watcher"):
            self.watcher.end()
        self.servers.stop()
        self.network.close()
        kept = self.folder / "kept-logs"
        with suppress(OSError):
            shutil.copytree(self.logs.folder, kept, dirs_exist_ok=True)
        self.logs.close()

    def _make_chain(self) -> None:
        direct = self.servers.endpoints()
        roles = Roles.of("sealstream")
        passwords = dict.fromkeys(roles.logins(), "of-the-tests")
        sql(direct.postgres_admin_dsn, "CREATE DATABASE audit")
        admin_dsn = urlunsplit(urlsplit(direct.postgres_admin_dsn)._replace(path="/audit"))
        migrate(admin_dsn, roles=roles, passwords=passwords)
        config = self.folder / "sealstream.toml"
        dsns = {f"{short}_dsn": as_role(admin_dsn, role) for short, role in roles.logins().items()}
        archive = {
            "bucket": "audit-archive",
            "region": direct.s3_region,
            "access_key": direct.s3_access_key,
            "secret_key": direct.s3_secret_key,
        }
        write_settings(
            config,
            {
                "log": _LOG,
                "kafka": {"bootstrap": direct.kafka_bootstrap, "replication": 3},
                "postgres": dsns,
                "archive": {**archive, "endpoint_url": direct.s3_endpoint_url},
            },
        )
        create_chain(config, load_settings(config), CHAIN, retention="1d", limits=_LIMITS)
        for client in CLIENTS:
            own = self.folder / f"{client}.toml"
            shutil.copy(config, own)
            write_settings(
                own,
                {
                    "kafka": {"bootstrap": self.servers.kafka.bootstrap(client)},
                    "postgres": {key: self.servers.postgres_through(client, dsn) for key, dsn in dsns.items()},
                    "archive": {"endpoint_url": self.servers.s3_through(client)},
                },
            )
        self.pipeline = Pipeline(self.folder, CHAIN, admin_dsn)

    def process(self, name: str) -> Program:
        """One of our processes, not started when it is new; `sequencer-2` is the standby."""
        if name not in self.processes:
            self.clocks[name] = self.folder / f"{name}.clock"
            set_clock(self.clocks[name], 0)
            command = [sys.executable, "-m", "tests.faults.clock", str(self.clocks[name])]
            command += ["--config", str(self.folder / f"{name}.toml"), "run", name.removesuffix("-2"), "--chain", CHAIN]
            spec = ProcessSpec(
                name=name,
                argv=command,
                env={"TMPDIR": str(self.logs.folder), "PYTHONPATH": str(Path(__file__).parents[2])},
            )
            self.processes[name] = Program(spec, self.logs.folder / f"{name}.log")
        return self.processes[name]

    def start_application(self, name: str) -> None:
        """Start an application; each life has a journal of its own."""
        journal = self.folder / "journals" / f"{name}-{next(self._lives)}.journal"
        settings = load_settings(self.folder / "applications.toml")
        spec = ProcessSpec(
            name=name,
            argv=[
                *(sys.executable, "-m", "tests.faults.application", "--bootstrap", settings.kafka.bootstrap),
                *("--prefix", settings.kafka.prefix, "--chain", CHAIN),
                *("--rate", str(self.rate / len(APPLICATIONS)), "--journal", str(journal)),
            ],
            env={"PYTHONPATH": str(Path(__file__).parents[2])},
            alarm_exit_codes=frozenset(),
        )
        self.applications[name] = Program(spec, self.folder / f"{name}.log")
        self.applications[name].start()
        self.applications[name].journal = journal.stem  # type: ignore[attr-defined]

    def keep_records(self, kind: str) -> None:
        """Keep all that an input topic holds, before it is deleted."""
        topic = self.pipeline.topics.raw if kind == "raw" else self.pipeline.topics.control
        self.earlier[kind].append({each.offset: each.value for each in self.pipeline.records(topic)})

    # --- time

    def tick(self) -> None:
        """Look after our processes once; servers are the faults' own business. Raises `SystemExit` if told to stop."""
        if self.stopping.is_set():
            raise SystemExit(143)
        for program in self.processes.values():
            program.look_after()

    def wait(self, seconds: float) -> None:
        """Let time pass."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            self.tick()
            time.sleep(min(_TICK_S, left))

    def until(self, condition: Callable[[], bool], timeout_s: float, what: str) -> float:
        """Seconds until `condition` holds. Raises `NotRecovered`."""
        begun = time.monotonic()
        while not condition():
            if time.monotonic() - begun > timeout_s:
                raise NotRecovered(f"not within {timeout_s:g} s: {what}\n{self.why()}")
            self.wait(_TICK_S)
        return time.monotonic() - begun

    # --- how things are

    def alarms(self) -> dict[str, str]:
        """The processes that ended with an alarm, and what they said."""
        return {name: each.last_words(3) for name, each in self.processes.items() if each.alarm}

    def owed(self) -> set[str]:
        """Digests of all events that must be sealed some time, as of now."""
        self.journals.look()
        living = [each.journal for each in self.applications.values() if each.pid]  # type: ignore[attr-defined]
        return self.journals.owed(living)

    def is_sealed(self, owed: set[str]) -> bool:
        """Whether a reader has seen them all; those that were given up meanwhile are owed no more.

        `owed` is left with what is missing: an hour's events are not gone through at every question.
        """
        self.journals.look()
        sealed, failed = self.watcher.sealed, self.journals.failed
        owed -= {digest for digest in owed if digest in sealed or digest in failed}
        return not owed

    def is_stored(self, size: int) -> bool:
        """Whether Postgres holds, and checkpointing has signed, so many entries."""
        progress = self.pipeline.progress()
        return (progress.postgres_size or 0) >= size and (progress.signed_size or 0) >= size

    def newest_segment(self) -> int:
        """The size at which the newest signed segment ends."""
        try:
            newest = last_record(self.pipeline.kafka, self.pipeline.topics.segments)
        except SealstreamError:
            return 0
        return 0 if newest is None else open_checkpoint(newest.value or b"", self.pipeline.chain.vkey).size

    def is_archived(self, size: int) -> bool:
        """Whether the archive holds so many entries."""
        return (self.pipeline.progress().archive_size or 0) >= size

    def why(self) -> str:
        """Where everything stands, for a failure's message."""
        with suppress(Exception):
            standing = str(self.pipeline.progress())
            return "\n".join(
                [
                    standing,
                    *(f"--- {n} pid={p.pid} alarm={p.alarm}\n{p.last_words()}" for n, p in self.processes.items()),
                ]
            )
        return "nothing answers"

    def rest(self) -> list[bytes]:
        """End the applications in order, wait until nothing changes any more; events that this took, as they were sent.

        One may be needed: the archive holds whole segments, and only an event ends one by time.
        """
        for application in self.applications.values():
            application.end(signal.SIGTERM, 90)
        owed = self.owed()
        self.until(lambda: self.is_sealed(owed), 180, "everything acknowledged is sealed")
        pipeline = self.pipeline
        sent = pipeline.archive_all(0)
        pipeline.wait_quiet()
        return [pipeline.event(n) for n in range(sent)]
