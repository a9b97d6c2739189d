"""A waiting event, the same event numbered, and back: an exact inverse, byte for byte.

A waiting event holds a placeholder for its producer and number. In a canonical event nothing that follows the number
can hold an unescaped quote (texts, and the texts of `source`), so the last occurrence is the field itself.

Pure. The invariant on which every repeat after a crash rests: the same row and number give the same bytes.
"""

from __future__ import annotations

import re
from hashlib import sha256
from sys import intern
from typing import NamedTuple

import msgspec

from sealstream.errors import InvalidEvent, NotCanonical
from sealstream.events import MAX_EVENT_BYTES, canonical_event, validate_event
from sealstream.layout import OUTBOX_PRODUCER, OUTBOX_SPARE_BYTES

__all__ = ["Numbered", "Numbers", "digest_of", "numbered", "waiting"]

_PLACE = b'"producer_id":"%b","producer_seq":0' % OUTBOX_PRODUCER.encode()
_LARGEST = MAX_EVENT_BYTES - OUTBOX_SPARE_BYTES


def waiting(row: bytes) -> bytes:
    """A row as an event that waits. What other programs inserted is brought into form. Raises `InvalidEvent`."""
    if _PLACE in row and len(row) <= _LARGEST:  # the client made it: it is canonical
        return row
    try:
        event = msgspec.json.decode(validate_event(row).canonical)
    except (NotCanonical, msgspec.DecodeError, UnicodeError) as error:
        raise InvalidEvent(f"the row is no event: {error}") from error
    event |= {"producer_id": OUTBOX_PRODUCER, "producer_seq": 0}
    canonical = canonical_event(event)
    if len(canonical) > _LARGEST:
        raise InvalidEvent(f"event is too large: expected at most {_LARGEST} bytes, got {len(canonical)}")
    return canonical


def numbered(event: bytes, producer_id: str, number: int) -> bytes:
    """A waiting event with its true producer and number."""
    head, _, tail = event.rpartition(_PLACE)
    return b'%b"producer_id":"%b","producer_seq":%d%b' % (head, producer_id.encode(), number, tail)


def digest_of(event: bytes) -> bytes:
    """By which a waiting event is found again."""
    return sha256(event).digest()


class Numbered(NamedTuple):
    """What a record of the topic says: its stream, its number, and the digest of the event as it waited."""

    producer_id: str
    number: int
    digest: bytes


class Numbers:
    """Recognises what one outbox has sent. Its streams' ids begin with the outbox's own."""

    def __init__(self, outbox_id: str) -> None:
        self._begins = b'"producer_id":"%b/' % outbox_id.encode()
        self._whole = re.compile(
            b'"producer_id":"(%b/[0-9a-f-]+)","producer_seq":([0-9]{1,16})' % re.escape(outbox_id.encode())
        )

    def read(self, value: bytes) -> Numbered | None:
        """None: the record is not this outbox's."""
        at = value.rfind(self._begins)
        if at < 0:
            return None
        match = self._whole.match(value, at)
        if match is None:
            return None
        return Numbered(intern(match[1].decode()), int(match[2]), digest_of(value[:at] + _PLACE + value[match.end() :]))
