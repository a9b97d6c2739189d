"""One transaction after another, and each seen by a reader before the next one is committed.

Kafka's transaction protocol can lose or tear a transaction that it has reported as committed, when a request to end
one is delayed (KIP-890, which librdkafka does not speak). So a commit's answer is not believed: the first and the last
entry of a transaction, and its record of what the producers' states are as of, are read back as any reader would see
them. The invariant: a transaction is committed only after the one before it was seen, so whatever was torn is the last
one, and the next taking of the chain goes on from what is really there.

Committing and reading back happen beside the making of the next batch, on one thread each. A crash, and any failure,
leaves at most two transactions in doubt: one committed and unseen, one uncommitted. Who sees a failure closes this and
takes the chain anew; nothing here is used again.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import NamedTuple

from sealstream.errors import Fenced, Unavailable
from sealstream.kafka import CommittedReader, TransactionalProducer
from sealstream.layout import ChainTopics
from sealstream.sequencer.batch import Batch

__all__ = ["ClocksApart", "Publisher", "ReadBack"]


_READ_THROUGH = 64  # offsets that are sooner read than skipped


class ClocksApart(Unavailable):
    """The sequencer's clock and the broker's are too far apart: a sealed time can't be taken back, so none is."""


class _Written(NamedTuple):
    """Where a record of a transaction stands, and what it must read as."""

    offset: int
    value: bytes


class ReadBack:
    """Reads single records of a topic as committed; one for each topic.

    `alone`: nobody else may write to the topic, so a record between two of our transactions is of one that was torn, or
    a forgery: taking the chain anew tells which.
    """

    def __init__(self, reader: CommittedReader, timeout_s: float, *, alone: bool = False) -> None:
        self._reader = reader
        self._timeout_s = timeout_s
        self._alone = alone

    def expect(self, records: Sequence[_Written]) -> None:
        """Return when all of them, in order of their offsets, were read. Raises `Fenced` when one is missing."""
        deadline = time.monotonic() + self._timeout_s
        for index, written in enumerate(records):
            position = self._reader.position()
            if not position <= written.offset <= position + _READ_THROUGH:
                self._reader.seek(written.offset)
            self._await(written, deadline, strangers=self._alone and index == 0)

    def _await(self, written: _Written, deadline: float, *, strangers: bool) -> None:
        offset, value = written
        while True:
            for record in self._reader.read(1, max(0.0, deadline - time.monotonic())):
                if record.offset == offset and record.value == value:
                    return
                if record.offset >= offset:
                    raise Fenced(
                        f"a record reported as committed at offset {offset} is not there: a reader sees offset "
                        f"{record.offset} instead"
                    )
                if strangers:
                    raise Fenced(
                        f"a record that this transaction did not write stands at offset {record.offset}, before its "
                        f"first at {offset}: {(record.value or b'')[:80]!r}"
                    )
            if time.monotonic() > deadline:
                raise Fenced(
                    f"a record reported as committed at offset {offset} was not seen within {self._timeout_s:.0f} s"
                )


class Publication(NamedTuple):
    """One transaction. `states`: key and value (None: forget it) of producers' records, the as-of record last;
    `offsets`: by topic, what is sealed of it, plus one, for lag monitors; `begun_ns`: the clock.
    """

    batch: Batch
    states: list[tuple[bytes, bytes | None]]
    offsets: Mapping[str, int]
    begun_ns: int


