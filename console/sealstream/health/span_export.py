"""Spans to whoever takes OTLP over HTTP, by OpenTelemetry's own SDK, which is imported here and nowhere else.

The invariant: the pipeline never waits for it and never fails by it. Spans wait in a queue of bounded length; what it
has no room for, and what the receiver did not take in a few seconds, is dropped and counted. The end of a process waits
for a second and a half at most. A crash loses the spans that waited.
"""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from importlib.util import find_spec
from typing import TYPE_CHECKING, NamedTuple

import structlog

from sealstream.errors import Misconfigured
from sealstream.layout import Figures, figures
from sealstream.layout.spans import Span, Tracing

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import ReadableSpan

__all__ = ["Receiver", "check_installed", "exporting"]

_QUEUE = 4_096
_AT_ONCE = 512
_EVERY_MS = 500
_GIVE_UP_S = 5.0
_LAST_S = 1.5
_SAY_AGAIN_S = 300.0


class Receiver(NamedTuple):
    """Who takes spans. `url`: of its OTLP over HTTP; `ratio`: the share of traces that is told of, 0 to 1."""

    url: str
    headers: Mapping[str, str]
    ratio: float


@contextmanager
def exporting(receiver: Receiver | None, process: str, tally: Figures) -> Iterator[Tracing | None]:
    """What the process makes spans with; None where none are asked for, and then nothing is imported.

    Raises `Misconfigured` when the packages are not installed.
    """
    if receiver is None:
        yield None
        return
    check_installed()
    export = _Export(receiver, process, tally)
    try:
        yield Tracing(receiver.ratio, time.time_ns, export.send)
    finally:
        export.close()


def check_installed() -> None:
    """Raises `Misconfigured` when a package of the extra `otel` is missing."""
    for package in ("opentelemetry.sdk.trace.export", "opentelemetry.exporter.otlp.proto.http.trace_exporter"):
        try:
            found = find_spec(package) is not None
        except ModuleNotFoundError:
            found = False
        if not found:
            raise Misconfigured(
                f"tracing.endpoint is set, but {package} is not installed: pip install 'sealstream[otel]', or remove "
                "the section tracing"
            )


class _Count:
    """Spans that wait, were taken and were dropped. Written by several threads, a step at a time."""

    def __init__(self, tally: Figures) -> None:
        self._tally = tally
        self._lock = threading.Lock()
        self._log = structlog.get_logger()
        self._said_at = float("-inf")
        self.waiting = 0
        self._sent = self._dropped = 0
        tally.set(figures.SPANS_SENT, 0)
        tally.set(figures.SPANS_DROPPED, 0)

    def wait(self, count: int) -> int:
        """For how many of these there is room; they wait from now on, and the others are dropped."""
        with self._lock:
            room = min(count, _QUEUE - self.waiting)
            self.waiting += room
            if room < count:
                self._drop(count - room)
            return room

    def done(self, count: int, *, taken: bool) -> None:
        """So many wait no longer."""
        with self._lock:
            self.waiting -= count
            if taken:
                self._sent += count
                self._tally.set(figures.SPANS_SENT, self._sent)
            else:
                self._drop(count)

    def _drop(self, count: int) -> None:
        self._dropped += count
        self._tally.set(figures.SPANS_DROPPED, self._dropped)
        if (now := time.monotonic()) - self._said_at >= _SAY_AGAIN_S:
            self._said_at = now
            self._log.warning("spans are dropped: tracing.endpoint does not take them", dropped=self._dropped)


class _Export:
    """The SDK's tracer and batching, between our ids and our counts."""

    def __init__(self, receiver: Receiver, process: str, tally: Figures) -> None:
        from opentelemetry import trace
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
        from opentelemetry.sdk.trace.id_generator import IdGenerator
        from opentelemetry.sdk.trace.sampling import ALWAYS_ON

        count = _Count(tally)
        sends = OTLPSpanExporter(receiver.url, headers=receiver.headers, timeout=_GIVE_UP_S)

        class Ids(IdGenerator):
            """The next span's is `wanted`; who sets it holds the lock."""

            wanted = 0

            def generate_span_id(self) -> int:
                return self.wanted

            def generate_trace_id(self) -> int:
                return random.getrandbits(128)  # never asked: every span of ours has a parent

        class Counting(SpanExporter):
            def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
                result = SpanExportResult.FAILURE
                try:
                    result = sends.export(spans)
                finally:
                    count.done(len(spans), taken=result is SpanExportResult.SUCCESS)
                return result

            def shutdown(self) -> None:
                sends.shutdown()  # type: ignore[no-untyped-call]

        batches = BatchSpanProcessor(Counting(), _QUEUE, _EVERY_MS, _AT_ONCE, _GIVE_UP_S * 1_000)

        _silence()
        named = {"service.name": f"sealstream-{process}", "service.version": version("sealstream")}
        self._ids = Ids()
        provider = TracerProvider(ALWAYS_ON, Resource.create(named), shutdown_on_exit=False, id_generator=self._ids)
        provider.add_span_processor(batches)
        self._tracer = provider.get_tracer("sealstream", version("sealstream"))
        self._trace = trace
        self._count = count
        self._shut_down = batches.shutdown
        self._lock = threading.Lock()

    def send(self, spans: Sequence[Span]) -> None:
        """From any thread. What there is no room for is not made: the SDK's queue would drop the oldest in silence."""
        room = self._count.wait(len(spans))
        for at, span in enumerate(spans[:room]):
            try:
                self._send(span)
            except Exception as error:  # noqa: BLE001 - whatever the SDK raises, the pipeline goes on
                self._count.done(room - at, taken=False)
                structlog.get_logger().warning("a span can't be made", reason=repr(error))
                return

    def _send(self, span: Span) -> None:
        trace = self._trace
        parent = trace.SpanContext(span.trace_id, span.parent_id, True, trace.TraceFlags(trace.TraceFlags.SAMPLED))
        with self._lock:
            self._ids.wanted = span.span_id
            made = self._tracer.start_span(
                span.name,
                trace.set_span_in_context(trace.NonRecordingSpan(parent)),
                trace.SpanKind.CONSUMER,
                _attributes(span),
                start_time=span.start_ns,
            )
        if not made.is_recording():  # OTEL_SDK_DISABLED: it goes nowhere
            self._count.done(1, taken=False)
        made.add_event("read", timestamp=span.read_ns)
        made.end(span.end_ns)

    def close(self) -> None:
        """Send what waits, as far as that goes in a moment."""
        last = threading.Thread(target=self._shut_down, name="last-spans", daemon=True)
        last.start()
        last.join(_LAST_S)
        if left := self._count.waiting:
            structlog.get_logger().warning("spans were not sent before the end", count=left)


def _attributes(span: Span) -> Mapping[str, str | int]:
    return {
        "sealstream.chain": span.chain,
        "sealstream.seq": span.seq,
        "sealstream.event.id": span.event_id,
        "sealstream.kind": "event",
    }


def _silence() -> None:
    """The SDK's lines say each failed request, in a form that is not ours; `_Count` says it now and then."""
    logger = logging.getLogger("opentelemetry")
    logger.addHandler(logging.NullHandler())
    logger.propagate = False
