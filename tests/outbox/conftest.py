"""An application's database with an outbox, a chain that it goes to, and relays that are driven step by step."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import psycopg
import pytest

from sealstream.client import Outbox, clear
from sealstream.events import validate_event
from sealstream.kafka import KafkaSettings, create_topics, read_until_end
from sealstream.layout import DEFAULT_OUTBOX, ChainSettings, ChainTopics, OutboxTables
from sealstream.relaying import OutboxRelay, OutboxStatus, make_outbox, outbox_status
from sealstream.sequencer.deduplication import Deduplication


class Shop:
    """An application: a database with its own table and an outbox, which goes to a chain."""

    def __init__(
        self, dsn: str, kafka: KafkaSettings, chain: ChainSettings, table: str = DEFAULT_OUTBOX, *, make: bool = True
    ) -> None:
        self.dsn = dsn
        self.kafka = kafka
        self.chain = chain
        self.topic = ChainTopics.of(chain.name).raw
        self.tables = OutboxTables.of(table)
        self.outbox = Outbox(source={"service": "shop"}, table=table)
        self.relays: list[OutboxRelay] = []
        if make:
            make_outbox(dsn, self.tables)
            self.execute("CREATE TABLE :table_sale (n int)".replace(":table", table))

    def copied_to(self, dsn: str) -> Shop:
        """The same application on a copy of its database."""
        return Shop(dsn, self.kafka, self.chain, self.tables.table, make=False)

    def connect(self, **options: Any) -> psycopg.Connection[Any]:
        return psycopg.connect(self.dsn, **options)

    def sell(self, *numbers: int) -> None:
        """One transaction: sales, and an event for each."""
        with self.connect() as connection:
            for n in numbers:
                self.write(connection, n)

    def write(self, connection: psycopg.Connection[Any], n: int, **more: Any) -> str | None:
        """A sale and its event, not yet committed."""
        connection.execute(f"INSERT INTO {self.tables.table}_sale VALUES (%s)", (n,))
        return self.outbox.emit(connection, "sell", resource_type="sale", resource_id=n, **more)

    def relay(self, dsn: str | None = None, **options: Any) -> OutboxRelay:
        self.relays.append(OutboxRelay(self.kafka, self.chain, dsn or self.dsn, self.tables, idle_s=0.001, **options))
        return self.relays[-1]

    def relay_all(self, **options: Any) -> int:
        """Everything that is there now, by a relay of its own; how many events it sent."""
        relay = self.relay(**options)
        while relay.step():
            pass
        self.close(relay)
        return relay.relayed

    def close(self, relay: OutboxRelay) -> None:
        self.relays.remove(relay)
        relay.close()

    def waiting(self) -> int:
        return self.status().waiting

    def status(self) -> OutboxStatus:
        return outbox_status(self.dsn, self.tables)

    def records(self) -> list[bytes]:
        """Everything in the raw topic; each is valid and canonical, or the test fails."""
        values = []
        for records in read_until_end(self.kafka, self.topic):
            for record in records:
                assert record.value is not None
                assert validate_event(record.value).canonical == record.value
                values.append(record.value)
        return values

    def sent(self) -> list[dict[str, Any]]:
        return [json.loads(value) for value in self.records()]

    def sealed(self) -> list[dict[str, Any]]:
        """What a sequencer makes of the topic, by its own deduplication: repeats fall out.

        Conflicts and gaps fail the test: an outbox never has any.
        """
        deduplication, sealed = Deduplication(), []
        for value in self.records():
            event = validate_event(value)
            digest = value
            verdict = deduplication.judge(event, digest)
            if verdict is not None:
                assert verdict.what == "repeat", verdict
                continue
            missing = deduplication.sealed(event, digest, len(sealed), "2026-11-24T03:00:00.000000Z")
            assert not missing, f"a gap: {missing}"
            sealed.append(json.loads(value))
        return sealed

    def sold(self) -> list[int]:
        """The sales of which the log would know, in its order."""
        return [int(event["resource_id"]) for event in self.sealed() if event["action"] == "sell"]

    def execute(self, statement: str, *arguments: Any) -> Sequence[Any]:
        with self.connect() as connection:
            cursor = connection.execute(self.tables.filled(statement), arguments)  # type: ignore[call-overload]
            return cursor.fetchall() if cursor.description else []


@pytest.fixture
def make_shop(kafka: KafkaSettings, chain: ChainSettings) -> Iterator[Callable[..., Shop]]:
    """`make_shop(dsn, table)`: an application in that database, whose outbox goes to the test's chain."""
    made: list[Shop] = []

    def make(dsn: str, table: str = DEFAULT_OUTBOX) -> Shop:
        made.append(Shop(dsn, kafka, chain, table))
        return made[-1]

    yield make
    for shop in made:
        for relay in shop.relays:
            relay.close()


@pytest.fixture(scope="session")
def shops_database(make_database: Callable[..., str]) -> str:
    """One for many applications: making and dropping databases takes its time."""
    return make_database()


@pytest.fixture
def shop(shops_database: str, make_shop: Callable[..., Shop]) -> Shop:
    """An application with an empty outbox."""
    return make_shop(shops_database, f"outbox_{uuid.uuid4().hex[:12]}")


@pytest.fixture
def another_chain(kafka: KafkaSettings, chain: ChainSettings) -> ChainSettings:
    """A second chain, with topics of its own."""
    another = chain._replace(name=f"{chain.name}x")
    create_topics(kafka, ChainTopics.of(another.name).configs())
    return another


@pytest.fixture(autouse=True)
def _nothing_bound() -> Iterator[None]:
    clear()
    yield
    clear()
