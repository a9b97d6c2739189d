"""What each class of OCSF has beside what all have: the user, the entity, the store, the finding. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from sealstream.layout.activity import ACCOUNT_TYPES
from sealstream.mappings.exported import milliseconds
from sealstream.mappings.meaning import meaning
from sealstream.mappings.ocsf_classes import (
    ACCESS,
    ACCOUNT,
    API,
    AUTHENTICATION,
    DATASTORE,
    ENTITY,
    FINDING,
    LIFECYCLE,
    MFA,
    OTHER,
    Event,
    store_of,
)

__all__ = ["MEMBERS", "actor_of", "members_of"]

MEMBERS: dict[int, tuple[tuple[str, str], ...]] = {
    FINDING.uid: (
        (
            "finding_info",
            "`uid` the alert's id, `title` detector and subject, `desc` its `summary`, `analytic` the detector",
        ),
        ("is_alert", "true for one that is raised"),
        ("resources", "`resource_type` as `type`, `resource_id` as `uid`: the alert's subject"),
        ("start_time", "its window's first second, also `finding_info.first_seen_time`"),
        ("end_time", "its last, also `finding_info.last_seen_time`"),
        ("confidence_score", "`confidence`, of 100"),
        ("confidence_id", "1 below 34, 2 below 67, 3 from there"),
        ("confidence", "in words"),
        ("evidences", "`query`, `seqs`, `seen`, `usual`, `score`, `incident` in `data`"),
        ("comment", "`metadata.reason` or `metadata.note`: what was said of it"),
    ),
    LIFECYCLE.uid: (("app", "the sequencer, and `metadata.version`"),),
    AUTHENTICATION.uid: (
        ("user", "the account, where the resource is one; else the actor"),
        ("service", "`source.service`, or `Unknown` (OCSF demands one)"),
        ("session", "`session_id` as `uid`"),
        ("is_mfa", "true where the action has the word `mfa`, `otp`, `totp`, `webauthn`, `passkey`"),
    ),
    ACCESS.uid: (("user", "whose rights"), ("privileges", "which")),
    ACCOUNT.uid: (("user", "`resource_id` as `uid`"),),
    DATASTORE.uid: (
        ("database", "or `table`, or `databucket`: `resource_id` as `uid` and `name`, `resource_type` as `type`"),
        ("table", "the same"),
        ("databucket", "the same"),
    ),
    API.uid: (
        ("api", "`action` as `operation`, `source.service` as `service.name`"),
        ("resources", "`resource_type` as `type`, `resource_id` as `uid`"),
    ),
    ENTITY.uid: (
        ("entity", "`resource_type` as `type`, `resource_id` as `uid`; `old_values` as `data`"),
        ("entity_result", "the same with `new_values` as `data`, where there are any"),
        ("comment", "`reason`"),
    ),
}
"""What each class has by itself, and where it comes from."""

_ACTORS = {"user": (1, "User"), "admin": (2, "Admin"), "system": (3, "System"), "service": (4, "Service")}


def members_of(event: Event) -> dict[str, Any]:
    """By the attributes' names."""
    return _MAKERS[event.kind.uid](event)


def _user(identity: str, actor_type: str = "") -> dict[str, Any]:
    number, caption = _ACTORS.get(actor_type, (0, "Unknown"))
    return {"uid": identity, "type_id": number, "type": caption}


def actor_of(event: Event) -> dict[str, Any]:
    return _user(event.exported.fields.actor_id, event.exported.fields.actor_type)


def _entity(event: Event, content: Mapping[str, Any] | None) -> dict[str, Any]:
    fields = event.exported.fields
    words = meaning(fields.resource_type).words
    made: dict[str, Any] = {"uid": fields.resource_id, "type_id": OTHER, "type": fields.resource_type}
    if fields.resource_type in ACCOUNT_TYPES:
        made |= {"type_id": 2, "type": "User", "user": {"uid": fields.resource_id}}
    elif "group" in words:
        made |= {"type_id": 3, "type": "Group", "group": {"uid": fields.resource_id}}
    elif "policy" in words:
        made |= {"type_id": 5, "type": "Policy", "policy": {"uid": fields.resource_id}}
    return made | ({"data": dict(content)} if content else {})


def _comment(event: Event) -> dict[str, str]:
    """Why, where the class has a place for it: of an alert what was said of it."""
    said = event.exported.fields.metadata
    own = [said.get("reason"), said.get("note")] if event.kind is FINDING else []
    comment = next((each for each in (event.exported.fields.reason, *own) if isinstance(each, str) and each), "")
    return {"comment": comment} if comment else {}


