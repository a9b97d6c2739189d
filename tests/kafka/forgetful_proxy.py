"""A TCP proxy in front of one Kafka broker that can answer as a broker does which has just come back: "no brokers".

Everything goes through it: in each answer the broker's own port is replaced by the proxy's. While `forgetful`, the list
of brokers in answers to Metadata requests is empty and the rest stays, as brokers answer now and then while they start
or are cut off from the others.
"""

from __future__ import annotations

import contextlib
import socket
import struct
import threading

_METADATA = 3
_FLEXIBLE_FROM = 9  # the version from which Metadata has tagged fields and compact arrays (KIP-482)


class ForgetfulProxy:
    """`bootstrap` is where clients find it. `forgotten` counts the answers without brokers."""

    def __init__(self, bootstrap: str) -> None:
        host, _, port = bootstrap.partition(",")[0].rpartition(":")
        self._broker = (host, int(port))
        self._listener = socket.create_server(("127.0.0.1", 0))
        own = self._listener.getsockname()[1]
        self.bootstrap = f"127.0.0.1:{own}"
        self._real, self._own = (host.encode() + struct.pack(">i", number) for number in (int(port), own))
        self.forgetful = False
        self.forgotten = 0
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._listener.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                broker = socket.create_connection(self._broker)
                asked: dict[int, int] = {}
                for one, other, seen in ((client, broker, self._note), (broker, client, self._answer)):
                    threading.Thread(target=self._pass_on, args=(one, other, seen, asked), daemon=True).start()

    def _pass_on(self, one: socket.socket, other: socket.socket, seen, asked: dict[int, int]) -> None:
        with contextlib.suppress(OSError, struct.error), one, other, one.makefile("rb") as stream:
            while size := stream.read(4):
                message = seen(stream.read(*struct.unpack(">i", size)), asked)
                other.sendall(struct.pack(">i", len(message)) + message)

    def _note(self, request: bytes, asked: dict[int, int]) -> bytes:
        key, version, correlation = struct.unpack_from(">hhi", request)
        if key == _METADATA:
            assert version >= _FLEXIBLE_FROM, version
            asked[correlation] = version
        return request

    def _answer(self, response: bytes, asked: dict[int, int]) -> bytes:
        response = response.replace(self._real, self._own)
        (correlation,) = struct.unpack_from(">i", response)
        if asked.pop(correlation, None) is None or not self.forgetful:
            return response
        self.forgotten += 1
        begin = 4 + 1 + 4  # correlation id, no tagged fields, throttle time
        return response[:begin] + b"\x01" + response[self._behind_brokers(response, begin) :]

    @staticmethod
    def _behind_brokers(response: bytes, at: int) -> int:
        count, at = response[at] - 1, at + 1
        for _ in range(count):
            at += 4  # node id
            at += response[at]  # host: its length and one more
            at += 4  # port
            at += max(response[at], 1)  # rack: null or a text
            assert response[at] == 0, "tagged fields of a broker"
            at += 1
        return at
