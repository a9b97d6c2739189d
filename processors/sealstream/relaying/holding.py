"""Holding an outbox: one relay works, others wait, and one that wakes up too late changes nothing.

A relay takes the outbox's advisory lock, which its connection keeps, and then signs the outbox with a new name. Each of
its transactions begins by finding the name that its last one left, and leaves another. So the lock says whose turn it
is, and the name keeps the promise also where the lock does not hold (a pooler that lends connections by the
transaction), and when the tables are set back to an older state under a relay that runs.

A crash ends the connection and with it the lock; the name stays and harms nobody.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias, TypeVar
from uuid import uuid4

import asyncpg

from sealstream.errors import Fenced, Misconfigured
from sealstream.layout import OutboxTables
from sealstream.relaying.session import Session

__all__ = ["LOCK_CLASS", "Connection", "Held", "State"]

if TYPE_CHECKING:
    Connection: TypeAlias = asyncpg.Connection[Any]
else:
    Connection = asyncpg.Connection  # generic in its stubs alone

_Result = TypeVar("_Result")
LOCK_CLASS = 24_225


class State(NamedTuple):
    """What the relay before left. `origin` None: nothing was ever relayed. `producer_id` None: no stream is open."""

    outbox_id: str
    origin: str | None
    topic: str | None
    topic_id: str | None
    database: str | None
    raw_offset: int
    producer_id: str | None


class Held:
    """A connection to one outbox. Raises `Unavailable`, and `Misconfigured` when the tables are not there."""

    def __init__(self, dsn: str, tables: OutboxTables) -> None:
        self.tables = tables
        self._name = self._next_name = uuid4()
        self._filled: dict[str, str] = {}
        self._session = Session(dsn)

    def try_lock(self) -> bool:
        """Whether this is now the one relay of the outbox; it stays so until the connection ends."""

        async def work(connection: Connection) -> bool:
            table = await connection.fetchval("SELECT to_regclass($1)::oid::bigint", self.tables.relay)
            if table is None:
                raise Misconfigured(
                    f"there is no table {self.tables.relay} in this database: `sealstream outbox init` makes it"
                )
            return bool(
                await connection.fetchval("SELECT pg_try_advisory_lock(($1::bigint << 32) | $2)", LOCK_CLASS, table)
            )

        return self.run("asking for the outbox's lock", work)

    def take_over(self) -> State:
        """From now on a relay before this one can change nothing, if it should wake up."""

        async def work(connection: Connection) -> State:
            row = await connection.fetchrow(self.sql("UPDATE :relay SET holder = $1 RETURNING *"), self._next_name)
            if row is None:
                raise Misconfigured(f"{self.tables.relay} is empty: `sealstream outbox init` fills it")
            return State(
                str(row["outbox_id"]),
                row["origin"],
                row["topic"],
                row["topic_id"],
                row["database"],
                row["raw_offset"],
                row["producer_id"],
            )

        return self.transaction("taking the outbox over", work)

    async def hold(self, connection: Connection) -> asyncpg.Record:
        """The relay's row, locked and signed, as every changing transaction begins. Raises `Fenced`."""
        relay: asyncpg.Record | None = await connection.fetchrow(
            self.sql(
                "UPDATE :relay SET holder = $2 WHERE holder = $1 "
                "RETURNING *, pg_current_xact_id()::text::bigint AS own_xid, "
                "pg_snapshot_xmin(pg_current_snapshot())::text::bigint AS oldest_xid"
            ),
            *(self._name, self._next_name),
        )
        if relay is None:
            raise Fenced(f"another relay has taken {self.tables.table} over, or it was set back to an older state")
        return relay

    async def delete_batch(self, connection: Connection, relay: asyncpg.Record) -> int:
        """Kafka has the batch that is on its way: its rows go. How many; the caller says so in the relay's row."""
        if relay["batch_producer_id"] is None:
            return 0
        deleted = await connection.execute(
            self.sql(
                "DELETE FROM :table USING unnest($1::bigint[], $2::bigint[]) AS run(first, last) "
                "WHERE id BETWEEN first AND last"
            ),
            *(relay["batch_firsts"], relay["batch_lasts"]),
        )
        return int(deleted.rpartition(" ")[2])

    async def insert(self, connection: Connection, event: bytes) -> int:
        """A statement of the relay's own waits like any event; its id."""
        row = await connection.fetchval(f"{self.tables.insert_sql('$1')} RETURNING id", event)
        return int(row)

    def sql(self, text: str) -> str:
        """`text` with the tables' names."""
        known = self._filled.get(text)
        if known is None:
            known = self._filled[text] = self.tables.filled(text)
        return known

    def run(self, doing: str, work: Callable[[Connection], Awaitable[_Result]]) -> _Result:
        """What `work` returns, given the connection."""
        return self._session.run(doing, work)

    def transaction(self, doing: str, work: Callable[[Connection], Awaitable[_Result]]) -> _Result:
        """The same in one transaction. After an error, whether or not it was committed is for a new object to find."""
        self._next_name = uuid4()
        result = self._session.transaction(doing, work)
        self._name = self._next_name
        return result

    def close(self) -> None:
        """Ends the connection; another relay can take the outbox over."""
        self._session.close()
