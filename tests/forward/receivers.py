"""Receivers that are real servers: HTTP(S), a Splunk collector that indexes late or never, syslog over TLS, SMTP."""

from __future__ import annotations

import json
import re
import socket
import ssl
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session

from sealstream.devstack.ports import free_port

__all__ = ["Collector", "HttpReceiver", "MailReceiver", "Parsed", "Reply", "Request", "SyslogReceiver", "parse_syslog"]


class Request(NamedTuple):
    """What came. Headers in lower case."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes
    at: float

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Reply(NamedTuple):
    status: int = 200
    body: bytes = b"ok"
    headers: Mapping[str, str] = {}
    after_s: float = 0.0


class HttpReceiver:
    """Answers as `answer` says, and keeps every request. `certificate`: of a TLS server, with its key."""

    def __init__(self, certificate: tuple[Path, Path] | None = None) -> None:
        self.requests: list[Request] = []
        self.answer: Callable[[Request], Reply] = lambda request: Reply()
        self.connections = 0
        self._certificate = certificate
        self._server: ThreadingHTTPServer | None = None
        self.port = 0

    @property
    def url(self) -> str:
        return f"{'https' if self._certificate else 'http'}://localhost:{self.port}"

    def start(self) -> HttpReceiver:
        """Listens, on the same port as before."""
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def setup(self) -> None:
                receiver.connections += 1
                super().setup()

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                headers = {name.lower(): value for name, value in self.headers.items()}
                request = Request(self.command, self.path, headers, body, time.monotonic())
                receiver.requests.append(request)
                reply = receiver.answer(request)
                time.sleep(reply.after_s)
                self.send_response(reply.status)
                for name, value in reply.headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(reply.body)))
                self.end_headers()
                self.wfile.write(reply.body)

            do_GET = do_POST

            def log_message(self, format: str, *arguments: Any) -> None:
                """Nobody reads it."""

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            allow_reuse_address = True

            def handle_error(self, request: Any, client_address: Any) -> None:
                """Whoever hung up is seen by the test itself."""

        self._server = Server(("127.0.0.1", self.port), Handler)
        self.port = self._server.server_address[1]
        if self._certificate is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*self._certificate)
            self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def stop(self) -> None:
        server, self._server = self._server, None
        if server is not None:
            server.shutdown()
            server.server_close()

    def __enter__(self) -> HttpReceiver:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


class Collector(HttpReceiver):
    """Splunk's HTTP Event Collector as its documentation describes it: acknowledgements count from 0 in each channel,
    and `crash` loses what was received and not indexed, with all numbers. `indexes`: whether events are indexed.
    """

    TOKEN = "12345678-1234-1234-1234-1234567890ab"

    def __init__(self, certificate: tuple[Path, Path] | None = None, *, acknowledges: bool = True) -> None:
        super().__init__(certificate)
        self.indexed: list[Any] = []
        self.indexes = True
        self.acknowledges = acknowledges
        self._received: dict[tuple[str, int], list[Any]] = {}
        self._next: dict[str, int] = {}
        self._acked: set[tuple[str, int]] = set()
        self._lock = threading.Lock()
        self.answer = self._collect

    def crash(self) -> None:
        with self._lock:
            self._received.clear()
            self._next.clear()
            self._acked.clear()

    def index(self) -> None:
        with self._lock:
            for key, events in self._received.items():
                self.indexed += events
                self._acked.add(key)
            self._received.clear()

    def _collect(self, request: Request) -> Reply:
        told = request.headers.get("authorization", "")
        if not told:
            return _hec(401, 2, "Token is required")
        if told != f"Splunk {self.TOKEN}":
            return _hec(403, 4, "Invalid token")
        channel = request.headers.get("x-splunk-request-channel", "")
        if self.acknowledges and not channel:
            return _hec(400, 10, "Data channel is missing")
        if request.path == "/services/collector/ack":
            if self.indexes:
                self.index()
            with self._lock:
                acks = {str(n): (channel, n) in self._acked for n in request.json["acks"]}
            return Reply(200, json.dumps({"acks": acks}).encode())
        assert request.path == "/services/collector/event"
        if not request.body:
            return _hec(400, 5, "No data")
        decoder, text = json.JSONDecoder(), request.body.decode()
        events: list[Any] = []
        while text := text.lstrip():
            try:
                event, end = decoder.raw_decode(text)
            except ValueError:
                return _hec(400, 6, "Invalid data format", **{"invalid-event-number": len(events)})
            if event.get("event") in (None, ""):
                return _hec(400, 12, "Event field is required", **{"invalid-event-number": len(events)})
            events.append(event)
            text = text[end:]
        with self._lock:
            number = self._next.get(channel, 0)
            self._next[channel] = number + 1
            self._received[channel, number] = events
        return _hec(200, 0, "Success", **({"ackId": number} if self.acknowledges else {}))


def _hec(status: int, code: int, text: str, **more: Any) -> Reply:
    return Reply(status, json.dumps({"text": text, "code": code, **more}).encode())


class Parsed(NamedTuple):
    """An RFC 5424 message."""

    priority: int
    timestamp: str
    host: str
    app: str
    procid: str
    msgid: str
    data: str
    text: str


# RFC 5424 section 6: the ABNF, with structured data of SD-ELEMENTs whose values escape '"', '\' and ']'.
_ELEMENT = r'\[[!#-<>-\\^-~]{1,32}(?: [!#-<>-\\^-~]{1,32}="(?:[^"\\\]]|\\["\\\]])*")*\]'
_SYSLOG = re.compile(
    r"<(0|[1-9][0-9]{0,2})>1 "
    r"(-|\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{1,6})?(?:Z|[+-]\d\d:\d\d)) "
    r"([!-~]{1,255}) ([!-~]{1,48}) ([!-~]{1,128}) ([!-~]{1,32}) "
    rf"(-|(?:{_ELEMENT})+)(?: (.*))?",
    re.DOTALL,
)


def parse_syslog(message: bytes) -> Parsed:
    """Strictly; raises `ValueError`."""
    found = _SYSLOG.fullmatch(message.decode("ascii"))
    if found is None or int(found[1]) > 191:
        raise ValueError(f"not RFC 5424: {message[:200]!r}")
    return Parsed(int(found[1]), *found.groups()[1:])


class SyslogReceiver:
    """RFC 5425: octet counting over TLS. `answers`: whether it closes in order (close_notify), as it must."""

    def __init__(self, certificate: tuple[Path, Path], ca_of_clients: Path | None = None) -> None:
        self.messages: list[bytes] = []
        self.answers = True
        self.dies_after_bytes: int | None = None
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*certificate)
        if ca_of_clients is not None:
            context.load_verify_locations(ca_of_clients)
            context.verify_mode = ssl.CERT_REQUIRED
        self._context = context
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._serve, daemon=True).start()

    @property
    def url(self) -> str:
        return f"syslog+tls://localhost:{self.port}"

    def close(self) -> None:
        self._listener.close()

    def _serve(self) -> None:
        while True:
            try:
                plain, _ = self._listener.accept()
            except OSError:
                return
            with suppress(OSError):
                self._read(plain)

    def _read(self, plain: socket.socket) -> None:
        plain.settimeout(10)
        connection = self._context.wrap_socket(plain, server_side=True)
        data = b""
        while part := connection.recv(65_536):
            data += part
            if self.dies_after_bytes is not None and len(data) >= self.dies_after_bytes:
                plain_fd = socket.socket(fileno=connection.detach())
                plain_fd.close()
                return
        while data:
            length, _, rest = data.partition(b" ")
            assert re.fullmatch(rb"[1-9][0-9]*", length), data[:50]
            assert len(rest) >= int(length), "a message was cut"
            self.messages.append(rest[: int(length)])
            data = rest[int(length) :]
        if self.answers:
            connection.unwrap().close()
        else:
            connection.close()


class MailReceiver:
    """SMTP with STARTTLS and a login. `refuse`: what `RCPT TO` or `DATA` are answered, by recipient or \"data\"."""

    USER, PASSWORD = "sealstream", "of-the-tests"

    def __init__(self, certificate: tuple[Path, Path], *, starttls: bool = True) -> None:
        self.mails: list[Envelope] = []
        self.encrypted: list[bool] = []
        self.refuse: dict[str, str] = {}
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(*certificate)
        receiver = self

        class OurController(Controller):
            def factory(self) -> SMTP:
                return SMTP(
                    self.handler,
                    hostname="localhost",
                    tls_context=receiver._context if starttls else None,
                    require_starttls=starttls,
                    authenticator=receiver._check,
                    auth_required=starttls,
                )

        self.port = free_port(set())
        self._controller = OurController(self, hostname="127.0.0.1", port=self.port)

    @property
    def url(self) -> str:
        return f"smtp+starttls://localhost:{self.port}"

    def _check(self, server: SMTP, session: Session, envelope: Envelope, mechanism: str, data: Any) -> AuthResult:
        fine = isinstance(data, LoginPassword) and (data.login, data.password) == (
            self.USER.encode(),
            self.PASSWORD.encode(),
        )
        return AuthResult(success=fine, handled=False)

    async def handle_RCPT(
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        if address in self.refuse:
            return self.refuse[address]
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        if "data" in self.refuse:
            return self.refuse["data"]
        self.mails.append(envelope)
        self.encrypted.append(session.ssl is not None)
        return "250 OK"

    def __enter__(self) -> MailReceiver:
        self._controller.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._controller.stop()
