"""The rules of an event, one by one, with a sentence for each refusal: the authority on what is accepted.

`checked_event` takes a parsed JSON object and returns the one that is sealed. Nothing is normalised but: `id` to lower
case, `timestamp`, `ip_address`, numbers to what RFC 8785 writes for them, and null for an optional field to absent.
The invariant: the result passes again unchanged. Pure; nothing to lose in a crash.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

from sealstream.errors import InvalidEvent
from sealstream.events.addresses import canonical_ip
from sealstream.events.fields import FIELDS, MAX_INTEGER, MAX_NESTING, RESERVED, SIGNATURE_FIELDS, SOURCE_FIELDS, Field
from sealstream.events.timestamps import canonical_timestamp
from sealstream.events.wording import got, printable, type_of

__all__ = ["checked_event"]

_UUID = re.compile("[0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}")


def checked_event(parsed: object) -> dict[str, object]:
    """The event as it is sealed. `parsed`: what a strict JSON parser made of the bytes. Raises `InvalidEvent`."""
    if not isinstance(parsed, dict):
        raise InvalidEvent(f"event is not an object: expected a JSON object, got {type_of(parsed)}")
    for name in parsed:
        if name in RESERVED:
            raise InvalidEvent(f"{name} is written by the log alone: a producer may not send it", name)
    event = _checked_fields(parsed, FIELDS, "")
    if ("producer_id" in event) != ("producer_seq" in event):
        present, absent = sorted(("producer_id", "producer_seq"), key=lambda name: name not in event)
        raise InvalidEvent(f"{absent} is missing: expected beside {present}, both or neither", absent)
    return event


def _checked_fields(sent: Mapping[str, object], fields: Mapping[str, Field], path: str) -> dict[str, object]:
    for name in sent:
        if name not in fields:
            where = f"{path}{printable(str(name))}"
            raise InvalidEvent(f"{where} is not a known field: put what has no field of its own into metadata", where)
    checked: dict[str, object] = {}
    for name, field in fields.items():
        value = sent.get(name)
        if value is not None:
            checked[name] = _CHECKS[field.kind](value, field, path + name)
        elif field.required:
            fault = "is null" if name in sent else "is missing"
            raise InvalidEvent(f"{path}{name} {fault}: expected {_expectation(field)}", path + name)
    return checked


def _expectation(field: Field) -> str:
    if field.kind == "choice":
        return "one of " + ", ".join(field.choices)
    if field.kind == "text":
        least = 0 if field.may_be_empty else 1
        return f"text of {least} to {field.limit} bytes" if field.limit else "text"
    return {
        "uuid": "a UUID such as 0193a8f2-7c1e-7000-8000-0123456789ab",
        "timestamp": "RFC 3339 with Z or +hh:mm",
        "ip": "an IP address as text",
        "texts": "a list of text",
        "object": "an object",
        "source": "an object of " + ", ".join(SOURCE_FIELDS),
        "signature": "an object of " + ", ".join(SIGNATURE_FIELDS),
        "number": f"an integer from 0 to {MAX_INTEGER}",
    }[field.kind]


def _wrong(fault: str, field: Field, path: str, value: object) -> InvalidEvent:
    return InvalidEvent(f"{path} {fault}: expected {_expectation(field)}, got {got(value)}", path)


def _text(value: object, field: Field, path: str) -> str:
    if not isinstance(value, str):
        raise _wrong(f"is {type_of(value)}", field, path, value)
    _refuse_nul(value, path, "")
    if not value and not field.may_be_empty:
        raise _wrong("is empty", field, path, value)
    if field.limit is not None and len(value) > field.limit // 4:
        length = len(value.encode())
        if length > field.limit:
            raise _wrong(f"is {length} bytes of UTF-8 long", field, path, value)
    return value


def _choice(value: object, field: Field, path: str) -> str:
    if not isinstance(value, str) or value not in field.choices:
        raise _wrong("is none of its values", field, path, value)
    return value


def _uuid(value: object, field: Field, path: str) -> str:
    if not isinstance(value, str) or not _UUID.fullmatch(value):
        raise _wrong("is not a UUID", field, path, value)
    return value.lower()


def _timestamp(value: object, field: Field, path: str) -> str:
    if not isinstance(value, str):
        raise _wrong(f"is {type_of(value)}", field, path, value)
    return canonical_timestamp(value, path)


def _ip(value: object, field: Field, path: str) -> str:
    if not isinstance(value, str):
        raise _wrong(f"is {type_of(value)}", field, path, value)
    return canonical_ip(value, path)


def _texts(value: object, field: Field, path: str) -> list[str]:
    if not isinstance(value, list):
        raise _wrong(f"is {type_of(value)}", field, path, value)
    for index, item in enumerate(value):
        if not isinstance(item, str):
            raise _wrong(f"has {type_of(item)} as item {index}", field, path, item)
        _refuse_nul(item, path, f" in item {index}")
    return value


def _object(value: object, field: Field, path: str) -> object:
    if not isinstance(value, dict):
        raise _wrong(f"is {type_of(value)}", field, path, value)
    return _checked_value(value, path, 2)


def _source(value: object, field: Field, path: str) -> dict[str, object]:
    if not isinstance(value, dict):
        raise _wrong(f"is {type_of(value)}", field, path, value)
    return _checked_fields(value, SOURCE_FIELDS, path + ".")


def _signature(value: object, field: Field, path: str) -> dict[str, object]:
    if not isinstance(value, dict):
        raise _wrong(f"is {type_of(value)}", field, path, value)
    return _checked_fields(value, SIGNATURE_FIELDS, path + ".")


def _number(value: object, field: Field, path: str) -> object:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise _wrong(f"is {type_of(value)}", field, path, value)
    number = _checked_number(value, path)
    if isinstance(number, float) or number < 0:
        raise _wrong("is no count", field, path, value)
    return number


def _checked_value(value: object, path: str, depth: int) -> object:
    """A value inside `metadata`, `old_values` or `new_values`. `depth`: of `value` itself, if it is a container."""
    if isinstance(value, str):
        _refuse_nul(value, path, "")
        return value
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int | float):
        return _checked_number(value, path)
    if depth > MAX_NESTING:
        top = path.partition(".")[0]
        raise InvalidEvent(f"{top} is nested too deep: expected at most {MAX_NESTING} levels, the event included", top)
    if isinstance(value, list | tuple):  # no parser makes tuples, but callers from Python do
        return [_checked_value(item, f"{path}[{index}]", depth + 1) for index, item in enumerate(value)]
    if not isinstance(value, dict):
        raise _at(path, f"is no JSON value: got {type(value).__name__}")
    checked = {}
    for name, member in value.items():
        if not isinstance(name, str):
            raise _at(path, f"has a name that is not text: got {type(name).__name__}")
        _refuse_nul(name, path, " in a name")
        checked[name] = _checked_value(member, f"{path}.{name[:64]}", depth + 1)
    return checked


def _checked_number(value: int | float, path: str) -> int | float:
    """An IEEE double, an integer within +-(2^53-1) however it was written (RFC 8785 section 3.2.2.3; `-0` is 0).

    From 2^53 on every double is an integer, so one comparison serves for both; it is false for NaN too.
    """
    if not -MAX_INTEGER <= value <= MAX_INTEGER:
        expected = "expected -(2^53-1) to 2^53-1"
        raise _at(path, f"is a number out of range: {expected}, got {got(value)}; send larger numbers as text")
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _refuse_nul(text: str, path: str, where: str) -> None:
    if "\0" in text:
        raise _at(path, f"has U+0000{where}: expected text without it, got {got(text)}")


def _at(path: str, fault: str) -> InvalidEvent:
    """A refusal at a path that a stranger's names are part of."""
    place = printable(path, 120)
    return InvalidEvent(f"{place} {fault}", place)


_CHECKS: dict[str, Callable[[object, Field, str], object]] = {
    "text": _text,
    "choice": _choice,
    "uuid": _uuid,
    "timestamp": _timestamp,
    "ip": _ip,
    "texts": _texts,
    "object": _object,
    "source": _source,
    "signature": _signature,
    "number": _number,
}
