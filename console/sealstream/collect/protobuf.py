"""OTLP's log messages from protobuf's wire format, as the dicts that its JSON form has: the few fields that are read.

Field numbers are those of opentelemetry/proto/logs/v1/logs.proto and common/v1/common.proto; others are passed over, as
the format asks. Pure; raises `ValueError` for bytes that are no such message.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

__all__ = ["logs_request", "logs_response"]

_DEEPEST = 32
_VARINT, _EIGHT, _BYTES, _FOUR = 0, 1, 2, 5


class _Field(NamedTuple):
    name: str
    wire: int
    read: Callable[[Any, int], Any]
    repeated: bool = False


def _wire(data: memoryview) -> Iterator[tuple[int, int, Any]]:
    """Field number, wire type and raw value, one by one."""
    at, end = 0, len(data)
    while at < end:
        tag, at = _varint(data, at)
        number, wire = tag >> 3, tag & 7
        value: Any
        if wire == _VARINT:
            value, at = _varint(data, at)
        elif wire in {_EIGHT, _FOUR}:
            size = 8 if wire == _EIGHT else 4
            value, at = data[at : at + size], at + size
        elif wire == _BYTES:
            size, at = _varint(data, at)
            value, at = data[at : at + size], at + size
        else:
            raise ValueError(f"wire type {wire} is none that OTLP has")
        if at > end:
            raise ValueError("the message is cut off")
        yield number, wire, value


def _varint(data: memoryview, at: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        if at >= len(data):
            raise ValueError("the message is cut off")
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
    raise ValueError("a number has too many bytes")


def _message(fields: dict[int, _Field]) -> Callable[[memoryview, int], dict[str, Any]]:
    def read(data: memoryview, depth: int) -> dict[str, Any]:
        if depth > _DEEPEST:
            raise ValueError(f"the message is nested too deep: expected at most {_DEEPEST} levels")
        found: dict[str, Any] = {}
        for number, wire, value in _wire(data):
            field = fields.get(number)
            if field is None or field.wire != wire:
                continue
            each = field.read(value, depth + 1)
            if field.repeated:
                found.setdefault(field.name, []).append(each)
            else:
                found[field.name] = each
        return found

    return read


def _text(data: memoryview, _depth: int) -> str:
    return str(data, "utf-8")


def _hex(data: memoryview, _depth: int) -> str:
    return data.hex()


def _signed(value: int, _depth: int) -> int:
    value &= 2**64 - 1
    return value - 2**64 if value >= 2**63 else value


def _fixed64(data: memoryview, _depth: int) -> int:
    return int.from_bytes(data, "little")


def _double(data: memoryview, _depth: int) -> float:
    number: float = struct.unpack("<d", data)[0]
    return number


def _flag(value: int, _depth: int) -> bool:
    return bool(value)


def _any_value(data: memoryview, depth: int) -> dict[str, Any]:
    return _ANY(data, depth)


_KEY_VALUE = _message({1: _Field("key", _BYTES, _text), 2: _Field("value", _BYTES, _any_value)})
_ANY = _message(
    {
        1: _Field("stringValue", _BYTES, _text),
        2: _Field("boolValue", _VARINT, _flag),
        3: _Field("intValue", _VARINT, _signed),
        4: _Field("doubleValue", _EIGHT, _double),
        5: _Field("arrayValue", _BYTES, _message({1: _Field("values", _BYTES, _any_value, True)})),
        6: _Field("kvlistValue", _BYTES, _message({1: _Field("values", _BYTES, _KEY_VALUE, True)})),
        7: _Field("bytesValue", _BYTES, _hex),
    }
)
_ATTRIBUTES = _Field("attributes", _BYTES, _KEY_VALUE, True)
_RECORD = _message(
    {
        1: _Field("timeUnixNano", _EIGHT, _fixed64),
        3: _Field("severityText", _BYTES, _text),
        5: _Field("body", _BYTES, _any_value),
        6: _ATTRIBUTES,
        9: _Field("traceId", _BYTES, _hex),
        10: _Field("spanId", _BYTES, _hex),
        11: _Field("observedTimeUnixNano", _EIGHT, _fixed64),
        12: _Field("eventName", _BYTES, _text),
    }
)
_SCOPE_LOGS = _message(
    {
        1: _Field("scope", _BYTES, _message({1: _Field("name", _BYTES, _text)})),
        2: _Field("logRecords", _BYTES, _RECORD, True),
    }
)
_RESOURCE_LOGS = _message(
    {
        1: _Field("resource", _BYTES, _message({1: _ATTRIBUTES})),
        2: _Field("scopeLogs", _BYTES, _SCOPE_LOGS, True),
    }
)
_REQUEST = _message({1: _Field("resourceLogs", _BYTES, _RESOURCE_LOGS, True)})


def logs_request(data: bytes) -> dict[str, Any]:
    """An `ExportLogsServiceRequest`."""
    return _REQUEST(memoryview(data), 1)


def logs_response(rejected: int, message: str) -> bytes:
    """An `ExportLogsServiceResponse`; without rejections it is empty."""
    if not rejected:
        return b""
    text = message.encode()
    partial = b"\x08" + _as_varint(rejected) + b"\x12" + _as_varint(len(text)) + text
    return b"\x0a" + _as_varint(len(partial)) + partial


def _as_varint(value: int) -> bytes:
    written = bytearray()
    while value > 0x7F:
        written.append(value & 0x7F | 0x80)
        value >>= 7
    written.append(value)
    return bytes(written)
