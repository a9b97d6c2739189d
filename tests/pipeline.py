"""The whole pipeline on the session's servers, for one chain of its own: real processes, killed and started at will.

Everything has a name that no other test has (topics' prefix and so the consumer group, roles, database, bucket), and
the processes end with pytest, also when it is killed.
"""

from __future__ import annotations

import asyncio
import io
import json
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import redirect_stderr, redirect_stdout, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import pytest
from confluent_kafka import Producer
from tests.providers.provided import Provided

from sealstream.archive import ArchiveSettings, ArchiveStore, read_rows
from sealstream.cli.chain import create_chain
from sealstream.cli.main import run
from sealstream.cli.progress import ChainProgress, chain_progress
from sealstream.cli.settings import load_settings, write_settings
from sealstream.cli.stores import archive_settings
from sealstream.devstack import ProcessSpec
from sealstream.devstack.running import spawn
from sealstream.events import canonical_event
from sealstream.kafka import KafkaSettings, Record, end_offset, last_record, read_until_end
from sealstream.kafka.settings import client_config
from sealstream.layout import ChainTopics, SegmentLimits, decode_entry
from sealstream.layout.tables import Roles
from sealstream.postgres import migrate
from sealstream.sealing import open_checkpoint
from sealstream.verify import ChainIdentity, Report, Verification, verify_archive, verify_kafka, verify_postgres

__all__ = ["PROCESSES", "Pipeline", "Said", "make_pipeline", "pipeline_roles", "say", "sql", "wait_until"]

PROCESSES = ("sequencer", "checkpointing", "postgres-sink", "archive-sink")
LOG = "audit.example.com/tests"
_SMALL_SEGMENTS = SegmentLimits(entries=500, bytes=10_000_000, seconds=5)
_PASSWORD = "of-the-tests"


class Said(NamedTuple):
    """What a command said: exit code, standard output, standard error."""

    code: int
    out: str
    err: str


