"""The Postgres sink against a bare COPY of the same prepared rows into the same table: same server, same run.

Each round copies rows that were encoded before any clock ran, by one COPY in one transaction, into a new database; then
the sink stores the same entries into another, from Kafka, each checked, in batches with their position. Rounds repeat
both, in alternating order, so that whatever else the machine does meets both alike. Every database is cloned from one
that was migrated once, with all its indexes, checks and triggers.
"""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple
from urllib.parse import urlsplit, urlunsplit

import asyncpg
from confluent_kafka import Producer
from rows import Row
from workbench import Workbench

from sealstream.events import canonical_event, log_statement, new_event_id
from sealstream.kafka import KafkaSettings, create_topics
from sealstream.layout import ChainSettings, ChainTopics, Retention
from sealstream.postgres import PostgresSink, migrate
from sealstream.postgres.rows import encode_rows
from sealstream.postgres.stored import copy_rows
from sealstream.sealing import Sealed, Written, genesis_hash, new_signing_key, seal, signer

TIME = "2026-11-24T03:{:02}:{:02}.{:06}Z"


class Round(NamedTuple):
    """Rows per second of both, in one round."""

    copying: float
    sinking: float

    @property
    def ratio(self) -> float:
        """The sink against the bare COPY."""
        return self.sinking / self.copying


