"""Microsoft 365: records of the Office 365 Management Activity API, or of a Purview audit search.

The latter hold the record as text in `AuditData`, beside the search's own columns. Written from Microsoft's "Office 365
Management Activity API schema", its common schema. Pure.
"""

from __future__ import annotations

from typing import Any

from sealstream.importers.records import Fields, Importer
from sealstream.importers.values import address, first, needed, rfc3339

__all__ = ["MICROSOFT365"]

_TYPES = {
    0: "user",
    1: "user",
    2: "admin",
    3: "admin",
    4: "system",
    5: "service",
    6: "service",
    7: "system",
    8: "system",
}
_LOGINS = ("UserLoggedIn", "UserLoginFailed")
_FAILED = ("fail", "false", "error")


def _fields(record: Any) -> Fields:
    operation = str(needed(record, "Operation"))
    workload = str(record.get("Workload") or "Microsoft365")
    found = address(first(record.get("ClientIP"), record.get("ClientIPAddress"), record.get("ActorIpAddress")))
    status = str(record.get("ResultStatus") or "")
    failed = operation == "UserLoginFailed" or status.lower().startswith(_FAILED)
    kind = record.get("UserType")
    metadata = {
        "operation": operation,
        "workload": workload,
        "record_type": record.get("RecordType"),
        "result_status": status or None,
        "organization": record.get("OrganizationId"),
        "error": first(record.get("LogonError"), record.get("ErrorNumber")),
    }
    return {
        "id": needed(record, "Id"),
        "timestamp": rfc3339(needed(record, "CreationTime"), "CreationTime"),
        "actor_id": first(record.get("UserId"), record.get("UserKey"), "anonymous"),
        "actor_type": _TYPES.get(kind if isinstance(kind, int) else 0, "user"),
        "action": f"{workload}:{'login' if operation in _LOGINS else operation}",
        "resource_type": f"{workload}:{record.get('ItemType') or 'object'}",
        "resource_id": first(record.get("ObjectId"), record.get("OrganizationId"), "unknown"),
        "result": "failure" if failed else "success",
        "ip_address": found.get("ip_address"),
        "user_agent": record.get("UserAgent"),
        "session_id": record.get("SessionId"),
        "trace_id": record.get("CorrelationId"),
        "source": {"service": workload},
        "metadata": metadata | found.get("metadata", {}),
    }


MICROSOFT365 = Importer(
    "microsoft365",
    "json",
    _fields,
    lists=("value",),
    within="AuditData",
    from_={
        "id": "Id",
        "timestamp": "CreationTime (UTC)",
        "actor_id": "UserId, else UserKey",
        "actor_type": "UserType: 2 and 3 admin, 4, 7 and 8 system, 5 and 6 service, others user",
        "action": "Workload, a colon, Operation; UserLoggedIn and UserLoginFailed are login",
        "resource_type": "Workload and ItemType",
        "resource_id": "ObjectId, else OrganizationId",
        "result": "ResultStatus, and UserLoginFailed",
        "ip_address": "ClientIP, ClientIPAddress or ActorIpAddress, without the port",
    },
)
