"""The outbox's waiting rows in normal running: take, number, settle, in one transaction each.

Invariants:
- A number is given to a row, and that is committed, before the row is sent. Numbers follow on each other without gaps.
- A row is deleted only after Kafka has it, and nothing is skipped: there is no position in the table behind which a row
  could be committed later. What was not taken is still there. (`_floor` only saves reading what can't exist any more.)
- A transaction that committed before another one inserted gets the lower numbers. Rows that become visible together are
  numbered in the order in which they were inserted.

The crash story: a batch that was taken is in the tables, with its numbers, until it is settled: whoever starts finds
it.
"""

from __future__ import annotations

from collections.abc import Callable

import asyncpg

from sealstream.errors import InvalidEvent
from sealstream.events import new_event_id
from sealstream.relaying.holding import Connection, Held
from sealstream.relaying.numbering import numbered, waiting
from sealstream.relaying.recovery import Batch

__all__ = ["BATCH_BYTES", "BATCH_ROWS", "WaitingRows"]

BATCH_ROWS = 5_000
BATCH_BYTES = 8 * 1024 * 1024

_TAKE = """
    SELECT id, event FROM (
        SELECT id, event, sum(octet_length(event)) OVER (ORDER BY id ROWS UNBOUNDED PRECEDING) AS upto
        FROM (SELECT id, event FROM :table WHERE id > $1 ORDER BY id LIMIT $2) AS lowest
    ) AS counted
    WHERE upto - octet_length(event) < $3 ORDER BY id
"""


class WaitingRows:
    """`loss(count)` makes the waiting event that speaks for rows which are no events."""

    def __init__(self, held: Held, loss: Callable[[int], bytes], *, batch_rows: int = BATCH_ROWS) -> None:
        self._held = held
        self._loss = loss
        self._batch_rows = batch_rows
        # No row can appear any more with an id up to `_floor`. `_next_floor`: the same, once all transactions below the
        # number beside it have ended (see the table's `xid`). Without it, rows that were deleted and can't be vacuumed
        # while somebody's long query runs would be read again and again.
        self._floor = 0
        self._next_floor: tuple[int, int] | None = None
        self._highest = 0
        self.refused = 0

    def any(self) -> bool:
        """Whether something waits. Changes nothing."""

        async def work(connection: Connection) -> bool:
            found = await connection.fetchval(
                self._held.sql("SELECT true FROM :table WHERE id > $1 LIMIT 1"), self._floor
            )
            return bool(found)

        return self._held.run("looking into the outbox", work)

    def advance(self, raw_offset: int) -> Batch | None:
        """Settles the batch before and takes the next one, numbered; None: nothing waits.

        `raw_offset`: right after the last record of the batch before; 0: there was none.
        """

        async def work(connection: Connection) -> tuple[Batch | None, list[int], asyncpg.Record]:
            relay = await self._held.hold(connection)
            deleted = await self._held.delete_batch(connection, relay)
            rows = await connection.fetch(self._held.sql(_TAKE), self._floor, self._batch_rows, BATCH_BYTES)
            ids, events = await self._sorted_out(connection, rows)
            batch = await self._numbered(connection, relay, events)
            await connection.execute(
                self._held.sql(
                    "UPDATE :relay SET producer_id = $1, batch_producer_id = $2, batch_first = $3, batch_firsts = $4, "
                    "batch_lasts = $5, raw_offset = greatest(raw_offset, $6), relayed = relayed + $7, "
                    "relayed_at = CASE WHEN $7 > 0 THEN now() ELSE relayed_at END"
                ),
                relay["producer_id"] if batch is None else batch.producer_id,
                None if batch is None else batch.producer_id,
                0 if batch is None else batch.first,
                *_runs(ids),
                raw_offset,
                deleted,
            )
            return batch, [row["id"] for row in rows], relay

        batch, seen, relay = self._held.transaction("taking from the outbox", work)
        self._raise_floor(seen, relay["own_xid"], relay["oldest_xid"])
        return batch

    def note_offset(self, raw_offset: int) -> None:
        """While nothing is on its way: what comes below this offset of the topic is known here.

        Also looks below the floor, in case somebody has let the table's ids begin anew.
        """

        async def work(connection: Connection) -> bool:
            await self._held.hold(connection)
            await connection.execute(
                self._held.sql("UPDATE :relay SET raw_offset = greatest(raw_offset, $1)"), raw_offset
            )
            found = await connection.fetchval(
                self._held.sql("SELECT true FROM :table WHERE id <= $1 LIMIT 1"), self._floor
            )
            return bool(found)

        if self._held.transaction("noting the topic's end", work):
            self._floor, self._next_floor, self._highest = 0, None, 0

    def backlog(self, most: int = 100_000) -> int:
        """How many rows wait, counted up to `most`."""

        async def work(connection: Connection) -> int:
            count = await connection.fetchval(
                self._held.sql("SELECT count(*) FROM (SELECT FROM :table WHERE id > $1 LIMIT $2) AS waiting"),
                *(self._floor, most),
            )
            return int(count)

        return self._held.run("counting what waits in the outbox", work)

    async def _sorted_out(self, connection: Connection, rows: list[asyncpg.Record]) -> tuple[list[int], list[bytes]]:
        """Ids and waiting events of the rows; those that are none are put aside, and an `audit.loss` waits for them."""
        ids, events, refused = [], [], []
        for row in rows:
            try:
                events.append(waiting(row["event"]))
            except InvalidEvent as error:
                refused.append((row["id"], row["event"], str(error)))
            else:
                ids.append(row["id"])
        if refused:
            await connection.executemany(
                self._held.sql("INSERT INTO :refused (id, event, reason) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING"),
                refused,
            )
            await connection.execute(
                self._held.sql("DELETE FROM :table WHERE id = ANY($1::bigint[])"), [one[0] for one in refused]
            )
            await self._held.insert(connection, self._loss(len(refused)))
            self.refused += len(refused)
        return ids, events

    async def _numbered(self, connection: Connection, relay: asyncpg.Record, events: list[bytes]) -> Batch | None:
        if not events:
            return None
        producer_id = relay["producer_id"]
        if producer_id is None:
            producer_id = f"{relay['outbox_id']}/{new_event_id()}"
            await connection.execute(self._held.sql("INSERT INTO :stream (producer_id) VALUES ($1)"), producer_id)
        first = await connection.fetchval(
            self._held.sql(
                "UPDATE :stream SET next = next + $2, used_at = now() WHERE producer_id = $1 RETURNING next - $2"
            ),
            *(producer_id, len(events)),
        )
        return Batch(producer_id, first, [numbered(event, producer_id, n) for n, event in enumerate(events, first)])

    def _raise_floor(self, seen: list[int], own_xid: int, oldest_xid: int) -> None:
        """After a commit. `seen`: the ids of the lowest rows above the floor, read after `oldest_xid` was asked."""
        if self._next_floor is not None:
            floor, xid = self._next_floor
            if oldest_xid >= xid and (not seen or seen[-1] >= floor):
                self._floor, self._next_floor = floor, None
        if self._next_floor is None and self._highest > self._floor:
            self._next_floor = self._highest, own_xid  # whoever has an id up to that one had a lower xid before
        if seen:
            self._highest = max(self._highest, seen[-1])


def _runs(ids: list[int]) -> tuple[list[int], list[int]]:
    """Ascending ids as runs: their first and their last ones."""
    firsts: list[int] = []
    lasts: list[int] = []
    for each in ids:
        if lasts and each == lasts[-1] + 1:
            lasts[-1] = each
        else:
            firsts.append(each)
            lasts.append(each)
    return firsts, lasts