def _of_entity(event: Event) -> dict[str, Any]:
    fields = event.exported.fields
    made = {"entity": _entity(event, fields.old_values)} | _comment(event)
    if fields.new_values:
        made["entity_result"] = _entity(event, fields.new_values)
    return made


def _of_authentication(event: Event) -> dict[str, Any]:
    fields = event.exported.fields
    account = fields.resource_type in ACCOUNT_TYPES
    user = _user(fields.resource_id) if account else actor_of(event)
    if account and fields.resource_id == fields.actor_id:
        user = actor_of(event)
    made: dict[str, Any] = {"user": user, "service": {"name": fields.source.get("service") or "Unknown"}}
    if fields.session_id:
        made["session"] = {"uid": fields.session_id}
    if event.told.words & MFA:
        made["is_mfa"] = True
    return made


def _of_account(event: Event) -> dict[str, Any]:
    return {"user": _user(event.exported.fields.resource_id)}


def _of_access(event: Event) -> dict[str, Any]:
    assert event.rights is not None
    whose, which = event.rights
    return {"user": _user(whose), "privileges": which}


def _resource(event: Event) -> dict[str, str]:
    return {"uid": event.exported.fields.resource_id, "type": event.exported.fields.resource_type}


def _of_datastore(event: Event) -> dict[str, Any]:
    fields = event.exported.fields
    store = store_of(fields.resource_type)
    made: dict[str, Any] = {"uid": fields.resource_id, "name": fields.resource_id}
    if store != "table":
        made |= {"type_id": OTHER, "type": fields.resource_type}
    return {store: made}


def _of_api(event: Event) -> dict[str, Any]:
    service = event.exported.fields.source.get("service")
    api: dict[str, Any] = {"operation": event.exported.fields.action}
    return {"api": api | ({"service": {"name": service}} if service else {}), "resources": [_resource(event)]}


def _of_lifecycle(event: Event) -> dict[str, Any]:
    version = event.exported.fields.metadata.get("version")
    app = {"name": "sequencer", "vendor_name": "Sealstream"}
    return {"app": app | ({"version": version} if isinstance(version, str) and version else {})}


def _of_finding(event: Event) -> dict[str, Any]:
    fields = event.exported.fields
    said = fields.metadata
    raised = event.activity == 1
    finding: dict[str, Any] = {"uid": fields.id if raised else str(said.get("alert") or fields.resource_id)}
    detector, rule = _text(said, "detector"), _text(said, "rule")
    if detector:
        made_by = {"type_id": 1, "type": "Rule", "uid": rule} if rule else {"type_id": 2, "type": "Behavioral"}
        finding |= {"title": f"{detector}: {fields.resource_id}", "analytic": {"name": detector} | made_by}
    if summary := _text(said, "summary"):
        finding["desc"] = summary
    window = said.get("window")
    times = [_moment(each) for each in window] if isinstance(window, list | tuple) else []
    made: dict[str, Any] = {"finding_info": finding, "is_alert": raised, "resources": [_resource(event)]}
    if len(times) == 2 and None not in times:
        finding |= {"first_seen_time": times[0], "last_seen_time": times[1]}
        made |= {"start_time": times[0], "end_time": times[1]}
    confidence = said.get("confidence")
    if isinstance(confidence, int | float) and not isinstance(confidence, bool) and 0 <= confidence <= 1:
        number, caption = (1, "Low") if confidence < 0.34 else (2, "Medium") if confidence < 0.67 else (3, "High")
        made |= {"confidence_score": round(confidence * 100), "confidence_id": number, "confidence": caption}
    evidence = {name: said[name] for name in ("query", "seqs", "seen", "usual", "score", "incident") if name in said}
    if evidence:
        made["evidences"] = [{"data": evidence}]
    return made | _comment(event)


def _text(said: Mapping[str, Any], name: str) -> str:
    value = said.get(name)
    return value if isinstance(value, str) else ""


def _moment(time: Any) -> int | None:
    try:
        return milliseconds(time)
    except (TypeError, ValueError):
        return None


_MAKERS: dict[int, Callable[[Event], dict[str, Any]]] = {
    FINDING.uid: _of_finding,
    LIFECYCLE.uid: _of_lifecycle,
    AUTHENTICATION.uid: _of_authentication,
    ACCESS.uid: _of_access,
    ACCOUNT.uid: _of_account,
    DATASTORE.uid: _of_datastore,
    API.uid: _of_api,
    ENTITY.uid: _of_entity,
}
