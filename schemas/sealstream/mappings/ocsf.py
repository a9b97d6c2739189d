"""Entries and alerts as events of OCSF 1.8 (https://schema.ocsf.io/1.8.0), one class for each kind of deed. Pure.

Which class it is, the action's words and the resource decide (`CLASSES` says when). `raw_data` has the sealed entry
byte for byte, so nothing is lost, and `entry_of` takes it back; `unmapped` has what the class has no place for, and
`enrichments` where the entry stands in the log and its hashes. Profiles are not used.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from hashlib import sha256
from operator import attrgetter
from typing import Any

from sealstream.errors import NotCanonical
from sealstream.mappings.exported import Exported, checked_entry, milliseconds
from sealstream.mappings.ocsf_classes import (
    ACCESS,
    ACCOUNT,
    AUTHENTICATION,
    CLASSES,
    DATASTORE,
    ENTITY,
    FINDING,
    LIFECYCLE,
    OTHER,
    Event,
    OcsfClass,
    classified,
)
from sealstream.mappings.ocsf_members import actor_of, members_of
from sealstream.mappings.rows import Row, Rows, filled

__all__ = ["CLASSES", "ROWS", "VERSION", "OcsfClass", "document", "entry_of"]

VERSION = "1.8.0"
_SEVERITIES = {"low": (2, "Low"), "medium": (3, "Medium"), "high": (4, "High"), "critical": (5, "Critical")}


def document(exported: Exported) -> dict[str, Any]:
    """The OCSF event."""
    event = classified(exported)
    made = _common(event)
    made |= members_of(event)
    left = _unmapped(event)
    if left:
        made["unmapped"] = left
    return made


def entry_of(made: Mapping[str, Any]) -> bytes:
    """The sealed entry that an event was made of, byte for byte, its hash computed again. Raises `NotCanonical`."""
    raw = made.get("raw_data")
    if not isinstance(raw, str):
        raise NotCanonical("the event has no raw_data: expected the sealed entry as text")
    return checked_entry(raw.encode())


def _message(event: Event) -> str:
    fields = event.exported.fields
    if event.kind is FINDING and isinstance(summary := fields.metadata.get("summary"), str) and summary:
        return summary
    return f"{fields.actor_id} {fields.action} {fields.resource_type}/{fields.resource_id}: {fields.result}"


def _severity(event: Event) -> tuple[int, str]:
    fields = event.exported.fields
    if event.kind is FINDING:
        return _SEVERITIES.get(str(fields.metadata.get("severity")), (0, "Unknown"))
    return (1, "Informational") if fields.result == "success" else (2, "Low")


def _status(event: Event) -> tuple[int, str]:
    if event.kind is FINDING:
        return {1: (1, "New"), 2: (2, "In Progress"), 3: (4, "Resolved")}[event.activity]
    return (1, "Success") if event.exported.fields.result == "success" else (2, "Failure")


def _status_detail(event: Event) -> str | None:
    fields = event.exported.fields
    if event.kind is FINDING:
        judged = fields.metadata.get("as")
        return judged if isinstance(judged, str) else None
    return "denied" if fields.result == "denied" else None


def _logged(event: Event) -> int | None:
    written = event.exported.fields.written
    return milliseconds(written.sequenced_at) if written is not None else None


def _feature(event: Event) -> dict[str, str] | None:
    source = event.exported.fields.source
    if not source.get("service"):
        return None
    return {"name": source["service"]} | ({"version": source["version"]} if source.get("version") else {})


def _seal(event: Event) -> list[dict[str, Any]] | None:
    exported = event.exported
    fields, written = exported.fields, exported.fields.written
    if written is None:
        return None
    told: dict[str, Any] = {
        "origin": exported.origin,
        "chain": written.chain,
        "seq": written.seq,
        "kind": written.kind,
        "hash": fields.hash,
        "prev_hash": fields.prev_hash,
        "sequenced_at": written.sequenced_at,
    }
    if written.received_at is not None:
        told["received_at"] = written.received_at
    return [{"name": "metadata.uid", "value": fields.hash, "type": "seal", "provider": "Sealstream", "data": told}]


def _has_request(event: Event) -> bool:
    """Whether its class has who did it, from where, and the request."""
    return event.kind not in (FINDING, LIFECYCLE)


def _actor(event: Event) -> dict[str, Any] | None:
    return actor_of(event) if _has_request(event) else None


def _session(event: Event) -> str | None:
    return event.exported.fields.session_id if _has_request(event) else None


def _address(event: Event) -> dict[str, str] | None:
    address = event.exported.fields.ip_address
    return {"ip": address} if address and _has_request(event) else None


def _request(event: Event) -> dict[str, str] | None:
    if not _has_request(event):
        return None
    agent = event.exported.fields.user_agent
    method = event.told.method if not event.exported.is_statement else ""
    return {name: text for name, text in (("http_method", method), ("user_agent", agent)) if text} or None


def _response(event: Event) -> dict[str, int] | None:
    status = _integer(event.exported.fields.metadata.get("http_status"))
    return {"code": status} if status is not None and 100 <= status <= 999 and _has_request(event) else None


def _integer(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _duration(event: Event) -> int | None:
    value = event.exported.fields.metadata.get("duration_ms")
    return (
        round(value) if isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < 2**53 else None
    )


def _of(name: str) -> Callable[[Event], Any]:
    return attrgetter(f"exported.fields.{name}")


def _activity_name(event: Event) -> str:
    return event.exported.fields.action if event.activity == OTHER else event.kind.activities[event.activity]


ROWS: Rows = (
    Row("class_uid", "the class's number", lambda e: e.kind.uid),
    Row("class_name", "its name", lambda e: e.kind.caption),
    Row("category_uid", "its category's number", lambda e: e.kind.category[0]),
    Row("category_name", "and name", lambda e: e.kind.category[1]),
    Row("activity_id", "by the words of `action`; 99 where the class has no such activity", lambda e: e.activity),
    Row("activity_name", "the activity's name; for 99 `action`", _activity_name),
    Row("type_uid", "class and activity", lambda e: e.kind.uid * 100 + e.activity),
    Row("type_name", "in words", lambda e: f"{e.kind.caption}: {e.kind.activities[e.activity]}"),
    Row("time", "`timestamp`, in milliseconds since 1970", lambda e: milliseconds(e.exported.fields.timestamp)),
    Row(
        "severity_id",
        "1 for `success`, 2 for `failure` and `denied`; an alert's `severity` as 2 to 5",
        lambda e: _severity(e)[0],
    ),
    Row("severity", "in words", lambda e: _severity(e)[1]),
    Row(
        "status_id",
        "1 for `success`, 2 for `failure` and `denied`; of an alert 1 raised, 2 acknowledged, 4 closed",
        lambda e: _status(e)[0],
    ),
    Row("status", "in words", lambda e: _status(e)[1]),
    Row("status_detail", "`denied`; of a closed alert how it was judged", _status_detail),
    Row("message", "who did what to which resource, with what result; an alert's `summary`", _message),
    Row("metadata.version", f"{VERSION}", lambda e: VERSION),
    Row("metadata.product.name", "Sealstream", lambda e: "Sealstream"),
    Row("metadata.product.vendor_name", "Sealstream", lambda e: "Sealstream"),
    Row("metadata.product.feature", "`source.service` and `source.version`", _feature),
    Row(
        "metadata.uid",
        "`hash`, which no other entry of any log has; an alert's `id`",
        lambda e: e.exported.fields.hash or e.exported.fields.id,
    ),
    Row("metadata.original_event_uid", "`id`", _of("id")),
    Row("metadata.event_code", "`action`", _of("action")),
    Row("metadata.original_time", "`timestamp`, with its microseconds", _of("timestamp")),
    Row("metadata.logged_time", "`written.sequenced_at`, in milliseconds since 1970", _logged),
    Row(
        "metadata.sequence",
        "`written.seq`",
        lambda e: e.exported.fields.written.seq if e.exported.fields.written else None,
    ),
    Row("metadata.log_name", "the chain's origin", lambda e: e.exported.origin),
    Row("metadata.log_provider", "`sealstream`", lambda e: "sealstream"),
    Row("metadata.tenant_uid", "`tenant`", _of("tenant")),
    Row("metadata.correlation_uid", "`trace_id`", _of("trace_id")),
    Row("actor.user", "`actor_id` as `uid`, `actor_type` as `type_id` and `type`, where the class has it", _actor),
    Row("actor.session.uid", "`session_id`, where the class has it", _session),
    Row("src_endpoint", "`ip_address` as `ip`, where the class has it", _address),
    Row("http_request", "`user_agent`, and the method of a request as `http_method`, where the class has it", _request),
    Row("http_response", "`metadata.http_status` as `code`, where the class has it", _response),
    Row("duration", "`metadata.duration_ms`, rounded", _duration),
    Row(
        "enrichments",
        "where it stands in the log, and its hashes: `origin`, `chain`, `seq`, `kind`, `hash`, `prev_hash`, "
        "`sequenced_at`, `received_at` in `data`",
        _seal,
    ),
    Row("raw_data", "the sealed entry, byte for byte", lambda e: e.exported.text),
    Row("raw_data_size", "its bytes", lambda e: len(e.exported.text.encode())),
    Row(
        "raw_data_hash",
        "its SHA-256 as it stands there",
        lambda e: {"algorithm_id": 3, "algorithm": "SHA-256", "value": sha256(e.exported.text.encode()).hexdigest()},
    ),
)
_common = filled(ROWS)


_NEVER_MAPPED = ("on_behalf_of", "changed_fields", "producer_id", "producer_seq", "subject_id")
_UNMAPPED_SOURCE = ("host", "environment", "authenticated_as")


def _unmapped(event: Event) -> dict[str, Any]:
    """By the entry's own names."""
    fields, kind = event.exported.fields, event.kind
    values: dict[str, Any] = {name: getattr(fields, name) for name in _NEVER_MAPPED}
    if kind is not ENTITY:
        values |= {"old_values": fields.old_values, "new_values": fields.new_values}
    if kind not in (ENTITY, FINDING):
        values["reason"] = fields.reason
    if not _has_request(event):
        names = ("actor_id", "actor_type", "result", "session_id", "ip_address", "user_agent")
        values |= {name: getattr(fields, name) for name in names}
    if kind in (AUTHENTICATION, LIFECYCLE, ACCESS, ACCOUNT, DATASTORE):
        values |= {"resource_type": fields.resource_type, "resource_id": fields.resource_id}
    sources = _UNMAPPED_SOURCE if fields.source.get("service") else (*_UNMAPPED_SOURCE, "version")
    values["source"] = {name: fields.source[name] for name in sources if fields.source.get(name)}
    values["metadata"] = fields.metadata
    return {name: value for name, value in values.items() if value not in (None, "", [], {})}
