"""Kubernetes API server audit log: `audit.k8s.io/v1` events, from the log file or as the webhook's EventList.

A request has several records, one a stage; the one that says how it ended is an event, the earlier ones are left out.
Written from Kubernetes' documentation ("Auditing", "kube-apiserver Audit Configuration (v1)"). Pure.
"""

from __future__ import annotations

from typing import Any

from sealstream.errors import InvalidEvent
from sealstream.importers.records import Fields, Importer, LeftOut
from sealstream.importers.values import address, at, first, needed, rfc3339

__all__ = ["KUBERNETES"]

_ENDS = ("ResponseComplete", "Panic")


def _fields(record: Any) -> Fields | LeftOut:
    audit_id, stage = needed(record, "auditID"), needed(record, "stage")
    if stage not in _ENDS:
        return LeftOut(f"stage {str(stage)[:40]}")
    verb = needed(record, "verb")
    user = at(record, "user", "username")
    thing, status = record.get("objectRef"), record.get("responseStatus")
    resource = first(at(thing, "resource"))
    sources = record.get("sourceIPs")
    found = address(sources[0]) if isinstance(sources, list) and sources else {}
    when = first(record.get("requestReceivedTimestamp"), record.get("stageTimestamp"))
    if when is None:
        raise InvalidEvent("requestReceivedTimestamp is missing: expected an audit.k8s.io/v1 Event", "timestamp")
    metadata = {
        "http_status": at(status, "code"),
        "stage": stage,
        "level": record.get("level"),
        "request_uri": record.get("requestURI"),
        "decision": at(record, "annotations", "authorization.k8s.io/decision"),
        "error_message": at(status, "message"),
    }
    return {
        "id": f"{audit_id}/{stage}",
        "timestamp": rfc3339(when, "requestReceivedTimestamp"),
        "actor_id": user or "anonymous",
        "actor_type": _actor_type(str(user or "system:anonymous")),
        "on_behalf_of": at(record, "impersonatedUser", "username"),
        "action": f"kubernetes:{verb}",
        "resource_type": f"kubernetes:{_joined(resource, at(thing, 'subresource'))}" if resource else "kubernetes:path",
        "resource_id": _joined(at(thing, "namespace"), at(thing, "name"))
        or first(resource, record.get("requestURI"), "/"),
        "result": _result(stage, at(status, "code"), metadata["decision"]),
        "ip_address": found.get("ip_address"),
        "user_agent": record.get("userAgent"),
        "trace_id": audit_id,
        "source": {"service": "kube-apiserver"},
        "metadata": metadata | found.get("metadata", {}),
    }


def _joined(*parts: Any) -> str:
    return "/".join(str(each) for each in parts if each)


def _actor_type(user: str) -> str:
    if user == "system:anonymous":
        return "anonymous"
    if user.startswith("system:serviceaccount:"):
        return "service"
    return "system" if user.startswith("system:") else "user"


def _result(stage: object, code: Any, decision: Any) -> str:
    if decision == "forbid" or code in (401, 403):
        return "denied"
    if stage == "Panic" or (isinstance(code, int) and code >= 400):
        return "failure"
    return "success"


KUBERNETES = Importer(
    "kubernetes",
    "json",
    _fields,
    lists=("items",),
    from_={
        "id": "made of auditID and stage",
        "timestamp": "requestReceivedTimestamp",
        "actor_id": "user.username",
        "actor_type": "system:serviceaccount:... is service, other system:... system, system:anonymous anonymous",
        "on_behalf_of": "impersonatedUser.username",
        "action": "kubernetes: and verb",
        "resource_type": "kubernetes: and objectRef.resource, subresource",
        "resource_id": "objectRef.namespace/name, else requestURI",
        "result": "responseStatus.code: 401 and 403 denied, other 4xx, 5xx and a panic failure",
        "ip_address": "sourceIPs, the first",
        "trace_id": "auditID",
    },
)
