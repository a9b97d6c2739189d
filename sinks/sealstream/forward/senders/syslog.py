"""Syslog over TLS (RFC 5425): a connection for each batch, which is taken when the receiver has read to its end.

Syslog has no acknowledgements, and what a socket took may be lost in a receiver's queue. TLS has one: after the last
message we close our side (close_notify), and a receiver that answers with its own close_notify has read everything
before it (RFC 5425 section 4.4 demands both). Without that answer the batch counts as not delivered, and is sent again.
What the receiver does with what it has read is beyond what syslog can say.
"""

from __future__ import annotations

import socket
from collections.abc import Sequence
from urllib.parse import urlsplit

from sealstream.errors import Unavailable
from sealstream.forward.addresses import Guard, NotAllowed, connected, tls_context
from sealstream.forward.formats.syslog import framed, syslog_message
from sealstream.forward.messages import Message
from sealstream.forward.outcomes import Outcome, later, taken
from sealstream.forward.senders.sending import Prepared
from sealstream.forward.senders.tls_line import TlsLine
from sealstream.forward.targets import Target

__all__ = ["SyslogSender"]

_PORT = 6514


class SyslogSender:
    """One receiver. `host`: what the messages say that they come from."""

    most = 1_000
    most_bytes = 1_000_000

    def __init__(self, target: Target, host: str | None = None) -> None:
        self._target = target
        parts = urlsplit(target.url)
        self._name = parts.hostname or ""
        self._port = parts.port or _PORT
        self._timeout_s = target.timeout_s
        self._guard = Guard.of(target.allow_networks)
        self._context = tls_context(target.ca_file, target.certificate_file, target.key_file)
        self._host = host or socket.gethostname()

    def prepare(self, message: Message) -> Prepared:
        return Prepared(message, framed(syslog_message(self._target, message, self._host)))

    def send(self, messages: Sequence[Prepared]) -> Outcome:
        try:
            with self._opened() as line:
                line.send(b"".join(each.body for each in messages))
                self._end(line)
        except (NotAllowed, Unavailable) as error:
            return later(str(error))
        except OSError as error:  # TLS errors and timeouts are such
            return later(f"{self._name}:{self._port}: {error or type(error).__name__}")
        return taken(f"read to its end by {self._name}")

    def try_out(self) -> str:
        """Connects, and closes as after messages, without one."""
        try:
            with self._opened() as line:
                self._end(line)
                return f"{self._name} takes connections with {line.version}"
        except OSError as error:
            raise Unavailable(f"{self._name}:{self._port}: {error}") from error

    def close(self) -> None:
        """Nothing is kept open."""

    def _opened(self) -> TlsLine:
        line = TlsLine(connected(self._guard, self._name, self._port, self._timeout_s), self._context, self._name)
        try:
            return line.open()
        except BaseException:
            line.close()
            raise

    def _end(self, line: TlsLine) -> None:
        """Closes our side and waits for the receiver's. Raises `Unavailable` when it does not close in order."""
        try:
            line.end()
        except OSError as error:
            raise Unavailable(
                f"{self._name}:{self._port} did not say that it has read everything (close_notify): {error}"
            ) from error
