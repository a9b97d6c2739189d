"""The bytes of gzip files: as they come, for who reads records, and member by member, for who validates. Pure.

Nothing that stands in a file is passed over in silence: what is cut off, broken, or no gzip behind gzip is said.
"""

from __future__ import annotations

import itertools
import zlib
from collections.abc import Iterable, Iterator

from sealstream.errors import SealstreamError

__all__ = ["MAX_DOCUMENT_BYTES", "BrokenFile", "gunzipped", "unpacked"]

MAX_DOCUMENT_BYTES = 256 * 2**20
_GZIP = b"\x1f\x8b"
_GZIP_WINDOW = 16 + zlib.MAX_WBITS
_PIECE = 2**20


class BrokenFile(SealstreamError):
    """From here on a file can't be read."""


def gunzipped(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """The bytes, unpacked when they are gzip, all members. Raises `BrokenFile` behind what could be unpacked."""
    coming = iter(chunks)
    head = b""
    for chunk in coming:
        head += chunk
        if len(head) >= 2:
            break
    if head[:2] != _GZIP:
        if head:
            yield head
        yield from coming
        return
    unpacker = zlib.decompressobj(_GZIP_WINDOW)
    for chunk in itertools.chain([head], coming):
        data = chunk
        while data:
            if unpacker.eof:
                data = data.lstrip(b"\0")  # what tapes and block devices fill up with
                if not data:
                    break
                if not _GZIP.startswith(data[:2]):
                    raise BrokenFile(f"data stands behind the gzip stream ({data[:16]!a}...): it is not read")
                unpacker = zlib.decompressobj(_GZIP_WINDOW)
            try:
                piece = unpacker.decompress(data, _PIECE)
                while piece:
                    yield piece
                    piece = b"" if unpacker.eof else unpacker.decompress(unpacker.unconsumed_tail, _PIECE)
            except zlib.error as error:
                raise BrokenFile(f"the gzip stream is broken: {error}") from error
            data = unpacker.unused_data
    if not unpacker.eof:
        raise BrokenFile("the gzip stream is cut off")


def unpacked(data: bytes) -> tuple[list[bytes], bytes]:
    """The contents of the gzip members, and what stands behind the last one that could be read.

    What is not gzip is one content: some programs unpack what they copy.
    """
    if data[:2] != b"\x1f\x8b":
        return [data], b""
    members: list[bytes] = []
    size = 0
    while data[:2] == b"\x1f\x8b":
        unpacker = zlib.decompressobj(16 + zlib.MAX_WBITS)
        try:
            content = unpacker.decompress(data, MAX_DOCUMENT_BYTES - size + 1)
        except zlib.error:
            break
        size += len(content)
        if not unpacker.eof or size > MAX_DOCUMENT_BYTES:
            break
        members.append(content)
        data = unpacker.unused_data
    return members, data
