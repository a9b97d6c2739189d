"""What a relay that takes an outbox over must know and do in the database, before it takes new events.

Each function is one transaction and can be repeated. What made a stream end (other numbers in the topic, another
database) is forgotten only in the transaction that ends it, so that a crash between any two of them is harmless.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import asyncpg

from sealstream.errors import InvalidEvent
from sealstream.relaying.holding import Connection, Held
from sealstream.relaying.numbering import digest_of, numbered, waiting

__all__ = [
    "Batch",
    "Bound",
    "StreamState",
    "batch_on_its_way",
    "bind",
    "database",
    "end_stream",
    "forget",
    "open_stream",
    "settle",
    "streams",
]

_CHUNK = 5_000


class StreamState(NamedTuple):
    """`next`: the next number; `unused_days`: since it gave its last one."""

    next: int
    unused_days: float


class Batch(NamedTuple):
    """Events on their way, numbered. `complete`: no row of it is missing in the table."""

    producer_id: str
    first: int
    events: list[bytes]
    complete: bool = True


class Bound(NamedTuple):
    """Where an outbox goes, in which database it is, up to which offset of the topic it knows what it has sent."""

    origin: str
    topic: str
    topic_id: str
    database: str
    raw_offset: int


def database(held: Held) -> str:
    """Which database this is: a restore, a move or a failover gives another answer, as far as Postgres can tell."""

    async def work(connection: Connection) -> str:
        oid = await connection.fetchval("SELECT oid FROM pg_database WHERE datname = current_database()")
        try:
            cluster = await connection.fetchval(
                "SELECT system_identifier || '/' || left(pg_walfile_name(pg_current_wal_insert_lsn()), 8) "
                "FROM pg_control_system()"
            )
        except asyncpg.InsufficientPrivilegeError:  # then what was sent tells, and that alone
            cluster = ""
        return f"{cluster}/{oid}"

    return held.run("asking which database this is", work)


def streams(held: Held) -> dict[str, StreamState]:
    """All streams that this outbox has had, as far as this database knows."""

    async def work(connection: Connection) -> dict[str, StreamState]:
        rows = await connection.fetch(
            held.sql(
                "SELECT producer_id, next, (extract(epoch FROM now() - used_at) / 86400)::float8 AS unused FROM :stream"
            )
        )
        return {row["producer_id"]: StreamState(row["next"], row["unused"]) for row in rows}

    return held.run("reading the outbox's streams", work)


def open_stream(held: Held) -> tuple[str, StreamState] | None:
    """The stream that the next events join."""

    async def work(connection: Connection) -> tuple[str, StreamState] | None:
        row = await connection.fetchrow(
            held.sql(
                "SELECT producer_id, next, (extract(epoch FROM now() - used_at) / 86400)::float8 AS unused "
                "FROM :stream JOIN :relay USING (producer_id)"
            )
        )
        return None if row is None else (row["producer_id"], StreamState(row["next"], row["unused"]))

    return held.run("reading the outbox's stream", work)


def batch_on_its_way(held: Held) -> Batch | None:
    """What was taken and not settled, as it was sent or would have been."""

    async def work(connection: Connection) -> Batch | None:
        relay = await connection.fetchrow(held.sql("SELECT * FROM :relay"))
        assert relay is not None
        producer_id, first_number = relay["batch_producer_id"], relay["batch_first"]
        if producer_id is None:
            return None
        rows = await connection.fetch(
            held.sql(
                "SELECT waiting.id, waiting.event "
                "FROM :relay AS relay, unnest(relay.batch_firsts, relay.batch_lasts) AS run(first, last) "
                "CROSS JOIN LATERAL (SELECT id, event FROM :table WHERE id BETWEEN run.first AND run.last) AS waiting"
            )
        )
        found = {row["id"]: row["event"] for row in rows}
        runs = zip(relay["batch_firsts"], relay["batch_lasts"], strict=True)
        ids = [each for first, last in runs for each in range(first, last + 1)]
        events = []
        for number, each in enumerate(ids, first_number):
            try:
                events.append(numbered(waiting(found[each]), producer_id, number))
            except (KeyError, InvalidEvent):  # somebody deleted or changed it since
                continue
        return Batch(producer_id, first_number, events, len(events) == len(ids))

    return held.run("reading what was taken from the outbox", work)


def settle(held: Held) -> None:
    """Kafka has the batch. The offset up to which all is known stays where it was."""

    async def work(connection: Connection) -> None:
        deleted = await held.delete_batch(connection, await held.hold(connection))
        await connection.execute(
            held.sql(
                "UPDATE :relay SET batch_producer_id = NULL, batch_firsts = '{}', batch_lasts = '{}', "
                "relayed = relayed + $1, relayed_at = now()"
            ),
            deleted,
        )

    held.transaction("settling what was sent from the outbox", work)


def forget(held: Held, digests: frozenset[bytes]) -> int:
    """Delete what waits and is in the log already, by its digest: how many rows."""

    async def work(connection: Connection) -> int:
        await held.hold(connection)
        known = []
        async for row in connection.cursor(held.sql("SELECT id, event FROM :table"), prefetch=_CHUNK):
            try:
                if digest_of(waiting(row["event"])) in digests:
                    known.append(row["id"])
            except InvalidEvent:
                continue
        await connection.execute(held.sql("DELETE FROM :table WHERE id = ANY($1::bigint[])"), known)
        return len(known)

    return held.transaction("looking for events that are in the log already", work)


def bind(held: Held, bound: Bound) -> None:
    """All is as it should be, as of now."""

    async def work(connection: Connection) -> None:
        await held.hold(connection)
        await _bind(held, connection, bound)

    held.transaction("noting where the outbox goes", work)


def end_stream(
    held: Held, number: int, closed: bytes | None, *, more: Iterable[bytes] = (), bound: Bound | None = None
) -> None:
    """The current stream, whose batches are settled, gives no more numbers.

    `closed`: its last event, which gets `number` and is now on its way. None: the log has forgotten the stream, and
    nothing is said. `more`: statements for the next stream.
    """

    async def work(connection: Connection) -> None:
        relay = await held.hold(connection)
        assert relay["batch_producer_id"] is None, "a batch is on its way"
        producer_id = relay["producer_id"]
        await connection.execute(
            held.sql("UPDATE :stream SET next = $2, closed_at = now(), used_at = now() WHERE producer_id = $1"),
            *(producer_id, number if closed is None else number + 1),
        )
        await connection.execute(held.sql("UPDATE :relay SET producer_id = NULL"))
        if closed is not None:
            await connection.execute(
                held.sql(
                    "UPDATE :relay SET batch_producer_id = $1, batch_first = $2, batch_firsts = $3, batch_lasts = $3"
                ),
                *(producer_id, number, [await held.insert(connection, closed)]),
            )
        for event in more:
            await held.insert(connection, event)
        if bound is not None:
            await _bind(held, connection, bound)

    held.transaction("ending the outbox's stream", work)


async def _bind(held: Held, connection: Connection, bound: Bound) -> None:
    await connection.execute(
        held.sql("UPDATE :relay SET origin = $1, topic = $2, topic_id = $3, database = $4, raw_offset = $5"), *bound
    )
