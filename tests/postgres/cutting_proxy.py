"""A TCP proxy in front of Postgres that cuts the connection at a chosen message, before or after the server saw it."""

from __future__ import annotations

import contextlib
import select
import selectors
import socket
import threading
from urllib.parse import urlsplit, urlunsplit

_ANSWER_S = 0.5


class CuttingProxy:
    """Cuts at the `nth` message in which `trigger` occurs, once; then lets everything pass.

    `after` False: the server never gets it. `after` True: the server gets it and answers; the answer is thrown away.
    """

    def __init__(self, dsn: str, trigger: bytes, *, after: bool, nth: int = 1) -> None:
        parts = urlsplit(dsn)
        self._server = (parts.hostname, parts.port)
        self._trigger, self._after, self._left = trigger, after, nth
        self.cuts = 0
        self._listener = socket.create_server(("127.0.0.1", 0))
        own = f"127.0.0.1:{self._listener.getsockname()[1]}"
        self.dsn = urlunsplit(parts._replace(netloc=f"{parts.netloc.rpartition('@')[0]}@{own}"))
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._listener.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with client, socket.create_connection(self._server) as server, selectors.DefaultSelector() as ready:
            ready.register(client, selectors.EVENT_READ, server)
            ready.register(server, selectors.EVENT_READ, client)
            with contextlib.suppress(OSError):
                while True:
                    for key, _ in ready.select():
                        data = key.fileobj.recv(65_536)
                        if not data:
                            return
                        if key.fileobj is client and self._is_the_one(data):
                            if self._after:
                                server.sendall(data)
                                select.select([server], [], [], _ANSWER_S)  # amid a COPY there is none
                            self.cuts += 1
                            return
                        key.data.sendall(data)

    def _is_the_one(self, data: bytes) -> bool:
        if self.cuts or self._trigger not in data:
            return False
        self._left -= 1
        return self._left == 0
