"""Searching Postgres, with the reader's role: one index probe a month for a page, a server-side cursor for a stream.

Each statement may take `timeout_s` and no longer, so that a filter that no index helps with can't keep the server
busy: then `SearchTooBroad` says what would narrow it. It only reads; a crash leaves nothing behind.
"""

from __future__ import annotations

import uuid
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from struct import Struct
from threading import Lock
from typing import Any, NamedTuple, TypeVar

import asyncpg

from sealstream.errors import Unavailable
from sealstream.postgres.driver import Session
from sealstream.search.counting import at_most, none_left_out
from sealstream.search.cursors import Place, cursor_after, open_cursor
from sealstream.search.errors import SearchTooBroad
from sealstream.search.fields import searchable
from sealstream.search.found import Count, Found, Having, Page
from sealstream.search.places import parse_place
from sealstream.search.postgres_sql import Statement, counting, one_by_id, one_by_place, selecting
from sealstream.search.query import Query

__all__ = ["FirstStored", "PostgresSource"]

Result = TypeVar("Result")

_MOST_IDLE = 4
_AT_ONCE = 1_000
_SPARE_S = 5.0
_2000_US = 946_684_800_000_000
_int8 = Struct(">q").unpack
_FIRST = """
SELECT seq, timestamptz_send(sequenced_at) AS at FROM public.audit_log WHERE chain = $1 ORDER BY seq LIMIT 1
"""


class FirstStored(NamedTuple):
    """The first entry of a chain that is here: `sealed_us`: its `sequenced_at` in microseconds since 1970."""

    seq: int
    sealed_us: int


