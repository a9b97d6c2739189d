"""The relay: what an application has committed into its outbox, sent to Kafka, numbered, each event once.

One `step()` is: settle the batch before and take the next one (one transaction), send it, wait until Kafka has it. Two
relays may run: one works, the other waits for its lock.

The crash story, line by line: before the transaction commits nothing has happened; after it the batch is on record with
its numbers, and whoever begins next (`beginning`) sends what the topic does not hold of it, the same bytes; a repeat
that comes all the same, from a relay that was frozen, is one that the sequencer knows by its number. What a
transaction rolled back was never visible here.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime

import structlog

from sealstream.client.composing import Composer
from sealstream.events import new_event_id
from sealstream.kafka import KafkaSettings, end_offset
from sealstream.layout import OUTBOX_SPARE_BYTES, ChainSettings, ChainTopics, Figures, OutboxTables, figures
from sealstream.relaying import recovery
from sealstream.relaying.beginning import Statements, begin
from sealstream.relaying.holding import Held
from sealstream.relaying.recovery import Batch
from sealstream.relaying.rows import BATCH_ROWS, WaitingRows
from sealstream.relaying.sending import BatchSender

__all__ = ["OutboxRelay"]

_LOG = structlog.get_logger()
_IDLE_S = 0.05
_WAITING_S = 1.0
_TELL_EVERY_S = 10.0
_NOTE_EVERY_S = 30.0
_CLOSE_UNUSED_DAYS = 0.5  # before the log calls the stream silent, after a day


class OutboxRelay:
    """`step()` says whether there was work. Raises `Unavailable` (build it anew) and `Misconfigured`.

    `accept_unseen`: see `sealstream.relaying.seen`. `tally`: counts.
    """

    def __init__(
        self,
        kafka: KafkaSettings,
        chain: ChainSettings,
        dsn: str,
        tables: OutboxTables,
        *,
        accept_unseen: bool = False,
        batch_rows: int = BATCH_ROWS,
        idle_s: float = _IDLE_S,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        tally: Figures | None = None,
    ) -> None:
        self._kafka = kafka
        self._chain = chain
        self._tally = tally or Figures()
        self._topic = ChainTopics.of(chain.name, chain.prefix).raw
        self._accept_unseen = accept_unseen
        self._batch_rows = batch_rows
        self._idle_s = idle_s
        self._composer = Composer(None, clock, new_event_id, OUTBOX_SPARE_BYTES)
        self._log = _LOG.bind(outbox=tables.table, chain=chain.name)
        self._held = Held(dsn, tables)
        self._rows: WaitingRows | None = None  # None: another relay holds the outbox
        self._sender: BatchSender | None = None
        self._statements: Statements | None = None
        self._batch: Batch | None = None
        self._offset = 0
        self._said_waiting = False
        self._told = Telling(self._log)
        self._noted = time.monotonic()
        self.relayed = 0

    def step(self) -> bool:
        """One batch; or one look at an outbox that is empty or another relay's, and a short wait."""
        if self._rows is None or self._sender is None:
            return self._take_over()
        if self._batch is None and not self._rows.any():
            self._rest()
            return False
        self._batch = self._rows.advance(self._offset)
        self._offset = 0
        self._told.refused = self._rows.refused
        if self._batch is not None:
            self._send(self._batch)
        self._told.now_and_then(self._rows.backlog)
        return True

    def close(self) -> None:
        """What is on its way stays on record. Another relay can go on at once."""
        if self._sender is not None:
            self._sender.close()
        self._held.close()

    def _take_over(self) -> bool:
        if not self._held.try_lock():
            if not self._said_waiting:
                self._said_waiting = True
                self._log.info("another relay works on this outbox; waiting")
            time.sleep(_WAITING_S)
            return False
        state = self._held.take_over()
        self._statements = Statements(self._composer, state.outbox_id)
        self._sender = BatchSender(self._kafka, self._topic)
        begin(
            *(self._kafka, self._chain, self._held, state, self._sender, self._statements, self._log),
            accept_unseen=self._accept_unseen,
        )
        self._send_on_its_way()
        self._rows = WaitingRows(self._held, self._statements.loss, batch_rows=self._batch_rows)
        self._log.info("relaying", stream=state.producer_id, topic=self._topic)
        return True

    def _send_on_its_way(self) -> None:
        """The last event of a stream that has just ended."""
        self._batch = recovery.batch_on_its_way(self._held)
        if self._batch is not None:
            self._send(self._batch)

    def _send(self, batch: Batch) -> None:
        assert self._sender is not None
        self._offset = self._sender.send(batch.events) + 1
        self.relayed += len(batch.events)
        self._told.relayed += len(batch.events)
        self._tally.add(figures.BATCHES, 1, self._chain.name)
        self._tally.add(figures.ENTRIES, len(batch.events), self._chain.name)

    def _rest(self) -> None:
        """Nothing waits and nothing is on its way."""
        assert self._rows is not None
        now = time.monotonic()
        if now - self._noted >= _NOTE_EVERY_S:
            self._noted = now
            self._rows.note_offset(end_offset(self._kafka, self._topic, committed=False))
            self._close_unused()
        time.sleep(self._idle_s)

    def _close_unused(self) -> None:
        """A stream that has said nothing for long ends in good order; the next event begins another."""
        assert self._statements is not None
        current = recovery.open_stream(self._held)
        if current is None or current[1].unused_days < _CLOSE_UNUSED_DAYS:
            return
        producer_id, stream = current
        closed = self._statements.closed(stream.next, "nothing to say for half a day", producer_id)
        recovery.end_stream(self._held, stream.next, closed)
        self._send_on_its_way()


class Telling:
    """Lines about what was relayed, at most one in ten seconds."""

    def __init__(self, log: structlog.stdlib.BoundLogger) -> None:
        self._log = log
        self._last = time.monotonic()
        self.relayed = 0
        self.refused = 0

    def now_and_then(self, backlog: Callable[[], int]) -> None:
        """Say it, if it is time."""
        now = time.monotonic()
        if now - self._last < _TELL_EVERY_S or not self.relayed:
            return
        per_s = round(self.relayed / (now - self._last))
        self._log.info("relayed", events=self.relayed, per_s=per_s, waiting=backlog(), refused=self.refused)
        self._last, self.relayed = now, 0
