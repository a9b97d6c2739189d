"""What an event's way looks like as OpenTelemetry's spans: their names, ids, and who belongs to which trace. Pure.

    application's span > sealstream emit > sealstream seal > sealstream store

The trace is the application's. `emit` hands its context on as a header of the raw record (W3C Trace Context), which is
not sealed; nothing is handed on from there. The ids of the other two spans are parts of the entry's hash, so whoever
has the entry names the span before its own, and an entry that is stored twice has one span. Whether a trace is looked
at is decided by its id alone, by each process for itself: the same ratio gives the same answer everywhere.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import msgspec

__all__ = [
    "EMIT",
    "SEAL",
    "STORE",
    "TRACEPARENT",
    "Context",
    "Span",
    "TracedEntry",
    "Tracing",
    "handed_on",
    "parse_traceparent",
    "seal_span",
    "store_span",
    "traced_entry",
    "traceparent",
]

EMIT, SEAL, STORE = "sealstream emit", "sealstream seal", "sealstream store"

TRACEPARENT = "traceparent"
"""The header of a raw record."""

# W3C Trace Context, section 3.2; a version that comes later may have more behind it.
_TRACEPARENT = re.compile(r"(?!ff)[0-9a-f]{2}-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2}).*")
_SAMPLED = 1
_TRACE_ID = re.compile(r"[0-9a-f]{32}")
_LOW_64_BITS = 2**64 - 1
_HASH = slice(-66, -2)  # of a sealed entry: its last member is the hash, 64 hex digits


class Context(NamedTuple):
    """A span of somebody else's, as a header tells of it."""

    trace_id: int
    span_id: int
    sampled: bool


class Span(NamedTuple):
    """One span, ended. Times: nanoseconds since 1970; `read_ns`: when its process had read what it is about."""

    name: str
    trace_id: int
    span_id: int
    parent_id: int
    start_ns: int
    read_ns: int
    end_ns: int
    chain: str
    seq: int
    event_id: str


class Tracing(NamedTuple):
    """What a process needs to make spans. `send` is given them from any thread; it neither waits nor raises.

    `ratio`: the share of traces that is looked at, 0 to 1. `clock`: nanoseconds since 1970.
    """

    ratio: float
    clock: Callable[[], int]
    send: Callable[[Sequence[Span]], None]

    def looks_at(self, trace_id: int) -> bool:
        """As OpenTelemetry's sampler `TraceIdRatioBased`: by the trace's 64 low bits."""
        return trace_id & _LOW_64_BITS < round(self.ratio * 2**64)


def parse_traceparent(text: str) -> Context | None:
    """What the header says; None when it names no trace."""
    found = _TRACEPARENT.fullmatch(text)
    if found is None or not (trace_id := int(found[1], 16)):
        return None
    return Context(trace_id, int(found[2], 16), bool(int(found[3], 16) & _SAMPLED))


def traceparent(trace_id: int, span_id: int) -> str:
    """The header of a span that is sampled."""
    return f"00-{trace_id:032x}-{span_id:016x}-{_SAMPLED:02x}"


def handed_on(headers: Iterable[tuple[str, bytes | None]]) -> Context | None:
    """The span that a raw record's headers name; None when none, or one that is not sampled. Anybody may have written
    them.
    """
    for name, value in headers:
        if name == TRACEPARENT and value is not None:
            context = parse_traceparent(value.decode("latin-1"))
            return context if context is not None and context.sampled and context.span_id else None
    return None


class TracedEntry(NamedTuple):
    """An entry made of an event that names a trace."""

    trace_id: int
    event_id: str
    seq: int
    raw_offset: int
    hash: bytes


class _Written(msgspec.Struct, frozen=True):
    kind: str
    raw_offset: int
    seq: int


class _Entry(msgspec.Struct, frozen=True):
    id: str
    written: _Written
    trace_id: str = ""


_decoder = msgspec.json.Decoder(_Entry)


def traced_entry(sealed: bytes) -> TracedEntry | None:
    """What a sealed entry says of its trace; None for one that is no event, or in no trace of OpenTelemetry's."""
    if b'"trace_id":"' not in sealed:
        return None
    entry = _decoder.decode(sealed)
    written = entry.written
    if written.kind != "event" or not _TRACE_ID.fullmatch(entry.trace_id) or not (trace_id := int(entry.trace_id, 16)):
        return None
    return TracedEntry(trace_id, entry.id, written.seq, written.raw_offset, bytes.fromhex(sealed[_HASH].decode()))


def seal_span(chain: str, entry: TracedEntry, parent_id: int, start_ns: int, read_ns: int, end_ns: int) -> Span:
    """From Kafka's having the event to the commit of its entry."""
    return _span(SEAL, chain, entry, _seal_id(entry), parent_id, (start_ns, read_ns, end_ns))


def store_span(chain: str, entry: TracedEntry, start_ns: int, read_ns: int, end_ns: int) -> Span:
    """From Kafka's having the entry to the commit of its row."""
    span_id = int.from_bytes(entry.hash[8:16], "big") or 1
    return _span(STORE, chain, entry, span_id, _seal_id(entry), (start_ns, read_ns, end_ns))


def _seal_id(entry: TracedEntry) -> int:
    return int.from_bytes(entry.hash[:8], "big") or 1  # 0 is no id


def _span(
    name: str, chain: str, entry: TracedEntry, span_id: int, parent_id: int, times_ns: tuple[int, int, int]
) -> Span:
    """Clocks of several machines are in it, one of them in milliseconds: what would end before it starts does not."""
    start_ns, read_ns, end_ns = times_ns
    start_ns = min(start_ns, end_ns)
    read_ns = min(max(read_ns, start_ns), end_ns)
    return Span(
        *(name, entry.trace_id, span_id, parent_id, start_ns, read_ns, end_ns, chain, entry.seq, entry.event_id)
    )
