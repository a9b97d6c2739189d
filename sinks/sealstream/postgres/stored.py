"""What a sink finds in Postgres when it starts, and the one transaction by which it stores a batch.

The invariant: rows of `audit_log` and the chain's row of `audit_position` change together or not at all, and only when
the position is still where this sink knows it: of two sinks at once, one stores a batch and the other is `Fenced`.
A crash before COMMIT leaves nothing, a crash after it leaves the batch with its position; when the answer to COMMIT is
lost, nobody knows which, and the next start reads it here.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from typing import Any, NamedTuple

import asyncpg

from sealstream.errors import ChainBroken, Fenced
from sealstream.layout.tables import AUDIT_CHECKPOINT, AUDIT_LOG, AUDIT_POSITION, LOG_COLUMNS, SCHEMA
from sealstream.postgres.driver import Session
from sealstream.postgres.rows import COPY_END, COPY_START, EncodedRows
from sealstream.sealing import HASH_BYTES, Sealed, entry_hash

__all__ = ["Batch", "Position", "SinkStore", "StoredNote"]

_CHUNK_BYTES = 262_144

_POSITION = f"SELECT next_seq, chain_offset FROM {SCHEMA}.{AUDIT_POSITION} WHERE chain = $1"
_FIRST_POSITION = (
    f"INSERT INTO {SCHEMA}.{AUDIT_POSITION} (chain, next_seq, chain_offset) VALUES ($1, 0, 0) ON CONFLICT DO NOTHING"
)
_MOVE = f"UPDATE {SCHEMA}.{AUDIT_POSITION} SET next_seq = $3, chain_offset = $4 WHERE chain = $1 AND next_seq = $2"
_LAST = f"SELECT seq, body, prev_hash, hash FROM {SCHEMA}.audit_log_last($1)"
_HASHES = f"SELECT seq, hash FROM {SCHEMA}.{AUDIT_LOG} WHERE chain = $1 AND seq >= $2 AND seq < $3 ORDER BY seq"
# As text: the driver would send the first moment of year 1 as -infinity.
_ADD_MONTH = f"SELECT {SCHEMA}.audit_log_add_month(($1::text || '-01T00:00:00Z')::timestamptz)"
_NOTE_COLUMNS = "size, ends_segment, note, compact_range, chain_offset, note_offset"
_NEWEST = (
    f"SELECT {_NOTE_COLUMNS} FROM {SCHEMA}.{AUDIT_CHECKPOINT} "
    "WHERE chain = $1 AND ends_segment = $2 ORDER BY size DESC LIMIT 1"
)
_ADD_NOTE = f"INSERT INTO {SCHEMA}.{AUDIT_CHECKPOINT} (chain, {_NOTE_COLUMNS}) VALUES ($1, $2, $3, $4, $5, $6, $7) "
_ADD_SEGMENT = _ADD_NOTE + "ON CONFLICT DO NOTHING"
_MOVE_NEWEST = _ADD_NOTE + (
    "ON CONFLICT (chain) WHERE NOT ends_segment DO UPDATE SET size = excluded.size, note = excluded.note, "
    "compact_range = excluded.compact_range, chain_offset = excluded.chain_offset, note_offset = excluded.note_offset "
    f"WHERE {AUDIT_CHECKPOINT}.size < excluded.size"
)


class StoredNote(NamedTuple):
    """A row of `audit_checkpoint`. `note_offset`: where the note stands in its topic, `chain_offset`: a header's."""

    size: int
    ends_segment: bool
    note: bytes
    compact_range: tuple[bytes, ...]
    chain_offset: int
    note_offset: int


class Position(NamedTuple):
    """Where a sink goes on. `last`: the last stored entry, None before the first; the newest note of either kind."""

    next_seq: int
    chain_offset: int
    last: Sealed | None
    segment: StoredNote | None
    newest: StoredNote | None


class Batch(NamedTuple):
    """What one transaction stores: from the position `expected` to `next_seq`; either part may be empty."""

    expected: int
    next_seq: int
    chain_offset: int
    rows: EncodedRows
    notes: list[StoredNote]


