"""Python's values as JSON's, and a stranger's values as an event can hold them.

Used only when validation has refused an event as it was given. The rule, whole:

- An enum is its value. A UUID, a Decimal, an IP address, a date, a time become text. A mapping becomes an object; a
  list, tuple or set a list (a set in the order of its texts). Where a field expects text, a whole number becomes text.
- What a web request can carry must not make an event unacceptable, or an attacker could act unseen: NUL and lone
  surrogates become U+FFFD; a number beyond +-(2^53-1), NaN and infinities become text; what is nested deeper than an
  event may be becomes the text `(nested too deep)`; a text longer than its field is cut, and ends in `~` and 16 hex
  digits of its SHA-256; an `ip_address` that is none goes into `metadata`, cut to 100 bytes.
- When the event is still too large, `metadata`, `old_values`, `new_values` of more than 4 KiB are each replaced by
  their length and SHA-256, `changed_fields` of more than that by their number, and texts of more than 1 KiB are cut.

Everything else (bytes, models, naive timestamps, unknown results) stays as it is, and validation refuses it by name: an
audit log does not guess. Pure; the values given are never changed.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from datetime import date, datetime, time
from decimal import Decimal
from enum import Enum
from hashlib import sha256
from ipaddress import IPv4Address, IPv6Address
from typing import Any
from uuid import UUID

from sealstream.errors import InvalidEvent
from sealstream.events import (
    FIELDS,
    MAX_EVENT_BYTES,
    MAX_INTEGER,
    MAX_NESTING,
    canonical_event,
    canonical_ip,
    format_timestamp,
)

__all__ = ["acceptable_event"]

_AS_TEXT = (UUID, Decimal, IPv4Address, IPv6Address)
_TEXT_KINDS = ("text", "uuid", "ip", "choice")
_LARGE_OBJECT = 4_096
_LARGE_TEXT = 1_024
_TOO_DEEP = "(nested too deep)"


def acceptable_event(
    event: Mapping[str, Any],
    largest: int = MAX_EVENT_BYTES,
    redact: Callable[[dict[str, Any]], None] = lambda _plain: None,
) -> tuple[dict[str, Any], bytes]:
    """The event by the rule above, and its canonical bytes. Raises `InvalidEvent` for what no rule covers.

    `redact`: replaces what must not be in it, once its values are text.
    """
    plain = {name: _field(name, value) for name, value in event.items() if value is not None}
    redact(plain)
    plain = {name: value for name, value in plain.items() if value is not None}
    _move_strange_address(plain)
    try:
        canonical = canonical_event(plain)
        if len(canonical) <= largest:
            return plain, canonical
    except InvalidEvent as error:
        if error.field:  # a fault in one field; size is a fault of the whole
            raise
    lean = {name: _lean(name, value) for name, value in plain.items()}
    return lean, canonical_event(lean)


def _move_strange_address(plain: dict[str, Any]) -> None:
    """Many applications take the address from a header that a stranger may write."""
    address, metadata = plain.get("ip_address"), plain.get("metadata", {})
    if isinstance(address, str) and isinstance(metadata, dict):
        try:
            canonical_ip(address)
        except InvalidEvent:
            del plain["ip_address"]
            plain["metadata"] = {**metadata, "ip_address": _cut(address, 100)}


def _field(name: str, value: Any) -> Any:
    if name == "timestamp" and isinstance(value, datetime):
        return format_timestamp(value)
    value = _value(value, 1)
    field = FIELDS.get(name)
    if field is not None and field.kind in _TEXT_KINDS:
        if isinstance(value, int) and not isinstance(value, bool):
            value = str(value)
        if isinstance(value, str) and field.kind == "text" and field.limit is not None:
            return _cut(value, field.limit)
    return value


def _value(value: Any, depth: int) -> Any:
    if isinstance(value, Enum):
        return _value(value.value, depth)
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return _clean(value)
    if isinstance(value, int):
        return int(value) if -MAX_INTEGER <= value <= MAX_INTEGER else _number_text(value)
    if isinstance(value, float):
        return float(value) if -MAX_INTEGER <= value <= MAX_INTEGER else repr(float(value))
    if isinstance(value, _AS_TEXT):
        return str(value)
    if isinstance(value, datetime):
        return value.isoformat() if value.utcoffset() is None else format_timestamp(value)
    if isinstance(value, date | time):
        return value.isoformat()
    if isinstance(value, Mapping):
        return _object(value, depth + 1) if depth < MAX_NESTING else _TOO_DEEP
    if isinstance(value, list | tuple | set | frozenset):
        if depth >= MAX_NESTING:
            return _TOO_DEEP
        items = [_value(item, depth + 1) for item in value]
        return sorted(items, key=repr) if isinstance(value, set | frozenset) else items
    return value


def _object(mapping: Mapping[Any, Any], depth: int) -> dict[Any, Any]:
    plain: dict[Any, Any] = {}
    for name, member in mapping.items():
        key = _value(name, depth)
        if isinstance(key, int) and not isinstance(key, bool):
            key = str(key)
        while key in plain:  # two names that are written alike: neither may vanish
            key = f"{key}'"
        plain[key] = _value(member, depth)
    return plain


def _number_text(number: int) -> str:
    """Decimal, or hexadecimal where Python refuses to write so many digits (4,300)."""
    return str(number) if number.bit_length() < 10_000 else hex(number)


def _clean(text: str) -> str:
    if text.isascii() and "\0" not in text:
        return str.__str__(text)  # a subclass, such as Django's SafeString, may answer `str` with itself
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace").replace("\0", "\ufffd")


def _cut(text: str, limit: int) -> str:
    data = text.encode()
    if len(data) <= limit:
        return text
    return f"{data[: limit - 17].decode(errors='ignore')}~{sha256(data).hexdigest()[:16]}"


def _lean(name: str, value: Any) -> Any:
    if isinstance(value, str):
        return _cut(value, _LARGE_TEXT)
    if not isinstance(value, dict | list) or name == "source":
        return value
    size = len(written := json.dumps(value, ensure_ascii=False, default=repr).encode())
    if size <= _LARGE_OBJECT:
        return value
    if isinstance(value, list):
        return [f"({len(value)} left out)"]
    return {"left_out_bytes": size, "sha256": sha256(written).hexdigest()}