class PostgresSource:
    """A `SearchSource`. `dsn`: of the reader's role; `timeout_s`: of one statement (of a stream: of each batch)."""

    def __init__(self, dsn: str, chains: Sequence[str], *, timeout_s: float = 15.0) -> None:
        self._dsn = dsn
        self._chains = tuple(chains)
        self._timeout_s = timeout_s
        self._idle: list[Session] = []
        self._lock = Lock()
        self._closed = False

    @property
    def name(self) -> str:
        """Who answers."""
        return "postgres"

    @property
    def chains(self) -> Sequence[str]:
        """The chains that are searched."""
        return self._chains

    @property
    def remarks(self) -> Sequence[str]:
        """Nothing: `sealstream verify postgres` says what may be missing."""
        return ()

    def page(self, query: Query, *, sort: str = "-timestamp", limit: int = 100, after: str | None = None) -> Page:
        """At most `limit` entries behind the cursor `after`."""
        place = open_cursor(after, query.text, sort) if after is not None else None
        entries = self.first(query, sort, limit + 1, place)
        more = len(entries) > limit
        entries = entries[:limit]
        return Page(entries, cursor_after(entries[-1], query.text, sort) if more and entries else None)

    def stream(self, query: Query, *, sort: str = "-timestamp", limit: int | None = None) -> Iterator[list[Found]]:
        """Everything that is found, in batches."""
        left = limit
        for chains in self._in_turn(query, sort):
            for batch in self._streamed(query, selecting(query, chains, sort, limit=left)):
                yield batch
                left = None if left is None else left - len(batch)
            if left is not None and left <= 0:
                return

    def count_by(
        self, query: Query, field: str, *, having: Having | None = None, sort: str = "-count", limit: int | None = None
    ) -> list[Count]:
        """How many entries each value of a field has."""
        chains = query.chains(self._chains)
        if not chains:
            return []
        statement = counting(query, chains, searchable(field) or field, having=having, sort=sort, limit=at_most(limit))
        counts = [Count(row["value"], row["entries"]) for row in self._fetch("counting", query, statement)]
        return none_left_out(counts, field)

    def entry(self, place: str) -> Found | None:
        """The entry with this id, or at this place."""
        named = parse_place(place)
        if isinstance(named, uuid.UUID):
            statement = one_by_id(list(self._chains), str(named))
        elif named.chain in self._chains:
            statement = one_by_place(named.chain, named.seq)
        else:
            return None
        rows = self._fetch("looking for an entry", Query(place), statement)
        return _found(rows[0]) if rows else None

    def first_stored(self, chain: str) -> FirstStored | None:
        """Where a chain begins here: after entry 0 when months were dropped. None: nothing of it is here."""
        statement = Statement()
        statement.sql, statement.arguments = _FIRST, [chain]
        rows = self._fetch("looking for a chain's begin", Query(), statement)
        return FirstStored(rows[0]["seq"], _int8(rows[0]["at"])[0] + _2000_US) if rows else None

    def close(self) -> None:
        """Ends the connections that nobody uses; the others end when they are given back."""
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, []
        for session in idle:
            session.close()

    def _in_turn(self, query: Query, sort: str) -> list[list[str]]:
        """By seq, chains come one after another, each by its own index; by time they come together."""
        chains = query.chains(self._chains)
        if not chains:
            return []
        if sort.removeprefix("-") != "seq":
            return [chains]
        return [[chain] for chain in (reversed(chains) if sort.startswith("-") else chains)]

    def first(self, query: Query, sort: str, limit: int, after: Place | None) -> list[Found]:
        """The first `limit` entries behind a place."""
        found: list[Found] = []
        for chains in self._in_turn(query, sort):
            behind = after
            if after is not None and sort.removeprefix("-") == "seq" and chains != [after.chain]:
                if (chains[0] < after.chain) != sort.startswith("-"):
                    continue  # the cursor is past it
                behind = None
            statement = selecting(query, chains, sort, limit=limit - len(found), after=behind)
            found += [_found(row) for row in self._fetch("searching", query, statement)]
            if len(found) >= limit:
                break
        return found

    def _fetch(self, doing: str, query: Query, statement: Statement) -> list[asyncpg.Record]:
        async def work(connection: asyncpg.Connection[Any]) -> list[asyncpg.Record]:
            return await connection.fetch(statement.sql, *statement.arguments)

        fresh = True
        while True:
            try:
                with self._session() as (session, fresh):
                    return self._run(session, doing, query, work)
            except Unavailable:
                if fresh:
                    raise
                fresh = True  # an idle connection may have been cut long ago: another says how it is

    def _streamed(self, query: Query, statement: Statement) -> Iterator[list[Found]]:
        with self._session(alone=True) as (session, _fresh):

            async def open_cursor_of(connection: asyncpg.Connection[Any]) -> Any:
                await connection.execute("BEGIN READ ONLY; SET LOCAL cursor_tuple_fraction = 1.0")
                return await connection.cursor(statement.sql, *statement.arguments)

            cursor = self._run(session, "searching", query, open_cursor_of)
            while rows := self._run(session, "searching", query, lambda _: cursor.fetch(_AT_ONCE)):
                yield [_found(row) for row in rows]

    def _run(
        self, session: Session, doing: str, query: Query, work: Callable[[asyncpg.Connection[Any]], Awaitable[Result]]
    ) -> Result:
        async def bounded(connection: asyncpg.Connection[Any]) -> Result:
            try:
                return await work(connection)
            except asyncpg.QueryCanceledError as error:
                raise SearchTooBroad(_too_broad(doing, query, self._timeout_s)) from error

        return session.run(doing, bounded)

    @contextmanager
    def _session(self, *, alone: bool = False) -> Iterator[tuple[Session, bool]]:
        """A connection for one statement, or `alone` for a transaction; and whether it was opened just now."""
        with self._lock:
            session = self._idle.pop() if self._idle and not alone else None
        fresh = session is None
        if session is None:
            session = Session(self._dsn, "sealstream search", command_timeout_s=self._timeout_s + _SPARE_S)
            try:
                session.run("connecting", self._prepare)
            except BaseException:
                session.close()
                raise
        usable = False
        try:
            yield session, fresh
            usable = not alone
        except SearchTooBroad:
            usable = not alone
            raise
        finally:
            with self._lock:
                kept = usable and not self._closed and len(self._idle) < _MOST_IDLE
                if kept:
                    self._idle.append(session)
            if not kept:
                session.close()

    async def _prepare(self, connection: asyncpg.Connection[Any]) -> None:
        # A plan that is made for any value knows neither the prefix of a LIKE nor how rare a value is.
        await connection.execute(
            f"SET statement_timeout = {int(self._timeout_s * 1000)}; SET plan_cache_mode = force_custom_plan; "
            "SET default_transaction_read_only = on; SET idle_in_transaction_session_timeout = '10min'"
        )


def _found(row: asyncpg.Record) -> Found:
    chain, seq, at, body, prev_hash, own_hash = row
    return Found(chain, seq, _int8(at)[0] + _2000_US, body, prev_hash, own_hash)


def _too_broad(doing: str, query: Query, timeout_s: float) -> str:
    slow = query.slow_keys()
    why = f" (no index helps with {', '.join(slow)})" if slow else ""
    return (
        f"{doing} took longer than {timeout_s:g} s in Postgres{why}: narrow it, by actor:, resource:, action:, ip: or "
        "session:, by result:denied or result:failure, or by after: and before:; or have the archive read it "
        "through (--source archive), which takes as long as it takes"
    )
