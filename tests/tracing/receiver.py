"""Somebody who takes OTLP over HTTP, as a collector does, and reads it by OpenTelemetry's own schema."""

from __future__ import annotations

import gzip
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import NamedTuple

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

__all__ = ["Got", "Receiver"]


class Got(NamedTuple):
    """One span, as it came. Ids as hex."""

    service: str
    name: str
    kind: int
    trace_id: str
    span_id: str
    parent_id: str
    start_ns: int
    end_ns: int
    events: dict[str, int]
    attributes: dict[str, str | int]


class Receiver:
    """Listens on a free port. `hangs`: it takes requests and never answers."""

    def __init__(self, *, hangs: bool = False) -> None:
        self.spans: list[Got] = []
        self.headers: list[dict[str, str]] = []
        self._released = threading.Event()
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if hangs:
                    receiver._released.wait(60)
                    return
                assert self.path == "/v1/traces"
                receiver._take(gzip.decompress(body) if self.headers["Content-Encoding"] == "gzip" else body)
                receiver.headers.append({name.lower(): value for name, value in self.headers.items()})
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_words: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._server.block_on_close = False
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        self.endpoint = f"http://127.0.0.1:{self._server.server_port}"

    def _take(self, body: bytes) -> None:
        for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
            about = {each.key: each.value.string_value for each in resource.resource.attributes}
            for span in [span for scope in resource.scope_spans for span in scope.spans]:
                self.spans.append(
                    Got(
                        about["service.name"],
                        span.name,
                        span.kind,
                        *(each.hex() for each in (span.trace_id, span.span_id, span.parent_span_id)),
                        span.start_time_unix_nano,
                        span.end_time_unix_nano,
                        {event.name: event.time_unix_nano for event in span.events},
                        {
                            each.key: getattr(each.value, each.value.WhichOneof("value") or "")
                            for each in span.attributes
                        },
                    )
                )

    def traces(self) -> dict[str, dict[str, Got]]:
        """Spans by trace and name."""
        found: dict[str, dict[str, Got]] = {}
        for span in list(self.spans):
            assert span.name not in found.setdefault(span.trace_id, {}), f"{span.name} was told of twice"
            found[span.trace_id][span.name] = span
        return found

    def wait(self, count: int, timeout_s: float = 120) -> None:
        """Until so many spans have come."""
        begun = time.monotonic()
        while len(self.spans) < count:
            assert time.monotonic() - begun < timeout_s, f"{len(self.spans)} of {count} spans: {self.spans}"
            time.sleep(0.05)

    def close(self) -> None:
        self._released.set()
        self._server.shutdown()
        self._server.server_close()