class SinkStore:
    """One chain in Postgres, as its sink sees it."""

    def __init__(self, session: Session, chain: str) -> None:
        self._session = session
        self._chain = chain
        self._months: set[str] = set()

    def position(self) -> Position:
        """Where to go on, as of one moment, whatever another sink commits meanwhile; makes a new chain's position row.

        Raises `ChainBroken` when the last row is not the one before the position, or not what its hash says.
        """
        chain = self._chain
        self._session.run("making the position", lambda connection: connection.execute(_FIRST_POSITION, chain))

        async def work(connection: asyncpg.Connection[Any]) -> list[list[asyncpg.Record]]:
            async with connection.transaction(isolation="repeatable_read", readonly=True):
                return [
                    await connection.fetch(_POSITION, chain),
                    await connection.fetch(_LAST, chain),
                    await connection.fetch(_NEWEST, chain, True),
                    await connection.fetch(_NEWEST, chain, False),
                ]

        (row,), rows, *notes = self._session.run("reading the position", work)
        segment, newest = (stored_note(found[0]) if found else None for found in notes)
        next_seq, chain_offset = row["next_seq"], row["chain_offset"]
        last_seq = rows[0]["seq"] if rows else -1
        if last_seq + 1 != next_seq:
            raise ChainBroken(
                f"chain {chain}: the position in Postgres is entry {next_seq}, but its last stored entry is "
                f"{last_seq if rows else 'none'}: rows were added or removed by somebody else"
            )
        if not rows:
            return Position(next_seq, chain_offset, None, segment, newest)
        last = Sealed(rows[0]["body"], rows[0]["prev_hash"], rows[0]["hash"])
        if entry_hash(last.prev_hash, last.body) != last.hash:
            raise ChainBroken(
                f"chain {chain}: entry {last_seq} in Postgres does not have the hash that is stored with it"
            )
        return Position(next_seq, chain_offset, last, segment, newest)

    def hashes(self, first_seq: int, end_seq: int) -> list[bytes]:
        """The stored hashes of entries `first_seq` to `end_seq` - 1. Raises `ChainBroken` at a gap."""
        rows = self._session.fetch("reading stored hashes", _HASHES, self._chain, first_seq, end_seq)
        if [row["seq"] for row in rows] != list(range(first_seq, end_seq)):
            raise ChainBroken(
                f"chain {self._chain}: Postgres has {len(rows)} rows of the entries {first_seq} to {end_seq - 1}: "
                "expected one of each"
            )
        return [row["hash"] for row in rows]

    def store(self, batch: Batch) -> None:
        """Stores `batch` whole or not at all. Raises `Fenced` when another sink has moved the position."""
        chain = self._chain
        months = [month for month in batch.rows.months if month not in self._months]

        async def work(connection: asyncpg.Connection[Any]) -> None:
            async with connection.transaction():
                moved = await connection.execute(_MOVE, chain, batch.expected, batch.next_seq, batch.chain_offset)
                if moved != "UPDATE 1":
                    raise Fenced(f"chain {chain}: another sink has stored entry {batch.expected}; starting anew")
                for month in months:
                    await connection.execute(_ADD_MONTH, month)
                if batch.rows.data:
                    await copy_rows(connection, [batch.rows.data])
                for note in batch.notes:
                    await connection.execute(
                        _ADD_SEGMENT if note.ends_segment else _MOVE_NEWEST,
                        chain,
                        note.size,
                        note.ends_segment,
                        note.note,
                        b"".join(note.compact_range),
                        note.chain_offset,
                        note.note_offset,
                    )

        self._session.run(f"storing entries {batch.expected} to {batch.next_seq - 1} of chain {chain}", work)
        self._months.update(months)


async def copy_rows(connection: asyncpg.Connection[Any], encoded: Iterable[bytes], table: str = AUDIT_LOG) -> None:
    """COPY of rows in binary form (`rows.encode_rows`) into `audit_log`, or into a table of the same shape."""

    async def chunks() -> AsyncIterator[bytes]:
        yield COPY_START
        for rows in encoded:
            for start in range(0, len(rows), _CHUNK_BYTES):
                yield rows[start : start + _CHUNK_BYTES]
        yield COPY_END

    await connection.copy_to_table(table, source=chunks(), columns=LOG_COLUMNS, schema_name=SCHEMA, format="binary")


def stored_note(row: asyncpg.Record) -> StoredNote:
    """A row of `audit_checkpoint` in our shape."""
    joined = row["compact_range"] or b""
    hashes = tuple(joined[start : start + HASH_BYTES] for start in range(0, len(joined), HASH_BYTES))
    return StoredNote(
        row["size"], row["ends_segment"], row["note"] or b"", hashes, row["chain_offset"], row["note_offset"]
    )
