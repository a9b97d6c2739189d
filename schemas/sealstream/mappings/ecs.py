"""Entries and alerts as documents of the Elastic Common Schema (https://www.elastic.co/docs/reference/ecs). Pure.

`ROWS` is the mapping. `event.original` has the sealed entry byte for byte, so nothing is lost, and `entry_of` takes it
back. What ECS has no field for stands below `sealstream`; what applications shape as they like (`metadata`, old and
new values) stands there as JSON text: an index neither grows a field for each name, nor refuses an entry because a name
was a number before.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from operator import attrgetter
from typing import Any

from sealstream.errors import NotCanonical
from sealstream.layout.activity import ACCOUNT_TYPES
from sealstream.mappings.exported import Exported, checked_entry, json_text
from sealstream.mappings.meaning import Verb, meaning
from sealstream.mappings.rows import Row, Rows, filled
from sealstream.sealing import is_time

__all__ = ["ROWS", "VERSION", "document", "entry_of"]

VERSION = "9.4.0"
_RAISED = "alert.raised"
_SEVERITIES = {"low": 21, "medium": 47, "high": 73, "critical": 99}  # as Elastic Security's own rules have them
_NANOSECONDS = 1_000_000
_MOST_NS = 2**63 - 1
_TYPES: dict[Verb, str] = {
    "read": "access",
    "export": "access",
    "create": "creation",
    "delete": "deletion",
    "login": "start",
    "logout": "end",
    "switch": "start",
    "other": "info",
}
# What `event.type` may be beside a category, as ECS expects it.
_EXPECTED = {
    "api": frozenset({"access", "change", "creation", "deletion", "denied", "info"}),
    "authentication": frozenset({"start", "end", "info"}),
    "database": frozenset({"access", "change", "info"}),
    "iam": frozenset({"change", "creation", "deletion", "group", "info", "user"}),
    "intrusion_detection": frozenset({"info"}),
}
_DATABASES = frozenset({"database", "db", "schema", "table"})


def _is_alert(exported: Exported) -> bool:
    return exported.is_statement and exported.fields.action == _RAISED


def _categories(exported: Exported) -> list[str]:
    """At most one; none where ECS has none that fits."""
    fields = exported.fields
    if exported.is_statement:
        return ["intrusion_detection"] if fields.action == _RAISED else []
    told = meaning(fields.action)
    if told.verb in ("login", "logout", "switch"):
        return ["authentication"]
    if told.rights or (fields.resource_type in ACCOUNT_TYPES and told.verb not in ("read", "export")):
        return ["iam"]
    if meaning(fields.resource_type).words & _DATABASES:
        return ["database"]
    return ["api"] if told.request else []


def _types(exported: Exported) -> list[str]:
    fields = exported.fields
    if _is_alert(exported):
        return ["info"]
    told = meaning(fields.action)
    found = [_TYPES.get(told.verb, "change")]
    categories = _categories(exported)
    if categories == ["iam"]:
        of = ["user"] if fields.resource_type in ACCOUNT_TYPES else []
        of += ["group"] if "group" in meaning(fields.resource_type).words else []
        found = [*of, "change" if found == ["info"] and told.rights else found[0]]
    if categories == ["database"] and found[0] in ("creation", "deletion"):
        found = ["change"]
    if fields.result == "denied":
        found.append("denied")
    if not categories:
        return [each for each in found if each not in ("start", "end")] or ["info"]
    return [each for each in found if each in _EXPECTED[categories[0]]] or ["info"]


def _target(exported: Exported) -> str | None:
    fields = exported.fields
    other = fields.resource_type in ACCOUNT_TYPES and fields.resource_id != fields.actor_id
    return fields.resource_id if other else None


def _people(exported: Exported) -> list[str]:
    fields = exported.fields
    named = (fields.actor_id, fields.on_behalf_of, _target(exported))
    return list(dict.fromkeys(each for each in named if each))


def _message(exported: Exported) -> str:
    fields = exported.fields
    summary = fields.metadata.get("summary")
    if _is_alert(exported) and isinstance(summary, str) and summary:
        return summary
    return f"{fields.actor_id} {fields.action} {fields.resource_type}/{fields.resource_id}: {fields.result}"


def _duration(exported: Exported) -> int | None:
    value = exported.fields.metadata.get("duration_ms")
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 <= value * _NANOSECONDS <= _MOST_NS:
        return None
    return round(value * _NANOSECONDS)


def _http_status(exported: Exported) -> int | None:
    value = exported.fields.metadata.get("http_status")
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _of(name: str) -> Callable[[Exported], Any]:
    return attrgetter(f"fields.{name}")


def _source(name: str) -> Callable[[Exported], Any]:
    return lambda exported: exported.fields.source.get(name)


def _alert_text(name: str) -> Callable[[Exported], Any]:
    def give(exported: Exported) -> str | None:
        value = exported.fields.metadata.get(name)
        return value if _is_alert(exported) and isinstance(value, str) else None

    return give


def _window(at: int) -> Callable[[Exported], Any]:
    def give(exported: Exported) -> str | None:
        window = exported.fields.metadata.get("window")
        if not _is_alert(exported) or not isinstance(window, list | tuple) or len(window) != 2:
            return None
        return window[at] if isinstance(window[at], str) and _is_second(window[at]) else None

    return give


def _is_second(text: str) -> bool:
    """Whether an index takes it for a date: `YYYY-MM-DDTHH:MM:SSZ`."""
    return len(text) == 20 and is_time(f"{text[:19]}.000000{text[19:]}")


def _severity(exported: Exported) -> int | None:
    return _SEVERITIES.get(str(exported.fields.metadata.get("severity"))) if _is_alert(exported) else None


def _written(name: str) -> Callable[[Exported], Any]:
    return lambda exported: getattr(exported.fields.written, name, None)


ROWS: Rows = (
    Row("@timestamp", "`timestamp`", _of("timestamp")),
    Row("ecs.version", VERSION, lambda e: VERSION),
    Row("message", "who did what to which resource, with what result; an alert's `summary`", _message),
    Row(
        "event.kind",
        "`event`; of `alert.raised`, and of alerts, `alert`",
        lambda e: "alert" if _is_alert(e) else "event",
    ),
    Row(
        "event.category",
        "`authentication`, `iam`, `database`, `api`, `intrusion_detection` (alerts); absent where none fits",
        _categories,
    ),
    Row(
        "event.type",
        "`access`, `change`, `creation`, `deletion`, `start`, `end`, `user`, `group`, `denied`, `info`, by the "
        "words of `action`, as the category expects it",
        _types,
    ),
    Row(
        "event.outcome",
        "`success`; `failure` for `failure` and `denied`",
        lambda e: "success" if e.fields.result == "success" else "failure",
    ),
    Row("event.action", "`action`", _of("action")),
    Row("event.reason", "`reason`", _of("reason")),
    Row("event.id", "`id`", _of("id")),
    Row("event.sequence", "`written.seq`", _written("seq")),
    Row("event.created", "`written.received_at`", _written("received_at")),
    Row("event.duration", "`metadata.duration_ms`, in nanoseconds", _duration),
    Row("event.severity", "of an alert: 21, 47, 73, 99", _severity),
    Row("event.start", "of an alert: its window's first second", _window(0)),
    Row("event.end", "of an alert: its last", _window(1)),
    Row("event.provider", "`sealstream`", lambda e: "sealstream"),
    Row("event.module", "`sealstream`", lambda e: "sealstream"),
    Row("event.dataset", "`sealstream.` and the chain", lambda e: f"sealstream.{e.chain}"),
    Row("event.original", "the sealed entry, byte for byte", lambda e: e.text),
    Row("event.hash", "`hash`", _of("hash")),
    Row("rule.name", "of an alert: `metadata.detector`", _alert_text("detector")),
    Row("rule.id", "of an alert: `metadata.rule`", _alert_text("rule")),
    Row("user.id", "`actor_id`", _of("actor_id")),
    Row("user.effective.id", "`on_behalf_of`", _of("on_behalf_of")),
    Row("user.target.id", "`resource_id` where the resource is another's account", _target),
    Row("source.ip", "`ip_address`", _of("ip_address")),
    Row("related.ip", "`ip_address`", lambda e: [e.fields.ip_address] if e.fields.ip_address else None),
    Row("related.user", "all who are named above", _people),
    Row("user_agent.original", "`user_agent`", _of("user_agent")),
    Row("trace.id", "`trace_id`", _of("trace_id")),
    Row("organization.id", "`tenant`", _of("tenant")),
    Row(
        "http.request.method",
        "of a request's `action`: its method",
        lambda e: "" if e.is_statement else meaning(e.fields.action).method,
    ),
    Row("http.response.status_code", "`metadata.http_status`", _http_status),
    Row("service.name", "`source.service`", _source("service")),
    Row("service.version", "`source.version`", _source("version")),
    Row("service.environment", "`source.environment`", _source("environment")),
    Row("host.name", "`source.host`", _source("host")),
    Row("sealstream.origin", "the chain's origin", lambda e: e.origin),
    Row("sealstream.chain", "`written.chain`", lambda e: e.chain),
    Row("sealstream.kind", "`written.kind`", _written("kind")),
    Row("sealstream.prev_hash", "`prev_hash`", _of("prev_hash")),
    Row("sealstream.sequenced_at", "`written.sequenced_at`", _written("sequenced_at")),
    Row("sealstream.actor_type", "`actor_type`", _of("actor_type")),
    Row("sealstream.resource.type", "`resource_type`", _of("resource_type")),
    Row("sealstream.resource.id", "`resource_id`", _of("resource_id")),
    Row("sealstream.result", "`result`", _of("result")),
    Row("sealstream.session_id", "`session_id`", _of("session_id")),
    Row("sealstream.authenticated_as", "`source.authenticated_as`", _source("authenticated_as")),
    Row("sealstream.changed_fields", "`changed_fields`", _of("changed_fields")),
    Row("sealstream.old_values", "`old_values`, as JSON text", lambda e: json_text(e.fields.old_values)),
    Row("sealstream.new_values", "`new_values`, as JSON text", lambda e: json_text(e.fields.new_values)),
    Row("sealstream.metadata", "`metadata`, as JSON text", lambda e: json_text(e.fields.metadata)),
    Row("sealstream.producer.id", "`producer_id`", _of("producer_id")),
    Row("sealstream.producer.seq", "`producer_seq`", _of("producer_seq")),
    Row("sealstream.subject_id", "`subject_id`", _of("subject_id")),
)
document = filled(ROWS)


def entry_of(made: Mapping[str, Any]) -> bytes:
    """The sealed entry that a document was made of, byte for byte, its hash computed again. Raises `NotCanonical`."""
    event = made.get("event")
    original = event.get("original") if isinstance(event, Mapping) else None
    if not isinstance(original, str):
        raise NotCanonical("the document has no event.original: expected the sealed entry as text")
    return checked_entry(original.encode())