class Pipeline:
    """One chain and its four processes, none of which runs at first."""

    def __init__(self, folder: Path, name: str, admin_dsn: str) -> None:
        self.folder = folder
        self.config = folder / "sealstream.toml"
        self.settings = load_settings(self.config)
        self.name = name
        self.prefix = self.settings.kafka.prefix
        self.chain = self.settings.chain(name)
        self.identity = ChainIdentity(name, self.chain.origin, self.chain.vkey)
        self.kafka: KafkaSettings = self.settings.kafka_settings()
        self.topics = ChainTopics.of(name, self.prefix)
        self.archive: ArchiveSettings = archive_settings(self.settings)
        self.reader_dsn = self.settings.postgres.reader_dsn
        self.admin_dsn = admin_dsn
        self.running: dict[str, subprocess.Popen[bytes]] = {}

    # --- processes ------------------------------------------------------------------------------------------------

    def start(self, *names: str, accept_input_lost: bool = False) -> None:
        """Start processes, all four by default; `sequencer-2` is a second sequencer."""
        for name in names or PROCESSES:
            assert name not in self.running, f"{name} runs already"
            process = name.removesuffix("-2")
            command = [sys.executable, "-m", "sealstream.cli.entry", "--config", str(self.config), "run", process]
            decided = ["--accept-input-lost"] if accept_input_lost else []
            spec = ProcessSpec(name=name, argv=[*command, "--chain", self.name, *decided])
            self.running[name] = spawn(spec, self.folder / f"{name}.log")

    def kill(self, name: str) -> None:
        """kill -9. The process must have been alive: one that ended by itself is a failure."""
        process = self.running.pop(name)
        assert process.poll() is None, f"{name} ended by itself, {process.returncode}: {self.log(name)}"
        process.kill()
        process.wait()

    def stop(self, *names: str) -> dict[str, int]:
        """SIGTERM, in the flow's reverse order; the exit codes."""
        ending = [name for name in reversed(list(self.running)) if not names or name in names]
        for name in ending:
            self.running[name].terminate()
        return {name: self.running.pop(name).wait(30) for name in ending}

    def kill_all(self) -> None:
        """Whatever happened, leave nothing behind."""
        for process in self.running.values():
            process.kill()
            process.wait()
        self.running.clear()

    def log(self, name: str) -> str:
        """The last lines of a process's log."""
        return "\n".join((self.folder / f"{name}.log").read_text(errors="replace").splitlines()[-15:])

    # --- what goes in and what comes out ----------------------------------------------------------------------------

    def event(self, n: int, *, producer: str | None = None, number: int | None = None, **more: Any) -> bytes:
        """A valid event, one for each `n`: the same arguments give the same bytes."""
        fields: dict[str, Any] = {
            "id": self.event_id(n),
            "timestamp": "2026-11-24T03:00:00.000000Z",
            "actor_id": f"user-{n % 10}",
            "actor_type": "user",
            "action": "read",
            "resource_type": "patient_record",
            "resource_id": f"patient-{n % 50}",
            "result": ("success", "success", "denied", "failure")[n % 4],
            "ip_address": "10.0.0.7",
            "reason": "treatment",
            **more,
        }
        if producer is not None:
            fields |= {"producer_id": producer, "producer_seq": n if number is None else number}
        return canonical_event(fields)

    def event_id(self, n: int) -> str:
        """The id of event `n`."""
        return str(uuid.uuid5(uuid.NAMESPACE_URL, f"{self.chain.origin}/{n}"))

    def send(self, values: Iterable[bytes], topic: str | None = None) -> None:
        """As an application does: idempotent, acknowledged by the broker."""
        producer = Producer(client_config(self.kafka, {"enable.idempotence": True, "linger.ms": 5}))
        for value in values:
            producer.produce(topic or self.topics.raw, value, partition=0)
            producer.poll(0)
        assert producer.flush(60) == 0

    def progress(self) -> ChainProgress:
        """How far every store is, as `sealstream status` says it."""
        return chain_progress(self.settings, self.name)

    def size(self) -> int:
        """How many entries are sealed."""
        last = last_record(self.kafka, self.topics.chain)
        return 0 if last is None else decode_entry(last.value or b"").written.seq + 1

    def wait_beyond(self, size: int, timeout_s: float = 60) -> None:
        """Until more than `size` entries are sealed."""
        wait_until(lambda: self.size() > size, timeout_s, self.why)

    def wait_sealed(self, timeout_s: float = 120) -> int:
        """Until everything in the input topics is sealed or accounted for, but for markers at the end; the size."""

        def sealed() -> bool:
            last = last_record(self.kafka, self.topics.chain)
            if last is None:
                return False
            written = decode_entry(last.value or b"").written
            return all(
                offset + 1 >= end_offset(self.kafka, topic, committed=True)
                for topic, offset in (
                    (self.topics.raw, written.raw_offset),
                    (self.topics.control, written.control_offset),
                )
            )

        wait_until(sealed, timeout_s, self.why)
        return self.size()

    def wait_stored(self, size: int, timeout_s: float = 120) -> None:
        """Until Postgres holds `size` entries and checkpointing has signed so many."""

        def stored() -> bool:
            progress = self.progress()
            return (progress.postgres_size or 0) >= size and (progress.signed_size or 0) >= size

        wait_until(stored, timeout_s, self.why)

    def wait_archived(self, size: int, timeout_s: float = 120) -> None:
        """Until the archive holds `size` entries."""
        wait_until(lambda: (self.progress().archive_size or 0) >= size, timeout_s, self.why)

    def archive_all(self, n: int) -> int:
        """Wait until the archive holds every event; where one stands in the open segment, event `n` ends it, by time.

        Returns how many events that took: 0 or 1.
        """
        self.wait_stored(self.wait_sealed())
        # Else the statement that a segment was archived could end the open one before event `n` does.
        wait_until(lambda: self._archived_segments() == len(self.records(self.topics.segments)), 120, self.why)
        newest = last_record(self.kafka, self.topics.segments)
        ended = 0 if newest is None else open_checkpoint(newest.value or b"", self.chain.vkey).size
        if all(entry["written"]["kind"] != "event" for entry in self.entries()[ended:]):
            return 0
        time.sleep(self.chain.limits.seconds + 0.1)
        self.send([self.event(n)])
        self.wait_sealed()
        wanted = self.event_id(n)
        self.wait_archived(next(e["written"]["seq"] for e in reversed(self.entries()) if e["id"] == wanted) + 1)
        return 1

    def _archived_segments(self) -> int:
        statement = b'"action":"segment.archived"'
        return sum(statement in (record.value or b"") for record in self.records(self.topics.chain))

    def wait_quiet(self, timeout_s: float = 120) -> int:
        """Until nothing changes any more: all sealed, signed, stored, and each archived segment sealed as archived."""

        def quiet() -> bool:
            before = self.size()
            self.wait_sealed(timeout_s)
            self.wait_stored(before, timeout_s)
            time.sleep(1.5)
            return self.size() == before

        wait_until(quiet, timeout_s, self.why)
        return self.size()

    def why(self) -> str:
        """Where everything stands, for a failure's message."""
        ended = {name: process.poll() for name, process in self.running.items() if process.poll() is not None}
        logs = "\n".join(f"--- {name}\n{self.log(name)}" for name in self.running)
        return f"{self.progress()}; ended: {ended}\n{logs}"

    def records(self, topic: str) -> list[Record]:
        """All that a reader sees of a topic."""
        return [record for records in read_until_end(self.kafka, topic) for record in records]

    def entries(self) -> list[dict[str, Any]]:
        """The chain, as JSON."""
        return [json.loads(record.value or b"") for record in self.records(self.topics.chain)]

    def stored_ids(self) -> list[str]:
        """The ids of the events in Postgres, in order of seq."""
        rows = sql(
            self.reader_dsn, "SELECT id FROM audit_log WHERE chain = $1 AND kind = 'event' ORDER BY seq", self.name
        )
        return [str(row["id"]) for row in rows]

    def archived_ids(self) -> list[str]:
        """The ids of the events in the archive, in order of seq."""
        ids: list[str] = []
        store = ArchiveStore(self.archive, self.name)
        try:
            for segment in store.segments():
                data = store.read(segment.name.object_key, segment.object.versions[0])
                ids += [event_id.decode() for event_id, kind in read_rows(data, ["id", "kind"]) if kind == b"event"]
        finally:
            store.close()
        return ids

    # --- verdicts ---------------------------------------------------------------------------------------------------

    def asked(self, **more: Any) -> Verification:
        """The question to a verifier, as of now."""
        return Verification(**{"identity": self.identity, "now": datetime.now(UTC), **more})

    def verify(self, store: str, **more: Any) -> Report:
        """The report on one store."""
        asked = self.asked(**more)
        if store == "kafka":
            return verify_kafka(self.kafka, asked, prefix=self.prefix)
        if store == "postgres":
            return verify_postgres(self.reader_dsn, asked)
        return verify_archive(self.archive, asked)

    def command(self, *arguments: str) -> Said:
        """A `sealstream` command with these settings, in this process."""
        return say(self.config, *arguments)


