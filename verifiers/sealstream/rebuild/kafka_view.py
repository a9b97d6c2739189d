"""What the chain's topic holds of a span: read as committed, every record hashed again. Kafka can't be asked for less.

A topic has no index by content, so its records are read from its beginning to its end, once, in order; a span that does
not fold is read again from where it began. Reads only; a crash leaves nothing behind.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from hashlib import sha256
from typing import NamedTuple

from sealstream.errors import NotCanonical, Unavailable
from sealstream.kafka import CommittedReader, KafkaSettings, Record, end_offset, last_record, start_offset
from sealstream.layout import ChainSettings, ChainTopics
from sealstream.rebuild.spans import Leaf, Span
from sealstream.sealing import SEAL_BYTES, genesis_hash, read_written, split_sealed

__all__ = ["KafkaView", "Mark"]

_BATCH = 10_000
_WAIT_S = 0.05
_STANDSTILL = 600  # waits without a record: half a minute


class Mark(NamedTuple):
    """A place in the topic up to which all was compared and held: entry `seq` comes next, at `offset`, behind `tip`."""

    seq: int
    offset: int
    tip: bytes


class KafkaView:
    """The chain's topic as of now. `behind`: go on from a former view's mark, instead of from the beginning."""

    def __init__(self, kafka: KafkaSettings, chain: ChainSettings, behind: Mark | None = None) -> None:
        self._kafka = kafka
        self._topic = ChainTopics.of(chain.name, chain.prefix).chain
        self._end_offset = end_offset(kafka, self._topic, committed=True)
        begin = start_offset(kafka, self._topic)
        self._reader = CommittedReader(kafka, self._topic, begin)
        self._buffer: deque[Record] = deque()
        self.mark: Mark | None = behind
        self._held = True
        self._began: dict[int, int] = {}
        self._tip = genesis_hash(chain.origin)
        self._expected = 0
        self._first, self._stop = self._find_bounds()
        if self._first:
            self._expected = self._first
            self._tip = split_sealed(self._buffer[0].value or b"").prev_hash
        self.checked_before = 0
        if behind is not None and self._first <= behind.seq <= self._stop and begin <= behind.offset:
            self._buffer.clear()
            self._reader.seek(behind.offset)
            self._expected, _, self._tip = behind
            self.checked_before = behind.seq

    def bounds(self) -> tuple[int, int]:
        """The first entry in the topic and the one behind the last; equal when there are none."""
        return self._first, self._stop

    def check(self, spans: Sequence[Span]) -> Iterator[tuple[Span, bool]]:
        """Each span, in order, and whether the topic's records fold to it."""
        for span in spans:
            while self._expected < span.first and self._load():
                self._take(span.first)
            self._began[span.first] = self._offset()
            tip = self._tip
            leaves, clean = self._take(span.stop)
            folds = clean and span.folds(leaves)
            if folds and self._held:
                self.mark = Mark(span.first, self._began[span.first], tip)
            self._held = self._held and folds
            yield span, folds

    def leaves(self, first: int, stop: int) -> Iterator[Leaf]:
        """Entry by entry, in the topic's order: whatever stands between where the span began and where it ended."""
        began = max((at for at in self._began if at <= first), default=None)
        behind = min((self._began[at] for at in self._began if at >= stop), default=self._end_offset)
        offset = self._began[began] if began is not None else start_offset(self._kafka, self._topic)
        with CommittedReader(self._kafka, self._topic, offset) as reader:
            idle = 0
            while reader.position() < behind and idle < _STANDSTILL:
                records = reader.read(_BATCH, _WAIT_S)
                idle = 0 if records else idle + 1
                for record in records:
                    if record.offset < behind:
                        yield self._leaf(record, first)

    def values(self, first: int, stop: int) -> Iterator[bytes]:
        """The records of these entries, as they stand in the topic."""
        for record in self._records(first, stop):
            yield record.value or b""

    def tail(self) -> list[Leaf]:
        """What comes behind the last span that was checked."""
        found = []
        while self._load():
            found.append(self._leaf(self._buffer.popleft(), self._expected))
            self._expected = found[-1].seq + 1
        return found

    def close(self) -> None:
        """Gives the connection back."""
        self._reader.close()

    def _find_bounds(self) -> tuple[int, int]:
        last = last_record(self._kafka, self._topic)
        if last is None or not self._load():
            return 0, 0
        try:
            stop = read_written(split_sealed(last.value or b"").body).seq + 1
        except NotCanonical:
            stop = 0
        try:
            first = read_written(split_sealed(self._buffer[0].value or b"").body).seq
        except NotCanonical:
            first = 0
        return first, max(stop, first)

    def _records(self, first: int, stop: int) -> Iterator[Record]:
        began = max((at for at in self._began if at <= first), default=None)
        offset = self._began[began] if began is not None else start_offset(self._kafka, self._topic)
        with CommittedReader(self._kafka, self._topic, offset) as reader:
            while reader.position() < self._end_offset:
                for record in reader.read(_BATCH, _WAIT_S):
                    seq = self._leaf(record, first).seq
                    if seq >= stop:
                        return
                    if seq >= first:
                        yield record

    def _offset(self) -> int:
        return self._buffer[0].offset if self._buffer or self._load() else self._end_offset

    def _load(self) -> bool:
        """Whether there is a record that was not looked at; reads some more where none is at hand."""
        idle = 0
        while not self._buffer:
            if self._reader.position() >= self._end_offset:
                return False
            records = self._reader.read(_BATCH, _WAIT_S)
            self._buffer.extend(record for record in records if record.offset < self._end_offset)
            idle = 0 if records else idle + 1
            if idle > _STANDSTILL:
                raise Unavailable(f"{self._topic}: no record came from offset {self._reader.position()}")
        return True

    def _take(self, stop: int) -> tuple[list[bytes], bool]:
        """The leaf hashes up to entry `stop`, and whether each record was just the one that comes next."""
        leaves: list[bytes] = []
        clean = True
        while self._expected < stop and self._load():
            hashes = self._run(min(stop - self._expected, len(self._buffer)))
            leaves += hashes
            if not hashes:  # the next record is not what must come: look at it alone
                clean = False
                record = self._buffer.popleft()
                leaf = self._leaf(record, self._expected)
                if leaf.seq >= stop:  # others are missing before it
                    self._buffer.appendleft(record)
                    self._expected = stop
                    break
                self._expected = max(self._expected, leaf.seq + 1)
                self._tip = _claimed(record, leaf.hash)
        return leaves, clean

    def _run(self, most: int) -> list[bytes]:
        """The hashes of the next records, as long as each extends the one before; they are taken."""
        tip, tip_hex = self._tip, self._tip.hex().encode()
        hashes: list[bytes] = []
        buffer = self._buffer
        while len(hashes) < most:
            value = buffer[0].value or b""
            own = sha256(b"\0" + tip + value[:-SEAL_BYTES] + b"}").digest()
            own_hex = own.hex().encode()
            if value[-SEAL_BYTES:] != b',"prev_hash":"%b","hash":"%b"}' % (tip_hex, own_hex):
                break
            buffer.popleft()
            tip, tip_hex = own, own_hex
            hashes.append(own)
        self._tip = tip
        self._expected += len(hashes)
        return hashes

    def _leaf(self, record: Record, otherwise: int) -> Leaf:
        place = f"{self._topic} offset {record.offset}"
        try:
            sealed = split_sealed(record.value or b"")
            own = sha256(b"\0" + sealed.leaf).digest()
            return Leaf(read_written(sealed.body).seq, own, sealed.prev_hash, own == sealed.hash, place)
        except NotCanonical:
            return Leaf(otherwise, sha256(record.value or b"").digest(), b"", False, place)


def _claimed(record: Record, otherwise: bytes) -> bytes:
    """The hash that the next record will link to."""
    try:
        return split_sealed(record.value or b"").hash
    except NotCanonical:
        return otherwise
