"""Bodies out of Postgres, with the reader's role, in the order of the chain: a server-side cursor in one snapshot."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import datetime
from typing import Any

import asyncpg

from sealstream.postgres.driver import Session

__all__ = ["postgres_runs", "postgres_size"]

_AT_ONCE = 5_000
_PATIENCE_S = 900.0
_SPAN = "FROM public.audit_log WHERE chain = $1 AND sequenced_at >= $2 AND sequenced_at < $3"
_BODIES = f"SELECT body {_SPAN} AND kind = 'event' ORDER BY seq"
_SIZE = f"SELECT count(*) {_SPAN} AND kind = 'event'"


def postgres_size(dsn: str, chain: str, since: datetime, until: datetime) -> int:
    """How many events of the span are there. Raises `Unavailable`, `Misconfigured`."""
    with Session(dsn, "sealstream anomaly", command_timeout_s=_PATIENCE_S) as session:
        (row,) = session.fetch("counting entries", _SIZE, chain, since, until)
    return int(row["count"])


def postgres_runs(
    dsn: str, chain: str, since: datetime, until: datetime, read: Callable[[int], object]
) -> Iterator[list[bytes]]:
    """Bodies of the span's events, some thousands at a time. Raises `Unavailable`, `Misconfigured`."""

    async def open_cursor(connection: asyncpg.Connection[Any]) -> Any:
        await connection.execute("BEGIN READ ONLY; SET LOCAL cursor_tuple_fraction = 1.0")
        return await connection.cursor(_BODIES, chain, since, until)

    with closing(Session(dsn, "sealstream anomaly", command_timeout_s=_PATIENCE_S)) as session:
        cursor = session.run("opening a cursor", open_cursor)
        while rows := session.run("reading entries", lambda _connection: cursor.fetch(_AT_ONCE)):
            yield [row["body"] for row in rows]
            read(len(rows))
