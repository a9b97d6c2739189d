"""The small HTTP server beside a process's loop: /metrics, /healthz, /readyz.

It runs in threads of its own and reads copies, so a scraper can neither slow nor break the loop: at most four questions
are answered at once (others are hung up on), each within 5 s. A port that is taken ends nothing either: the process
goes on, and binding is tried again (docs/decisions/0232). Read only; nothing to lose in a crash.
"""

from __future__ import annotations

import json
import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from sealstream.health.vitals import Verdict, Vitals

__all__ = ["MetricsServer"]

_AT_ONCE = 4
_WITHIN_S = 5.0
_PATHS = "/metrics, /healthz, /readyz"


class MetricsServer:
    """Serves `vitals` at `host`:`port` (0: a free one). `open` binds and raises `OSError`; `close` may come twice."""

    def __init__(self, vitals: Vitals, host: str, port: int) -> None:
        self._vitals = vitals
        self._host = host
        self._port = port
        self._server: ThreadingHTTPServer | None = None

    @property
    def url(self) -> str:
        """Where it listens; empty while it does not."""
        if self._server is None:
            return ""
        host, port = self._server.server_address[:2]
        return f"http://[{host!s}]:{port}" if ":" in str(host) else f"http://{host!s}:{port}"

    def open(self) -> str:
        """Bind and serve; the URL."""
        if self._server is None:
            self._server = _bounded(self._host, self._port, self._vitals)
            threading.Thread(target=self._server.serve_forever, name="metrics", daemon=True).start()
        return self.url

    def close(self) -> None:
        """Let go of the port."""
        server, self._server = self._server, None
        if server is not None:
            server.shutdown()
            server.server_close()


def _bounded(host: str, port: int, vitals: Vitals) -> ThreadingHTTPServer:
    from prometheus_client.exposition import choose_encoder  # a command that serves nothing starts without it

    from sealstream.health.collecting import registry_of

    free = threading.BoundedSemaphore(_AT_ONCE)
    registry = registry_of(vitals)

    class Server(ThreadingHTTPServer):
        daemon_threads = True
        address_family = socket.AF_INET6 if ":" in host else socket.AF_INET

        def process_request(self, request: Any, client_address: Any) -> None:
            if free.acquire(blocking=False):
                super().process_request(request, client_address)
            else:
                self.shutdown_request(request)

        def process_request_thread(self, request: Any, client_address: Any) -> None:
            try:
                super().process_request_thread(request, client_address)
            finally:
                free.release()

        def handle_error(self, request: Any, client_address: Any) -> None:
            """Somebody hung up: no business of the log."""

    class Answer(BaseHTTPRequestHandler):
        timeout = _WITHIN_S
        server_version, sys_version = "sealstream", ""

        def do_GET(self) -> None:
            path = self.path.partition("?")[0]
            if path == "/metrics":
                encode, content_type = choose_encoder(self.headers.get("Accept", ""))
                self._send(200, content_type, encode(registry))
            elif path == "/healthz":
                self._send_verdict("alive", vitals.alive())
            elif path == "/readyz":
                self._send_verdict("ready", vitals.ready())
            else:
                self._send(404, "text/plain; charset=utf-8", f"there is nothing here but {_PATHS}\n".encode())

        do_HEAD = do_GET

        def _send_verdict(self, word: str, verdict: Verdict) -> None:
            members: dict[str, Any] = {"process": vitals.process, word: verdict.holds, "because": verdict.because}
            if verdict.runbook:
                members["runbook"] = verdict.runbook
            body = json.dumps(members) + "\n"
            self._send(200 if verdict.holds else 503, "application/json", body.encode())

        def _send(self, code: int, content_type: str, body: bytes) -> None:
            self.send_response(code)
            self.send_header("Content-Type", content_type)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        def log_message(self, format: str, *arguments: Any) -> None:
            """Probes come every few seconds: not worth a line."""

    return Server((host, port), Answer)
