"""The span of each row, where its entry's trace is one of those that are looked at.

An entry does not say whether its application sampled the trace: the ratio of all processes decides, by the trace's id.
What was sealed long ago, as when a store is filled anew, is passed over: nobody waits for it. The invariant: nothing
here raises for what an entry holds, all were checked. A crash after COMMIT leaves a row without a span.
"""

from __future__ import annotations

from collections.abc import Sequence

from sealstream.kafka import Record
from sealstream.layout.spans import Tracing, store_span, traced_entry

__all__ = ["StoreSpans"]

_LONGEST_NS = 86_400 * 10**9


class StoreSpans:
    """One chain's. Called by the thread of the database, but for `now_ns`."""

    def __init__(self, chain: str, tracing: Tracing) -> None:
        self._chain = chain
        self._tracing = tracing

    def now_ns(self) -> int:
        """Nanoseconds since 1970."""
        return self._tracing.clock()

    def stored(self, records: Sequence[Record], read_ns: int) -> None:
        """The rows of these entries, which were read then, are committed now."""
        now_ns = self._tracing.clock()
        spans = []
        for record in records:
            received_ns = record.timestamp_ms * 1_000_000
            if now_ns - received_ns > _LONGEST_NS:
                continue
            entry = traced_entry(record.value or b"")
            if entry is not None and self._tracing.looks_at(entry.trace_id):
                spans.append(store_span(self._chain, entry, received_ns, read_ns, now_ns))
        if spans:
            self._tracing.send(spans)
