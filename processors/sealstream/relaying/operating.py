"""What a person does with an outbox: make its tables, look at it, give a copy of it a name of its own.

Each is one transaction and repeatable.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import NamedTuple

import asyncpg
import msgspec

from sealstream.errors import InvalidEvent, Misconfigured
from sealstream.events import parse_timestamp
from sealstream.layout import OutboxTables
from sealstream.relaying.holding import LOCK_CLASS, Connection
from sealstream.relaying.session import Session

__all__ = ["OutboxStatus", "make_outbox", "outbox_status", "renew_outbox"]


class OutboxStatus(NamedTuple):
    """`waiting`: committed rows that Kafka is not known to have. `oldest_age_s`: by the oldest one's own timestamp.

    `working`: whether a relay is connected. `origin` None: nothing was ever relayed. `producer_id` None: the next event
    begins a stream.
    """

    outbox_id: str
    origin: str | None
    working: bool
    waiting: int
    oldest_age_s: float | None
    relayed: int
    relayed_at: datetime | None
    producer_id: str | None
    next: int | None
    refused: int
    table_bytes: int


def make_outbox(dsn: str, tables: OutboxTables, application: str | None = None, relay: str | None = None) -> None:
    """Make the tables that are not there, and give these roles what they need."""

    async def work(connection: Connection) -> None:
        await connection.execute(tables.create_sql() + tables.grant_sql(application, relay))

    with Session(dsn) as session:
        session.transaction(f"making {tables.table}", work)


def outbox_status(dsn: str, tables: OutboxTables) -> OutboxStatus:
    """As of now. Changes nothing."""

    async def work(connection: Connection) -> OutboxStatus:
        relay = await _relay(connection, tables)
        waiting = await connection.fetchval(tables.filled("SELECT count(*) FROM :table"))
        oldest = await connection.fetchval(tables.filled("SELECT event FROM :table ORDER BY id LIMIT 1"))
        working = await connection.fetchval(
            "SELECT exists(SELECT FROM pg_locks WHERE locktype = 'advisory' AND granted AND classid = $1::bigint::oid "
            "AND objid = to_regclass($2)::oid AND database = (SELECT oid FROM pg_database "
            "WHERE datname = current_database()))",
            *(LOCK_CLASS, tables.relay),
        )
        return OutboxStatus(
            outbox_id=str(relay["outbox_id"]),
            origin=relay["origin"],
            working=working,
            waiting=waiting,
            oldest_age_s=None if oldest is None else _age_s(oldest),
            relayed=relay["relayed"],
            relayed_at=relay["relayed_at"],
            producer_id=relay["producer_id"],
            next=await connection.fetchval(
                tables.filled("SELECT next FROM :stream WHERE producer_id = $1"), relay["producer_id"]
            ),
            refused=await connection.fetchval(tables.filled("SELECT count(*) FROM :refused")),
            table_bytes=await connection.fetchval("SELECT pg_total_relation_size(to_regclass($1))", tables.table),
        )

    with Session(dsn) as session:
        return session.transaction(f"looking at {tables.table}", work)


def renew_outbox(dsn: str, tables: OutboxTables, *, discard: bool) -> int:
    """For a copy of a database: a new outbox, which goes where its next relay says. `discard`: what waits is deleted,
    and how many rows that were is returned; otherwise it goes to that relay's log. Raises `Misconfigured`.
    """

    async def work(connection: Connection) -> int:
        await _relay(connection, tables)
        await connection.execute(
            tables.filled(
                "UPDATE :relay SET outbox_id = gen_random_uuid(), holder = NULL, origin = NULL, topic = NULL, "
                "topic_id = NULL, database = NULL, raw_offset = 0, producer_id = NULL, batch_producer_id = NULL, "
                "batch_firsts = '{}', batch_lasts = '{}', relayed = 0, relayed_at = NULL"
            )
        )
        await connection.execute(tables.filled("DELETE FROM :stream"))
        if not discard:
            return 0
        return int((await connection.execute(tables.filled("DELETE FROM :table"))).rpartition(" ")[2])

    with Session(dsn) as session:
        return session.transaction(f"renewing {tables.table}", work)


async def _relay(connection: Connection, tables: OutboxTables) -> asyncpg.Record:
    row: asyncpg.Record | None = await connection.fetchrow(tables.filled("SELECT * FROM :relay"))
    if row is None:
        raise Misconfigured(f"{tables.relay} is empty: `sealstream outbox init` fills it")
    return row


def _age_s(event: bytes) -> float | None:
    try:
        happened = parse_timestamp(msgspec.json.decode(event)["timestamp"])
    except (msgspec.DecodeError, InvalidEvent, KeyError, TypeError, UnicodeError):
        return None
    return max((datetime.now(UTC) - happened).total_seconds(), 0.0)
