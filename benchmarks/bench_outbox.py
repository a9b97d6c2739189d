"""The outbox: how fast committed events are relayed, and what one costs the application's transaction.

Relaying: so many rows wait in a table of a new database; the clock runs from the first look until the table is empty
and all is acknowledged and settled. The baseline queues the same numbered bytes, made before its clock runs, with the
same durability in Kafka and none in Postgres. The second row holds somebody's snapshot open all the while, so that no
deleted row can be vacuumed, as a long report or `pg_dump` does.

Writing: a transaction of one UPDATE, with `emit` and without, one after the other on one connection.
"""

from __future__ import annotations

import asyncio
import json
import threading
import time
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import psycopg
from confluent_kafka import Producer
from rows import Row
from workbench import Workbench, example_event

from sealstream.client import Outbox
from sealstream.kafka import read_until_end
from sealstream.layout import OutboxTables
from sealstream.relaying import OutboxRelay, make_outbox
from sealstream.relaying.numbering import numbered

TABLES = OutboxTables.of()
_OF_THE_TABLE = ("producer_id", "producer_seq", "source", "id")


def new_database(bench: Workbench, name: str) -> str:
    """An empty database with an outbox; it goes with the servers."""
    with psycopg.connect(bench.endpoints.postgres_admin_dsn, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
    dsn = urlunsplit(urlsplit(bench.endpoints.postgres_admin_dsn)._replace(path=f"/{name}"))
    make_outbox(dsn, TABLES)
    return dsn


def waiting_events(count: int) -> list[bytes]:
    """As an application writes them, some 430 bytes each."""
    outbox = Outbox(source={"service": "clinic", "version": "1.0.0"})
    events = []
    for number in range(count):
        fields = {name: value for name, value in example_event(number).items() if name not in _OF_THE_TABLE}
        events.append(outbox.row(fields.pop("action"), **fields).value)  # type: ignore[arg-type]
    return events


def insert(dsn: str, events: list[bytes]) -> None:
    """One transaction, committed; what the table knows of itself is up to date."""

    async def copy() -> None:
        connection = await asyncpg.connect(dsn)
        await connection.copy_records_to_table(TABLES.table, records=((event,) for event in events), columns=["event"])
        await connection.execute(f"VACUUM ANALYZE {TABLES.table}")
        await connection.close()

    asyncio.run(copy())


def relaying(bench: Workbench, dsn: str, events: list[bytes]) -> float:
    """Events a second."""
    chain = bench.new_chain().settings
    relay = OutboxRelay(bench.kafka, chain, dsn, TABLES, idle_s=0.001)
    relay.step()
    insert(dsn, [events[0]])
    while relay.step():  # the driver's producer is up
        pass
    insert(dsn, events)
    begun = time.perf_counter()
    while relay.step():
        pass
    took = time.perf_counter() - begun
    if relay.relayed != len(events) + 1:
        raise RuntimeError(f"expected {len(events) + 1} events relayed, got {relay.relayed}")
    relay.close()
    return len(events) / took


def producing(bench: Workbench, events: list[bytes]) -> float:
    """Events a second, by the bare driver."""
    chain = bench.new_chain()
    values = [numbered(event, "outbox/" + "0" * 72, number) for number, event in enumerate(events)]
    producer = Producer(
        {
            "bootstrap.servers": bench.kafka.bootstrap,
            "enable.idempotence": True,
            "compression.type": "lz4",
            "linger.ms": 5,
            "batch.num.messages": 10_000,
            "queue.buffering.max.messages": 1_100_000,
            "queue.buffering.max.kbytes": 1_000_000,
        }
    )
    producer.produce(chain.topics.raw, values[0], partition=0)
    producer.flush(30)
    begun = time.perf_counter()
    for value in values:
        producer.produce(chain.topics.raw, value, partition=0)
    producer.flush(120)
    return len(values) / (time.perf_counter() - begun)


def writing(dsn: str, count: int) -> tuple[float, float]:
    """Microseconds of a transaction without an event and with one, each the median."""
    outbox = Outbox(source={"service": "clinic"})
    spent: tuple[list[float], list[float]] = ([], [])
    with psycopg.connect(dsn) as connection:
        connection.execute("CREATE TABLE IF NOT EXISTS invoice (id int PRIMARY KEY, approved int NOT NULL)")
        connection.execute("INSERT INTO invoice VALUES (1, 0) ON CONFLICT DO NOTHING")
        connection.commit()
        for number in range(2 * count):
            begun = time.perf_counter()
            connection.execute("UPDATE invoice SET approved = approved + 1 WHERE id = 1")
            if number % 2:
                outbox.emit(connection, "invoice.approve", actor_id="ann", resource_type="invoice", resource_id=number)
            connection.commit()
            spent[number % 2].append((time.perf_counter() - begun) * 1e6)
    without, within = (sorted(each)[count // 2] for each in spent)
    return without, within


def following(bench: Workbench, dsn: str, rate: int, seconds: float) -> list[float]:
    """Milliseconds from the return of each COMMIT to the broker's time of its event, sorted, at so many a second."""
    chain = bench.new_chain()
    relay = OutboxRelay(bench.kafka, chain.settings, dsn, TABLES)
    committed: dict[str, float] = {}
    over = threading.Event()

    def write() -> None:
        outbox = Outbox(source={"service": "clinic"})
        due = time.perf_counter() + 1  # the driver's producer is up by then
        with psycopg.connect(dsn) as connection:
            outbox.emit(connection, "login", resource_type="account", resource_id="first")
            connection.commit()
            for number in range(int(rate * seconds)):
                time.sleep(max(0.0, due - time.perf_counter()))
                due += 1 / rate
                event_id = outbox.emit(connection, "login", resource_type="account", resource_id=number)
                connection.commit()
                committed[event_id or ""] = time.time() * 1000
        over.set()

    writer = threading.Thread(target=write)
    writer.start()
    worked = ended = False
    while worked or not ended:
        ended = over.is_set()  # asked before the last look
        worked = relay.step()
    writer.join()
    relay.close()
    delays = []
    for records in read_until_end(bench.kafka, chain.topics.raw):
        for record in records:
            at = committed.get(json.loads(record.value or b"{}")["id"])
            if at is not None:
                delays.append(record.timestamp_ms - at)
    if len(delays) != len(committed):
        raise RuntimeError(f"expected {len(committed)} events relayed, got {len(delays)}")
    return sorted(delays)


def measure(bench: Workbench) -> list[Row]:
    """The rows of the outbox."""
    events = waiting_events(bench.events // 2)
    ours: list[float] = []
    ours_held: list[float] = []
    bare: list[float] = []
    within: list[float] = []
    without: list[float] = []
    tails: list[float] = []
    medians: list[float] = []
    for number in bench.each_round("outbox"):
        dsn = new_database(bench, f"outbox_{number}")
        held = new_database(bench, f"outbox_held_{number}")
        ours.append(relaying(bench, dsn, events))
        bare.append(producing(bench, events))
        with psycopg.connect(held) as report:
            report.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
            report.execute("SELECT count(*) FROM pg_class")
            ours_held.append(relaying(bench, held, events))
        delays = following(bench, new_database(bench, f"outbox_followed_{number}"), 200, 10)
        medians.append(delays[len(delays) // 2])
        tails.append(delays[len(delays) * 99 // 100])
        one, other = writing(dsn, 1_000)
        without.append(one)
        within.append(other)
    durable = "ours: numbers and rows in fsynced commits, one a batch of 5,000, acks=all; bare: acks=all"
    return [
        Row(
            "outbox relay",
            "outbox relay: taken from Postgres, numbered, acknowledged by Kafka, deleted",
            "bare `produce` of the same bytes",
            "events/s",
            goal=None,
            ours=ours,
            baseline=bare,
            durability=durable,
            remark=f"{len(events):,} events of some 430 bytes that waited, each round a new database.",
        ),
        Row(
            "outbox relay, long query",
            "the same while somebody's snapshot keeps every deleted row",
            "bare `produce` of the same bytes",
            "events/s",
            goal=None,
            ours=ours_held,
            baseline=bare,
            durability=durable,
        ),
        Row(
            "outbox, commit to Kafka",
            "from a commit to its event in the raw topic, 99th percentile at 200 commits a second",
            "",
            "ms",
            goal=None,
            ours=tails,
            durability="numbers in fsynced commits, acks=all",
            remark=f"median {min(medians):.0f} to {max(medians):.0f} ms; an idle relay looks every 50 ms.",
        ),
        Row(
            "outbox, a transaction",
            "a transaction of one UPDATE with `outbox.emit`",
            "the same without",
            "us",
            goal=None,
            at_most=True,
            ours=within,
            baseline=without,
            durability="fsynced commits",
            remark="medians of 1,000 transactions, one connection, taking turns.",
        ),
    ]
