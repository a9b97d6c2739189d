"""SQLAlchemy: changes of mapped objects and of whole tables as events, once their transaction has committed.

    audit_changes(engine, Session, audit, models=[Invoice])

A flush makes one event for each object: `create`, `update`, `delete`, with the columns that changed, their old values
where they were loaded, and the new ones. An INSERT, UPDATE or DELETE that no flush makes (`update(...)`, `insert(...)`
with many rows, text) changes rows that nobody has loaded: it is one event, recorded as such, with `resource_id` `*`,
the statement without its values, and how many rows it touched (`metadata.bulk`, `metadata.rows`).

With an `AuditClient`, events are sent after the session's commit, or, of a connection without a session, right before
its COMMIT, since SQLAlchemy says nothing after it. With an `SQLAlchemyOutbox` they are rows of the transaction itself.
What was rolled back, to a savepoint too, has no event. Not seen: `exec_driver_sql`, rows that a foreign key's cascade
deletes in the database, members of a many-to-many relationship, and what one text does beside its first INSERT, UPDATE,
DELETE, MERGE or TRUNCATE of a watched table.

The invariant: with an `AuditClient` nothing here fails the application's statement; what can't be said is counted by
the client. With an outbox it fails, since there an event and its change are one. Nothing here outlives its transaction.
"""

from __future__ import annotations

import re
import weakref
from collections.abc import Callable, Collection
from contextvars import ContextVar
from datetime import UTC, datetime
from functools import wraps
from typing import Any

from sqlalchemy import ClauseElement, Connection, Engine, TextClause, event
from sqlalchemy.orm import PassiveFlag, Session, attributes
from sqlalchemy.sql.dml import Delete, Insert, UpdateBase

from sealstream.client import AuditClient, bound
from sealstream.client.changes import changes, plain
from sealstream.client.resources import NAMELESS, resource_of
from sealstream.errors import SealstreamError
from sealstream.integrations.routes import cut
from sealstream.integrations.sqlalchemy import SQLAlchemyOutbox

__all__ = ["ALL_ROWS", "audit_changes"]

ALL_ROWS = "*"
_PENDING = "sealstream_pending"
_SAVEPOINTS = "sealstream_savepoints"
_OF_SESSION = "sealstream_session"
_CHANGED = "sealstream_changed"
_CONNECTIONS = "sealstream_connections"
_VERBS = {"insert": "create", "update": "update", "delete": "delete", "merge": "update", "truncate": "truncate"}
_TEXT = re.compile(
    r"\b(insert\s+into|update(?:\s+only)?|delete\s+from(?:\s+only)?|merge\s+into|truncate(?:\s+table)?)\s+([\w.\"]+)",
    re.IGNORECASE,
)
_LITERAL = re.compile(r"'(?:[^']|'')*'|\$(\w*)\$.*?\$\1\$|\b\d+(?:\.\d+)?\b", re.DOTALL)
_COMMENT = re.compile(r"('(?:[^']|'')*')|--[^\n]*|/\*.*?\*/", re.DOTALL)

_flushing: ContextVar[weakref.ref[Session] | None] = ContextVar("sealstream_flushing", default=None)


def audit_changes(
    engine: Engine,
    session: Any,
    to: AuditClient | SQLAlchemyOutbox,
    *,
    models: Collection[type[Any]],
    ignore: Collection[str] = (),
) -> None:
    """Watch `models`, in sessions of `session` and in all statements of `engine`.

    `engine`: of an `AsyncEngine`, its `sync_engine`. `session`: a `sessionmaker` or a subclass of `Session`, such as
    the `sync_session_class` of an `async_sessionmaker`. `ignore`: columns that are not recorded.
    """
    watch = _Watch(to, models, frozenset(ignore))
    listened: list[tuple[Any, str, Callable[..., Any]]] = [
        (session, "before_flush", watch.flushing),
        (session, "after_flush", watch.flushed),
        (session, "after_begin", _began),
        (session, "after_commit", watch.session_committed),
        (session, "after_soft_rollback", _rolled_back),
        (engine, "begin", _forget),
        (engine, "after_execute", watch.executed),
        (engine, "commit", watch.committing),
        (engine, "commit_twophase", watch.committing),
        (engine, "rollback", _forget),
        (engine, "savepoint", _savepoint),
        (engine, "release_savepoint", _released),
        (engine, "rollback_savepoint", _back_to_savepoint),
    ]
    for target, name, function in listened:
        event.listen(target, name, _harmless(function, to) if isinstance(to, AuditClient) else function)


