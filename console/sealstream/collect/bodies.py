"""Reads a request's body within its bounds: as sent, unpacked, of all requests together, and in time.

The invariant: memory is taken from the room before bytes are kept, and a body that is too large is refused when its
first byte too many is seen, packed or not.
"""

from __future__ import annotations

import asyncio

from starlette.requests import ClientDisconnect, Request

from sealstream.collect.room import Held
from sealstream.collect.settings import CollectSection
from sealstream.collect.unpacking import ENCODINGS, Damaged, unpacker
from sealstream.web.problems import Problem

__all__ = ["read_body"]

# Of each byte: itself, its text while it is taken apart, and the event that waits in the driver.
_COPIES = 3
_BESIDE = 128  # of each piece, so that many small ones are counted, too


async def read_body(request: Request, limits: CollectSection, held: Held) -> bytes:
    """The body, unpacked. Raises a `Problem`: 400 damaged or cut off, 408, 413, 415, or 503 when there is no room."""
    headers = request.headers
    declared = headers.get("content-length", "")
    if declared.isdigit() and int(declared) > limits.body_bytes:
        raise _too_large(limits.body_bytes, "as it is sent")
    encoding = headers.get("content-encoding", "")
    unpacking = unpacker(encoding)
    if unpacking is None:
        detail = f"Content-Encoding is {encoding[:40]!r}: expected {', '.join(ENCODINGS)}"
        raise Problem(415, "unsupported-encoding", detail, headers={"accept-encoding": "gzip, zstd"})
    sent = size = 0
    pieces: list[bytes] = []
    try:
        async with asyncio.timeout(limits.body_seconds):
            async for chunk in request.stream():
                if not chunk:
                    continue
                sent += len(chunk)
                if sent > limits.body_bytes:
                    raise _too_large(limits.body_bytes, "as it is sent")
                for piece in unpacking.pieces(chunk):
                    size += len(piece)
                    if size > limits.unpacked_bytes:
                        raise _too_large(limits.unpacked_bytes, "unpacked")
                    held.take(len(piece) * _COPIES + _BESIDE)
                    pieces.append(piece)
        unpacking.end()
    except Damaged as error:
        raise Problem(400, "damaged-body", str(error)) from error
    except ClientDisconnect as error:
        raise Problem(400, "cut-off", "the body was cut off") from error
    except TimeoutError as error:
        detail = f"the body did not arrive within {limits.body_seconds:g} s"
        raise Problem(408, "too-slow", detail, headers={"connection": "close"}) from error
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)


def _too_large(limit: int, how: str) -> Problem:
    detail = f"the body is too large {how}: expected at most {limit:,} bytes; send fewer events at a time"
    return Problem(413, "too-large", detail)
