"""Databases of this sink, and chains that a test seals itself."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient
from tests.markers import wait_for_markers

from sealstream.kafka import KafkaSettings, create_topics
from sealstream.layout import ChainSettings, ChainTopics, CheckpointHeaders, Retention, checkpoint_headers
from sealstream.layout.tables import Roles
from sealstream.postgres import migrate
from sealstream.postgres.driver import Session
from sealstream.sealing import (
    EMPTY_RANGE,
    Checkpoint,
    CompactRange,
    Sealed,
    Written,
    canonical_json,
    extend,
    genesis_hash,
    new_signing_key,
    root,
    seal,
    sign_checkpoint,
    signer,
)

LOG = "audit.example.com/tests"
PASSWORDS = {"sink": "of the sink", "reader": "of the reader", "keeper": "of the keeper"}


class Database(NamedTuple):
    """DSNs of one migrated database, each with another role."""

    admin: str
    sink: str
    reader: str
    keeper: str


class Note(NamedTuple):
    value: bytes
    headers: list[tuple[str, bytes]]


class SealedChain:
    """A chain made by hand: `add` seals an event, `values` are the records, `note` signs."""

    def __init__(self, name: str, skey: str | None = None) -> None:
        self.name = name
        self.origin = f"{LOG}/{name}"
        self.signer = signer(skey or new_signing_key(self.origin))
        self.settings = ChainSettings(name, LOG, self.signer.vkey, Retention("soc2", 366))
        self.sealed: list[Sealed] = []
        self.raw_offset = self.control_offset = -1
        self.time = "2026-11-24T03:00:00.000000Z"
        self.add_created()

    def add_created(self) -> None:
        """Entry 0, by which everybody knows the chain."""
        self.add(
            "log",
            action="chain.created",
            actor_id="sealstream/sequencer",
            actor_type="system",
            timestamp=self.time,
            ip_address=None,
            metadata={
                "origin": self.origin,
                "vkey": self.signer.vkey,
                "nonce": "00" * 32,
                "retention": {"policy": "soc2", "archive_days": 366},
                "segment_entries": 100_000,
                "segment_bytes": 67_108_864,
                "segment_seconds": 300,
            },
        )

    def add(self, kind: str = "event", **fields: Any) -> Sealed:
        """Seals one more entry; `sequenced_at` moves the chain's time, the rest are the event's own fields."""
        self.time = fields.pop("sequenced_at", self.time)
        seq = len(self.sealed)
        event = {
            "id": str(uuid.uuid5(uuid.NAMESPACE_URL, f"{self.origin}/{seq}")),
            "timestamp": "2026-11-24T02:59:59.123456Z",
            "actor_id": f"user-{seq % 7}",
            "actor_type": "user",
            "action": "read",
            "resource_type": "patient_record",
            "resource_id": f"patient-{seq % 5}",
            "result": "success",
            "ip_address": "10.0.0.7",
        } | fields
        self.raw_offset += kind == "event"
        self.control_offset += kind == "control"
        received = None if kind == "log" else self.time
        written = Written(self.name, self.control_offset, kind, self.raw_offset, received, seq, self.time)
        prev_hash = self.sealed[-1].hash if self.sealed else genesis_hash(self.origin)
        self.sealed.append(seal(canonical_json({k: v for k, v in event.items() if v is not None}), written, prev_hash))
        return self.sealed[-1]

    def add_many(self, count: int) -> SealedChain:
        for _ in range(count):
            self.add()
        return self

    @property
    def values(self) -> list[bytes]:
        return [sealed.to_bytes() for sealed in self.sealed]

    def range_at(self, size: int) -> CompactRange:
        return extend(EMPTY_RANGE, (sealed.hash for sealed in self.sealed[:size]))

    def note(self, size: int, first_seq: int | None = None, *, wrong_root: bytes | None = None) -> Note:
        """A signed note over `size` entries; with `first_seq` a segment's."""
        compact_range = self.range_at(size)
        note = sign_checkpoint(Checkpoint(self.origin, size, wrong_root or root(compact_range)), self.signer)
        last_seq = None if first_seq is None else size - 1
        return Note(note, checkpoint_headers(CheckpointHeaders(compact_range.hashes, size, first_seq, last_seq)))


@pytest.fixture(scope="session")
def make_chain() -> Callable[..., SealedChain]:
    """A new chain with a name of its own, holding entry 0."""
    return lambda name=None: SealedChain(name or f"t{uuid.uuid4().hex[:12]}")


def with_user(dsn: str, user: str, password: str) -> str:
    """The same server and database for another role."""
    parts = urlsplit(dsn)
    host = parts.netloc.rpartition("@")[2]
    return urlunsplit(parts._replace(netloc=f"{user}:{password.replace(' ', '%20')}@{host}"))


def _run_sql(dsn: str, *statements: str) -> Any:
    """Runs statements one by one, each in its own transaction; returns the last one's first value."""

    async def run() -> Any:
        connection = await asyncpg.connect(dsn)
        try:
            for statement in statements[:-1]:
                await connection.execute(statement)
            return await connection.fetchval(statements[-1])
        finally:
            await connection.close()

    return asyncio.run(run())


