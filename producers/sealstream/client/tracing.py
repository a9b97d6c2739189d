"""The trace that the running code belongs to, where OpenTelemetry or a W3C header tells one, and the span of an `emit`.

OpenTelemetry is never imported: only where the application has imported it is it asked. Whatever it raises, no event
suffers. Nothing outlives the process; a span that is under way in a crash is never told.
"""

from __future__ import annotations

import sys
from contextlib import suppress
from typing import Any

from sealstream.layout.spans import EMIT, TRACEPARENT, parse_traceparent, traceparent

__all__ = ["EmitSpan", "EmitSpans", "Headers", "current_trace_id", "trace_id_of"]

Headers = list[tuple[str, bytes]] | None
"""Of a raw record."""


def trace_id_of(traceparent: str) -> str | None:
    """The trace in a `traceparent` header, 32 hex digits; None when it is none."""
    context = parse_traceparent(traceparent)
    return None if context is None else f"{context.trace_id:032x}"


def current_trace_id() -> str | None:
    """The trace of OpenTelemetry's current span, 32 hex digits."""
    api = sys.modules.get("opentelemetry.trace")
    if api is None:
        return None
    try:
        trace_id = api.get_current_span().get_span_context().trace_id
    except AttributeError:  # half imported, or something else of that name
        return None
    return f"{trace_id:032x}" if trace_id else None


class EmitSpan:
    """One span of the application's own tracer, under way."""

    __slots__ = ("_span",)

    def __init__(self, span: Any) -> None:
        self._span = span

    def headers(self, event_id: str, trace_id: object) -> Headers:
        """What the record is sent with, so that what becomes of the event is told as its children.

        None for an event that names another trace than the span's (`trace_id`): nobody would find them.
        """
        with suppress(Exception):
            self._span.set_attribute("sealstream.event.id", event_id)
            context = self._span.get_span_context()
            if f"{context.trace_id:032x}" == trace_id:
                return [(TRACEPARENT, traceparent(context.trace_id, context.span_id).encode())]
        return None

    def end(self, dropped: str | None) -> None:
        """`dropped`: why the event was, if it was."""
        with suppress(Exception):
            if dropped is not None:
                self._span.set_attribute("sealstream.dropped", dropped)
            self._span.end()


class EmitSpans:
    """Begins a span for an `emit`, where the current span is sampled; its tracer is kept as long as its provider."""

    def __init__(self, chain: str) -> None:
        self._attributes = {"sealstream.chain": chain}
        self._provider: object = None
        self._tracer: Any = None

    def begin(self) -> EmitSpan | None:
        """None nearly always, and then at the cost of a look."""
        api = sys.modules.get("opentelemetry.trace")
        if api is None:
            return None
        try:
            if not api.get_current_span().get_span_context().trace_flags.sampled:
                return None
            provider = api.get_tracer_provider()
            if provider is not self._provider:
                self._tracer, self._provider = provider.get_tracer("sealstream"), provider
            kind = api.SpanKind.PRODUCER
            return EmitSpan(self._tracer.start_span(EMIT, kind=kind, attributes=self._attributes))
        except Exception:  # noqa: BLE001 - half imported, or a tracer that fails: the event is sent without
            return None
