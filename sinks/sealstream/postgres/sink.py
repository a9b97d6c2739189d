"""`PostgresSink`: follows one chain's topic and stores its entries, each once, with the notes that sign them.

The invariant: what is stored is a prefix of the chain. Every entry is checked to extend the one before it, and every
note's root is computed anew, before either is sent; a batch goes in one transaction with the position row. While one
batch is being stored by a second thread, the next is read, checked and encoded here.

A crash anywhere leaves whole batches: starting reads where they end, takes the last stored entry as the tip, and finds
the entry after it in the topic. The same lines run after a lost connection, of which nobody knows whether its last
COMMIT went through: the sink raises `Unavailable`, is closed, and is built anew.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import TypeVar

from sealstream.errors import ChainBroken, Forked, SealstreamError, WrongRoot
from sealstream.kafka import CommittedReader, KafkaSettings, Record, check_topics
from sealstream.layout import ChainSettings, ChainTopics, Figures, figures
from sealstream.layout.spans import Tracing
from sealstream.postgres.driver import Session
from sealstream.postgres.locating import open_at_entry
from sealstream.postgres.migrating import check_schema
from sealstream.postgres.rows import EncodedRows, encode_rows
from sealstream.postgres.signed import SignedNote, SignedNotes
from sealstream.postgres.stored import Batch, SinkStore, StoredNote
from sealstream.postgres.tracing import StoreSpans
from sealstream.postgres.tree import StoredTree
from sealstream.sealing import (
    EMPTY_RANGE,
    BadNote,
    CompactRange,
    Problem,
    Tip,
    check_entries,
    checked_range,
    open_checkpoint,
    root,
    start_tip,
    tip_after,
)

__all__ = ["PostgresSink"]

Result = TypeVar("Result")

_READ_AT_ONCE = 500  # entries of 62 KB at most


class PostgresSink:
    """One chain's sink. `dsn`: of the sink's role; `wait_s`: how long a step waits for entries; `tally`: counts;
    `tracing`: tells of each row in a trace that is looked at.

    Building it connects and finds where to go on; raises `Unavailable`, `Misconfigured`, or a `ChainStopped` when what
    is stored does not fit the chain.
    """

    def __init__(
        self,
        kafka: KafkaSettings,
        chain: ChainSettings,
        dsn: str,
        *,
        batch_entries: int = 5_000,
        batch_bytes: int = 8_388_608,
        wait_s: float = 0.2,
        tally: Figures | None = None,
        tracing: Tracing | None = None,
    ) -> None:
        self._chain = chain
        self._batch_entries = batch_entries
        self._batch_bytes = batch_bytes
        self._wait_s = wait_s
        self._tally = tally or Figures()
        self._spans = None if tracing is None else StoreSpans(chain.name, tracing)
        self._tip: Tip = start_tip(chain.origin)
        self._storing: Future[None] | None = None
        self._counted_size = 0
        self._close_these: list[Callable[[], None]] = []
        self._database = ThreadPoolExecutor(1, thread_name_prefix=f"postgres-sink-{chain.name}")
        try:
            self._start(kafka, dsn)
        except BaseException:
            self.close()
            raise

    @property
    def next_seq(self) -> int:
        """The entry that comes next; those before it are stored, or being stored by the step that returned last."""
        return self._tip.size

    def step(self) -> bool:
        """Reads, checks and hands over one batch, once the one before is stored. Returns whether there was any.

        False means that all that could be read is stored.
        """
        records = self._read()
        read_ns = 0 if self._spans is None else self._spans.now_ns()
        expected, encoded = self._tip.size, EncodedRows(b"", [])
        if records:
            values = [record.value or b"" for record in records]
            checked = check_entries(self._tip, values, self._chain.name)
            if checked.problems:
                raise _alarm(self._chain.name, checked.problems)
            encoded = encode_rows(self._chain.name, values, checked.hashes, self._tip.hash)
            self._tip = checked.tip
            self._tree.add(checked.hashes)
            self._next_offset = records[-1].offset + 1
        due = self._notes.due(self._tip.size)
        self._wait_until_stored()
        if not records and not due:
            return False
        # The rows below `expected` are stored by now; of those above, the tree has the hashes in memory.
        notes = [self._checked_note(note) for note in due if note.size >= self._tree.segment_size]
        batch = Batch(expected, self._tip.size, self._next_offset, encoded, notes)
        told = records if self._spans is not None else []
        self._storing = self._database.submit(self._store_and_count, batch, self._tip, told, read_ns)
        return True

    def close(self) -> None:
        """Waits for the batch that is being stored, then ends the connection and the readers. May be called twice."""
        storing, self._storing = self._storing, None
        if storing is not None:
            storing.exception()  # stored or not: the next start reads which
        while self._close_these:
            self._close_these.pop()()
        self._database.shutdown()

    def __enter__(self) -> PostgresSink:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _start(self, kafka: KafkaSettings, dsn: str) -> None:
        chain = self._chain
        session = self._in_database(lambda: Session(dsn, f"sealstream postgres-sink {chain.name}"))
        self._close_these.append(lambda: self._in_database(session.close))
        self._in_database(lambda: check_schema(session))
        store = SinkStore(session, chain.name)
        self._store: SinkStore = store
        position = self._in_database(store.position)
        tip = self._tip if position.last is None else self._stored_tip(position.last.to_bytes())
        self._tip = tip
        ranges = [self._stored_range(note) for note in (position.segment, position.newest)]
        self._tree: StoredTree = StoredTree(
            ranges, tip.size, lambda first, end: self._in_database(lambda: store.hashes(first, end))
        )
        topics = ChainTopics.of(chain.name, chain.prefix)
        check_topics(
            kafka,
            [each for each in topics.configs() if each.name in (topics.chain, topics.segments, topics.checkpoints)],
        )
        self._reader: CommittedReader = open_at_entry(kafka, topics.chain, tip, position.chain_offset)
        self._close_these.append(self._reader.close)
        self._next_offset = self._reader.position()
        self._counted_size = tip.size
        self._count(self._next_offset, tip)
        self._notes: SignedNotes = SignedNotes(kafka, chain, position.segment, position.newest)
        self._close_these.append(self._notes.close)

    def _store_and_count(self, batch: Batch, tip: Tip, records: Sequence[Record], read_ns: int) -> None:
        """On the thread of the database."""
        self._store.store(batch)
        self._tally.add(figures.BATCHES, 1, self._chain.name)
        self._count(batch.chain_offset, tip)
        if self._spans is not None:
            self._spans.stored(records, read_ns)

    def _count(self, next_offset: int, tip: Tip) -> None:
        name = self._chain.name
        self._tally.add(figures.ENTRIES, tip.size - self._counted_size, name)
        self._counted_size = tip.size
        self._tally.set(figures.NEXT_OFFSET, next_offset, name)
        self._tally.reached(name, tip.size, tip.sequenced_at)

    def _in_database(self, work: Callable[[], Result]) -> Result:
        """Runs on the one thread that the connection belongs to."""
        return self._database.submit(work).result()

    def _stored_tip(self, last: bytes) -> Tip:
        try:
            return tip_after(last)
        except SealstreamError as error:
            raise ChainBroken(f"chain {self._chain.name}: the last entry in Postgres can't be read: {error}") from error

    def _stored_range(self, note: StoredNote | None) -> CompactRange:
        """A stored note's range: it counts when it hashes to the root that the chain's key has signed."""
        if note is None:
            return EMPTY_RANGE
        name = f"chain {self._chain.name}: the stored note of {note.size} entries"
        try:
            checkpoint = open_checkpoint(note.note, self._chain.vkey)
            compact_range = checked_range(note.size, note.compact_range)
        except (BadNote, ValueError) as error:
            raise ChainBroken(f"{name} does not hold: {error}") from error
        if (checkpoint.size, checkpoint.root) != (note.size, root(compact_range)):
            raise ChainBroken(f"{name} does not hold: its compact range does not hash to the signed root")
        if note.size > self._tip.size:
            raise ChainBroken(f"{name} is there, but only {self._tip.size} entries: rows were removed")
        return compact_range

    def _read(self) -> list[Record]:
        records = self._reader.read(min(_READ_AT_ONCE, self._batch_entries), self._wait_s)
        size_bytes = sum(len(record.value or b"") for record in records)
        while records and len(records) < self._batch_entries and size_bytes < self._batch_bytes:
            more = self._reader.read(min(_READ_AT_ONCE, self._batch_entries - len(records)), 0)
            if not more:
                break
            size_bytes += sum(len(record.value or b"") for record in more)
            records += more
        return records

    def _checked_note(self, note: SignedNote) -> StoredNote:
        """`note` with the range that was computed here. Raises `Forked` when it signs another root."""
        compact_range = self._tree.range_at(note.size)
        computed = root(compact_range)
        if computed != note.root:
            raise WrongRoot(
                f"chain {self._chain.name}: the note over {note.size} entries signs the root {note.root.hex()}, "
                f"but the entries stored here hash to {computed.hex()}"
            )
        self._tree.keep(compact_range, ends_segment=note.ends_segment)
        return StoredNote(
            note.size, note.ends_segment, note.note, compact_range.hashes, note.chain_offset, note.note_offset
        )

    def _wait_until_stored(self) -> None:
        storing, self._storing = self._storing, None
        if storing is not None:
            storing.result()


def _alarm(chain: str, problems: list[Problem]) -> ChainBroken | Forked:
    told = "; ".join(f"entry {problem.seq}: {problem.kind}: {problem.detail}" for problem in problems[:5])
    more = f"; and {len(problems) - 5} more" if len(problems) > 5 else ""
    kind = Forked if problems[0].kind == "forked" else ChainBroken
    return kind(f"chain {chain} does not extend what Postgres holds: {told}{more}; nothing of this batch was stored")