def say(config: Path, *arguments: str) -> Said:
    """A `sealstream` command with these settings, in this process."""
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        code = run(["--config", str(config), *arguments])
    return Said(code, out.getvalue(), err.getvalue())


def wait_until(condition: Callable[[], bool], timeout_s: float, why: Callable[[], str] = lambda: "") -> float:
    """Seconds until `condition` held."""
    begun = time.monotonic()
    while not condition():
        assert time.monotonic() - begun < timeout_s, f"not within {timeout_s} s: {why()}"
        time.sleep(0.2)
    return time.monotonic() - begun


def sql(dsn: str, statement: str, *arguments: Any) -> Sequence[Any]:
    """The rows of one statement."""

    async def fetch() -> Sequence[Any]:
        connection = await asyncpg.connect(dsn)
        try:
            rows: Sequence[Any] = await connection.fetch(statement, *arguments)
            return rows
        finally:
            await connection.close()

    return asyncio.run(fetch())


def as_role(dsn: str, role: str) -> str:
    """The same database for a role of the tests."""
    parts = urlsplit(dsn)
    return urlunsplit(parts._replace(netloc=f"{role}:{_PASSWORD}@{parts.netloc.rpartition('@')[2]}"))


@pytest.fixture(scope="session")
def pipeline_roles(postgres_admin_dsn: str) -> Iterator[Roles]:
    """Roles of this session alone: those of a stack that runs keep their passwords."""
    roles = Roles.of(f"t_{uuid.uuid4().hex[:12]}")
    yield roles
    for role in roles:
        with suppress(asyncpg.DependentObjectsStillExistError):  # databases that end after this: servers end with them
            sql(postgres_admin_dsn, f"DROP ROLE IF EXISTS {role}")


@pytest.fixture(scope="session")
def make_pipeline(
    provided: Provided,
    postgres_admin_dsn: str,
    pipeline_roles: Roles,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Callable[..., Pipeline]]:
    """`make_pipeline(limits, chain)`: a new chain on the session's servers, gone with its processes when the session
    ends; its name is new, too, unless one is given (which one test file may do for each).
    """
    made: list[Pipeline] = []
    roles, stack = pipeline_roles, provided.endpoints

    def make(limits: SegmentLimits = _SMALL_SEGMENTS, chain: str = "", retention: str = "1d") -> Pipeline:
        name = f"e{uuid.uuid4().hex[:12]}"
        chain = chain or name
        folder = tmp_path_factory.mktemp(name)
        sql(postgres_admin_dsn, f"CREATE DATABASE {name}")
        dsn = urlunsplit(urlsplit(postgres_admin_dsn)._replace(path=f"/{name}"))
        migrate(dsn, roles=roles, passwords=dict.fromkeys(roles.logins(), _PASSWORD))
        config = folder / "sealstream.toml"
        write_settings(
            config,
            {
                "log": LOG,
                "kafka": {"bootstrap": stack.kafka_bootstrap, "prefix": f"p-{name}", **provided.kafka},
                "activity": {"partitions": 2},
                "postgres": {f"{short}_dsn": as_role(dsn, role) for short, role in roles.logins().items()},
                "archive": {
                    "bucket": f"t-{name}",
                    "endpoint_url": stack.s3_endpoint_url,
                    "region": stack.s3_region,
                    "access_key": stack.s3_access_key,
                    "secret_key": stack.s3_secret_key,
                    **provided.archive,
                },
            },
        )
        create_chain(config, load_settings(config), chain, retention=retention, limits=limits)
        made.append(Pipeline(folder, chain, dsn))
        return made[-1]

    yield make
    for pipeline in made:
        pipeline.kill_all()
        database = urlsplit(pipeline.admin_dsn).path.removeprefix("/")
        sql(postgres_admin_dsn, f"DROP DATABASE IF EXISTS {database} WITH (FORCE)")
