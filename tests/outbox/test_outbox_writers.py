"""Every way in which an application can write an event in its transaction, with the real libraries."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from urllib.parse import urlsplit

import asyncpg
import django
import psycopg
import pytest
import sqlalchemy
from django.conf import settings as django_settings
from django.db import connections, migrations, transaction
from django.db.backends.base.schema import BaseDatabaseSchemaEditor
from django.db.migrations.state import ProjectState
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column
from tests.outbox.conftest import Shop

from sealstream.client import AuditClient, Outbox, bind, context
from sealstream.errors import InvalidEvent, Misconfigured
from sealstream.events import MAX_EVENT_BYTES, validate_event
from sealstream.integrations.django import DjangoOutbox, outbox_migration
from sealstream.integrations.sqlalchemy import SQLAlchemyOutbox

SALE: dict[str, Any] = {"resource_type": "sale"}


def waiting(shop: Shop) -> list[dict[str, Any]]:
    """The events in the table, in order; each is valid, or the test fails."""
    rows = [bytes(row) for (row,) in shop.execute("SELECT event FROM :table ORDER BY id")]
    for row in rows:
        assert validate_event(row).canonical == row
    return [json.loads(row) for row in rows]


def ids(shop: Shop) -> list[str]:
    return [event["resource_id"] for event in waiting(shop)]


def test_an_outbox_makes_the_event_that_a_client_makes(shop: Shop) -> None:
    """Defaults, what is bound, conversions, normal forms: the same, but for who numbers it."""
    at = datetime(2026, 11, 24, 3, tzinfo=UTC)
    options: dict[str, Any] = {
        "source": {"service": "shop"},
        "clock": lambda: at,
        "new_id": lambda: "01a20eea-4a13-708f-9e71-55e69897a205",
    }
    client = AuditClient(shop.chain.name, shop.kafka.bootstrap, **options)
    outbox = Outbox(table=shop.tables.table, **options)
    cases: list[dict[str, Any]] = [
        {"resource_id": 7},
        {"resource_id": uuid.uuid4(), "actor_id": 5, "result": "denied", "reason": "no\0pe"},
        {"resource_id": "x" * 2_000, "metadata": {"price": Decimal("1.5"), "tags": {"b", "a"}, "n": 2**70, "f": 1e300}},
        {"resource_id": 1, "ip_address": "::ffff:10.0.0.7", "old_values": {"a": None}, "changed_fields": ["a"]},
        {"resource_id": 1, "ip_address": "unknown", "user_agent": "\ud800"},
        {"resource_id": 1, "metadata": {"long": "x" * 100_000}},
        {"resource_id": 1, "actor_id": "eve", "actor_type": "admin", "on_behalf_of": "bob", "timestamp": at},
    ]
    bind(actor_id="ann", tenant="t1", session_id="s", trace_id="f" * 32)
    for case in cases:
        with context(user_agent="curl"):
            client.emit("sell", **SALE, **case)
            with shop.connect() as connection:
                outbox.emit(connection, "sell", **SALE, **case)
    client.close()
    by_client = [{k: v for k, v in event.items() if not k.startswith("producer")} for event in shop.sent()[:-1]]
    by_outbox = [{k: v for k, v in event.items() if not k.startswith("producer")} for event in waiting(shop)]
    assert len(by_outbox) == len(cases)
    assert by_outbox == by_client


def test_an_event_that_can_not_be_is_a_loss_in_the_same_transaction(shop: Shop) -> None:
    class Strange:
        def __str__(self) -> str:
            raise RuntimeError

        __repr__ = __str__

    refused: list[dict[str, Any]] = [
        {"resource_id": ""},
        {"resource_id": None},
        {"resource_id": 1, "result": "maybe"},
        {"resource_id": 1, "timestamp": datetime(2026, 11, 24)},
        {"resource_id": 1, "metadata": {"a": Strange()}},
    ]
    with shop.connect() as connection:
        for fields in refused:
            assert shop.outbox.emit(connection, "sell", **SALE, **fields) is None
    assert [event["action"] for event in waiting(shop)] == ["audit.loss"] * len(refused)
    assert waiting(shop)[0]["metadata"] == {"count": 1, "reason": "invalid"}
    with shop.connect() as connection:
        shop.outbox.emit(connection, "sell", **SALE, resource_id="")
        connection.rollback()
    assert len(waiting(shop)) == len(refused)
    strict = Outbox(table=shop.tables.table, strict=True)
    with shop.connect() as connection, pytest.raises(InvalidEvent):
        strict.emit(connection, "sell", **SALE, resource_id="")
    with pytest.raises(TypeError, match="colour"):
        shop.outbox.row("sell", colour="red")  # type: ignore[call-arg]
    with pytest.raises(Misconfigured):
        Outbox(source={"colour": "red"})


def test_the_largest_events_have_room_for_their_numbers(shop: Shop) -> None:
    row = shop.outbox.row("sell", **SALE, resource_id=1, metadata={"a": "x"})
    room = MAX_EVENT_BYTES - 128 - len(row.value) + 1
    with shop.connect() as connection:
        for size in (room, room + 1):
            shop.outbox.emit(connection, "sell", **SALE, resource_id=1, metadata={"a": "x" * size})
    assert max(len(json.dumps(event)) for event in waiting(shop)) > 61_000
    shop.relay_all()
    assert [len(event["metadata"]) for event in shop.sealed()] == [1, 2]


def test_psycopg_connections_cursors_and_savepoints(shop: Shop) -> None:
    emit = shop.outbox.emit
    with shop.connect() as connection:
        event_id = emit(connection, "sell", **SALE, resource_id=1)
        with connection.cursor() as cursor:
            emit(cursor, "sell", **SALE, resource_id=2)
        with suppress(ZeroDivisionError), connection.transaction():
            emit(connection, "sell", **SALE, resource_id=3)
            raise ZeroDivisionError
        with connection.transaction():
            emit(connection, "sell", **SALE, resource_id=4)
        assert ids(shop) == []
    assert ids(shop) == ["1", "2", "4"]
    assert waiting(shop)[0]["id"] == event_id
    broken = Outbox(table="nowhere")
    with shop.connect() as connection, pytest.raises(psycopg.errors.UndefinedTable):
        broken.emit(connection, "sell", **SALE, resource_id=1)


async def test_asyncpg_and_psycopg_coroutines(shop: Shop) -> None:
    aemit = shop.outbox.aemit
    connection = await asyncpg.connect(shop.dsn)
    async with connection.transaction():
        await aemit(connection, "sell", **SALE, resource_id=1)
    with suppress(ZeroDivisionError):
        async with connection.transaction():
            await aemit(connection, "sell", **SALE, resource_id=2)
            raise ZeroDivisionError
    await connection.close()
    async with asyncpg.create_pool(shop.dsn, min_size=1) as pool, pool.acquire() as borrowed, borrowed.transaction():
        await aemit(borrowed, "sell", **SALE, resource_id=3)
    async with await psycopg.AsyncConnection.connect(shop.dsn) as through_psycopg:
        await aemit(through_psycopg, "sell", **SALE, resource_id=4)
        async with through_psycopg.cursor() as cursor:
            await aemit(cursor, "sell", **SALE, resource_id=5)
    assert ids(shop) == ["1", "3", "4", "5"]


class Base(DeclarativeBase):
    pass


class Invoice(Base):
    __tablename__ = "invoice"
    id: Mapped[int] = mapped_column(primary_key=True)
    approved: Mapped[bool] = mapped_column(default=False)


def test_sqlalchemy_core_and_orm(shop: Shop) -> None:
    outbox = SQLAlchemyOutbox(table=shop.tables.table)
    engine = sqlalchemy.create_engine(shop.dsn.replace("postgresql://", "postgresql+psycopg://"))
    with engine.begin() as connection:
        outbox.emit(connection, "sell", **SALE, resource_id=1)
    with engine.connect() as connection:
        outbox.emit(connection, "sell", **SALE, resource_id=2)  # closed without a commit
    Base.metadata.create_all(engine)
    with Session(engine) as session, session.begin():
        invoice = Invoice()
        session.add(invoice)
        session.flush()
        outbox.emit(session, "approve", resource_type="invoice", resource_id=invoice.id)
        with session.begin_nested() as savepoint:
            outbox.emit(session, "sell", **SALE, resource_id=4)
            savepoint.rollback()
    with Session(engine) as session:
        session.add(Invoice())
        outbox.emit(session, "sell", **SALE, resource_id=5)
        session.rollback()
    scoped = sqlalchemy.orm.scoped_session(sqlalchemy.orm.sessionmaker(engine))
    outbox.emit(scoped, "sell", **SALE, resource_id=6)
    scoped.commit()
    scoped.remove()
    with Session(engine) as session:
        assert session.scalar(sqlalchemy.select(sqlalchemy.func.count()).select_from(Invoice)) == 1
    Base.metadata.drop_all(engine)
    engine.dispose()
    assert ids(shop) == ["1", "1", "6"]


@pytest.mark.parametrize("driver", ["asyncpg", "psycopg"])
async def test_sqlalchemy_coroutines(shop: Shop, driver: str) -> None:
    outbox = SQLAlchemyOutbox(table=shop.tables.table)
    engine = create_async_engine(shop.dsn.replace("postgresql://", f"postgresql+{driver}://"))
    async with engine.begin() as connection:
        await outbox.aemit(connection, "sell", **SALE, resource_id=1)
    async with AsyncSession(engine) as session:
        await outbox.aemit(session, "sell", **SALE, resource_id=2)
        await session.rollback()
        await outbox.aemit(session, "sell", **SALE, resource_id=3)
        await session.commit()
    await engine.dispose()
    assert ids(shop) == ["1", "3"]


@pytest.fixture
def in_django(shop: Shop) -> Iterator[str]:
    """The name under which Django knows the shop's database."""
    parts = urlsplit(shop.dsn)
    database = {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": parts.path.lstrip("/"),
        "USER": parts.username,
        "PASSWORD": parts.password,
        "HOST": parts.hostname,
        "PORT": parts.port,
    }
    if not django_settings.configured:
        django_settings.configure(DATABASES={"default": database}, USE_TZ=True)
        django.setup()
    yield "default"
    connections["default"].close()


