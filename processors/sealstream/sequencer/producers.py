"""What is remembered of one producer: which of its numbers were sealed, and its record in `audit.producers.C`.

A producer (one process, one spool file, one outbox) numbers its events from 0 without gaps. Its state says of every
number whether it was sealed (`seen`), is still missing or comes for the first time (`new`), or lies below what is
remembered (`unsure`). The invariant: a number that was never sealed is never called `seen`.

Pure. A crash leaves nothing behind: states are written in the same transaction as the entries that they follow from,
and follow from the entries alone, so they can always be made again from the chain.
"""

from __future__ import annotations

from bisect import bisect_right
from typing import Literal, NamedTuple

import msgspec

from sealstream.errors import NotCanonical
from sealstream.events import MAX_INTEGER, ProducerKey
from sealstream.sealing import BadNote

__all__ = [
    "AS_OF_KEY",
    "KEYS_PREFIX",
    "MAX_MISSING_RANGES",
    "AsOf",
    "ProducerState",
    "Range",
    "Source",
    "decode_as_of",
    "decode_key",
    "decode_state",
    "encode_as_of",
    "encode_key",
    "encode_state",
    "holds_state",
    "key_label_of",
    "key_record_key",
    "producer_of",
    "record_key",
    "source_of",
]

MAX_MISSING_RANGES = 4_096
"""Of one producer; beyond, the oldest are given up and the floor rises."""

AS_OF_KEY = b""
"""The key of the one record that says which entries the states take into account."""

# The numbers of control records are counted apart. No text of an event holds a NUL, so no producer_id begins like this.
_CONTROL_PREFIX = b"\0control\0"

KEYS_PREFIX = b"\0key\0"
"""Begins the keys of the records of producers' signing keys, which stand beside the producers' states."""

Range = tuple[int, int]
"""First and last of a run of numbers, both included."""

_MAX_SOURCE_CHARACTERS = 128  # of 100,000 producers each


class Source(NamedTuple):
    """Which application a producer says that it is, cut to 128 characters each; "" where it does not say."""

    service: str
    host: str


class ProducerState:
    """One producer's numbers. `missing`: sorted, disjoint ranges between `floor` and `next`; `last_seen`: the
    `sequenced_at` of its last event; `silent`: its silence was stated and it has not spoken since; `source`: what the
    first of its events that has one says of its application (None: none had).
    """

    __slots__ = ("closed", "floor", "last_seen", "missing", "next", "silent", "source")

    def __init__(
        self,
        next: int = 0,
        missing: list[Range] | None = None,
        floor: int = 0,
        last_seen: str = "",
        closed: bool = False,
        silent: bool = False,
        source: Source | None = None,
    ) -> None:
        self.next = next
        self.missing = missing if missing is not None else []
        self.floor = floor
        self.last_seen = last_seen
        self.closed = closed
        self.silent = silent
        self.source = source

    def knows(self, number: int) -> Literal["new", "seen", "unsure"]:
        """What is remembered of this number."""
        if number >= self.next:
            return "new"
        if number < self.floor:
            return "unsure"
        return "new" if self._missing_at(number) is not None else "seen"

    def sealed(self, number: int, sequenced_at: str, closes_at: int | None) -> list[Range]:
        """Its event with this number was sealed: what is now missing that was not known to be.

        `closes_at`: the next number that a `producer.closed` states. It closes the stream only if nothing from that
        number on was seen, and what it counts beyond the numbers seen is missing; an event beyond it opens it again.
        """
        found: list[Range] = []
        if number >= self.next:
            if number > self.next:
                found.append((self.next, number - 1))
            self.next = number + 1
            self.closed = False
        elif number >= self.floor:
            self._fill(number)
        if closes_at is not None and closes_at >= self.next:
            if closes_at > self.next:
                found.append((self.next, closes_at - 1))
                self.next = closes_at
            self.closed = True
        self.last_seen = sequenced_at
        self.silent = False
        if found:
            self.missing += found
            while len(self.missing) > MAX_MISSING_RANGES:
                self.give_up_oldest()
        return found

    def give_up_oldest(self) -> None:
        """Forget the lowest missing range: what lies below it can't be told apart any more."""
        self.floor = self.missing.pop(0)[1] + 1

    @property
    def stated_next(self) -> int:
        """`next` as a statement can carry it: the number after 2^53-1 is no JSON number."""
        return min(self.next, MAX_INTEGER)

    def _missing_at(self, number: int) -> int | None:
        at = bisect_right(self.missing, (number, MAX_INTEGER)) - 1
        return at if at >= 0 and self.missing[at][1] >= number else None

    def _fill(self, number: int) -> None:
        at = self._missing_at(number)
        if at is None:
            return
        first, last = self.missing[at]
        left = [(first, number - 1)] if first < number else []
        right = [(number + 1, last)] if number < last else []
        self.missing[at : at + 1] = left + right


