"""The span of each event's sealing, where its record says that somebody looks at its trace.

What was read is remembered by its offset until its batch was read back; then the entries that were made of it are
looked up in the batch, for a record may as well have been refused, or sealed before. Entries carry how far the raw
topic is sealed, in order, so each is found by halving. The invariant: whatever a header or an event holds, nothing here
raises, and what is remembered is bounded. A crash forgets it, and no span is told.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import deque
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from sealstream.layout.spans import Span, Tracing, handed_on, seal_span, traced_entry
from sealstream.sequencer.batch import Batch

if TYPE_CHECKING:
    from sealstream.kafka import Record

__all__ = ["SealSpans"]

_MOST = 4_096
_RAW_OFFSET = b'"raw_offset":'


class _Read(NamedTuple):
    """A record whose trace is looked at. `parent_id`: the span that sent it; times in nanoseconds since 1970."""

    offset: int
    trace_id: int
    parent_id: int
    received_ns: int
    read_ns: int


class SealSpans:
    """One chain's. `read` is called by the thread that reads, `sealed` by the one that reads back."""

    def __init__(self, chain: str, tracing: Tracing) -> None:
        self._chain = chain
        self._tracing = tracing
        self._waiting: deque[_Read] = deque(maxlen=_MOST)  # beyond, the oldest go untold

    def read(self, records: Sequence[Record]) -> None:
        """These records of the raw topic have come."""
        now_ns = self._tracing.clock()
        for offset, timestamp_ms, _key, _value, headers in records:
            if not headers:
                continue
            context = handed_on(headers)
            if context is not None and self._tracing.looks_at(context.trace_id):
                self._waiting.append(_Read(offset, context.trace_id, context.span_id, timestamp_ms * 1_000_000, now_ns))

    def sealed(self, batch: Batch, committed_ns: int) -> None:
        """This batch is committed, and was read back."""
        spans = []
        while self._waiting and self._waiting[0].offset <= batch.tip.raw_offset:
            span = self._span_of(self._waiting.popleft(), batch.entries, committed_ns)
            if span is not None:
                spans.append(span)
        if spans:
            self._tracing.send(spans)

    def _span_of(self, read: _Read, entries: Sequence[tuple[bytes, bytes]], committed_ns: int) -> Span | None:
        """None where the record became no entry, or one that names another trace: its row would not be found there."""
        at = bisect_left(entries, read.offset, key=_raw_offset)
        entry = traced_entry(entries[at][1]) if at < len(entries) else None
        if entry is None or entry.raw_offset != read.offset or entry.trace_id != read.trace_id:
            return None
        return seal_span(self._chain, entry, read.parent_id, read.received_ns, read.read_ns, committed_ns)


def _raw_offset(keyed: tuple[bytes, bytes]) -> int:
    """How far the raw topic is sealed with this entry: the last member of that name, nothing of the event's follows."""
    sealed = keyed[1]
    at = sealed.rindex(_RAW_OFFSET) + len(_RAW_OFFSET)
    return int(sealed[at : sealed.index(b",", at)])
