"""Segments as `audit.segments.C` lists them: signed notes, each beginning where the last one ended.

They stand in order, but for a note that was lost and signed again later: it stands behind those of later segments.

The headers beside a note are anybody's who can write the topic: a segment counts only when its end is the size that
the chain's key has signed and its compact range hashes to the signed root. Reading only; nothing to lose in a crash.
"""

from __future__ import annotations

import time
from typing import NamedTuple

from sealstream.errors import ChainBroken, Forked, HistoryLost, Unavailable, WrongRoot
from sealstream.kafka import (
    CommittedReader,
    KafkaSettings,
    Record,
    last_record,
    read_until_end,
    record_before,
    start_offset,
)
from sealstream.layout import ChainSettings, ChainTopics, parse_checkpoint_headers
from sealstream.sealing import BadNote, Checkpoint, CompactRange, checked_range, open_checkpoint, root

__all__ = ["Segment", "SegmentReader", "find_segment", "read_segment"]

_WAIT_S = 10.0


class Segment(NamedTuple):
    """One segment's record. `chain_offset`: where in `audit.chain.C` the entry after it stands or will stand."""

    offset: int
    note: bytes
    signed: Checkpoint
    compact_range: CompactRange
    chain_offset: int
    first_seq: int
    last_seq: int


def read_segment(record: Record, chain: ChainSettings) -> Segment:
    """The segment that a record of `audit.segments.C` describes. Raises `Forked` when the chain's key did not."""
    where = f"{ChainTopics.of(chain.name, chain.prefix).segments}, offset {record.offset}"
    try:
        signed = open_checkpoint(record.value or b"", chain.vkey)
        headers = parse_checkpoint_headers(record.headers)
        compact_range = checked_range(signed.size, headers.compact_range)
    except (BadNote, ValueError) as error:
        raise Forked(f"{where}: not a segment's end signed by {chain.origin}: {error}") from error
    if root(compact_range) != signed.root:
        raise Forked(f"{where}: its compact range is not the signed one")
    if headers.first_seq is None or headers.last_seq is None or not 0 <= headers.first_seq < signed.size:
        raise Forked(f"{where}: names no segment that ends with entry {signed.size - 1}")
    if headers.last_seq != signed.size - 1:
        raise Forked(f"{where}: says that it ends with {headers.last_seq}, but size {signed.size} is signed")
    return Segment(
        record.offset,
        record.value or b"",
        signed,
        compact_range,
        headers.chain_offset,
        headers.first_seq,
        headers.last_seq,
    )


def find_segment(kafka: KafkaSettings, chain: ChainSettings, last_seq: int) -> Segment | None:
    """The segment that ends with this entry: by bisection, or where notes are out of order by reading all."""
    topic = ChainTopics.of(chain.name, chain.prefix).segments
    newest = last_record(kafka, topic)
    if newest is None:
        return None
    return _bisect(kafka, chain, topic, newest.offset, last_seq) or next(
        (
            segment
            for records in read_until_end(kafka, topic)
            for record in records
            if (segment := read_segment(record, chain)).last_seq == last_seq
        ),
        None,
    )


def _bisect(kafka: KafkaSettings, chain: ChainSettings, topic: str, high: int, last_seq: int) -> Segment | None:
    low = start_offset(kafka, topic)
    with CommittedReader(kafka, topic, low) as reader:
        while True:
            middle = (low + high) // 2
            reader.seek(middle)
            records = reader.read(1, _WAIT_S)
            if not records:
                raise Unavailable(f"{topic}: no record from offset {middle} in {_WAIT_S:.0f} s, though there are some")
            segment = read_segment(records[0], chain)
            if segment.last_seq == last_seq:
                return segment
            if low >= high:
                return None
            if segment.last_seq < last_seq:
                low = records[0].offset + 1
            else:
                high = middle


class SegmentReader:
    """Gives the segments after `done` (None: from the first) one by one, without a gap; `close` it."""

    def __init__(self, kafka: KafkaSettings, chain: ChainSettings, done: Segment | None) -> None:
        self._kafka = kafka
        self._chain = chain
        self._topic = ChainTopics.of(chain.name, chain.prefix).segments
        self._next_seq = 0 if done is None else done.last_seq + 1
        self._roots: dict[int, bytes] = {} if done is None else {done.signed.size: done.signed.root}
        begin = start_offset(kafka, self._topic)
        if done is not None:
            before = record_before(kafka, self._topic, done.offset)
            if before is None or read_segment(before, chain).last_seq < done.last_seq:
                begin = done.offset + 1
        self._reader = CommittedReader(kafka, self._topic, begin)

    def next(self, timeout_s: float) -> Segment | None:
        """The next segment, None when there is none yet. A note of one that was given already is passed over."""
        deadline = time.monotonic() + timeout_s
        while records := self._reader.read(1, max(0.0, deadline - time.monotonic())):
            segment = read_segment(records[0], self._chain)
            if self._roots.get(segment.signed.size, segment.signed.root) != segment.signed.root:
                raise WrongRoot(f"{self._topic}: size {segment.signed.size} is signed with two roots")
            if segment.last_seq < self._next_seq:
                continue
            if segment.first_seq != self._next_seq:
                # Its own note was lost; signed again, it stands further on. What is here is read again afterwards.
                segment = self._found_later(segment)
                self._reader.seek(records[0].offset)
            self._roots[segment.signed.size] = segment.signed.root
            self._next_seq = segment.last_seq + 1
            return segment
        return None

    def _found_later(self, instead: Segment) -> Segment:
        for records in read_until_end(self._kafka, self._topic, instead.offset + 1):
            for record in records:
                segment = read_segment(record, self._chain)
                if segment.first_seq == self._next_seq:
                    return segment
        begin = f"segment {instead.first_seq} to {instead.last_seq} at offset {instead.offset}"
        if self._next_seq == 0:
            raise HistoryLost(
                f"{self._topic}: begins with {begin}: expected one from entry 0, as nothing is archived yet"
            )
        raise ChainBroken(
            f"{self._topic}: {begin} follows one that ends with {self._next_seq - 1}; a start of checkpointing signs "
            "the missing one again"
        )

    def close(self) -> None:
        """Gives the connection back."""
        self._reader.close()
