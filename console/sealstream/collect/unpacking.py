"""Bodies that were packed: gzip (RFC 1952, also of several members) and zstd (RFC 8878), piece by piece.

The invariant: no step makes more than one piece of output, whatever the input says, so that whoever counts the pieces
can stop a bomb after one too many; and a body has a bounded number of members, for empty ones cost time and add no
piece. Pure but for the decompressors' own state.
"""

from __future__ import annotations

import sys
import zlib
from collections.abc import Iterator
from typing import Any, Protocol

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

__all__ = ["ENCODINGS", "Damaged", "Unpacker", "unpacker"]

PIECE_BYTES = 262_144
_LARGEST_WINDOW_LOG = 23  # 8 MiB, what RFC 8878 section 3.1.1.1.2 asks of everybody

MOST_MEMBERS = 1_000
"""Members (gzip) or frames (zstd) that a body may be made of."""

ENCODINGS = ("gzip", "zstd", "identity")


class Damaged(Exception):
    """Packed bytes that are not what they are said to be; the message says how."""


class Unpacker(Protocol):
    """Takes packed bytes as they come."""

    def pieces(self, data: bytes) -> Iterator[bytes]:
        """What `data` adds, at most `PIECE_BYTES` at a time. Raises `Damaged`."""
        ...

    def end(self) -> None:
        """There is no more. Raises `Damaged` when it should not be over."""
        ...


class _Identity:
    def pieces(self, data: bytes) -> Iterator[bytes]:
        yield data

    def end(self) -> None:
        pass


def _one_more(members: int) -> int:
    if members == MOST_MEMBERS:
        raise Damaged(f"the body is packed in more than {MOST_MEMBERS:,} parts: pack it as one")
    return members + 1


class _Gzip:
    def __init__(self) -> None:
        self._member: Any = None
        self._members = 0

    def pieces(self, data: bytes) -> Iterator[bytes]:
        try:
            while data:
                if self._member is None:
                    self._members = _one_more(self._members)
                    self._member = zlib.decompressobj(wbits=31)
                yield self._member.decompress(data, PIECE_BYTES)
                if self._member.eof:
                    data, self._member = self._member.unused_data, None
                else:
                    data = self._member.unconsumed_tail
        except zlib.error as error:
            raise Damaged(f"the body is no gzip: {error}") from error

    def end(self) -> None:
        if self._member is not None:
            raise Damaged("the body's gzip ends too early")


class _Zstd:
    def __init__(self) -> None:
        self._frame: Any = None
        self._frames = 0

    def pieces(self, data: bytes) -> Iterator[bytes]:
        try:
            while data:
                if self._frame is None:
                    self._frames = _one_more(self._frames)
                    limit: dict[int, int] = {zstd.DecompressionParameter.window_log_max: _LARGEST_WINDOW_LOG}
                    self._frame = zstd.ZstdDecompressor(options=limit)
                yield self._frame.decompress(data, PIECE_BYTES)
                while not self._frame.eof and not self._frame.needs_input:
                    yield self._frame.decompress(b"", PIECE_BYTES)
                data = b""
                if self._frame.eof:
                    data, self._frame = self._frame.unused_data, None
        except zstd.ZstdError as error:
            raise Damaged(f"the body is no zstd: {error}") from error

    def end(self) -> None:
        if self._frame is not None:
            raise Damaged("the body's zstd ends too early")


def unpacker(encoding: str) -> Unpacker | None:
    """For a `Content-Encoding`; None: it is none of `ENCODINGS`."""
    match encoding.strip().lower():
        case "" | "identity":
            return _Identity()
        case "gzip" | "x-gzip":
            return _Gzip()
        case "zstd":
            return _Zstd()
        case _:
            return None
