"""Python's values as JSON's, for events that hold more than JSON knows.

The rule, whole: an enum is its value; a UUID, a Decimal, an IP address, a date, a time and a whole number beyond
2^53-1 become text; a mapping becomes an object, a list, tuple or set a list (a set in the order of its texts). Where a
field expects text, a whole number becomes text as well, since ids often are numbers. Everything else (bytes, models,
NaN) stays as it is, and validation refuses it by name: an audit log does not guess.

Pure; the values given are never changed.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, datetime, time
from decimal import Decimal
from enum import Enum
from ipaddress import IPv4Address, IPv6Address
from typing import Any
from uuid import UUID

from sealstream.errors import InvalidEvent
from sealstream.events import FIELDS, MAX_INTEGER, MAX_NESTING, format_timestamp

__all__ = ["plain_event"]

_AS_TEXT = (UUID, Decimal, IPv4Address, IPv6Address)
_TEXT_FIELDS = frozenset(name for name, field in FIELDS.items() if field.kind in ("text", "uuid", "ip", "choice"))


def plain_event(event: Mapping[str, Any]) -> dict[str, Any]:
    """The event with JSON's types wherever the rule says so. Raises `InvalidEvent` for a naive `timestamp`."""
    return {name: _field(name, value) for name, value in event.items()}


def _field(name: str, value: Any) -> Any:
    if name == "timestamp" and isinstance(value, datetime):
        return format_timestamp(value)
    value = _value(value, 1)
    if name in _TEXT_FIELDS and isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    return value


def _value(value: Any, depth: int) -> Any:
    if isinstance(value, Enum):
        return _value(value.value, depth)
    if value is None or isinstance(value, str | bool | float):
        return value
    if isinstance(value, int):
        return int(value) if -MAX_INTEGER <= value <= MAX_INTEGER else str(value)
    if isinstance(value, _AS_TEXT):
        return str(value)
    if isinstance(value, datetime):
        return value.isoformat() if value.utcoffset() is None else format_timestamp(value)
    if isinstance(value, date | time):
        return value.isoformat()
    if depth > MAX_NESTING:  # validation refuses it; a structure that contains itself must not keep us here
        return value
    if isinstance(value, Mapping):
        return _object(value, depth)
    if isinstance(value, list | tuple):
        return [_value(item, depth + 1) for item in value]
    if isinstance(value, set | frozenset):
        return sorted((_value(item, depth + 1) for item in value), key=repr)
    return value


def _object(mapping: Mapping[Any, Any], depth: int) -> dict[Any, Any]:
    plain: dict[Any, Any] = {}
    for name, member in mapping.items():
        key = _value(name, depth)
        if isinstance(key, int) and not isinstance(key, bool):
            key = str(key)
        if key in plain:
            raise InvalidEvent(f"an object has two names that are both written {key!r}")
        plain[key] = _value(member, depth + 1)
    return plain
