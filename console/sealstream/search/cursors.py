"""Cursors: where a page ended, as opaque text that says no more than the last entry's place in the order.

A cursor belongs to one search and one order; with another it is refused, not misread. It gives nobody anything that
the search itself would not: the query is asked again with it. Pure.
"""

from __future__ import annotations

import base64
import binascii
from hashlib import sha256
from typing import NamedTuple

import msgspec

from sealstream.search.errors import BadCursor
from sealstream.search.found import Found

__all__ = ["Place", "cursor_after", "open_cursor"]

_VERSION = 1
_LONGEST = 256
_FIRST_US, _LAST_US = -62_135_596_800_000_000, 253_402_300_799_999_999
"""The first and the last microsecond of years 1 to 9999, which a timestamp may be."""
_AGAIN = "begin again without it"


class Place(NamedTuple):
    """The place of an entry in every order."""

    time_us: int
    chain: str
    seq: int


class _Cursor(msgspec.Struct, array_like=True, forbid_unknown_fields=True):
    version: int
    sort: str
    search: str
    time_us: int
    chain: str
    seq: int


def cursor_after(found: Found, text: str, sort: str) -> str:
    """The cursor behind an entry that was found by the query `text`."""
    cursor = _Cursor(_VERSION, sort, _digest(text), found.time_us, found.chain, found.seq)
    return base64.urlsafe_b64encode(msgspec.json.encode(cursor)).decode().rstrip("=")


def open_cursor(cursor: str, text: str, sort: str) -> Place:
    """The place that a cursor names. Raises `BadCursor` when it is none, or of another search."""
    try:
        if len(cursor) > _LONGEST:
            raise ValueError("too long")
        decoded = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
        opened = msgspec.json.decode(decoded, type=_Cursor)
    except (ValueError, binascii.Error, msgspec.DecodeError) as error:
        shown = "".join(c if c.isprintable() else "?" for c in cursor[:40])
        raise BadCursor(f"cursor {shown!r} is none: expected one that a page of this search gave; {_AGAIN}") from error
    if opened.version != _VERSION or not (0 <= opened.seq < 2**63 and _FIRST_US <= opened.time_us <= _LAST_US):
        raise BadCursor(f"cursor: of another version of Sealstream; {_AGAIN}")
    if opened.search != _digest(text):
        raise BadCursor(f"cursor: it was given by another search; write the same query, or {_AGAIN}")
    if opened.sort != sort:
        raise BadCursor(f"cursor: it was given by a search sorted by {opened.sort}, not by {sort}; {_AGAIN}")
    return Place(opened.time_us, opened.chain, opened.seq)


def _digest(text: str) -> str:
    return sha256(" ".join(text.split()).encode()).hexdigest()[:12]
