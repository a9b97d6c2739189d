"""A TLS connection that can tell whether its other end has closed it in order, after it has read everything.

Why not `ssl.SSLSocket`: its `unwrap` takes a fatal alert for a close_notify (OpenSSL's SSL_shutdown does), and with TLS
1.3 a server that refuses our certificate says so only after our handshake is done. So what a receiver refused looked
like what it had read. Here our close_notify is sent first, and then the other end's is read for like data.
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable
from contextlib import suppress
from typing import Self

__all__ = ["TlsLine"]

_AT_ONCE = 65_536


class TlsLine:
    """Over a connected socket, which is its own from then on. All methods raise `OSError`, of which TLS's are some."""

    def __init__(self, plain: socket.socket, context: ssl.SSLContext, name: str) -> None:
        self._plain = plain
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_hostname=name)

    def open(self) -> Self:
        """The handshake: the other end is who it should be."""
        self._do(self._tls.do_handshake)
        return self

    @property
    def version(self) -> str:
        """Of the protocol, as `TLSv1.3`."""
        return self._tls.version() or ""

    def send(self, data: bytes) -> None:
        """All of it, into the socket."""
        view = memoryview(data)
        for first in range(0, len(view), _AT_ONCE):
            part = view[first : first + _AT_ONCE]
            self._do(lambda part=part: self._tls.write(part))  # type: ignore[misc]

    def end(self) -> None:
        """Says that nothing more comes, and waits until the other end has said the same."""
        while self._pending():
            pass
        with suppress(ssl.SSLWantReadError):  # nothing is there to be read, so this only sends
            self._tls.unwrap()
        self._flush()
        while not self._ended():
            self._fetch()

    def close(self) -> None:
        """Lets go of the socket."""
        self._plain.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _do(self, step: Callable[[], object]) -> None:
        while True:
            try:
                step()
            except ssl.SSLWantReadError:
                self._flush()
                self._fetch()
            else:
                self._flush()
                return

    def _pending(self) -> bool:
        """Whether there was something to be read; a syslog receiver has nothing to say, so it is passed over."""
        try:
            return bool(self._tls.read(_AT_ONCE))
        except ssl.SSLWantReadError:
            return False

    def _ended(self) -> bool:
        """Whether what has come holds the other end's close_notify."""
        try:
            while self._tls.read(_AT_ONCE):
                pass
        except ssl.SSLWantReadError:
            return False
        except ssl.SSLZeroReturnError:
            return True
        return True

    def _flush(self) -> None:
        if self._outgoing.pending:
            self._plain.sendall(self._outgoing.read())

    def _fetch(self) -> None:
        part = self._plain.recv(_AT_ONCE)
        if not part:
            raise ssl.SSLEOFError("the connection was cut")
        self._incoming.write(part)
