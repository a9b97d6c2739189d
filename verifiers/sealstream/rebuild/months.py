"""A month of the log that is built beside it, verified, and swapped in by the keeper's functions.

What is built is committed run by run, so a crash leaves whole runs, which the next life finds and goes on behind. The
swap is one transaction, in which the keeper's function also checks what the sink has stored meanwhile; it waits for
readers that are under way, a little at a time, so that nobody waits long behind it. The invariant: nothing is swapped
in whose rows did not fold to what the chain's key has signed.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import asyncpg

from sealstream.errors import ChainBroken, Unavailable
from sealstream.layout.tables import SCHEMA
from sealstream.postgres.driver import Session
from sealstream.postgres.rows import encode_rows
from sealstream.postgres.stored import copy_rows
from sealstream.rebuild.entries import Run
from sealstream.rebuild.postgres_view import PostgresView
from sealstream.rebuild.spans import Span

__all__ = ["Keeper", "MonthBuild", "Swapped"]

_LOCK_WAIT = "2s"
_PAUSE_S = 3.0
_ONE_AT_A_TIME = "SELECT pg_try_advisory_lock(hashtextextended('sealstream rebuild', 0)) AS mine"


class Swapped(NamedTuple):
    """A month that was swapped in: a row of `audit_repair`. `replaced`: the table that the old one is kept as."""

    id: str
    chain: str
    month: str
    first_seq: int
    last_seq: int
    reason: str
    replaced: str | None
    swapped_at: Any


class Keeper:
    """The keeper's connection: one rebuild at a time in a database. `close` it."""

    def __init__(self, dsn: str) -> None:
        self.dsn = dsn
        self.session = Session(dsn, "sealstream rebuild", command_timeout_s=None)
        try:
            if not self.session.fetch("asking for the keeper's turn", _ONE_AT_A_TIME)[0]["mine"]:
                raise Unavailable("another repair or replay of this database is at work: wait for it, or end it")
        except BaseException:
            self.session.close()
            raise

    def position(self, chain: str) -> int:
        """How many entries the position row says are stored."""
        query = f"SELECT next_seq FROM {SCHEMA}.audit_position WHERE chain = $1"
        rows = self.session.fetch("reading the position", query, chain)
        return int(rows[0]["next_seq"]) if rows else 0

    def months_with(self, chain: str, first: int, last: int) -> set[str]:
        """The months in which rows with these numbers stand."""
        query = (
            "SELECT DISTINCT to_char(sequenced_at AT TIME ZONE 'UTC', 'YYYY-MM') AS month "
            f"FROM {SCHEMA}.audit_log WHERE chain = $1 AND seq BETWEEN $2 AND $3"
        )
        return {row["month"] for row in self.session.fetch("asking for months", query, chain, first, last)}

    def unsealed(self, chain: str) -> list[Swapped]:
        """Swaps of which the chain has not been told."""
        query = (
            "SELECT id::text, chain, to_char(month, 'YYYY-MM'), first_seq, last_seq, reason, replaced, swapped_at "
            f"FROM {SCHEMA}.audit_repair WHERE chain = $1 AND NOT sealed ORDER BY swapped_at"
        )
        return [Swapped(*row) for row in self.session.fetch("asking what is to be sealed", query, chain)]

    def sealed(self, swapped: Swapped) -> None:
        """The chain has been told."""
        self.session.fetch("noting what was said", f"SELECT {SCHEMA}.audit_repair_sealed($1::text::uuid)", swapped.id)

    def rebuild_note(
        self, chain: str, size: int, ends_segment: bool, note: bytes | None, hashes: Sequence[bytes] = ()
    ) -> None:
        """Puts a signed note in its place; None takes out what stands there."""
        self.session.fetch(
            f"mending the note of size {size}",
            f"SELECT {SCHEMA}.audit_note_rebuild($1, $2, $3, $4, $5, 0)",
            chain,
            size,
            ends_segment,
            note,
            b"".join(hashes),
        )

    def rebuild_position(self, chain: str) -> int:
        """Sets the position to what the rows say, and returns it."""
        (row,) = self.session.fetch("mending the position", f"SELECT {SCHEMA}.audit_position_rebuild($1) AS n", chain)
        return int(row["n"])

    def drop_replaced(self, name: str) -> None:
        """Drops a month that was replaced and kept."""
        self.session.fetch(f"dropping {name}", f"SELECT {SCHEMA}.audit_month_drop_replaced($1)", name)

    def close(self) -> None:
        """Ends the connection, and the turn with it."""
        self.session.close()

    def __enter__(self) -> Keeper:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Held(NamedTuple):
    """What a build holds of its chain: entries `first` to `stop` - 1, the last with `hash`."""

    first: int
    stop: int
    hash: bytes


