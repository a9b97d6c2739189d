"""AWS CloudTrail: one record of a trail, an event data store or an event history export.

Written from AWS's description of a record's contents (CloudTrail user guide, "Record contents for management, data, and
network activity events"). The id is the record's `eventID`, which CloudTrail gives once. Pure.
"""

from __future__ import annotations

from typing import Any

from sealstream.importers.records import Fields, Importer
from sealstream.importers.values import address, at, first, needed, rfc3339

__all__ = ["CLOUDTRAIL"]

_DENIED = ("AccessDenied", "Unauthorized", "NotAuthorized", "Forbidden")
_USERS = {"IAMUser", "FederatedUser", "SAMLUser", "WebIdentityUser", "IdentityCenterUser", "Directory"}
_NAMES = (
    "bucketName",
    "instanceId",
    "secretId",
    "functionName",
    "policyArn",
    "roleName",
    "roleArn",
    "userName",
    "groupName",
    "groupId",
    "keyId",
    "trailName",
    "dBInstanceIdentifier",
    "dBSnapshotIdentifier",
    "snapshotId",
    "imageId",
    "volumeId",
    "vpcId",
    "tableName",
    "queueUrl",
    "topicArn",
    "modelId",
    "documentName",
    "target",
    "resourceArn",
    "name",
    "id",
)


def _fields(record: Any) -> Fields:
    if at(record, "eventType") == "AwsCloudTrailInsight":
        return _insight(record)
    name = needed(record, "eventName")
    service = str(record.get("eventSource") or "aws").removesuffix(".amazonaws.com")
    identity = record.get("userIdentity")
    actor_type, actor_id = _actor(identity)
    resource_type, resource_id = _resource(record, service)
    code = record.get("errorCode")
    found = address(record.get("sourceIPAddress"))
    metadata: dict[str, Any] = {
        "event_type": record.get("eventType"),
        "event_category": record.get("eventCategory"),
        "region": record.get("awsRegion"),
        "account": first(record.get("recipientAccountId"), at(identity, "accountId")),
        "identity_type": at(identity, "type"),
        "error_code": code,
        "error_message": record.get("errorMessage"),
        "read_only": record.get("readOnly"),
        "mfa": at(record, "additionalEventData", "MFAUsed"),
    }
    return {
        "id": record.get("eventID"),
        "timestamp": rfc3339(needed(record, "eventTime"), "eventTime"),
        "actor_id": actor_id,
        "actor_type": actor_type,
        "on_behalf_of": at(identity, "onBehalfOf", "userId"),
        "action": f"{service}:{name}",
        "resource_type": resource_type,
        "resource_id": resource_id,
        "result": _result(record, code),
        "ip_address": found.get("ip_address"),
        "user_agent": record.get("userAgent"),
        "session_id": at(identity, "accessKeyId"),
        "trace_id": record.get("requestID"),
        "source": {"service": record.get("eventSource"), "version": record.get("eventVersion")},
        "metadata": metadata | found.get("metadata", {}),
    }


def _insight(record: dict[str, Any]) -> Fields:
    """What CloudTrail Insights found unusual: of an API, and of nobody."""
    details = record.get("insightDetails")
    return {
        "id": record.get("eventID"),
        "timestamp": rfc3339(needed(record, "eventTime"), "eventTime"),
        "actor_id": "cloudtrail.amazonaws.com",
        "actor_type": "system",
        "action": "cloudtrail:insight",
        "resource_type": "aws:api",
        "resource_id": f"{at(details, 'eventSource') or 'aws'}:{at(details, 'eventName') or 'unknown'}",
        "result": "success",
        "source": {"service": "cloudtrail.amazonaws.com", "version": record.get("eventVersion")},
        "metadata": {
            "event_type": record.get("eventType"),
            "region": record.get("awsRegion"),
            "account": record.get("recipientAccountId"),
            "insight": at(details, "insightType"),
            "state": at(details, "state"),
        },
    }


def _actor(identity: Any) -> tuple[str, Any]:
    kind = str(at(identity, "type"))
    who = first(
        at(identity, "arn"),
        at(identity, "principalId"),
        at(identity, "userName"),
        at(identity, "credentialId"),
        at(identity, "invokedBy"),
        at(identity, "accountId"),
    )
    if who is None:
        return "anonymous", "anonymous"
    if kind == "Root":
        return "admin", who
    if kind in _USERS:
        return "user", who
    if kind == "AWSService":
        return "system", who
    if kind == "AssumedRole":
        # A session is named by whom it is for: AWS names an instance's after the instance, a service's after itself.
        session = str(at(identity, "principalId") or "").partition(":")[2]
        is_program = session.startswith(("i-", "awslambda")) or at(identity, "invokedBy") is not None
        return ("service" if is_program else "user"), who
    return "service", who


def _resource(record: dict[str, Any], service: str) -> tuple[str, Any]:
    """The first resource that the record names itself, else what its request speaks of, else the account."""
    resources = record.get("resources")
    if isinstance(resources, list):
        for each in resources:
            if found := first(at(each, "ARN"), at(each, "ARNPrefix")):
                return str(at(each, "type") or service), found
    request = record.get("requestParameters")
    if isinstance(request, dict):
        for name in _NAMES:
            value = request.get(name)
            if isinstance(value, str) and value:
                key = request.get("key") if name == "bucketName" else None
                return f"{service}:{name}", f"{value}/{key}" if isinstance(key, str) and key else value
        items = at(request, "instancesSet", "items")
        if isinstance(items, list) and items and isinstance(found := at(items[0], "instanceId"), str):
            return f"{service}:instanceId", found
    account = first(record.get("recipientAccountId"), at(record, "userIdentity", "accountId"))
    return "aws:account", account or "unknown"


def _result(record: dict[str, Any], code: object) -> str:
    if code:
        return "denied" if any(word in str(code) for word in _DENIED) else "failure"
    answered = record.get("responseElements")
    if isinstance(answered, dict) and "Failure" in (answered.get("ConsoleLogin"), answered.get("CheckMfa")):
        return "failure"
    return "success"


CLOUDTRAIL = Importer(
    "cloudtrail",
    "json",
    _fields,
    lists=("Records",),
    from_={
        "id": "eventID",
        "timestamp": "eventTime",
        "actor_id": "userIdentity: arn, principalId, userName, invokedBy, accountId, the first that is there",
        "actor_type": "userIdentity.type: Root is admin, people are user, AWSService is system, the rest service",
        "action": "eventSource without .amazonaws.com, a colon, eventName",
        "resource_type": "resources[0].type, else the service and the member of requestParameters",
        "resource_id": "resources[0].ARN, else that member, else the account",
        "result": "errorCode: none is success, AccessDenied and the like denied, any other failure",
        "ip_address": "sourceIPAddress, where it is one",
        "session_id": "userIdentity.accessKeyId",
        "trace_id": "requestID",
    },
)
