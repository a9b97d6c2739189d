"""The quick look at an event that already is what would be sealed: most of them, when our client wrote them.

`accept_canonical` decodes by type, checks what types can't say, writes the event again and compares it with what came.
Only equal bytes are accepted, so duplicate names, exotic spellings and odd order can't pass here. The invariant: it
never accepts what the checks of `checking` would refuse or change; whatever it is in doubt about it hands on by
returning None. Pure; nothing to lose in a crash.
"""

from __future__ import annotations

import re
from math import isfinite
from typing import Annotated, Any, Literal, NamedTuple

import msgspec

from sealstream.events.addresses import is_canonical_ip, is_ipv4
from sealstream.events.fields import (
    FIELDS,
    MAX_EVENT_BYTES,
    MAX_INTEGER,
    MAX_NESTING,
    SIGNATURE_FIELDS,
    SOURCE_FIELDS,
    Field,
)
from sealstream.sealing import is_time

__all__ = ["ValidEvent", "accept_canonical", "accept_plain", "canonical_if_plain", "closes_at"]


class ValidEvent(NamedTuple):
    """An accepted event: the bytes to seal, and the fields that ordering and deduplication look at.

    `closes_at`: the next number that a `producer.closed` event states, if it states one. `signature_key`: the label of
    the key by which the event says that it is signed; None: it has no signature.
    """

    canonical: bytes
    id: str
    producer_id: str | None
    producer_seq: int | None
    action: str
    closes_at: int | None
    signature_key: str | None = None


def closes_at(action: str, metadata: object) -> int | None:
    """What a `producer.closed` closes its stream at; None for every other event and for one that states no number."""
    if action != "producer.closed" or not isinstance(metadata, dict):
        return None
    stated = metadata.get("next")
    return stated if isinstance(stated, int) and not isinstance(stated, bool) and stated >= 0 else None


def _type(field: Field) -> Any:
    """The field's type for the decoder; what it can't say is checked below."""
    if field.kind == "choice":
        return Literal[field.choices]
    if field.kind == "text":
        # A text has at least as many bytes as characters, so this never refuses what the byte limit allows.
        return Annotated[str, msgspec.Meta(min_length=0 if field.may_be_empty else 1, max_length=field.limit)]
    return {
        "uuid": str,
        "timestamp": str,
        "ip": str,
        "texts": list[str],
        "object": dict[str, Any],
        "source": _Source,
        "signature": _Signature,
        "number": Annotated[int, msgspec.Meta(ge=0, le=MAX_INTEGER)],
    }[field.kind]


def _struct(name: str, fields: dict[str, Field]) -> Any:
    """A type with the fields in canonical order, so that writing it needs no sorting of its own."""
    return msgspec.defstruct(
        name,
        [
            (key, _type(field)) if field.required else (key, _type(field) | None, None)
            for key, field in sorted(fields.items())
        ],
        kw_only=True,
        forbid_unknown_fields=True,
        omit_defaults=True,
        frozen=True,
        gc=False,
    )


def _plain_float(literal: str) -> float:
    """A float whose spelling RFC 8785 and Python share; for any other the quick look ends."""
    value = float(literal)
    if repr(value) != literal or value.is_integer() or "e" in literal:
        raise ValueError(literal)
    return value


_Source = _struct("Source", SOURCE_FIELDS)
_Signature = _struct("Signature", SIGNATURE_FIELDS)
_Event = _struct("Event", FIELDS)
_decode = msgspec.json.Decoder(_Event, float_hook=_plain_float).decode
_encode = msgspec.json.Encoder(order="deterministic").encode
_encode_sorted = msgspec.json.Encoder(order="sorted").encode

_new = tuple.__new__  # a named tuple's own constructor costs twice as much

_LIMITED = tuple((name, field.limit) for name, field in FIELDS.items() if field.limit is not None)
_LIMITED_SIGNATURE = tuple((name, field.limit) for name, field in SIGNATURE_FIELDS.items() if field.limit is not None)
_LIMITED_SOURCE = tuple((name, field.limit) for name, field in SOURCE_FIELDS.items() if field.limit is not None)
_is_uuid = re.compile("[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}").fullmatch
# From U+E000 on, where UTF-8 begins with 0xEE, UTF-16 order (RFC 8785 section 3.2.3) and code point order differ.
_high = re.compile(rb"[\xee-\xf4]").search


