"""Changes in a real Postgres through SQLAlchemy: what was committed has its event, and nothing else has one."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import pytest
from sqlalchemy import Engine, ForeignKey, Integer, create_engine, delete, insert, literal_column, text, update
from sqlalchemy.event import listen
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column, sessionmaker
from sqlalchemy.sql.functions import FunctionElement

from sealstream.client import AuditClient, clear, context
from sealstream.client.testing import Recorded, recording
from sealstream.integrations.sqlalchemy import SQLAlchemyOutbox
from sealstream.integrations.sqlalchemy_changes import audit_changes


class Base(DeclarativeBase):
    pass


class Customer(Base):
    __tablename__ = "customer"
    id: Mapped[int] = mapped_column(primary_key=True)


class Invoice(Base):
    __tablename__ = "invoice"
    id: Mapped[int] = mapped_column(primary_key=True)
    customer: Mapped[str]
    cents: Mapped[int]
    api_token: Mapped[str] = mapped_column(default="")
    paid_by: Mapped[int | None] = mapped_column(
        ForeignKey("customer.id", deferrable=True, initially="DEFERRED"), default=None
    )


class OfThisDatabase(FunctionElement[int]):
    """A function that only one dialect can write."""

    inherit_cache = True
    type = Integer()


@compiles(OfThisDatabase, "postgresql")
def _as_here(_element: Any, _compiler: Any, **_more: Any) -> str:
    return "(42)"


class AuditedSession(Session):
    """Of the asynchronous sessions."""


@pytest.fixture
def dsn(make_database: Callable[..., str]) -> str:
    return (
        make_database()
        .replace("postgresql://", "postgresql+psycopg://")
        .replace("postgres://", "postgresql+psycopg://")
    )


@pytest.fixture
def engine(dsn: str) -> Iterator[Engine]:
    made = create_engine(dsn)
    Base.metadata.create_all(made)
    yield made
    made.dispose()


@pytest.fixture
def recorded() -> Iterator[Recorded]:
    with recording() as events:
        yield events
    clear()


@pytest.fixture
def sessions(engine: Engine, recorded: Recorded) -> sessionmaker[Session]:
    made = sessionmaker(engine)
    audit_changes(engine, made, AuditClient("main", "127.0.0.1:1", strict=True), models=[Invoice])
    return made


def told(recorded: Recorded) -> list[tuple[str, str, str]]:
    return [(event["action"], event["resource_type"], event["resource_id"]) for event in recorded]


def test_objects_with_old_and_new_values(sessions: sessionmaker[Session], recorded: Recorded) -> None:
    with sessions() as session, context(actor_id="ann"):
        invoice = Invoice(customer="bob", cents=5, api_token="t0ken")
        session.add_all([invoice, Customer()])
        session.flush()
        invoice.cents = 6
        session.commit()
        assert len(recorded) == 2
        assert invoice.customer == "bob"  # loaded again
        invoice.cents = 7
        invoice.customer = "bob"
        session.commit()
        invoice.cents = Invoice.cents + 1
        session.commit()
        session.delete(invoice)
        session.commit()
    assert [event["action"] for event in recorded] == ["create", "update", "update", "update", "delete"]
    created, _, second, expression, deleted = recorded
    assert {event["resource_id"] for event in recorded} == {"1"}
    assert {event["resource_type"] for event in recorded} == {"invoice"}
    assert {event["actor_id"] for event in recorded} == {"ann"}
    assert created["new_values"] == {
        "id": 1,
        "customer": "bob",
        "cents": 5,
        "api_token": "[redacted]",
    }
    assert (second["changed_fields"], second["old_values"], second["new_values"]) == (
        ["cents"],
        {"cents": 6},
        {"cents": 7},
    )
    assert "invoice.cents +" in expression["new_values"]["cents"]
    assert "t0ken" not in str(list(recorded))
    assert deleted["changed_fields"][0] == "id"


def test_statements_that_load_nothing_are_recorded_as_such(
    engine: Engine, sessions: sessionmaker[Session], recorded: Recorded
) -> None:
    with sessions() as session:
        session.execute(insert(Invoice), [{"customer": f"c{n}", "cents": n} for n in range(3)])
        session.execute(update(Invoice).where(Invoice.cents > 0).values(customer="secret"))
        session.execute(text("UPDATE invoice SET customer = 'hidden' WHERE cents = 1"))
        session.execute(insert(Customer))
        session.execute(text("SELECT 1"))
        assert recorded == []
        session.commit()
    with engine.begin() as connection:
        connection.execute(delete(Invoice.__table__).where(Invoice.cents == 2))
        assert len(recorded) == 3
    assert told(recorded) == [(verb, "invoice", "*") for verb in ("create", "update", "update", "delete")]
    assert [event["metadata"]["rows"] for event in recorded] == [3, 2, 1, 1]
    assert all(event["metadata"]["bulk"] for event in recorded)
    assert recorded[2]["metadata"]["statement"] == "UPDATE invoice SET customer = ? WHERE cents = ?"
    assert "secret" not in str(list(recorded))
    assert "hidden" not in str(list(recorded))


def test_what_was_rolled_back_never_was(engine: Engine, sessions: sessionmaker[Session], recorded: Recorded) -> None:
    with sessions() as session:
        session.add(Invoice(customer="gone", cents=1))
        session.flush()
        session.rollback()
        session.add(Invoice(customer="kept", cents=2))
        with suppress(ValueError), session.begin_nested():
            session.add(Invoice(customer="gone", cents=3))
            session.execute(update(Invoice).values(cents=9))
            session.flush()
            raise ValueError
        with session.begin_nested():
            session.add(Invoice(customer="kept too", cents=4))
        assert recorded == []
        session.commit()
    with suppress(ValueError), engine.begin() as connection:
        connection.execute(delete(Invoice.__table__))
        raise ValueError
    with engine.connect() as connection:
        connection.execute(delete(Invoice.__table__))  # closed without a commit
    with engine.begin() as connection:
        connection.execute(text("SELECT 1"))
    assert [event["new_values"]["customer"] for event in recorded] == ["kept", "kept too"]


def test_a_commit_that_fails_has_no_event(sessions: sessionmaker[Session], recorded: Recorded) -> None:
    with sessions() as session:
        session.add(Invoice(customer="c", cents=1, paid_by=404))
        session.flush()
        with pytest.raises(IntegrityError):
            session.commit()
        session.rollback()
        session.add(Invoice(customer="d", cents=1))
        session.commit()
    assert [event["new_values"]["customer"] for event in recorded] == ["d"]


def test_a_flush_that_fails_hides_nothing_later(sessions: sessionmaker[Session], recorded: Recorded) -> None:
    with sessions() as session:
        session.add(Invoice(id=1, customer="c", cents=1))
        session.commit()
        session.add(Invoice(id=1, customer="again", cents=1))
        with pytest.raises(IntegrityError):
            session.flush()
        session.rollback()
        session.execute(update(Invoice).values(cents=2))
        session.commit()
    assert [event["action"] for event in recorded] == ["create", "update"]


def test_a_flush_that_the_application_ends_hides_nothing_later(
    engine: Engine, sessions: sessionmaker[Session], recorded: Recorded
) -> None:
    def checked(session: Session, *_more: Any) -> None:
        if any(each.cents < 0 for each in session.new):
            raise ValueError

    listen(sessions, "before_flush", checked)
    with suppress(ValueError), sessions() as session:
        session.add(Invoice(customer="c", cents=-1))
        session.commit()
    with engine.begin() as connection:
        connection.execute(update(Invoice).values(cents=2))
    with sessions() as session:
        session.execute(update(Invoice).values(cents=3))
        session.commit()
    assert told(recorded) == [("update", "invoice", "*")] * 2


def test_what_only_this_database_can_write_runs_and_is_recorded(
    sessions: sessionmaker[Session], recorded: Recorded
) -> None:
    with sessions() as session:
        invoice = Invoice(id=1, customer="c", cents=1)
        session.add(invoice)
        session.commit()
        session.execute(update(Invoice).values(cents=OfThisDatabase()))
        invoice.cents = OfThisDatabase()  # type: ignore[assignment]
        session.commit()
        assert invoice.cents == 42
        session.execute(update(Invoice).values(customer=literal_column("'hidden'")))
        session.commit()
    assert [event["action"] for event in recorded] == ["create", "update", "update", "update"]
    assert recorded[1]["metadata"]["statement"] == "UPDATE invoice SET cents=(?)"
    assert recorded[2]["changed_fields"] == ["cents"]
    assert "hidden" not in str(list(recorded))
    assert recorded.dropped == {}


@pytest.mark.parametrize(
    "statement",
    [
        "/* it's a comment */ UPDATE invoice SET customer = 'hidden'",
        "-- update customer\nupdate INVOICE set customer = 'hidden'",
        "WITH known AS (SELECT 'update customer' AS x) UPDATE invoice SET customer = 'hidden' FROM known",
        "WITH c AS (INSERT INTO customer DEFAULT VALUES RETURNING id) UPDATE invoice SET paid_by = c.id FROM c",
        "UPDATE invoice SET customer = $quoted$hidden$quoted$",
    ],
)
def test_texts_of_all_kinds_are_seen(sessions: sessionmaker[Session], recorded: Recorded, statement: str) -> None:
    with sessions() as session:
        session.execute(text(statement))
        session.execute(text("SELECT 'update invoice ' || customer FROM invoice FOR UPDATE"))
        session.commit()
    assert told(recorded) == [("update", "invoice", "*")]
    assert "hidden" not in str(list(recorded))


@pytest.mark.parametrize("commits", [True, False])
def test_a_session_in_somebody_else_s_transaction(
    engine: Engine, sessions: sessionmaker[Session], recorded: Recorded, commits: bool
) -> None:
    with engine.connect() as connection:
        outer = connection.begin()
        with sessions(bind=connection, join_transaction_mode="create_savepoint") as session:
            session.add(Invoice(customer="one", cents=1))
            session.commit()
            session.add(Invoice(customer="gone", cents=1))
            session.flush()
            session.rollback()
        assert recorded == []
        outer.commit() if commits else outer.rollback()
    assert [event["new_values"]["customer"] for event in recorded] == (["one"] if commits else [])


def test_what_can_t_be_said_of_a_change_is_counted_and_the_change_is_made(
    engine: Engine, recorded: Recorded, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = sessionmaker(engine)
    audit_changes(engine, made, AuditClient("main", "127.0.0.1:1"), models=[Invoice])
    monkeypatch.setattr("sealstream.integrations.sqlalchemy_changes.resource_of", int)
    with made() as session:
        session.add(Invoice(customer="c", cents=7))
        session.commit()
        assert session.query(Invoice).one().cents == 7
    assert recorded == []
    assert recorded.dropped == {"invalid": 1}


def test_an_outbox_in_the_same_transaction(engine: Engine) -> None:
    sessions, outbox = sessionmaker(engine), SQLAlchemyOutbox(source={"service": "shop"})
    with engine.connect() as connection:
        connection.connection.cursor().execute(outbox.tables.create_sql())
        connection.connection.commit()
    audit_changes(engine, sessions, outbox, models=[Invoice])
    with sessions() as session:
        session.add(Invoice(customer="gone", cents=1))
        session.flush()
        session.rollback()
        session.add(Invoice(customer="kept", cents=1))
        session.commit()
        session.execute(update(Invoice).values(cents=2))
        session.commit()
    with engine.connect() as connection:
        rows = connection.execute(text("SELECT event FROM sealstream_outbox ORDER BY id")).scalars().all()
    found: list[dict[str, Any]] = [json.loads(bytes(row)) for row in rows]
    assert [(event["action"], event["resource_id"]) for event in found] == [("create", "2"), ("update", "*")]


async def test_asynchronous_sessions(dsn: str, engine: Engine, recorded: Recorded) -> None:
    asynchronous = create_async_engine(dsn)
    sessions = async_sessionmaker(asynchronous, sync_session_class=AuditedSession, class_=AsyncSession)
    audit_changes(asynchronous.sync_engine, AuditedSession, AuditClient("main", "127.0.0.1:1"), models=[Invoice])
    with context(actor_id="ann"):
        async with sessions() as session:
            session.add(Invoice(customer="c", cents=1))
            await session.commit()
            await session.execute(update(Invoice).values(cents=2))
            await session.commit()
            session.add(Invoice(customer="gone", cents=1))
            await session.flush()
            await session.rollback()
    await asynchronous.dispose()
    assert [(event["action"], event["actor_id"]) for event in recorded] == [("create", "ann"), ("update", "ann")]
