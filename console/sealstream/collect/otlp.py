"""OTLP/HTTP log records as events: attributes `audit.<field>` are an event's fields, the rest goes into `metadata`.

What the record says stands in for a field that has no attribute: its time, its `eventName` as the action, its trace,
the resource's `service.name`, `service.version`, `host.name` and `deployment.environment.name` as the source. An id is
made of everything that the record says, so that an exporter's retry is harmless. Pure.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Any, NamedTuple

from sealstream.collect.judging import made_id
from sealstream.collect.keys import Key
from sealstream.errors import InvalidEvent, NotCanonical
from sealstream.events import FIELDS, format_timestamp
from sealstream.sealing import parse_json
from sealstream.web.problems import Problem

__all__ = ["LogRecord", "json_request", "log_records", "read_log_record"]

_PREFIX = "audit."
_SOURCE = {
    "service": ("service.name",),
    "version": ("service.version",),
    "host": ("host.name",),
    "environment": ("deployment.environment.name", "deployment.environment"),
}
_TEXT_FIELDS = frozenset(name for name, field in FIELDS.items() if field.kind == "text")
_TEXTS = ("eventName", "traceId", "spanId", "severityText")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_DEEPEST = 30


class LogRecord(NamedTuple):
    """One record with what stands around it."""

    resource: dict[str, Any]
    scope: str
    record: dict[str, Any]


def json_request(body: bytes) -> dict[str, Any]:
    """The request in OTLP's JSON form. Raises `ValueError`."""
    try:
        parsed = parse_json(body)
    except (NotCanonical, RecursionError) as error:
        raise ValueError(str(error)) from error
    if not isinstance(parsed, dict):
        raise ValueError("expected an object with resourceLogs")
    return parsed


def log_records(request: dict[str, Any], most: int) -> list[LogRecord]:
    """Its records in their order. Raises `ValueError` when it has another shape, a `Problem` when it has too many."""
    found: list[LogRecord] = []
    for each in _objects(request, "resourceLogs"):
        resource = _attributes(_object(each, "resource"))
        for scoped in _objects(each, "scopeLogs"):
            scope = _object(scoped, "scope").get("name")
            for record in _objects(scoped, "logRecords"):
                if len(found) == most:
                    raise Problem(413, "too-many-events", f"too many log records: expected at most {most:,}")
                found.append(LogRecord(resource, scope if isinstance(scope, str) else "", record))
    return found


def _objects(parent: dict[str, Any], name: str) -> Iterator[dict[str, Any]]:
    listed = parent.get(name) or []
    if not isinstance(listed, list) or not all(isinstance(each, dict) for each in listed):
        raise ValueError(f"{name} is no list of objects")
    yield from listed


def _object(parent: dict[str, Any], name: str) -> dict[str, Any]:
    found = parent.get(name) or {}
    if not isinstance(found, dict):
        raise ValueError(f"{name} is no object")
    return found


def _attributes(parent: dict[str, Any], name: str = "attributes", depth: int = 0) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for each in _objects(parent, name):
        key = each.get("key")
        if not isinstance(key, str):
            raise ValueError(f"{name} has a member whose key is no text")
        found[key] = _value(_object(each, "value"), depth)
    return found


def _value(value: dict[str, Any], depth: int) -> Any:
    """An `AnyValue`. In OTLP's JSON, 64-bit integers are text."""
    if depth > _DEEPEST:
        raise ValueError("a value is nested too deep")
    for kind, held in value.items():
        match kind:
            case "intValue":
                if not isinstance(held, int | str):
                    raise ValueError("an intValue is no integer")
                return int(held)
            case "arrayValue" if isinstance(held, dict):
                return [_value(each, depth + 1) for each in _objects(held, "values")]
            case "kvlistValue" if isinstance(held, dict):
                return _attributes(held, "values", depth + 1)
            case "stringValue" | "boolValue" | "doubleValue" | "bytesValue":
                return held
    return None


def read_log_record(key: Key, log: LogRecord) -> dict[str, Any]:
    """The fields of the event that this record holds. Raises `InvalidEvent`, also for one that is no audit event."""
    try:
        attributes = _attributes(log.record)
        body = _value(_object(log.record, "body"), 0)
        time_ns = int(log.record.get("timeUnixNano") or log.record.get("observedTimeUnixNano") or 0)
        return _fields(key, log, attributes, body, time_ns)
    except (ValueError, TypeError, OverflowError) as error:
        raise InvalidEvent(f"log record is not as OTLP has it: {error}") from error


def _fields(key: Key, log: LogRecord, attributes: dict[str, Any], body: Any, time_ns: int) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    others: dict[str, Any] = {}
    for name, value in attributes.items():
        if not name.startswith(_PREFIX):
            others[name] = value
            continue
        field, _, member = name.removeprefix(_PREFIX).partition(".")
        if not member:
            # An attribute is a number where the application's own id is one; an event's ids are texts.
            fields[field] = str(value) if type(value) is int and field in _TEXT_FIELDS else value
            continue
        held = fields.setdefault(field, {})
        if not isinstance(held, dict):
            raise InvalidEvent(f"{name} and {_PREFIX}{field} are given: expected one of the two", field)
        held[member] = value
    if not fields:
        raise InvalidEvent("log record is no audit event: expected attributes audit.actor_id, audit.resource_id, ...")
    source = {
        name: next((log.resource[each] for each in ways if isinstance(log.resource.get(each), str)), None)
        for name, ways in _SOURCE.items()
    }
    says = (log.resource, log.scope, attributes, body, time_ns, *(log.record.get(name) or "" for name in _TEXTS))
    stands_in = {
        "id": made_id(key, f"otlp/{_digest(says)}"),
        "timestamp": format_timestamp(_EPOCH + timedelta(microseconds=time_ns // 1000)) if time_ns else None,
        "action": log.record.get("eventName") or None,
        "trace_id": log.record.get("traceId") or None,
    }
    for name, value in stands_in.items():
        if value is not None and fields.get(name) is None:
            fields[name] = value
    given = fields.get("source")
    if given is None or isinstance(given, dict):
        fields["source"] = {name: value for name, value in source.items() if value} | (given or {})
    beside = {
        "body": body,
        "attributes": others or None,
        "severity": log.record.get("severityText") or None,
        "scope": log.scope or None,
        "span_id": log.record.get("spanId") or None,
    }
    metadata = fields.get("metadata")
    if metadata is None or isinstance(metadata, dict):
        fields["metadata"] = {name: value for name, value in beside.items() if value is not None} | (metadata or {})
    return fields


def _digest(says: object) -> str:
    """The same for the same record in both encodings."""
    return sha256(json.dumps(says, sort_keys=True).encode(errors="backslashreplace")).hexdigest()
