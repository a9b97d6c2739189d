"""`Outbox`: audit events written in the application's own database transaction, sealed exactly if it commits.

    outbox = Outbox(source={"service": "billing"})
    with connection.transaction():
        connection.execute("UPDATE invoice SET approved = true WHERE id = 7")
        outbox.emit(connection, "invoice.approve", actor_id="user-123", resource_type="invoice", resource_id=7)

It costs the application one INSERT; `sealstream outbox relay` takes what was committed to Kafka. Defaults, context and
conversions are those of `AuditClient.emit`.

The invariant: the row is the event, in final form but for its number, so nothing is left to go wrong after the commit.
The crash story is the transaction's: rolled back, there never was an event; committed, it waits in the table until the
log has it. An event that breaks the rules of an event becomes an `audit.loss` in the same transaction, so that not even
that can go unseen. The database's own errors pass through as they are: the transaction that they end is not ours.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Literal, NamedTuple, TypedDict, Unpack

from sealstream.client.composing import Composer
from sealstream.client.delivery import warn
from sealstream.client.redaction import Redaction
from sealstream.errors import InvalidEvent, Misconfigured
from sealstream.events import new_event_id
from sealstream.layout import DEFAULT_OUTBOX, OUTBOX_PRODUCER, OUTBOX_SPARE_BYTES, OutboxTables

__all__ = ["EventFields", "Outbox", "OutboxRow"]

_MAX_COMPLAINTS = 256


class EventFields(TypedDict, total=False):
    """What `AuditClient.emit` takes, beside the action."""

    resource_type: str
    resource_id: object
    result: Literal["success", "failure", "denied"]
    actor_id: object
    actor_type: Literal["user", "service", "admin", "system", "anonymous"] | None
    on_behalf_of: object
    reason: str | None
    changed_fields: Sequence[str] | None
    old_values: Mapping[str, Any] | None
    new_values: Mapping[str, Any] | None
    metadata: Mapping[str, Any] | None
    tenant: object
    session_id: object
    trace_id: object
    ip_address: object
    user_agent: str | None
    subject_id: object
    timestamp: datetime | str | None
    id: object


class OutboxRow(NamedTuple):
    """`value` goes into the column `event`. `id`: the event's; None: the event was refused, and `value` says so."""

    id: str | None
    value: bytes


_NOT_GIVEN: dict[str, Any] = {**dict.fromkeys(EventFields.__annotations__), "result": "success"}


class Outbox:
    """One for a process, for all its threads and tasks; it holds no connection.

    `source`: of `service`, `version`, `host` (this one's name by default), `environment`. `table`: as it was made, with
    its schema if that is not on the search_path. `redaction`: what must not get there; None: the defaults. `strict`:
    raise `InvalidEvent` for a refused event. Raises `Misconfigured`.
    """

    def __init__(
        self,
        *,
        source: Mapping[str, str] | None = None,
        table: str = DEFAULT_OUTBOX,
        strict: bool = False,
        redaction: Redaction | None = None,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        new_id: Callable[[], str] = new_event_id,
    ) -> None:
        self.tables = OutboxTables.of(table)
        self._composer = Composer(source, clock, new_id, OUTBOX_SPARE_BYTES, redaction)
        self._strict = strict
        self._complaints: set[str] = set()
        self._insert = {mark: self.tables.insert_sql(mark) for mark in ("%s", "$1", ":event")}
        try:
            self._loss()
        except InvalidEvent as error:
            raise Misconfigured(f"source of the outbox: {error.reason}") from error

    def emit(self, connection: Any, action: str, **fields: Unpack[EventFields]) -> str | None:
        """Insert an event in the connection's transaction: the event's id, or None when it was refused.

        `connection`: of psycopg (3 or 2), pg8000 or another DB-API driver whose parameters are written `%s`, or a
        cursor of one; Django's are such. A connection in autocommit has no transaction: the event is then committed at
        once, and alone.
        """
        row = self.row(action, **fields)
        if hasattr(connection, "fetchone"):  # a cursor
            connection.execute(self._insert["%s"], (row.value,))
            return row.id
        cursor = connection.cursor()
        try:
            cursor.execute(self._insert["%s"], (row.value,))
        finally:
            cursor.close()
        return row.id

    async def aemit(self, connection: Any, action: str, **fields: Unpack[EventFields]) -> str | None:
        """`emit`, for a connection (or pool) of asyncpg or an `AsyncConnection` or cursor of psycopg."""
        row = self.row(action, **fields)
        if hasattr(connection, "fetchval"):  # asyncpg's way of naming parameters
            await connection.execute(self._insert["$1"], row.value)
        else:
            await connection.execute(self._insert["%s"], (row.value,))
        return row.id

    def row(self, action: str, **fields: Unpack[EventFields]) -> OutboxRow:
        """The row alone, for who inserts it otherwise (`tables.insert_sql`)."""
        unknown = fields.keys() - _NOT_GIVEN.keys()
        if unknown:
            raise TypeError(f"an event has no {sorted(unknown)[0]}: expected some of {', '.join(sorted(_NOT_GIVEN))}")
        try:
            return OutboxRow(*self._composer.event(OUTBOX_PRODUCER, {**_NOT_GIVEN, "action": action, **fields}))
        except InvalidEvent as error:
            return self._refused(error, f"{error.field} of {action}")
        except Exception as error:  # noqa: BLE001 - whatever objects an application hands over, it must not suffer
            kind = type(error).__name__
            return self._refused(InvalidEvent(f"event can't be read: its values raise {kind}"), kind)

    def _refused(self, error: InvalidEvent, place: str) -> OutboxRow:
        if self._strict:
            raise error
        if place not in self._complaints and len(self._complaints) < _MAX_COMPLAINTS:
            self._complaints.add(place)
            warn("audit event refused: %s; an audit.loss is written instead, of more of these too", error)
        return OutboxRow(None, self._loss())

    def _loss(self) -> bytes:
        return self._composer.statement(
            OUTBOX_PRODUCER,
            "audit.loss",
            {"reason": "invalid", "count": 1},
            actor_id="sealstream/outbox",
            about=("outbox", self.tables.table),
        )
