"""Okta's System Log: LogEvent objects from its API or a log stream. Pure."""

from __future__ import annotations

from typing import Any

from sealstream.importers.records import Fields, Importer
from sealstream.importers.values import address, at, first, needed, rfc3339

__all__ = ["OKTA"]

_RESULTS = {"SUCCESS": "success", "ALLOW": "success", "SKIPPED": "success", "CHALLENGE": "success", "DENY": "denied"}
_TYPES = {"User": "user", "SystemPrincipal": "system"}
_LOGIN = "user.session.start"


def _fields(record: Any) -> Fields:
    event_type = str(needed(record, "eventType"))
    actor = record.get("actor")
    targets = record.get("target")
    target = targets[0] if isinstance(targets, list) and targets else actor
    outcome = at(record, "outcome", "result")
    found = address(at(record, "client", "ipAddress"))
    metadata = {
        "event_type": event_type,
        "outcome": outcome,
        "message": record.get("displayMessage"),
        "severity": record.get("severity"),
        "actor_name": at(actor, "displayName"),
        "target_name": at(target, "displayName"),
        "country": at(record, "client", "geographicalContext", "country"),
    }
    return {
        "id": needed(record, "uuid"),
        "timestamp": rfc3339(needed(record, "published"), "published"),
        "actor_id": first(at(actor, "alternateId"), at(actor, "id"), "anonymous"),
        "actor_type": _TYPES.get(str(at(actor, "type")), "service") if actor else "anonymous",
        "action": f"okta:{'user.login' if event_type == _LOGIN else event_type}",
        "resource_type": f"okta:{at(target, 'type') or 'organization'}",
        "resource_id": first(at(target, "alternateId"), at(target, "id"), "unknown"),
        "result": _RESULTS.get(str(outcome), "failure") if outcome else "success",
        "reason": at(record, "outcome", "reason"),
        "ip_address": found.get("ip_address"),
        "user_agent": at(record, "client", "userAgent", "rawUserAgent"),
        "session_id": at(record, "authenticationContext", "externalSessionId"),
        "trace_id": at(record, "transaction", "id"),
        "source": {"service": "okta"},
        "metadata": metadata | found.get("metadata", {}),
    }


OKTA = Importer(
    "okta",
    "json",
    _fields,
    from_={
        "id": "uuid",
        "timestamp": "published",
        "actor_id": "actor.alternateId, else actor.id",
        "actor_type": "actor.type: User is user, SystemPrincipal system, others service",
        "action": "okta: and eventType; user.session.start is user.login",
        "resource_type": "target[0].type",
        "resource_id": "target[0].alternateId, else id",
        "result": "outcome.result: SUCCESS, ALLOW, SKIPPED, CHALLENGE success, DENY denied, others failure",
        "reason": "outcome.reason",
        "ip_address": "client.ipAddress",
        "session_id": "authenticationContext.externalSessionId",
        "trace_id": "transaction.id",
    },
)