class AsOf(NamedTuple):
    """As of how many entries the states are, and the inputs' topic ids that the chain has recorded ("": none yet).

    `hash`: of the last of these entries, in hex ("": not on record), by which states are told that belong to a
    transaction whose entries never came to be. `keys`: how many signing keys of producers have a record; -1: it was
    written by a version that knew of none.
    """

    size: int
    raw_topic_id: str
    control_topic_id: str
    hash: str = ""
    keys: int = -1


class _State(msgspec.Struct):
    next: int
    missing: list[Range]
    floor: int
    last_seen: str
    closed: bool
    silent: bool = False
    source: Source | None = None


class _Said(msgspec.Struct):
    service: str = ""
    host: str = ""


class _Event(msgspec.Struct):
    source: _Said = msgspec.field(default_factory=_Said)


class _AsOf(msgspec.Struct):
    size: int
    raw_topic_id: str
    control_topic_id: str
    hash: str = ""
    keys: int = -1


class _Key(msgspec.Struct):
    vkey: str
    demands: bool
    registered: int
    service: str | None = None
    tenant: str | None = None
    expires_at: str | None = None
    revoked: int | None = None
    doubted_from: int | None = None


_encode = msgspec.json.Encoder(order="deterministic").encode
_decode_state = msgspec.json.Decoder(_State).decode
_decode_key = msgspec.json.Decoder(_Key).decode
_decode_as_of = msgspec.json.Decoder(_AsOf).decode
_decode_event = msgspec.json.Decoder(_Event).decode


def record_key(kind: str, producer_id: str) -> bytes:
    """The key of a producer's record: its id; numbers of control records are kept apart by a prefix."""
    return (_CONTROL_PREFIX if kind == "control" else b"") + producer_id.encode()


def holds_state(key: bytes) -> bool:
    """Whether the record with this key is a producer's state: the others are `AsOf` and signing keys."""
    return key != AS_OF_KEY and not key.startswith(KEYS_PREFIX)


def producer_of(key: bytes) -> tuple[str, str]:
    """Kind and producer_id of the key of a record that holds a state."""
    if key.startswith(_CONTROL_PREFIX):
        return "control", key[len(_CONTROL_PREFIX) :].decode("utf-8", "replace")
    return "event", key.decode("utf-8", "replace")


def encode_state(state: ProducerState) -> bytes:
    """The value of a producer's record."""
    return _encode({name: getattr(state, name) for name in ProducerState.__slots__})


def decode_state(value: bytes) -> ProducerState:
    """The reverse. Raises `NotCanonical`."""
    try:
        read = _decode_state(value)
    except (msgspec.DecodeError, UnicodeError) as error:
        raise NotCanonical(f"no producer's state: {error}: {value[:80]!r}") from error
    return ProducerState(read.next, read.missing, read.floor, read.last_seen, read.closed, read.silent, read.source)


def source_of(canonical: bytes) -> Source:
    """What a sealed event says of its application; of one that was sealed by other rules than ours, nothing."""
    try:
        said = _decode_event(canonical).source
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        said = _Said()
    return Source(said.service[:_MAX_SOURCE_CHARACTERS], said.host[:_MAX_SOURCE_CHARACTERS])


def encode_as_of(as_of: AsOf) -> bytes:
    """The value of the record with the empty key."""
    return _encode(as_of._asdict())


def decode_as_of(value: bytes) -> AsOf:
    """The reverse. Raises `NotCanonical`."""
    try:
        read = _decode_as_of(value)
    except (msgspec.DecodeError, UnicodeError) as error:
        raise NotCanonical(f"no record of what the producers' states are as of: {error}: {value[:80]!r}") from error
    return AsOf(read.size, read.raw_topic_id, read.control_topic_id, read.hash, read.keys)


def key_record_key(label: str) -> bytes:
    """The key of the record of the signing key with this label."""
    return KEYS_PREFIX + label.encode()


def key_label_of(record_key: bytes) -> str:
    """The label in such a key."""
    return record_key[len(KEYS_PREFIX) :].decode("utf-8", "replace")


def encode_key(key: ProducerKey) -> bytes:
    """The value of a signing key's record."""
    return _encode(key._asdict())


def decode_key(value: bytes) -> ProducerKey:
    """The reverse. Raises `NotCanonical`."""
    try:
        key = ProducerKey(**msgspec.structs.asdict(_decode_key(value)))
        _ = key.verifier
    except (msgspec.DecodeError, UnicodeError, BadNote) as error:
        raise NotCanonical(f"no record of a producer's key: {error}: {value[:80]!r}") from error
    return key