def accept_canonical(data: bytes) -> ValidEvent | None:
    """The event, if `data` (of acceptable size) is beyond doubt valid and canonical; else None, and look closer."""
    try:
        event = _decode(data)
    except (ValueError, RecursionError):  # msgspec's own errors and UnicodeDecodeError are ValueErrors
        return None
    if _encode(event) != data or (b"\\" in data and b"\\u0000" in data):
        return None
    if not _is_uuid(event.id) or not is_time(event.timestamp):
        return None
    ip_address, producer_id, producer_seq = event.ip_address, event.producer_id, event.producer_seq
    if ip_address is not None and not is_ipv4(ip_address) and not is_canonical_ip(ip_address):
        return None
    if (producer_id is None) is not (producer_seq is None):
        return None
    metadata = event.metadata
    for values in (metadata, event.old_values, event.new_values):
        if values is not None and not _within_limits(values, 2):
            return None
    if not data.isascii() and not (_texts_fit(event) and (not _high(data) or _names_are_ordinary(event))):
        return None
    action = event.action
    closing = closes_at(action, metadata) if action == "producer.closed" else None
    signature = event.signature
    return _new(
        ValidEvent,
        (data, event.id, producer_id, producer_seq, action, closing, None if signature is None else signature.key),
    )


def canonical_if_plain(event: object) -> bytes | None:
    """The canonical bytes of an event made of Python's own JSON types, if that is beyond doubt; else None.

    msgspec would also write dates, bytes, numbers as names, and NaN as null: such values are left to closer checks.
    """
    if type(event) is not dict:
        return None
    present = {name: value for name, value in event.items() if value is not None or name not in FIELDS}
    accepted = accept_plain(present) if _is_plain(present, 1) else None
    return None if accepted is None else accepted.canonical


def accept_plain(event: dict[str, Any]) -> ValidEvent | None:
    """The event, made of JSON's types alone as by a parser, if its canonical form is beyond doubt; else None."""
    try:
        data = _encode_sorted(event)
    except (ValueError, RecursionError):  # a lone surrogate
        return None
    return accept_canonical(data) if len(data) <= MAX_EVENT_BYTES else None


def _is_plain(value: Any, depth: int) -> bool:
    if type(value) is dict:
        for name in value:
            if type(name) is not str:
                return False
        value = value.values()
    for item in value:
        kind = type(item)
        if kind is str:
            continue
        if kind is dict or kind is list:
            if depth == MAX_NESTING or not _is_plain(item, depth + 1):
                return False
        elif kind is float:
            if not isfinite(item):
                return False
        elif not (kind is int or kind is bool or item is None):
            return False
    return True


def _within_limits(container: Any, depth: int) -> bool:
    if depth > MAX_NESTING:
        return False
    for value in container.values() if type(container) is dict else container:
        kind = type(value)
        if kind is int:
            if not -MAX_INTEGER <= value <= MAX_INTEGER:
                return False
        elif (kind is dict or kind is list) and not _within_limits(value, depth + 1):
            return False
    return True


def _names_are_ordinary(event: Any) -> bool:
    """Whether no name has a character from U+E000 on, so that both orders of names are the same."""
    pending = [values for values in (event.metadata, event.old_values, event.new_values) if values is not None]
    for container in pending:  # grows while it is walked
        if type(container) is dict and any(name and max(name) >= "\ue000" for name in container):
            return False
        values = container.values() if type(container) is dict else container
        pending += [value for value in values if type(value) is dict or type(value) is list]
    return True


def _texts_fit(event: Any) -> bool:
    """Whether the texts keep their limits in bytes; the decoder has counted characters."""
    return (
        _fit(event, _LIMITED)
        and (event.source is None or _fit(event.source, _LIMITED_SOURCE))
        and (event.signature is None or _fit(event.signature, _LIMITED_SIGNATURE))
    )


def _fit(record: Any, limited: tuple[tuple[str, int], ...]) -> bool:
    for name, limit in limited:
        text = getattr(record, name)
        if text is not None and len(text) > limit >> 2 and len(text.encode()) > limit:
            return False
    return True
