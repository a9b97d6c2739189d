"""An HTTP proxy in front of S3 that answers wrongly, or not at all, before or after the request went through.

One request a connection, to keep it plain. The signature covers the host that the client named, which goes on as it is.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from typing import NamedTuple

from tests.faults.proxy import Network

__all__ = ["S3_FAULTS", "S3Proxy"]

_HEAD_LIMIT = b"\r\n\r\n"
_ANSWERS = {
    "500": (500, "Internal Server Error", "InternalError"),
    "503": (503, "Slow Down", "SlowDown"),
    "412": (412, "Precondition Failed", "PreconditionFailed"),
}


class _S3Fault(NamedTuple):
    """`answer`: what is answered (None: nothing). `goes_through`: whether S3 does what it was asked."""

    answer: str | None
    goes_through: bool
    puts_only: bool


S3_FAULTS = {
    "500": _S3Fault("500", goes_through=False, puts_only=False),
    "503": _S3Fault("503", goes_through=False, puts_only=False),
    "412": _S3Fault("412", goes_through=False, puts_only=True),
    "500 after the write": _S3Fault("500", goes_through=True, puts_only=True),
    "timeout after the write": _S3Fault(None, goes_through=True, puts_only=True),
    "timeout": _S3Fault(None, goes_through=False, puts_only=False),
}


class S3Proxy:
    """Stands in front of `port`. `fault`: one of `S3_FAULTS` or None; `share`: of the requests that it hits."""

    def __init__(self, network: Network, port: int, *, hold_s: float = 25.0) -> None:
        self._port = port
        self._hold_s = hold_s
        self._random = random.Random()
        self.fault: str | None = None
        self.share = 1.0
        self.hits = 0
        self.port = network.serve(self._serve)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            await self._handle(reader, writer)
        with contextlib.suppress(OSError):
            writer.close()

    async def _handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(_HEAD_LIMIT)).decode("latin-1")
        lines = head.split("\r\n")[:-2]
        fields = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:])}
        if "100-continue" in fields.get("expect", "").lower():
            writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        body = await reader.readexactly(int(fields.get("content-length", "0")))
        method, target = lines[0].split(" ")[:2]
        put = method == "PUT" and "?" not in target
        chosen = S3_FAULTS[self.fault] if self.fault else None
        if chosen is not None and ((chosen.puts_only and not put) or self._random.random() >= self.share):
            chosen = None
        answer = b""
        if chosen is None or chosen.goes_through:
            kept = [line for line in lines if not line.lower().startswith(("expect:", "connection:"))]
            answer = await self._ask("\r\n".join([*kept, "Connection: close"]).encode("latin-1") + _HEAD_LIMIT + body)
        if chosen is not None:
            self.hits += 1
            if chosen.answer is None:
                await self._hold(chosen)
                return
            answer = _answer(chosen.answer)
        writer.write(answer)
        await writer.drain()

    async def _hold(self, chosen: _S3Fault) -> None:
        """Say nothing for as long as the fault lasts, at most `hold_s`; then hang up."""
        for _ in range(int(self._hold_s * 5)):
            if self.fault is None or S3_FAULTS[self.fault] is not chosen:
                return
            await asyncio.sleep(0.2)

    async def _ask(self, request: bytes) -> bytes:
        reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
        try:
            writer.write(request)
            await writer.drain()
            return await reader.read(-1)
        finally:
            writer.close()


def _answer(which: str) -> bytes:
    status, reason, code = _ANSWERS[which]
    body = f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>of the fault bench</Message></Error>".encode()
    head = f"HTTP/1.1 {status} {reason}\r\nContent-Type: application/xml\r\nContent-Length: {len(body)}\r\n"
    return f"{head}Connection: close\r\n\r\n".encode() + body
