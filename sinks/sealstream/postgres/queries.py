"""An auditor's questions as ready queries: what one actor did, who touched one resource and why, whose tries fail.

`timestamp` is the producer's claim of when it happened, and the questions ask about that, as people do; `sequenced_at`
is when the log placed it, and can't be chosen by a producer. An event that waited in a spool has a `timestamp` of long
before its `sequenced_at`, and one from a fast clock has a later one, so no question about `timestamp` may leave out a
month of the log: each looks into the index of every month, which costs one probe each. Everything is parameterised;
nothing is cut off unless a limit is asked for.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from types import TracebackType
from typing import NamedTuple

from sealstream.layout.tables import AUDIT_LOG, AUDIT_POSITION, SCHEMA
from sealstream.postgres.driver import Session

__all__ = ["Access", "Action", "AuditQueries", "ChainCounts", "FailingActor"]

_PATIENCE_S = 600.0  # counting a long log takes a while

_ACTOR = f"""
SELECT chain, seq, "timestamp", sequenced_at, action, resource_type, resource_id, result, host(ip_address) AS ip_address
FROM {SCHEMA}.{AUDIT_LOG}
WHERE actor_id = $1 AND "timestamp" > coalesce($3, now()) - $2::interval AND "timestamp" <= coalesce($3, 'infinity')
  AND ($4::text IS NULL OR chain = $4)
ORDER BY "timestamp" DESC, chain, seq DESC
LIMIT $5
"""
_RESOURCE = f"""
SELECT chain, seq, "timestamp", sequenced_at, actor_id, actor_type, action, result, host(ip_address) AS ip_address,
       convert_from(body, 'UTF8')::jsonb ->> 'reason' AS reason
FROM {SCHEMA}.{AUDIT_LOG}
WHERE resource_type = $1 AND resource_id = $2 AND ($3::text IS NULL OR chain = $3)
ORDER BY "timestamp" DESC, chain, seq DESC
LIMIT $4
"""
_FAILING = f"""
SELECT actor_id, count(*) AS attempts, count(*) FILTER (WHERE result = 'denied') AS denied,
       min("timestamp") AS first_at, max("timestamp") AS last_at
FROM {SCHEMA}.{AUDIT_LOG}
WHERE result IN ('failure', 'denied')
  AND "timestamp" > coalesce($3, now()) - $2::interval AND "timestamp" <= coalesce($3, 'infinity')
  AND ($4::text IS NULL OR chain = $4)
GROUP BY actor_id
HAVING count(*) > $1
ORDER BY attempts DESC, actor_id
"""
_COUNTS = f"""
SELECT p.chain, p.next_seq AS entries,
       (SELECT count(*) FROM {SCHEMA}.{AUDIT_LOG} l WHERE l.chain = p.chain AND l.kind = 'event') AS events,
       (SELECT max(l.sequenced_at) FROM {SCHEMA}.{AUDIT_LOG} l
        WHERE l.chain = p.chain AND l.seq = p.next_seq - 1) AS last_at
FROM {SCHEMA}.{AUDIT_POSITION} p ORDER BY p.chain
"""


class Action(NamedTuple):
    """One thing that the actor in question did."""

    chain: str
    seq: int
    timestamp: datetime
    sequenced_at: datetime
    action: str
    resource_type: str
    resource_id: str
    result: str
    ip_address: str | None


class Access(NamedTuple):
    """One access to the resource in question; `reason` as the actor gave it."""

    chain: str
    seq: int
    timestamp: datetime
    sequenced_at: datetime
    actor_id: str
    actor_type: str
    action: str
    result: str
    ip_address: str | None
    reason: str | None


class FailingActor(NamedTuple):
    """An actor with many failed or denied attempts; `attempts` counts both."""

    actor_id: str
    attempts: int
    denied: int
    first_at: datetime
    last_at: datetime


class ChainCounts(NamedTuple):
    """How much of a chain is stored: all entries, those that applications sent, and when the last was placed."""

    chain: str
    entries: int
    events: int
    last_at: datetime | None


class AuditQueries:
    """The questions. `dsn`: of the reader's role. `chain` None: in all chains; `as_of` None: now; `limit` None: all."""

    def __init__(self, dsn: str) -> None:
        self._session = Session(dsn, "sealstream queries", command_timeout_s=_PATIENCE_S)

    def actor_actions(
        self,
        actor_id: str,
        *,
        days: float = 30,
        as_of: datetime | None = None,
        chain: str | None = None,
        limit: int | None = None,
    ) -> list[Action]:
        """All that one actor did within the last `days`, newest first."""
        within = timedelta(days=days)
        rows = self._session.fetch(
            "asking for one actor's actions", _ACTOR, actor_id, within, _aware(as_of), chain, limit
        )
        return [Action(*row) for row in rows]

    def resource_accesses(
        self, resource_type: str, resource_id: str, *, chain: str | None = None, limit: int | None = None
    ) -> list[Access]:
        """All access to one resource, with the reasons that were given, newest first."""
        rows = self._session.fetch(
            "asking for access to one resource", _RESOURCE, resource_type, resource_id, chain, limit
        )
        return [Access(*row) for row in rows]

    def failing_actors(
        self, *, more_than: int = 5, hours: float = 24, as_of: datetime | None = None, chain: str | None = None
    ) -> list[FailingActor]:
        """Actors with more than this many failed or denied attempts within the last `hours`, most attempts first."""
        within = timedelta(hours=hours)
        rows = self._session.fetch("asking for failing actors", _FAILING, more_than, within, _aware(as_of), chain)
        return [FailingActor(*row) for row in rows]

    def counts(self) -> list[ChainCounts]:
        """How much is stored of each chain."""
        return [ChainCounts(*row) for row in self._session.fetch("counting entries", _COUNTS)]

    def close(self) -> None:
        """Ends the connection."""
        self._session.close()

    def __enter__(self) -> AuditQueries:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _aware(time: datetime | None) -> datetime | None:
    """The driver would take a time without offset as some other time, silently."""
    if time is not None and time.tzinfo is None:
        raise ValueError(f"as_of has no time zone: expected an aware datetime, got {time.isoformat()}")
    return time
