"""GitHub's audit log of an organization or enterprise: its JSON export, API answers, and what it streams. Pure."""

from __future__ import annotations

from typing import Any

from sealstream.importers.records import Fields, Importer
from sealstream.importers.values import address, first, milliseconds, needed, rfc3339

__all__ = ["GITHUB"]

_THINGS = (
    ("repo", "repository"),
    ("repository", "repository"),  # of git.clone, git.push, git.fetch
    ("team", "team"),
    ("user", "user"),
    ("org", "organization"),
    ("business", "enterprise"),
)


def _fields(record: Any) -> Fields:
    action = str(needed(record, "action"))
    when = first(record.get("@timestamp"), record.get("created_at"))
    who = first(record.get("actor"), record.get("actor_id"))
    found = address(record.get("actor_ip"))
    kind, thing = next(((kind, record[name]) for name, kind in _THINGS if record.get(name)), ("audit_log", "unknown"))
    is_bot = record.get("actor_is_bot") is True or str(who).endswith("[bot]")
    metadata = {
        "org": record.get("org"),
        "operation": record.get("operation_type"),
        "access": record.get("programmatic_access_type"),
        "country": (record.get("actor_location") or {}).get("country_code")
        if isinstance(record.get("actor_location"), dict)
        else None,
    }
    return {
        "id": record.get("_document_id"),
        "timestamp": rfc3339(when, "@timestamp") if isinstance(when, str) else milliseconds(when, "@timestamp"),
        "actor_id": who or "github",
        "actor_type": "system" if who is None else "service" if is_bot else "user",
        "on_behalf_of": record.get("external_identity_nameid"),
        "action": f"github:{action}",
        "resource_type": f"github:{kind}",
        "resource_id": thing,
        "result": "failure" if "failed" in action or "failure" in action else "success",
        "ip_address": found.get("ip_address"),
        "user_agent": record.get("user_agent"),
        "trace_id": record.get("request_id"),
        "source": {"service": "github"},
        "metadata": metadata | found.get("metadata", {}),
    }


GITHUB = Importer(
    "github",
    "json",
    _fields,
    from_={
        "id": "made of _document_id",
        "timestamp": "@timestamp, else created_at",
        "actor_id": "actor, else actor_id",
        "actor_type": "bots are service; without an actor system",
        "action": "github: and action",
        "resource_type": "the first of repo, repository, team, user, org, business that is there",
        "resource_id": "its value",
        "result": "failure where the action says so: GitHub logs what was done",
        "ip_address": "actor_ip",
    },
)