class Publisher:
    """Writes publications in the order in which they are given, through a producer that is open already.

    `report`, `count`, `trace`: told, in a thread of this object's, the offsets, the batch, and the batch with the time
    of its commit (by the clock) of each publication that was seen; they must neither wait nor raise.
    """

    def __init__(
        self,
        producer: TransactionalProducer,
        topics: ChainTopics,
        report: Callable[[Mapping[str, int]], None],
        count: Callable[[Batch], None],
        entries_seen: ReadBack,
        states_seen: ReadBack,
        *,
        clock: Callable[[], int],
        max_apart_s: float,
        trace: Callable[[Batch, int], None] | None = None,
    ) -> None:
        self._producer = producer
        self._topics = topics
        self._report = report
        self._count = count
        self._trace = trace
        self._entries_seen = entries_seen
        self._states_seen = states_seen
        self._clock = clock
        self._max_apart_s = max_apart_s
        self._committer = ThreadPoolExecutor(1, thread_name_prefix="commit")
        self._watcher = ThreadPoolExecutor(1, thread_name_prefix="read-back")
        self._committed: Future[None] | None = None
        self._seen: Future[None] | None = None
        self.transactions_seen = 0

    def ready(self) -> bool:
        """Whether a publication would begin at once; raises what has failed since the last call."""
        if self._seen is not None and self._seen.done():
            self._seen.result()
        if self._committed is None or not self._committed.done():
            return self._committed is None
        self._committed.result()
        return True

    def publish(self, publication: Publication) -> None:
        """Write it, and commit it beside whatever the caller does next. Raises what has failed before."""
        if self._committed is not None:
            self._committed.result()
        producer, topics = self._producer, self._topics
        producer.begin()
        producer.produce_all(topics.chain, publication.batch.entries)
        producer.produce_all(topics.producers, publication.states)
        for letter in publication.batch.dead_letters:
            producer.produce(topics.deadletter, letter.value, None, letter.headers)
        self._committed = self._committer.submit(self._commit, publication, self._seen)

    def finish(self) -> None:
        """Return when everything that was published is committed and seen."""
        if self._committed is not None:
            self._committed.result()
        if self._seen is not None:
            self._seen.result()

    def _commit(self, publication: Publication, seen_before: Future[None] | None) -> None:
        """Commit, once the transaction before was seen, and start to look for this one."""
        if seen_before is not None:
            seen_before.result()
        self._producer.flush()
        if (appended := self._producer.appended().get(self._topics.chain)) is not None:  # else committing says why
            self._check_clocks(publication.begun_ns, *appended)
        self._producer.commit()
        committed_ns = self._clock()
        delivered = self._producer.delivered()
        self._seen = self._watcher.submit(self._read_back, publication, delivered, committed_ns)

    def _check_clocks(self, begun_ns: int, first_ms: int, last_ms: int) -> None:
        """The broker took the entries between the batch's beginning and now by its own clock too, or nearly so."""
        apart_s = max(last_ms / 1e3 - self._clock() / 1e9, begun_ns / 1e9 - first_ms / 1e3)
        if apart_s > self._max_apart_s:
            raise ClocksApart(
                f"the sequencer's clock and the broker's are {apart_s:.0f} s apart, at most {self._max_apart_s:.0f} "
                "are allowed: nothing is sealed until they agree"
            )

    def _read_back(self, publication: Publication, delivered: Mapping[str, tuple[int, int]], committed_ns: int) -> None:
        """See the first and the last entry and the as-of record as a reader does, and what the broker's clock says."""
        entries = publication.batch.entries
        missing = {self._topics.chain, self._topics.producers} - set(delivered)
        if missing:
            raise Fenced(f"a transaction is reported as committed, but no record of it in {', '.join(sorted(missing))}")
        first, last = delivered[self._topics.chain]
        looked_for = [_Written(first, entries[0][1])]
        if len(entries) > 1:
            looked_for.append(_Written(last, entries[-1][1]))
        self._entries_seen.expect(looked_for)
        as_of = publication.states[-1][1] or b""
        self._states_seen.expect([_Written(delivered[self._topics.producers][1], as_of)])
        self.transactions_seen += 1
        self._report(publication.offsets)
        self._count(publication.batch)
        if self._trace is not None:
            self._trace(publication.batch, committed_ns)

    def close(self) -> None:
        """Wait for what is under way; the producer, closed after this, aborts what is not committed."""
        self._committer.shutdown()
        self._watcher.shutdown()
