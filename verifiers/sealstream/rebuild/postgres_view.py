"""What Postgres holds of a span, computed where the rows are: only 32 bytes an entry leave the database.

A stored `hash` proves nothing about the `body` beside it. So the server hashes each body again (`sha256(0x00 ||
prev_hash || body)`), compares the stored hash and every hot column with the bytes, and sends the recomputed leaf hashes
alone; several connections work at once, all in one unchanging view. With `quick` the stored hashes are sent as they
are: that finds rows that are missing, added or replaced whole, and no edited body.

Reads only, as the reader's role (or the keeper's, for a month that is being built); a crash leaves nothing behind.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from queue import SimpleQueue
from types import TracebackType
from typing import Any, NamedTuple

import asyncpg

from sealstream.errors import ChainBroken, NotCanonical
from sealstream.layout import HOT_COLUMNS, decode_entry
from sealstream.layout.chains import STORE_EXPIRED
from sealstream.layout.leaving import why_not_expired
from sealstream.layout.tables import AUDIT_CHECKPOINT, AUDIT_LOG, AUDIT_POSITION, SCHEMA
from sealstream.postgres import PostgresStore, StoredNote, StoredRow
from sealstream.postgres.driver import Session
from sealstream.postgres.stored import stored_note
from sealstream.rebuild.spans import Leaf, Span
from sealstream.sealing import HASH_BYTES, entry_hash

__all__ = ["PostgresView", "SpanRows"]

_TYPES = {"id": "uuid", "timestamp": "timestamptz", "ip_address": "inet"}
_WRITTEN = {"seq": "bigint", "kind": "text", "sequenced_at": "timestamptz"}
_ROW = ", ".join(f'l."{name}"' for name in HOT_COLUMNS)
_SEALED = ", ".join(f'{"w" if name in _WRITTEN else "e"}."{name}"' for name in HOT_COLUMNS)
_EVENT_SHAPE = ", ".join(f'"{name}" {_TYPES.get(name, "text")}' for name in HOT_COLUMNS if name not in _WRITTEN)
_WRITTEN_SHAPE = ", ".join(f'"{name}" {kind}' for name, kind in _WRITTEN.items())
_LEAF = "sha256('\\x00'::bytea || l.prev_hash || l.body)"
_WHERE = "WHERE l.chain = $1 AND l.seq >= $2 AND l.seq < $3 ORDER BY l.seq OFFSET 0"

# OFFSET 0 keeps each leaf computed once, however often it is named above.
_DEEP = f"""
SELECT count(*) AS rows, string_agg(leaf, ''::bytea ORDER BY seq) AS leaves,
       count(*) FILTER (WHERE NOT intact) AS unlike, count(*) FILTER (WHERE NOT same) AS other_columns
FROM (SELECT seq, leaf, hash IS NOT DISTINCT FROM leaf AS intact, same FROM (
    SELECT l.seq, l.hash, {_LEAF} AS leaf, ({_ROW}) IS NOT DISTINCT FROM ({_SEALED}) AS same
    FROM {{table}} l
    CROSS JOIN LATERAL jsonb_to_record(convert_from(l.body, 'UTF8')::jsonb) AS e({_EVENT_SHAPE}, written jsonb)
    CROSS JOIN LATERAL jsonb_to_record(e.written) AS w({_WRITTEN_SHAPE})
    {_WHERE}) x OFFSET 0) y
"""
_LEAVES = f"""
SELECT count(*) AS rows, string_agg(leaf, ''::bytea ORDER BY seq) AS leaves,
       count(*) FILTER (WHERE NOT intact) AS unlike, 0 AS other_columns
FROM (SELECT seq, leaf, hash IS NOT DISTINCT FROM leaf AS intact FROM (
    SELECT l.seq, l.hash, {_LEAF} AS leaf FROM {{table}} l {_WHERE}) x OFFSET 0) y