@pytest.fixture(scope="session")
def run_sql() -> Callable[..., Any]:
    """`run_sql(dsn, *statements)`: the last statement's first value."""
    return _run_sql


@pytest.fixture
def dsn_for() -> Callable[[str, str, str], str]:
    """`dsn_for(dsn, user, password)`: the same database for another role."""
    return with_user


@pytest.fixture(scope="session")
def server(postgres_admin_dsn: str) -> str:
    """The superuser's DSN."""
    return postgres_admin_dsn


@pytest.fixture(scope="session")
def roles(server: str) -> Iterator[Roles]:
    """This session's own roles: those of a stack that runs keep their passwords."""
    own = Roles.of(f"t_{uuid.uuid4().hex[:12]}")
    yield own
    for name in own:
        _run_sql(server, f'DROP ROLE IF EXISTS "{name}"')


@pytest.fixture
def empty_database(server: str) -> Iterator[str]:
    """The administrator's DSN of a new database without any schema."""
    yield from _database(server, "")


@pytest.fixture(scope="session")
def template(server: str, roles: Roles) -> Iterator[str]:
    """The name of a database that was migrated once, with roles of its own."""
    for dsn in _database(server, ""):
        migrate(dsn, roles=roles, passwords=PASSWORDS)
        yield urlsplit(dsn).path.lstrip("/")


@pytest.fixture
def migrated(server: str, template: str, roles: Roles) -> Iterator[Database]:
    """A database of its own, cloned from one that was migrated once."""
    yield from _migrated(server, template, roles)


@pytest.fixture(scope="module")
def migrated_for_module(server: str, template: str, roles: Roles) -> Iterator[Database]:
    """The same for all tests of a module, which leave it as it was."""
    yield from _migrated(server, template, roles)


def _migrated(server: str, template: str, roles: Roles) -> Iterator[Database]:
    for dsn in _database(server, f"TEMPLATE {template}"):
        logins = roles.logins()
        yield Database(dsn, *(with_user(dsn, name, PASSWORDS[role]) for role, name in logins.items()))


def _database(server: str, how: str) -> Iterator[str]:
    name = f"t_{uuid.uuid4().hex[:16]}"
    _run_sql(server, f"CREATE DATABASE {name} {how}")
    try:
        yield urlunsplit(urlsplit(server)._replace(path=f"/{name}"))
    finally:
        _run_sql(server, f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def session_of() -> Iterator[Callable[[str], Session]]:
    """Opens sessions that are closed when the test ends."""
    opened: list[Session] = []

    def open_session(dsn: str) -> Session:
        opened.append(Session(dsn, "test"))
        return opened[-1]

    yield open_session
    for session in opened:
        session.close()


class ChainInKafka:
    """A chain whose records are written to its topics as the sequencer and checkpointing write them."""

    def __init__(self, kafka: KafkaSettings, chain: SealedChain) -> None:
        self.kafka = kafka
        self.chain = chain
        self.topics = ChainTopics.of(chain.name)
        self.published = 0  # how many of the chain's entries
        create_topics(kafka, self.topics.configs())
        self._producer = Producer(
            {"bootstrap.servers": kafka.bootstrap, "transactional.id": f"test-{chain.name}", "linger.ms": 2}
        )
        self._producer.init_transactions(30)

    def publish(self, count: int | None = None, *, at_once: int = 1_000) -> ChainInKafka:
        """Writes the chain's next entries (all that are left), in transactions of `at_once`."""
        values = self.chain.values[self.published :][:count]
        self.published += len(values)
        for start in range(0, len(values), at_once):
            self.write(self.topics.chain, values[start : start + at_once])
        wait_for_markers(self.kafka, self.topics.chain)
        return self

    def publish_note(self, size: int, first_seq: int | None = None, **options: Any) -> ChainInKafka:
        """Writes a checkpoint over `size` entries; with `first_seq` also as a segment's note."""
        note = self.chain.note(size, first_seq, **options)
        self.write(self.topics.checkpoints, [note.value], note.headers)
        if first_seq is not None:
            self.write(self.topics.segments, [note.value], note.headers)
        for topic in (self.topics.checkpoints, self.topics.segments):
            wait_for_markers(self.kafka, topic)
        return self

    def make_topic_anew(self) -> None:
        """Deletes the chain's topic and makes it again, empty."""
        client = AdminClient({"bootstrap.servers": self.kafka.bootstrap})
        client.delete_topics([self.topics.chain], operation_timeout=30)[self.topics.chain].result()
        time.sleep(0.2)
        create_topics(self.kafka, self.topics.configs())

    def write(self, topic: str, values: list[bytes], headers: Any = (), *, commit: bool = True) -> None:
        """One transaction."""
        self._producer.begin_transaction()
        for value in values:
            self._producer.produce(topic, value, headers=list(headers), partition=0)
        self._producer.flush(30)
        self._producer.commit_transaction(30) if commit else self._producer.abort_transaction(30)


@pytest.fixture
def in_kafka(kafka: KafkaSettings, make_chain: Callable[..., SealedChain]) -> ChainInKafka:
    """A new chain with its topics; entry 0 is sealed but not yet written."""
    return ChainInKafka(kafka, make_chain())
