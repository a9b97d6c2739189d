"""The sequencer against the logger that many applications begin with: hash, then one INSERT, event by event.

The logger is written anew from what such a logger does: it keeps the last hash in memory, hashes seven fields and the
hash before as sorted JSON, and inserts each event into an append-only table with its four indexes and a trigger that
refuses changes; each INSERT is committed before the next event is looked at. Same machine, same run; the same Postgres
as the sink's, as it comes (fsync and synchronous_commit on).
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import time
import uuid
from datetime import UTC, datetime
from typing import Any

import asyncpg
from bench_postgres import new_database
from rows import Row
from workbench import Workbench, example_event, preload, sealing

TABLE = """
CREATE TABLE audit_logs (
    id uuid PRIMARY KEY,
    timestamp timestamptz NOT NULL,
    actor_id text NOT NULL,
    actor_type text NOT NULL CHECK (actor_type IN ('user', 'service', 'admin', 'system')),
    action text NOT NULL,
    resource_type text NOT NULL,
    resource_id text NOT NULL,
    result text NOT NULL CHECK (result IN ('success', 'failure', 'denied')),
    ip_address text,
    session_id text,
    reason text,
    changed_fields text[],
    prev_hash text,
    hash text NOT NULL UNIQUE
);
CREATE INDEX ON audit_logs (actor_id);
CREATE INDEX ON audit_logs (resource_type, resource_id);
CREATE INDEX ON audit_logs (timestamp DESC);
CREATE INDEX ON audit_logs (action);
CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'audit logs are immutable';
END $$;
CREATE TRIGGER immutable BEFORE UPDATE OR DELETE ON audit_logs FOR EACH ROW EXECUTE FUNCTION refuse_change();
"""
INSERT = (
    "INSERT INTO audit_logs (id, timestamp, actor_id, actor_type, action, resource_type, resource_id, result, "
    "ip_address, session_id, prev_hash, hash) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)"
)
HASHED = ("actor_id", "action", "resource_type", "resource_id", "result")


class RowByRowLogger:
    """One event, one hash, one committed INSERT."""

    def __init__(self, connection: asyncpg.Connection[Any]) -> None:
        self._connection = connection
        self._last_hash = "GENESIS"

    async def log(self, event: dict[str, Any]) -> None:
        """Store one event behind the one before."""
        event_id, at = uuid.uuid4(), datetime.now(UTC)
        hashed = {name: event[name] for name in HASHED}
        hashed |= {"id": str(event_id), "timestamp": at.isoformat(), "prev_hash": self._last_hash}
        own_hash = hashlib.sha256(json.dumps(hashed, sort_keys=True).encode()).hexdigest()
        await self._connection.execute(
            INSERT,
            event_id,
            at,
            event["actor_id"],
            event["actor_type"],
            event["action"],
            event["resource_type"],
            event["resource_id"],
            event["result"],
            event["ip_address"],
            event["session_id"],
            self._last_hash,
            own_hash,
        )
        self._last_hash = own_hash


def inserting(dsn: str, events: list[dict[str, Any]]) -> float:
    """Seconds for these events."""

    async def run() -> float:
        connection = await asyncpg.connect(dsn)
        await connection.execute(TABLE)
        logger = RowByRowLogger(connection)
        begun = time.perf_counter()
        for event in events:
            await logger.log(event)
        took = time.perf_counter() - begun
        await connection.close()
        return took

    return asyncio.run(run())


def measure(bench: Workbench) -> list[Row]:
    """The row against the row-by-row logger."""
    count, inserts = bench.events // 2, bench.events // 50
    ours: list[float] = []
    theirs: list[float] = []
    events = [example_event(number) for number in range(inserts)]
    for number in bench.each_round("row-by-row logger"):
        chain = bench.new_chain()
        preload(bench.kafka, chain.topics.raw, count)
        for which in (0, 1) if number % 2 == 0 else (1, 0):
            if which == 0:
                with new_database(bench.endpoints.postgres_admin_dsn) as dsn:
                    theirs.append(inserts / inserting(dsn, events))
            else:
                ours.append(count / sealing(bench.kafka, chain, count))
    return [
        Row(
            "sequencer, row by row",
            "sequencer",
            "a logger that hashes and INSERTs event by event into Postgres",
            "events/s",
            goal=20,
            ours=ours,
            baseline=theirs,
            durability="ours: Kafka transactions of many events, acks=all on one broker, in its page cache (three "
            "brokers survive the loss of one; a power cut of all is not survived); theirs: one fsynced commit an event",
            remark=f"{count:,} events against {inserts:,}",
            remedy="The logger waits for one commit an event; how long that takes is the disk's.",
        )
    ]