"""
_QUICK = f"""
SELECT count(*) AS rows, string_agg(hash, ''::bytea ORDER BY seq) AS leaves, 0 AS unlike, 0 AS other_columns
FROM (SELECT l.seq, l.hash FROM {{table}} l {_WHERE}) x
"""


class SpanRows(NamedTuple):
    """A span as the rows make it: `folds` to what was signed; all stored hashes and columns say what the bytes say."""

    span: Span
    folds: bool
    intact: bool

    @property
    def equal(self) -> bool:
        """Nothing of the span differs from what was signed."""
        return self.folds and self.intact


class PostgresView:
    """One chain in one table as of now. `workers`: how many connections compute at once. `close` it."""

    def __init__(self, dsn: str, chain: str, *, table: str = AUDIT_LOG, workers: int = 2, quick: bool = False) -> None:
        self._chain = chain
        self._dsn = dsn
        self._table = f'{SCHEMA}."{table}"'
        self._quick = quick
        self._workers = max(workers, 1)
        self._free: SimpleQueue[Session] = SimpleQueue()
        self._open: list[Session] = []
        try:
            self._leader = self._session()
            # Locked before the view is fixed: a month that is swapped in meanwhile is seen whole, the old or new one.
            self._leader.run("opening a view", lambda c: c.execute(_BEGIN))
            self._leader.run("opening a view", lambda c: c.execute(f"LOCK TABLE {self._table} IN ACCESS SHARE MODE"))
            self._snapshot = self._leader.fetch("opening a view", "SELECT pg_export_snapshot() AS id")[0]["id"]
        except BaseException:
            self.close()
            raise

    def bounds(self) -> tuple[int, int]:
        """The first stored seq and the one behind the last; equal when there are none."""
        query = f"SELECT min(seq) AS low, max(seq) AS high FROM {self._table} WHERE chain = $1"
        (row,) = self._leader.fetch("reading the ends of the chain", query, self._chain)
        return (0, 0) if row["low"] is None else (row["low"], row["high"] + 1)

    def position(self) -> int:
        """How many entries the position row says are stored."""
        query = f"SELECT next_seq FROM {SCHEMA}.{AUDIT_POSITION} WHERE chain = $1"
        rows = self._leader.fetch("reading the position", query, self._chain)
        return int(rows[0]["next_seq"]) if rows else 0

    def left_up_to(self, first: int) -> int:
        """How many of the entries below `first` have left, as stored entries say; the spans tell whether those hold.

        What was promised is judged by `verify`: here a statement counts that keeps to what it says was in force.
        """
        query = f"SELECT body FROM {self._table} WHERE chain = $1 AND kind = 'control' AND action = '{STORE_EXPIRED}'"
        left = 0
        for row in self._leader.fetch("looking for what has left", query, self._chain):
            entry = decode_entry(row["body"])
            said, written = entry.metadata or {}, entry.written
            if said.get("store") != "postgres" or why_not_expired(said, written.seq, written.sequenced_at, None):
                continue
            last = int(said["last_seq"])
            if last < first - 1 or self._ends_a_month(last, said):
                left = max(left, min(last + 1, first))
        return left

    def _ends_a_month(self, last: int, said: Mapping[str, Any]) -> bool:
        """Whether entry `last` has the hash and ends the month that are said, as the row behind it shows."""
        query = (
            "SELECT seq, encode(prev_hash, 'hex') AS prev_hash, to_char(sequenced_at AT TIME ZONE 'UTC', 'YYYY-MM') AS "
            f"month FROM {self._table} WHERE chain = $1 AND seq = ANY($2::bigint[])"
        )
        rows = self._leader.fetch("looking at where a month ends", query, self._chain, [last, last + 1])
        months = {row["seq"]: row["month"] for row in rows}
        follower = next((row for row in rows if row["seq"] == last + 1), None)
        if follower is None or follower["prev_hash"] != said["last_hash"]:
            return False
        return bool(months.get(last, said["month"]) == said["month"] < follower["month"])

    def notes(self) -> list[StoredNote]:
        """All stored notes, smaller sizes first; unverified."""
        columns = "size, ends_segment, note, compact_range, chain_offset, note_offset"
        query = f"SELECT {columns} FROM {SCHEMA}.{AUDIT_CHECKPOINT} WHERE chain = $1 ORDER BY size, ends_segment"
        return [stored_note(row) for row in self._leader.fetch("reading notes", query, self._chain)]

    def check(self, spans: Sequence[Span]) -> Iterator[SpanRows]:
        """Each span, in order: several connections at work, a few spans ahead."""
        with ThreadPoolExecutor(self._workers, thread_name_prefix="postgres-view") as pool:
            try:
                for _ in range(self._workers):
                    self._free.put(self._follower())
                waiting = iter(spans)
                ahead = [pool.submit(self._span, span) for span in islice(waiting, 2 * self._workers)]
                while ahead:
                    yield ahead.pop(0).result()
                    ahead += [pool.submit(self._span, span) for span in islice(waiting, 1)]
            finally:
                pool.shutdown(cancel_futures=True)
                while not self._free.empty():
                    session = self._free.get()
                    self._open.remove(session)
                    session.close()

    def leaves(self, first: int, stop: int) -> Iterator[Leaf]:
        """Entry by entry, from the bytes, in order of seq; a seq stored twice comes twice."""
        for row in self.rows(first, stop):
            own = entry_hash(row.prev_hash, row.body)
            yield Leaf(row.seq, own, row.prev_hash, own == row.hash, f"{AUDIT_LOG} seq {row.seq}")

    def rows(self, first: int, stop: int) -> Iterator[StoredRow]:
        """The rows themselves (from the log itself, not from a month that is being built)."""
        with PostgresStore(self._dsn) as store:
            for rows in store.rows(self._chain, first, stop):
                yield from rows

    def close(self) -> None:
        """Ends the connections."""
        while self._open:
            self._open.pop().close()

    def __enter__(self) -> PostgresView:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _session(self) -> Session:
        session = Session(self._dsn, "sealstream reconcile", command_timeout_s=None)
        self._open.append(session)
        return session

    def _follower(self) -> Session:
        """A further connection that sees just what the first one sees."""
        session = self._session()

        async def begin(connection: asyncpg.Connection[Any]) -> None:
            await connection.execute(_IN_ORDER)
            await connection.execute(_BEGIN)
            await connection.execute(f"SET TRANSACTION SNAPSHOT '{self._snapshot}'")

        session.run("opening a view", begin)
        return session

    def _span(self, span: Span) -> SpanRows:
        session = self._free.get()
        try:
            if self._quick:
                return self._asked(session, _QUICK, span)
            # A body that is no JSON, or no UTF-8, fails the statement: its leaf alone is asked for then.
            session.run("a place to return to", lambda c: c.execute("SAVEPOINT before"))
            try:
                return self._asked(session, _DEEP, span)
            except ChainBroken:
                session.run("returning", lambda c: c.execute("ROLLBACK TO before"))
                return self._asked(session, _LEAVES, span)._replace(intact=False)
        finally:
            self._free.put(session)

    def _asked(self, session: Session, query: str, span: Span) -> SpanRows:
        doing = f"hashing the entries {span.first} to {span.stop - 1}"
        (row,) = session.fetch(doing, query.format(table=self._table), self._chain, span.first, span.stop)
        joined: bytes = row["leaves"] or b""
        count = span.stop - span.first
        whole = row["rows"] == count and len(joined) == HASH_BYTES * count
        folds = whole and span.folds(joined[at : at + HASH_BYTES] for at in range(0, len(joined), HASH_BYTES))
        return SpanRows(span, folds, not row["unlike"] and not row["other_columns"])


def column_differences(row: StoredRow) -> list[str]:
    """What the hot columns of a row say otherwise than its bytes, in words."""
    try:
        return [
            f"column {fault.column} says {fault.stored!r}, the sealed bytes say {fault.expected!r}"
            for fault in row.column_faults()
        ]
    except NotCanonical as error:
        return [str(error)]


# By the index on (chain, seq), in order: a planner that reads the month through for each span costs n times n in all.
_IN_ORDER = (
    "SET enable_seqscan = off; SET enable_bitmapscan = off; SET max_parallel_workers_per_gather = 0; "
    "SET work_mem = '64MB'"
)
_BEGIN = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"