def _harmless(function: Callable[..., None], client: AuditClient) -> Callable[..., None]:
    @wraps(function)
    def listening(*args: Any) -> None:
        try:
            function(*args)
        except SealstreamError:  # of a strict client, which has counted it
            raise
        except Exception as error:  # noqa: BLE001 - an application's values; its statement must not suffer
            client.refuse(error, "change of SQLAlchemy")

    return listening


class _Watch:
    def __init__(
        self, to: AuditClient | SQLAlchemyOutbox, models: Collection[type[Any]], ignore: frozenset[str]
    ) -> None:
        self._to = to
        self._models = tuple(models)
        self._tables = {_folded(str(model.__table__)): str(model.__table__) for model in models}
        self._ignore = ignore

    # --- what a flush does

    def flushing(self, session: Session, _context: Any, _instances: Any) -> None:
        """Nothing is executed yet; afterwards, values that the database computes are forgotten."""
        _flushing.set(weakref.ref(session))
        session.info[_CHANGED] = {
            id(each): said
            for each in session.dirty
            if isinstance(each, self._models) and (said := _updated(each, self._ignore))
        }

    def flushed(self, session: Session, _context: Any) -> None:
        """The statements are executed, and the objects still know what they were."""
        _flushing.set(None)
        before = session.info.pop(_CHANGED, {})
        for objects, report in ((session.new, _created), (session.dirty, _updated), (session.deleted, _deleted)):
            for each in objects:
                if isinstance(each, self._models):
                    said = report(each, self._ignore)
                    if report is _updated:
                        said = _merged(before.get(id(each)), said)
                    if said is not None:
                        kind, key = resource_of(each)
                        about = {"resource_type": kind, "resource_id": NAMELESS if key is None else key}
                        self._report(session.connection(bind_arguments={"mapper": type(each)}), {**said, **about})

    # --- what other statements do

    def executed(
        self, connection: Connection, statement: Any, multi: Any, _params: Any, _options: Any, result: Any
    ) -> None:
        """Any statement, those of flushes too."""
        if _in_flush():
            return
        if isinstance(statement, UpdateBase):
            table = str(getattr(statement, "table", ""))
            verb = (
                "create" if isinstance(statement, Insert) else "delete" if isinstance(statement, Delete) else "update"
            )
            said = _sql(statement, connection)
        elif isinstance(statement, TextClause):
            said = _LITERAL.sub("?", _COMMENT.sub(lambda found: found[1] or " ", statement.text))
            for found in _TEXT.finditer(said):
                table, verb = found[2], _VERBS[found[1].split()[0].lower()]
                if _folded(table) in self._tables:
                    break
            else:
                return
        else:
            return
        table = self._tables.get(_folded(table), "")
        if not table:
            return
        metadata: dict[str, Any] = {"bulk": True, "statement": cut(_LITERAL.sub("?", said), 2_000)}
        rows = getattr(result, "rowcount", -1)
        if rows < 0 and verb == "create":  # drivers do not tell for many
            rows = max(len(multi), 1)
        if rows >= 0:
            metadata["rows"] = rows
        about = {"action": verb, "resource_type": table, "resource_id": ALL_ROWS, "metadata": metadata}
        self._report(connection, about)

    # --- when it is true

    def _report(self, connection: Connection, said: dict[str, Any]) -> None:
        if isinstance(self._to, SQLAlchemyOutbox):
            self._to.emit(connection, said.pop("action"), **said)
            return
        # Said now, for when it has committed nobody may be bound any more.
        known = {"timestamp": datetime.now(UTC), **bound()}
        connection.info.setdefault(_PENDING, []).append({**known, **said})

    def committing(self, connection: Connection, *_more: Any) -> None:
        """Of a connection without a session."""
        if not connection.info.get(_OF_SESSION):
            self._send(connection)

    def session_committed(self, session: Session) -> None:
        """Also of a savepoint, which means nothing yet."""
        if session.in_nested_transaction():
            return
        for connection in session.info.pop(_CONNECTIONS, ()):
            if connection.in_transaction():  # somebody else's, which the session has joined: theirs is the commit
                connection.info.pop(_OF_SESSION, None)
            else:
                self._send(connection)

    def _send(self, connection: Connection) -> None:
        if isinstance(self._to, AuditClient):
            for said in connection.info.pop(_PENDING, ()):
                self._to.emit(said.pop("action"), **said)


