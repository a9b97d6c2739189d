"""`PostgresStore`: what is stored of a chain, as one unchanging view, for verification and reports.

Everything is read in one read-only transaction at REPEATABLE READ, so rows and notes belong together however long a
reader takes, while sinks go on. Rows come through a cursor: memory stays flat. Nothing is judged here, and nothing in a
row can stop the reading: columns come as the bytes that Postgres would send.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from types import TracebackType
from typing import Any, NamedTuple

import asyncpg

from sealstream.layout import HOT_COLUMNS
from sealstream.layout.tables import AUDIT_CHECKPOINT, AUDIT_LOG, AUDIT_POSITION, SCHEMA
from sealstream.postgres.driver import Session
from sealstream.postgres.rows import ColumnFault, Wire, column_faults
from sealstream.postgres.stored import StoredNote, stored_note
from sealstream.sealing import Sealed

__all__ = ["PostgresStore", "StoredRow"]

_SEND = {
    "seq": "int8send",
    "id": "uuid_send",
    "timestamp": "timestamptz_send",
    "sequenced_at": "timestamptz_send",
    "ip_address": "inet_send",
}
_COLUMNS = ", ".join(f'{_SEND.get(name, "textsend")}("{name}")' for name in HOT_COLUMNS)
_ROWS = (
    f"SELECT seq, body, prev_hash, hash, {_COLUMNS} FROM {SCHEMA}.{AUDIT_LOG} "
    "WHERE chain = $1 AND seq >= $2 AND seq < $3 ORDER BY seq, sequenced_at"
)
_STATEMENTS = (
    f"SELECT body FROM {SCHEMA}.{AUDIT_LOG} "
    "WHERE chain = $1 AND kind = 'control' AND action = ANY($2::text[]) ORDER BY seq"
)
_STATEMENTS_FROM = (
    f"SELECT body FROM {SCHEMA}.{AUDIT_LOG} "
    "WHERE chain = $1 AND seq >= $3 AND kind IN ('control', 'log') AND action = ANY($2::text[]) ORDER BY seq LIMIT $4"
)
_BY_ID = f"SELECT body FROM {SCHEMA}.{AUDIT_LOG} WHERE chain = $1 AND id = ANY($2::uuid[]) ORDER BY seq"
# LIMIT makes it a look into an index for each id, however many are asked for, and `|| ''` into that of ids: of a table
# whose figures are old, as while it is filled, Postgres may think that one of chains is as good.
_HOLDING = (
    "SELECT asked.id::text AS id, asked.text AS text FROM unnest($2::uuid[], $3::bytea[]) AS asked(id, text) "
    f"CROSS JOIN LATERAL (SELECT FROM {SCHEMA}.{AUDIT_LOG} AS log WHERE log.id = asked.id AND log.chain || '' = $1 "
    "AND position(asked.text in log.body) > 0 LIMIT 1) AS found"
)
_NOTES = (
    "SELECT size, ends_segment, note, compact_range, chain_offset, note_offset "
    f"FROM {SCHEMA}.{AUDIT_CHECKPOINT} WHERE chain = $1 ORDER BY size, ends_segment"
)
# Each chain that has rows, by one look into the primary key for each: the table is never read through.
_CHAINS_WITH_ROWS = f"""
WITH RECURSIVE found AS (
    SELECT min(chain) AS chain FROM {SCHEMA}.{AUDIT_LOG}
    UNION ALL
    SELECT (SELECT min(chain) FROM {SCHEMA}.{AUDIT_LOG} l WHERE l.chain > found.chain)
    FROM found WHERE chain IS NOT NULL
)
SELECT chain FROM found WHERE chain IS NOT NULL
"""
# Locked before the view is fixed: a month that is swapped in meanwhile is seen whole, the old one or the new one.
_BEGIN = f"""
BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY;
LOCK TABLE {SCHEMA}.{AUDIT_LOG} IN ACCESS SHARE MODE
"""
_END = 2**63 - 1


class StoredRow(NamedTuple):
    """One row. `columns`: the hot columns in `HOT_COLUMNS`' order, in Postgres' binary form."""

    seq: int
    body: bytes
    prev_hash: bytes
    hash: bytes
    columns: Wire

    @property
    def sealed_value(self) -> bytes:
        """The sealed entry that body and hashes make: what the chain's topic should hold."""
        return Sealed(self.body, self.prev_hash, self.hash).to_bytes()

    def column_faults(self) -> list[ColumnFault]:
        """Which hot columns say something else than `body`. Raises `NotCanonical` when `body` is no entry."""
        return column_faults(self.body, self.columns)


