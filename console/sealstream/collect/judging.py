"""From what a caller sent to events that may be written, each with a verdict of its own. Pure.

The invariant: what is accepted here, the sequencer accepts; it names who was authenticated in `source.authenticated_as`
and claims nothing beyond the key's bounds; and the same bytes under the same key give the same event, so that a request
sent twice is one.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple, TypeVar
from urllib.parse import quote

import msgspec

from sealstream.collect.keys import Key
from sealstream.collect.splitting import Member
from sealstream.errors import InvalidEvent, NotCanonical
from sealstream.events import MAX_EVENT_BYTES, canonical_event, canonical_timestamp, validate_event
from sealstream.events.wording import printable
from sealstream.sealing import is_time, parse_json

__all__ = ["Judged", "Refusal", "accept", "fields_of", "judge", "judge_records", "made_id"]

_Record = TypeVar("_Record")
_decode = msgspec.json.Decoder().decode
_encode = msgspec.json.Encoder().encode
_IDS = uuid.uuid5(uuid.NAMESPACE_URL, "urn:sealstream:collect")


class Refusal(NamedTuple):
    """Why one was refused. `field` "": it is about the event as a whole."""

    line: int
    field: str
    why: str


class Judged(NamedTuple):
    """`events`: canonical, in the order sent. `ids`: of these."""

    events: list[bytes]
    ids: list[str]
    refusals: list[Refusal]


def made_id(key: Key, what: str) -> str:
    """An event's id that follows from the key and what names the event under it."""
    return str(uuid.uuid5(_IDS, f"{key.id}/{what}"))


def fields_of(data: bytes) -> dict[str, Any]:
    """The object in these bytes, read as strictly as an event is. Raises `InvalidEvent`."""
    if len(data) > MAX_EVENT_BYTES:
        raise InvalidEvent(f"event is too large: expected at most {MAX_EVENT_BYTES} bytes, got {len(data)}")
    try:
        quick = _decode(data)
        if type(quick) is dict and b"\\u" not in data and _encode(quick) == data:
            return quick  # written again it is what came: no name stands twice, no number has another spelling
    except (ValueError, RecursionError):
        pass
    try:
        parsed = parse_json(data)
    except (NotCanonical, ValueError, RecursionError) as error:
        raise _unacceptable(data, error) from error
    if not isinstance(parsed, dict):
        canonical_event(parsed)  # refuses it in the words of an event
        raise InvalidEvent("event is not an object")
    return parsed


def _unacceptable(data: bytes, error: Exception) -> InvalidEvent:
    """By the field where that can be told. An id that is missing is not what is wrong: it may be made yet."""
    try:
        validate_event(data)
    except InvalidEvent as refusal:
        if refusal.field != "id":
            return refusal
    return InvalidEvent(f"event is not acceptable JSON: {printable(str(error), 200)}")


def judge(
    key: Key, members: Iterable[Member], idempotency_key: str, read: Callable[[Key, bytes], dict[str, Any]]
) -> Judged:
    """Each member's verdict. `read`: from its bytes to an event's fields, or `InvalidEvent`.

    `idempotency_key` "": there is none, and an event without an id is refused.
    """
    judged = Judged([], [], [])
    for member in members:
        try:
            fields = read(key, member.data)
            if "id" not in fields and idempotency_key:
                fields["id"] = made_id(key, f"{idempotency_key}/{member.line}")
            accept(judged, fields, key)
        except InvalidEvent as error:
            judged.refusals.append(Refusal(member.line, error.field, error.reason))
    return judged


def judge_records(key: Key, records: Iterable[_Record], read: Callable[[Key, _Record], dict[str, Any]]) -> Judged:
    """The same for records that were parsed already, counted from 1."""
    judged = Judged([], [], [])
    for number, record in enumerate(records, 1):
        try:
            accept(judged, read(key, record), key)
        except InvalidEvent as error:
            judged.refusals.append(Refusal(number, error.field, error.reason))
    return judged


def accept(judged: Judged, fields: dict[str, Any], key: Key) -> None:
    """One more that is accepted, stamped with who was authenticated. Raises `InvalidEvent`."""
    stamped = _stamped(fields, key)
    timestamp = stamped.get("timestamp")
    if isinstance(timestamp, str):  # first, since an event that is otherwise plain is then written at once
        stamped["timestamp"] = _sealed_time(timestamp)
    event = canonical_event(stamped)
    judged.events.append(event)
    judged.ids.append(str(fields["id"]).lower())


def _sealed_time(timestamp: str) -> str:
    """As `canonical_timestamp`; quicker for what most encoders write: UTC with `Z`, to the milli- or microsecond."""
    padded = f"{timestamp[:23]}000Z" if len(timestamp) == 24 and timestamp[23] == "Z" else timestamp
    return padded if is_time(padded) else canonical_timestamp(timestamp, "timestamp")


def _stamped(fields: dict[str, Any], key: Key) -> dict[str, Any]:
    """With who was authenticated, within the key's bounds. Raises `InvalidEvent`."""
    if "id" not in fields:
        raise InvalidEvent(
            "id is missing: expected a UUID, or the header Idempotency-Key, from which ids are made; without either, a "
            "request that is sent again would be told twice",
            "id",
        )
    actor_type = fields.get("actor_type")
    if isinstance(actor_type, str) and actor_type not in key.actor_types:
        raise InvalidEvent(
            f"actor_type is none that key {key.name} may claim: expected one of {', '.join(key.actor_types)}",
            "actor_type",
        )
    if key.tenant is not None:
        tenant = fields.get("tenant")
        if tenant is not None and tenant != key.tenant:
            raise InvalidEvent(f"tenant is not that of key {key.name}: expected {key.tenant!r}, or none", "tenant")
        if tenant is None and fields.get("signature") is not None:
            raise InvalidEvent(
                f"tenant is missing, and its producer has signed the event so: expected {key.tenant!r}, that of key "
                f"{key.name}, before it is signed",
                "tenant",
            )
        fields["tenant"] = key.tenant
        _number_within(fields, key.tenant)
    source = fields.get("source")
    if source is None or isinstance(source, dict):  # anything else is refused with the other fields
        given = None if source is None else source.get("authenticated_as")
        if given is not None and given != key.identity:
            raise InvalidEvent(
                "source.authenticated_as is written by the collector alone: leave it out", "source.authenticated_as"
            )
        fields["source"] = {**(source or {}), "authenticated_as": key.identity}
    return fields


def _number_within(fields: dict[str, Any], tenant: str) -> None:
    """A tenant numbers its own streams alone: numbers that another had used up would make that one's events repeats."""
    producer_id, own = fields.get("producer_id"), f"{quote(tenant, safe='')}/"
    if not isinstance(producer_id, str) or producer_id.startswith(own):
        return
    if fields.get("signature") is not None:
        raise InvalidEvent(
            f"producer_id is not one of tenant {tenant!r}, and its producer has signed the event so: expected {own}... "
            "before it is signed",
            "producer_id",
        )
    fields["producer_id"] = own + producer_id