def _created(row: Any, ignore: Collection[str]) -> dict[str, Any]:
    return {"action": "create", **changes(None, row, ignore=ignore)}


def _deleted(row: Any, ignore: Collection[str]) -> dict[str, Any]:
    return {"action": "delete", **changes(row, None, ignore=ignore)}


def _updated(row: Any, ignore: Collection[str]) -> dict[str, Any] | None:
    old, new = {}, {}
    for column in type(row).__mapper__.column_attrs:
        history = attributes.get_history(row, column.key, PassiveFlag.PASSIVE_NO_INITIALIZE)
        if column.key in ignore or not history.has_changes():
            continue
        if history.deleted:
            old[column.key] = _value(history.deleted[0])
        new[column.key] = _value(history.added[0]) if history.added else None
    return {"action": "update", "changed_fields": list(new), "old_values": old, "new_values": new} if new else None


def _in_flush() -> bool:
    """Whether the running code is a flush. One that its application's own `before_flush` ends tells nobody so."""
    flushing = _flushing.get()
    session = None if flushing is None else flushing()
    return session is not None and bool(getattr(session, "_flushing", True))


def _value(value: Any) -> Any:
    """A value, or the text of the expression by which the database is to compute it."""
    if not isinstance(value, ClauseElement):
        return plain(value)
    try:
        return _LITERAL.sub("?", str(value))
    except Exception:  # noqa: BLE001 - one that only another dialect can write
        return f"({type(value).__name__})"


def _sql(statement: Any, connection: Connection) -> str:
    """The statement as this database is told it, without its values."""
    try:
        return str(statement.compile(dialect=connection.dialect))
    except Exception:  # noqa: BLE001 - it has been executed: some way of writing it is not ours to find
        return f"({type(statement).__name__})"


def _folded(table: str) -> str:
    return table.replace('"', "").lower()


def _merged(before: dict[str, Any] | None, after: dict[str, Any] | None) -> dict[str, Any] | None:
    """What a flush was to change, and what others have changed while it began."""
    if before is None or after is None:
        return before or after
    old, new = ({**before[name], **after[name]} for name in ("old_values", "new_values"))
    return {"action": "update", "changed_fields": list(new), "old_values": old, "new_values": new}


def _began(session: Session, _transaction: Any, connection: Connection) -> None:
    connection.info[_OF_SESSION] = True
    known = session.info.setdefault(_CONNECTIONS, [])
    if connection not in known:
        known.append(connection)


def _rolled_back(session: Session, _previous: Any) -> None:
    _flushing.set(None)
    if not session.in_transaction():
        for connection in session.info.pop(_CONNECTIONS, ()):
            if not connection.closed:  # it is somebody else's, which the session had joined
                connection.info.pop(_OF_SESSION, None)


def _forget(connection: Connection, *_more: Any) -> None:
    """A transaction begins, or was rolled back."""
    for name in (_PENDING, _SAVEPOINTS, _OF_SESSION):
        connection.info.pop(name, None)


def _savepoint(connection: Connection, _name: str | None) -> None:
    """They nest, so the last one ends first; its name is not known yet."""
    connection.info.setdefault(_SAVEPOINTS, []).append(len(connection.info.get(_PENDING, ())))


def _released(connection: Connection, _name: str, _context: Any) -> None:
    connection.info.get(_SAVEPOINTS, [0]).pop()


def _back_to_savepoint(connection: Connection, _name: str, _context: Any) -> None:
    known = connection.info.get(_SAVEPOINTS, [0]).pop()
    del connection.info.get(_PENDING, [])[known:]
