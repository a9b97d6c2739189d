"""The outbox in SQLAlchemy: an audit event in the transaction of a `Connection`, a `Session` or their async twins.

    outbox = SQLAlchemyOutbox(source={"service": "billing"})
    with Session(engine) as session, session.begin():
        invoice.approved = True
        outbox.emit(session, "invoice.approve", actor_id=user.id, resource_type="invoice", resource_id=invoice.id)

Whichever driver is beneath (psycopg, asyncpg, pg8000). A savepoint that is rolled back takes its events with it. The id
of a new object is known once the session was flushed. Everything else, and the crash story, is
`sealstream.client.outbox`'s.
"""

from __future__ import annotations

from typing import Unpack

from sqlalchemy import Connection, LargeBinary, TextClause, bindparam, text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession
from sqlalchemy.orm import Session, scoped_session

from sealstream.client.outbox import EventFields, Outbox

__all__ = ["SQLAlchemyOutbox"]


class SQLAlchemyOutbox(Outbox):
    """An `Outbox` that takes SQLAlchemy's connections and sessions."""

    def emit(
        self, connection: Connection | Session | scoped_session[Session], action: str, **fields: Unpack[EventFields]
    ) -> str | None:
        """Insert an event in the transaction: the event's id, or None when it was refused."""
        row = self.row(action, **fields)
        connection.execute(self._statement(), {"event": row.value})
        return row.id

    async def aemit(
        self, connection: AsyncConnection | AsyncSession, action: str, **fields: Unpack[EventFields]
    ) -> str | None:
        """`emit`, for an `AsyncConnection` or `AsyncSession`."""
        row = self.row(action, **fields)
        await connection.execute(self._statement(), {"event": row.value})
        return row.id

    def _statement(self) -> TextClause:
        return text(self.tables.insert_sql(":event")).bindparams(bindparam("event", type_=LargeBinary))
