"""CloudEvents 1.0 as events, structured, batched and binary: `data` holds an event's fields, the envelope the rest.

What the envelope says stands in for a field that `data` lacks: `id` (or one made of `source` and `id`, which name an
event together), `time`, `type` as the action, `subject` as the resource's id, `source` as the service, the extension
`traceparent` as the trace. `data` may stand in `data_base64`. In binary mode the envelope stands in headers, and the
body is `data`. An event that its producer has signed is taken as it is. Pure.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable
from typing import Any
from urllib.parse import unquote

from sealstream.collect.judging import fields_of, made_id
from sealstream.collect.keys import Key
from sealstream.errors import InvalidEvent

__all__ = ["header_attributes", "read_binary", "read_cloudevent"]

_HEADER = b"ce-"
_UUID = re.compile(r"[0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}")
_BEYOND_MICROSECONDS = re.compile(r"(\.\d{6})\d+")
_TRACEPARENT = re.compile(r"[0-9a-f]{2}-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}.*")


def read_cloudevent(key: Key, data: bytes) -> dict[str, Any]:
    """The fields of the event that this CloudEvent holds. Raises `InvalidEvent`."""
    return _fields(key, fields_of(data))


def header_attributes(headers: Iterable[tuple[bytes, bytes]]) -> dict[str, Any]:
    """The attributes in `ce-` headers, without the prefix (HTTP binding, section 3.1.3.2); none: not binary mode."""
    return {
        name[len(_HEADER) :].decode("latin-1"): unquote(value.decode("utf-8", "replace"), errors="replace")
        for name, value in headers
        if name.startswith(_HEADER)  # names come in lower case (ASGI)
    }


def read_binary(key: Key, attributes: dict[str, Any], body: bytes) -> dict[str, Any]:
    """The same for a CloudEvent in binary mode. Raises `InvalidEvent`."""
    return _fields(key, {**attributes, "data": fields_of(body)})


def _fields(key: Key, envelope: dict[str, Any]) -> dict[str, Any]:
    if envelope.get("specversion") != "1.0":
        raise InvalidEvent("specversion is not that of CloudEvents 1.0: expected '1.0'", "specversion")
    for name in ("id", "source", "type"):
        if not isinstance(envelope.get(name), str) or not envelope[name]:
            raise InvalidEvent(f"{name} is missing: expected text that is not empty (CloudEvents 1.0)", name)
    for name in ("time", "subject", "traceparent"):
        if not isinstance(envelope.get(name, ""), str | None):
            raise InvalidEvent(f"{name} is no text (CloudEvents 1.0)", name)
    held = envelope.get("data")
    if held is None and envelope.get("data_base64") is not None:
        held = fields_of(_unpacked(envelope["data_base64"]))
    if not isinstance(held, dict):
        raise InvalidEvent("data is no object: expected one with an event's fields (actor_id, result, ...)", "data")
    fields = dict(held)
    if fields.get("signature") is not None:  # its producer has signed it as it is
        return fields
    own_id: str = envelope["id"]
    made = own_id if _UUID.fullmatch(own_id) else made_id(key, f"cloudevents/{envelope['source']}\n{own_id}")
    time = envelope.get("time")
    stands_in = {
        "id": made,
        "timestamp": None if time is None else _BEYOND_MICROSECONDS.sub(r"\1", time),
        "action": envelope["type"],
        "resource_id": envelope.get("subject"),
        "trace_id": _trace_of(envelope.get("traceparent")),
        "source": {"service": envelope["source"]},
    }
    for name, value in stands_in.items():
        if value is not None and fields.get(name) is None:
            fields[name] = value
    metadata = fields.get("metadata")
    if metadata is None or isinstance(metadata, dict):
        came_as = {name: envelope[name] for name in ("id", "source", "type")}
        fields["metadata"] = {"cloudevent": came_as} | (metadata or {})
    return fields


def _unpacked(packed: Any) -> bytes:
    """The bytes of `data_base64` (JSON format, section 3.1.1), as SDKs write data that they were given as bytes."""
    try:
        return base64.b64decode(packed, validate=True)
    except (TypeError, ValueError) as error:
        raise InvalidEvent("data_base64 is no base64 (CloudEvents 1.0)", "data_base64") from error


def _trace_of(traceparent: str | None) -> str | None:
    """W3C Trace Context, section 3.2: version, trace id, parent id, flags."""
    found = _TRACEPARENT.fullmatch(traceparent or "")
    return None if found is None else found[1]