def sealed_chain(chain: ChainSettings, count: int) -> list[Sealed]:
    """A chain of entry 0 and `count` events of about 470 bytes."""
    created = log_statement(
        "chain.created",
        id=new_event_id(),
        timestamp=TIME.format(0, 0, 0),
        process="sequencer",
        resource_type="chain",
        resource_id=chain.name,
        metadata={
            "origin": chain.origin,
            "vkey": chain.vkey,
            "nonce": "00" * 32,
            "retention": {"policy": "soc2", "archive_days": 366},
            "segment_entries": 100_000,
            "segment_bytes": 67_108_864,
            "segment_seconds": 300,
        },
    )
    start = TIME.format(0, 0, 0)
    sealed = [seal(created, Written(chain.name, -1, "log", -1, None, 0, start), genesis_hash(chain.origin))]
    for number in range(count):
        at = TIME.format(number // 1_200_000, number // 20_000 % 60, number % 20_000 * 50)
        event = canonical_event(
            {
                "id": new_event_id(),
                "timestamp": at,
                "actor_id": f"user-{number % 1000}",
                "actor_type": "user",
                "action": "patient.read",
                "resource_type": "patient",
                "resource_id": f"patient-{number * 7919 % 100_000:06}",
                "result": "success" if number % 20 else "denied",
                "ip_address": f"10.20.{number % 256}.40",
                "session_id": f"session-{number % 5000:08}",
                "tenant": "clinic-1",
                "source": {"service": "clinic", "version": "1.0.0", "host": "web-1"},
                "metadata": {"http_status": 200, "duration_ms": 12},
                "producer_id": "web-1/4711/0193a8f2",
                "producer_seq": number,
            }
        )
        written = Written(chain.name, -1, "event", number, at, number + 1, at)
        sealed.append(seal(event, written, sealed[-1].hash))
    return sealed


def preload(kafka: KafkaSettings, topic: str, values: list[bytes]) -> None:
    """The whole chain into its topic, in transactions of 10,000, as the sequencer writes it."""
    producer = Producer(
        {"bootstrap.servers": kafka.bootstrap, "transactional.id": f"bench-{topic}", "linger.ms": 5}
        | {"queue.buffering.max.messages": 500_000, "queue.buffering.max.kbytes": 1_000_000}
    )
    producer.init_transactions(30)
    for start in range(0, len(values), 10_000):
        producer.begin_transaction()
        for value in values[start : start + 10_000]:
            producer.produce(topic, value, partition=0)
        producer.commit_transaction(60)


def run_sql(dsn: str, *statements: str) -> None:
    """Each statement in a transaction of its own."""

    async def run() -> None:
        connection = await asyncpg.connect(dsn)
        for statement in statements:
            await connection.execute(statement)
        await connection.close()

    asyncio.run(run())


@contextmanager
def new_database(admin_dsn: str, template: str = "template1") -> Iterator[str]:
    """A database of its own for one measurement; the server's dirty pages are written before it is used."""
    name = f"bench_{uuid.uuid4().hex[:12]}"
    run_sql(admin_dsn, f"CREATE DATABASE {name} TEMPLATE {template}", "CHECKPOINT")
    try:
        yield urlunsplit(urlsplit(admin_dsn)._replace(path=f"/{name}"))
    finally:
        run_sql(admin_dsn, f"DROP DATABASE {name} WITH (FORCE)")


def copying(dsn: str, prepared: list[bytes]) -> float:
    """Seconds that one bare COPY of prepared rows takes, in one transaction."""

    async def run() -> float:
        connection = await asyncpg.connect(dsn)
        await connection.execute("SELECT audit_log_add_month('2026-11-01T00:00:00Z')")
        begun = time.perf_counter()
        await copy_rows(connection, prepared)
        took = time.perf_counter() - begun
        await connection.close()
        return took

    return asyncio.run(run())


def sinking(kafka: KafkaSettings, chain: ChainSettings, dsn: str, count: int) -> float:
    """Seconds that the sink takes from its first step until everything is stored, reading and checking included."""
    with PostgresSink(kafka, chain, dsn, wait_s=0.02) as sink:
        begun = time.perf_counter()
        while sink.step() or sink.next_seq < count:
            pass
        return time.perf_counter() - begun


def rounds(kafka: KafkaSettings, admin_dsn: str, count: int, times: int) -> Iterator[Round]:
    """Interleaved: in odd rounds the sink goes first."""
    name = f"bench-{uuid.uuid4().hex[:12]}"
    vkey = signer(new_signing_key(f"bench.example/{name}")).vkey
    chain = ChainSettings(name, "bench.example", vkey, Retention("soc2", 366))
    sealed = sealed_chain(chain, count)
    values, hashes = [entry.to_bytes() for entry in sealed], [entry.hash for entry in sealed]
    prepared = [encode_rows(name, values, hashes, genesis_hash(chain.origin)).data]
    create_topics(kafka, ChainTopics.of(name).configs())
    preload(kafka, ChainTopics.of(name).chain, values)
    with new_database(admin_dsn) as template_dsn:
        migrate(template_dsn)
        template = urlsplit(template_dsn).path.lstrip("/")
        for number in range(times):
            took: dict[str, float] = {}
            for which in ("copying", "sinking") if number % 2 == 0 else ("sinking", "copying"):
                with new_database(admin_dsn, template) as dsn:
                    took[which] = (
                        copying(dsn, prepared) if which == "copying" else sinking(kafka, chain, dsn, len(values))
                    )
            yield Round(len(values) / took["copying"], len(values) / took["sinking"])


def measure(bench: Workbench) -> list[Row]:
    """The Postgres sink's row."""
    count = bench.events // 2
    measured = []
    numbers = bench.each_round("postgres sink")
    next(numbers)
    for one in rounds(bench.kafka, bench.endpoints.postgres_admin_dsn, count, bench.rounds):
        measured.append(one)
        next(numbers, None)
    return [
        Row(
            "postgres sink",
            "postgres sink, from Kafka: every entry checked, rows and position in one transaction a batch",
            "one bare COPY of prepared rows into the same table with the same indexes",
            "rows/s",
            goal=0.6,
            ours=[one.sinking for one in measured],
            baseline=[one.copying for one in measured],
            durability="both: fsynced commits, one a batch of ours, one for the whole bare COPY",
            remark=f"{count:,} rows a round, each into a new database",
            remedy="While one batch is stored by the server the next is read, checked and encoded in Python; on two "
            "cores that the broker shares too, the two can't overlap wholly.",
        )
    ]