class MonthBuild:
    """One month (`YYYY-MM`) of one chain under way. `stop`: the entry behind the last that is built."""

    def __init__(self, keeper: Keeper, chain: str, month: str, first: int) -> None:
        self._keeper = keeper
        self._chain = chain
        self.month = month
        self.first = self.stop = first
        self._at = f"{month}-01T00:00:00Z"
        self._table = self._begin()

    def go_on(self) -> Held | None:
        """What an earlier life has built, to go on behind; what does not begin here, or has a gap, is given up."""
        query = (
            f'SELECT min(seq) AS first, max(seq) + 1 AS stop, count(*) AS rows FROM {SCHEMA}."{self._table}" '
            "WHERE chain = $1"
        )
        (row,) = self._keeper.session.fetch("looking at what is built", query, self._chain)
        if not row["rows"]:
            return None
        if row["first"] != self.first or row["stop"] - row["first"] != row["rows"]:
            self._keeper.session.fetch(
                "giving up", f"SELECT {SCHEMA}.audit_month_abandon($1::text::timestamptz)", self._at
            )
            self._table = self._begin()
            return None
        query = f'SELECT hash FROM {SCHEMA}."{self._table}" WHERE chain = $1 AND seq = $2'
        (last,) = self._keeper.session.fetch("looking at what is built", query, self._chain, row["stop"] - 1)
        self.stop = row["stop"]
        return Held(row["first"], row["stop"], last["hash"])

    def add(self, run: Run) -> None:
        """The next entries, in a transaction of their own."""
        if run.first != self.stop:
            raise ChainBroken(f"month {self.month}: entry {self.stop} comes next, got {run.first}")
        encoded = encode_rows(self._chain, run.values, run.hashes, run.prev_hash)

        async def copy(connection: asyncpg.Connection[Any]) -> None:
            async with connection.transaction():
                await copy_rows(connection, [encoded.data], self._table)

        self._keeper.session.run(f"building entries {run.first} to {run.stop - 1} of month {self.month}", copy)
        self.stop = run.stop

    def fill(self) -> None:
        """Copies what others have in this month, and what came behind `stop`; the rest is copied in the swap."""
        self._keeper.session.fetch(
            f"copying the rest of month {self.month}",
            f"SELECT {SCHEMA}.audit_month_fill($1, $2::text::timestamptz, $3)",
            self._chain,
            self._at,
            self.stop,
        )

    def check(self, spans: Sequence[Span], workers: int) -> None:
        """Raises `ChainBroken` unless the built rows, hashed again by the database, fold to each span."""
        with PostgresView(self._keeper.dsn, self._chain, table=self._table, workers=workers) as view:
            for answer in view.check(spans):
                if not answer.equal:
                    raise ChainBroken(
                        f"month {self.month}, as built: the entries {answer.span.first} to {answer.span.stop - 1} are "
                        "not the signed ones; nothing was swapped in"
                    )

    def swap(
        self,
        reason: str,
        *,
        keep: bool,
        move_position: bool,
        wait_s: float,
        waiting: Callable[[str], None] = lambda _: None,
    ) -> str | None:
        """Puts the month in its place, within `wait_s`; gives the table that the old one is kept as."""
        repair = str(uuid.uuid4())

        async def swap(connection: asyncpg.Connection[Any]) -> str | None:
            async with connection.transaction():
                await connection.execute(f"SET LOCAL lock_timeout = '{_LOCK_WAIT}'")
                replaced: str | None = await connection.fetchval(
                    f"SELECT {SCHEMA}.audit_month_swap($1::text::uuid, $2, $3::text::timestamptz, $4, $5, $6, $7)",
                    repair,
                    self._chain,
                    self._at,
                    self.first,
                    self.stop,
                    reason,
                    keep,
                )
                if move_position:
                    await connection.execute(f"SELECT {SCHEMA}.audit_position_rebuild($1)", self._chain)
                return replaced

        deadline = time.monotonic() + wait_s
        told = False
        while True:
            try:
                return self._keeper.session.run(f"swapping month {self.month} in", swap)
            except Unavailable as error:
                if "55P03" not in str(error) and "40P01" not in str(error):
                    raise
                if time.monotonic() > deadline:
                    raise Unavailable(
                        f"month {self.month} is built and verified, but readers have held the log for {wait_s:.0f} s: "
                        "run the same command again later, it goes on here"
                    ) from error
                if not told:
                    waiting(f"month {self.month} is built and verified; waiting for readers of the log to end")
                told = True
                time.sleep(_PAUSE_S)

    def _begin(self) -> str:
        (row,) = self._keeper.session.fetch(
            f"beginning month {self.month}",
            f"SELECT {SCHEMA}.audit_month_begin($1, $2::text::timestamptz) AS name",
            self._chain,
            self._at,
        )
        return str(row["name"])