class PostgresStore:
    """A view of the whole database as of when it was opened. `dsn`: of the reader's role."""

    def __init__(self, dsn: str) -> None:
        self._session = Session(dsn, "sealstream reader", command_timeout_s=None)
        try:
            self._session.run("opening a view", lambda connection: connection.execute(_BEGIN))
        except BaseException:
            self._session.close()
            raise

    def chains(self) -> list[str]:
        """The chains that have a position here."""
        rows = self._session.fetch("reading chains", f"SELECT chain FROM {SCHEMA}.{AUDIT_POSITION} ORDER BY chain")
        return [row["chain"] for row in rows]

    def chains_with_rows(self) -> list[str]:
        """The chains that have rows, whether or not a sink stored them."""
        return [row["chain"] for row in self._session.fetch("reading the rows' chains", _CHAINS_WITH_ROWS)]

    def next_seq(self, chain: str) -> int:
        """How many entries the position row says are stored; 0 for a chain that is not known."""
        query = f"SELECT next_seq FROM {SCHEMA}.{AUDIT_POSITION} WHERE chain = $1"
        rows = self._session.fetch("reading the position", query, chain)
        return int(rows[0]["next_seq"]) if rows else 0

    def seq_bounds(self, chain: str) -> tuple[int, int] | None:
        """The lowest and the highest stored seq, or None when the chain has no rows."""
        query = f"SELECT min(seq) AS low, max(seq) AS high FROM {SCHEMA}.{AUDIT_LOG} WHERE chain = $1"
        (row,) = self._session.fetch("reading the ends of the chain", query, chain)
        return None if row["low"] is None else (row["low"], row["high"])

    def notes(self, chain: str) -> list[StoredNote]:
        """All stored notes, smaller sizes first; unverified."""
        return [stored_note(row) for row in self._session.fetch("reading notes", _NOTES, chain)]

    def rows(
        self, chain: str, first_seq: int = 0, end_seq: int | None = None, at_once: int = 2_000
    ) -> Iterator[list[StoredRow]]:
        """The rows with `first_seq` <= seq < `end_seq` in order of seq, in runs; a seq stored twice comes twice."""

        async def open_cursor(connection: asyncpg.Connection[Any]) -> Any:
            return await connection.cursor(_ROWS, chain, first_seq, _END if end_seq is None else end_seq)

        cursor = self._session.run("opening a cursor", open_cursor)
        while records := self._session.run("reading rows", lambda _: cursor.fetch(at_once)):
            # A column without its NOT NULL may hold none: that is no entry, and for the reader to say.
            yield [StoredRow(row[0], row[1] or b"", row[2] or b"", row[3] or b"", tuple(row)[4:]) for row in records]

    def statements(self, chain: str, actions: Sequence[str]) -> list[bytes]:
        """The bodies of the `control` entries with these actions, in order of seq; unverified."""
        rows = self._session.fetch("looking for statements", _STATEMENTS, chain, list(actions))
        return [row["body"] for row in rows]

    def statements_from(self, chain: str, actions: Sequence[str], first_seq: int, limit: int) -> list[bytes]:
        """The bodies of the `control` and `log` entries with these actions from `first_seq` on, at most so many."""
        asked = (chain, list(actions), first_seq, limit)
        rows = self._session.fetch("looking for statements", _STATEMENTS_FROM, *asked)
        return [row["body"] for row in rows]

    def with_ids(self, chain: str, ids: Sequence[str]) -> list[bytes]:
        """The bodies of the entries with these ids, in order of seq; unverified."""
        rows = self._session.fetch("looking for entries by id", _BY_ID, chain, list(ids))
        return [row["body"] for row in rows]

    def holding(self, chain: str, asked: Sequence[tuple[str, bytes]]) -> set[tuple[str, bytes]]:
        """For which of these some entry has the id (in lower case) and its body holds the bytes; unverified."""
        ids, texts = [each[0] for each in asked], [each[1] for each in asked]
        rows = self._session.fetch("looking for entries by id", _HOLDING, chain, ids, texts)
        return {(row["id"], row["text"]) for row in rows}

    def close(self) -> None:
        """Ends the view and its connection."""
        self._session.close()

    def __enter__(self) -> PostgresStore:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