def test_django_atomic_blocks_and_migration(shop: Shop, in_django: str) -> None:
    outbox = DjangoOutbox(table=shop.tables.table, using=in_django)
    with transaction.atomic():
        outbox.emit("sell", **SALE, resource_id=1)
        with suppress(ZeroDivisionError), transaction.atomic():
            outbox.emit("sell", **SALE, resource_id=2)
            raise ZeroDivisionError
        with connections[in_django].cursor() as cursor:
            shop.outbox.emit(cursor, "sell", **SALE, resource_id=3)
        assert ids(shop) == []
    with suppress(ZeroDivisionError), transaction.atomic():
        outbox.emit("sell", **SALE, resource_id=4)
        raise ZeroDivisionError
    outbox.emit("sell", **SALE, resource_id=5)
    assert ids(shop) == ["1", "3", "5"]

    table = f"{shop.tables.table}_d"
    migration = migrations.RunSQL(*outbox_migration(table))
    apply: Callable[..., None]
    for apply in (migration.database_forwards, migration.database_backwards, migration.database_forwards):
        editor: BaseDatabaseSchemaEditor
        with connections[in_django].schema_editor() as editor:
            apply("shop", editor, ProjectState(), ProjectState())
    with transaction.atomic():
        DjangoOutbox(table=table).emit("sell", **SALE, resource_id=6)
    with connections[in_django].cursor() as cursor:
        cursor.execute(f"SELECT count(*) FROM {table}")
        assert cursor.fetchone() == (1,)


def test_django_coroutines(shop: Shop, in_django: str) -> None:
    outbox = DjangoOutbox(table=shop.tables.table)

    async def view() -> str | None:
        sent: Awaitable[str | None] = outbox.aemit("sell", **SALE, resource_id=1)
        return await sent

    assert asyncio.run(view()) is not None
    assert ids(shop) == ["1"]
