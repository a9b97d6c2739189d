"""From a record's bytes to an event that may be sealed: `validate_event` for every record of the raw topic.

Two ways to one answer: a quick look that accepts what is canonical already, and a strict parse with the rules one by
one for everything else. The invariant: whatever the bytes are, the outcome is a `ValidEvent` or an `InvalidEvent`, in
time proportional to at most 61,440 bytes. Pure; nothing to lose in a crash.
"""

from __future__ import annotations

import hashlib

import msgspec

from sealstream.errors import InvalidEvent, NotCanonical
from sealstream.events.canonical_events import ValidEvent, accept_canonical, accept_plain, canonical_if_plain, closes_at
from sealstream.events.checking import checked_event
from sealstream.events.fields import MAX_EVENT_BYTES
from sealstream.events.statements import check_control
from sealstream.events.wording import printable
from sealstream.sealing import canonical_json, parse_json

__all__ = ["canonical_event", "digest", "validate_control", "validate_event"]


def validate_event(data: bytes | None) -> ValidEvent:
    """The event in a record of the raw topic; raises `InvalidEvent` with the field and a sentence, and nothing else.

    `data`: the record's value. For 500 bytes 4 us when they are canonical, else 26 us.
    """
    if data is None or not data:
        raise InvalidEvent("event is empty: expected a JSON object, got no bytes")
    if len(data) > MAX_EVENT_BYTES:
        raise InvalidEvent(f"event is too large: expected at most {MAX_EVENT_BYTES} bytes, got {len(data)}")
    accepted = accept_canonical(data)
    return examine_event(data) if accepted is None else accepted


def validate_control(data: bytes | None) -> ValidEvent:
    """The same for the control topic: what only the log may say, and malformed statements, are refused too."""
    event = validate_event(data)
    check_control(event.action, msgspec.json.decode(event.canonical).get("metadata"))
    return event


def canonical_event(event: object) -> bytes:
    """The bytes that are sealed for an event given as Python values (dicts, lists, str, int, float, bool, None).

    Raises `InvalidEvent`. This is what a producer sends.
    """
    quick = canonical_if_plain(event)
    if quick is not None:
        return quick
    try:
        return _sealable(checked_event(event))
    except UnicodeEncodeError as error:  # a str from Python, unlike one from the parser, may hold half a pair
        raise InvalidEvent(f"event has a lone surrogate at character {error.start} of a text") from error


def digest(canonical: bytes) -> bytes:
    """An event's digest: SHA-256 of its canonical bytes."""
    return hashlib.sha256(canonical).digest()


def examine_event(data: bytes) -> ValidEvent:
    """The long way: parsed strictly, held to each rule, written in canonical form. Raises `InvalidEvent`."""
    try:
        parsed = parse_json(data)
    except RecursionError:
        raise InvalidEvent("event is nested too deep: expected at most 32 levels") from None
    except (NotCanonical, ValueError) as error:
        _refuse_by_field(data)
        raise InvalidEvent(f"event is not acceptable JSON: {printable(str(error), 200)}") from error
    event = checked_event(parsed)
    accepted = accept_plain(event)
    if accepted is not None:
        return accepted
    canonical = _sealable(event)
    action, number, signature = str(event["action"]), event.get("producer_seq"), event.get("signature")
    return ValidEvent(
        canonical,
        str(event["id"]),
        str(event["producer_id"]) if "producer_id" in event else None,
        number if isinstance(number, int) else None,
        action,
        closes_at(action, event.get("metadata")),
        str(signature["key"]) if isinstance(signature, dict) else None,
    )


def _refuse_by_field(data: bytes) -> None:
    """The sentence that names the field, where a parser that is less strict can show which it is.

    A number out of range is the common case: the strict parser knows its digits, but not where it stands.
    """
    try:
        lenient = msgspec.json.decode(data)
    except (ValueError, RecursionError):
        return
    checked_event(lenient)


def _sealable(event: dict[str, object]) -> bytes:
    try:
        canonical = canonical_json(event)
    except (NotCanonical, ValueError) as error:
        raise InvalidEvent(f"event has no canonical form: {printable(str(error), 200)}") from error
    if len(canonical) > MAX_EVENT_BYTES:
        raise InvalidEvent(
            f"event is too large in canonical form: expected at most {MAX_EVENT_BYTES} bytes, got {len(canonical)}"
        )
    return canonical
