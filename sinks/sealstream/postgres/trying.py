"""What Postgres refuses, tried for real: each statement in a transaction of its own that is rolled back in any case.

The invariant: nothing is left changed, also where a statement goes through. Locks are waited for no longer than a
moment, and held until the rollback that follows at once. What would lock the whole table if it went through (TRUNCATE,
DDL) is tried only as roles that Postgres refuses before it takes the lock: not as a superuser or the owner.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import asyncpg

from sealstream.layout.tables import AUDIT_CHECKPOINT, AUDIT_LOG, AUDIT_POSITION, SCHEMA
from sealstream.postgres.driver import Session

__all__ = ["Tried", "try_forbidden"]

_LOG, _NOTES, _POSITION = (f"{SCHEMA}.{table}" for table in (AUDIT_LOG, AUDIT_CHECKPOINT, AUDIT_POSITION))
_ON_AN_ENTRY = {
    "UPDATE of an entry": f"UPDATE {_LOG} SET actor_id = actor_id WHERE chain = $1 AND seq = $2",
    "DELETE of an entry": f"DELETE FROM {_LOG} WHERE chain = $1 AND seq = $2",
}
_ON_A_TABLE = {
    "TRUNCATE of the log": f"TRUNCATE {_LOG}",
    "DELETE of signed notes": f"DELETE FROM {_NOTES}",
    "DELETE of positions": f"DELETE FROM {_POSITION}",
    "disabling the trigger": f"ALTER TABLE {_LOG} DISABLE TRIGGER append_only",
    "dropping the table": f"DROP TABLE {_LOG}",
}
_MIGHTY = f"""
    SELECT rolsuper OR pg_has_role(c.relowner, 'MEMBER') AS mighty
    FROM pg_roles, pg_class c WHERE rolname = current_user AND c.oid = '{_LOG}'::regclass
"""
_LIMITS = "SET LOCAL lock_timeout = '2s'; SET LOCAL statement_timeout = '10s'"


class Tried(NamedTuple):
    """One statement. `refusal`: what Postgres said; empty: it went through, and changed so many `rows`."""

    what: str
    refusal: str
    rows: int = 0


def try_forbidden(session: Session, chain: str, seq: int) -> Sequence[Tried]:
    """Try each as the session's role, on the entry (chain, seq). Raises `Unavailable` when a lock is not to be had."""
    (row,) = session.fetch("asking who this is", _MIGHTY)
    tries: list[tuple[str, str, tuple[object, ...]]] = [(what, sql, (chain, seq)) for what, sql in _ON_AN_ENTRY.items()]
    if not row["mighty"]:
        tries += [(what, sql, ()) for what, sql in _ON_A_TABLE.items()]
    return [session.run(f"trying {what}", _trial(what, sql, arguments)) for what, sql, arguments in tries]


def _trial(what: str, sql: str, arguments: Sequence[object]) -> Any:
    async def attempt(connection: asyncpg.Connection[Any]) -> Tried:
        transaction = connection.transaction()
        await transaction.start()
        try:
            await connection.execute(_LIMITS)
            done = await connection.execute(sql, *arguments)
        except (asyncpg.InsufficientPrivilegeError, asyncpg.RestrictViolationError) as refusal:
            return Tried(what, f"{refusal} [{refusal.sqlstate}]")
        finally:
            await transaction.rollback()
        count = done.rpartition(" ")[2]
        return Tried(what, "", int(count) if count.isdigit() else 1)

    return attempt
