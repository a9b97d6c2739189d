"""What each kind of log becomes: who, what, to which resource, with what result, from where."""

from __future__ import annotations

import csv
import io
import json
import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.importers.conftest import STRATUS

from sealstream.cli.importing import Kind
from sealstream.errors import InvalidEvent
from sealstream.events import canonical_ip, validate_event
from sealstream.importers import IMPORTERS, Composer, Event, Importer, LeftOut, Record, Unreadable, auth_log, records_of


def made(importer: Importer, data: str | bytes, modified: datetime | None = None) -> list[Any]:
    """Each record as JSON of its event, the sentence of a refusal, or what it was left out for."""
    composer = Composer(importer, modified)
    found: list[Any] = []
    for record in records_of([data.encode() if isinstance(data, str) else data], importer):
        assert isinstance(record, Record)
        try:
            event = composer.event(record)
        except InvalidEvent as error:
            found.append(error.reason)
            continue
        if isinstance(event, Event):
            assert validate_event(event.value).canonical == event.value
            assert validate_event(event.value).id == event.id
        found.append(json.loads(event.value) if isinstance(event, Event) else event)
    return found


def one(name: str, record: dict[str, Any]) -> dict[str, Any]:
    (event,) = made(IMPORTERS[name], json.dumps(record))
    assert event["metadata"]["source"] == record
    assert event["metadata"]["importer"] == name
    assert isinstance(event, dict)
    return event


def parts(event: dict[str, Any]) -> tuple[Any, ...]:
    """Who, as what, did what to which resource, with what result, from where."""
    names = ("actor_id", "actor_type", "action", "resource_type", "resource_id", "result", "ip_address")
    return tuple(event.get(name) for name in names)


def test_the_command_knows_every_importer() -> None:
    assert {kind.value for kind in Kind} == {*IMPORTERS, "mapped"}


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=9),
    lambda each: st.lists(each, max_size=2) | st.dictionaries(st.text(max_size=3), each, max_size=2),
    max_leaves=4,
)
EXAMPLES: dict[str, Callable[[], dict[str, Any]]] = {
    "cloudtrail": lambda: json.loads((STRATUS / "aws.initial-access.console-login-without-mfa.json").read_text())[0],
    "kubernetes": lambda: POD_EXEC,
    "github": lambda: {
        "@timestamp": 1,
        "action": "a",
        "actor": "b",
        "actor_ip": "c",
        "repo": "d",
        "actor_location": {},
    },
    "okta": lambda: {
        "uuid": "u",
        "published": "2026-11-24T03:00:00Z",
        "eventType": "e",
        "actor": {"type": "User"},
        "target": [{"type": "x", "id": "y"}],
        "outcome": {"result": "ALLOW"},
        "client": {"ipAddress": "1.2.3.4"},
    },
    "microsoft365": lambda: {
        "Id": "i",
        "CreationTime": "2026-11-24T03:00:00",
        "Operation": "o",
        "UserType": 1,
        "ResultStatus": "x",
        "ClientIP": "",
        "AuditData": None,
    },
    "journald": lambda: {"__CURSOR": "c", "__REALTIME_TIMESTAMP": "1", "MESSAGE": "m", "SYSLOG_IDENTIFIER": "sshd"},
}


def places(value: Any, before: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    if not isinstance(value, dict):
        return []
    return [path for name, each in value.items() for path in ((*before, name), *places(each, (*before, name)))]


def replaced(value: Any, path: tuple[str, ...], by: Any) -> Any:
    return by if not path else value | {path[0]: replaced(value[path[0]], path[1:], by)}


@pytest.mark.parametrize("name", sorted(EXAMPLES))
@given(data=st.data())
def test_whatever_a_member_holds_the_record_is_an_event_or_a_sentence(name: str, data: st.DataObject) -> None:
    record = EXAMPLES[name]()
    path = data.draw(st.sampled_from(places(record)))
    record = replaced(record, path, data.draw(JSON))
    try:
        fields = IMPORTERS[name].fields(record)
    except InvalidEvent:
        return
    (read,) = records_of([json.dumps(record).encode()], IMPORTERS[name])
    if isinstance(read, Unreadable):  # a record within a record, in a member of its own
        assert path == ("AuditData",)
        assert read.why.startswith("AuditData is not JSON")
    elif not isinstance(fields, LeftOut):
        made(IMPORTERS[name], json.dumps(record))


@given(st.text(max_size=60))
def test_any_line_of_syslog_is_an_event(said: str) -> None:
    line = f"2026-11-24T03:00:00Z web-1 sshd[1]: {said}".replace("\n", " ").replace("\r", " ")
    (event,) = made(auth_log(), line.encode("utf-8", "replace"))
    assert event["source"] == {"service": "sshd", "host": "web-1"}


# --- CloudTrail -----------------------------------------------------------------------------------------------------


def stratus(name: str) -> list[dict[str, Any]]:
    return made(IMPORTERS["cloudtrail"], (STRATUS / name).read_bytes())


def test_cloudtrail_a_sign_in() -> None:
    (event,) = stratus("aws.initial-access.console-login-without-mfa.json")
    assert parts(event) == (
        "arn:aws:iam::562283505220:user/stratus-red-team-nmfalu-jfzdtsvchl",
        "user",
        "signin:ConsoleLogin",
        "aws:account",
        "562283505220",
        "success",
        None,  # 225.01.00.16 is no IPv4
    )
    assert event["id"] == "865d9377-9c6b-4fd7-8aad-725e95f6a140"
    assert event["timestamp"] == "2024-08-02T08:53:24.000000Z"
    assert event["metadata"]["source_address"] == "225.01.00.16"
    assert event["metadata"]["mfa"] == "No"


def test_cloudtrail_who_is_denied() -> None:
    events = stratus("aws.discovery.ec2-download-user-data.json")
    denied = [event for event in events if event["result"] == "denied"]
    assert len(denied) == 17
    assert {event["action"] for event in denied} == {"ec2:DescribeInstanceAttribute", "sts:AssumeRole"}
    (asked, *_) = (event for event in denied if event["action"] == "ec2:DescribeInstanceAttribute")
    assert asked["resource_type"] == "ec2:instanceId"
    assert asked["metadata"]["error_code"] == "Client.UnauthorizedOperation"


def test_cloudtrail_every_real_record_becomes_an_event_that_keeps_it() -> None:
    for file in sorted(STRATUS.glob("*.json")):
        records = json.loads(file.read_text())
        events = stratus(file.name)
        assert [event["metadata"]["source"] for event in events] == records
        for event, record in zip(events, records, strict=True):
            if "ip_address" in event:
                assert canonical_ip(record["sourceIPAddress"]) == event["ip_address"]


@pytest.mark.parametrize(
    ("identity", "actor"),
    [
        ({"type": "Root", "arn": "arn:aws:iam::1:root"}, ("arn:aws:iam::1:root", "admin")),
        ({"type": "AWSService", "invokedBy": "ec2.amazonaws.com"}, ("ec2.amazonaws.com", "system")),
        ({"type": "AssumedRole", "arn": "a", "principalId": "AROA:i-0123"}, ("a", "service")),
        ({"type": "AssumedRole", "arn": "a", "principalId": "AROA:anna@example.com"}, ("a", "user")),
        ({"type": "AWSAccount", "accountId": "1", "principalId": ""}, ("1", "service")),
        ({"type": "IdentityCenterUser", "credentialId": "c"}, ("c", "user")),
        (None, ("anonymous", "anonymous")),
    ],
)
def test_cloudtrail_actors(identity: Any, actor: tuple[str, str]) -> None:
    record = {"eventID": "x", "eventTime": "2026-11-24T03:00:00Z", "eventName": "X", "userIdentity": identity}
    assert parts(one("cloudtrail", record))[:2] == actor


@pytest.mark.parametrize(
    ("record", "said"),
    [
        ({"eventTime": "2026-11-24T03:00:00Z"}, "eventName is missing"),
        ({"eventName": "X"}, "eventTime is missing"),
        ({"eventName": "X", "eventTime": "now"}, "eventTime is not a timestamp"),
        ([1], "record is no object"),
    ],
)
def test_cloudtrail_what_is_no_record_is_said(record: Any, said: str) -> None:
    (refused,) = made(IMPORTERS["cloudtrail"], json.dumps([record]))
    assert said in refused


def test_cloudtrail_an_insight() -> None:
    record = {
        "eventVersion": "1.08",
        "eventTime": "2026-11-24T03:00:00Z",
        "awsRegion": "eu-west-1",
        "eventID": "55ed45c5-0b0c-4228-9fe5-000000000001",
        "eventType": "AwsCloudTrailInsight",
        "recipientAccountId": "111122223333",
        "sharedEventID": "55ed45c5-0b0c-4228-9fe5-000000000002",
        "insightDetails": {
            "state": "Start",
            "eventSource": "iam.amazonaws.com",
            "eventName": "AttachUserPolicy",
            "insightType": "ApiCallRateInsight",
        },
        "eventCategory": "Insight",
    }
    assert parts(one("cloudtrail", record))[:5] == (
        "cloudtrail.amazonaws.com",
        "system",
        "cloudtrail:insight",
        "aws:api",
        "iam.amazonaws.com:AttachUserPolicy",
    )


# --- Kubernetes -----------------------------------------------------------------------------------------------------

POD_EXEC: dict[str, Any] = {
    "kind": "Event",
    "apiVersion": "audit.k8s.io/v1",
    "level": "Metadata",
    "auditID": "9c2f4b39-0f5b-4d0a-9a4d-0c9d4a3a1111",
    "stage": "ResponseComplete",
    "requestURI": "/api/v1/namespaces/payments/pods/api-0/exec?command=sh",
    "verb": "create",
    "user": {"username": "anna@example.com", "groups": ["devs", "system:authenticated"]},
    "sourceIPs": ["10.1.2.3", "10.0.0.1"],
    "userAgent": "kubectl/v1.31.0",
    "objectRef": {
        "resource": "pods",
        "namespace": "payments",
        "name": "api-0",
        "apiVersion": "v1",
        "subresource": "exec",
    },
    "responseStatus": {"metadata": {}, "code": 101},
    "requestReceivedTimestamp": "2026-11-24T03:00:00.123456Z",
    "stageTimestamp": "2026-11-24T03:00:01.000000Z",
    "annotations": {"authorization.k8s.io/decision": "allow", "authorization.k8s.io/reason": ""},
}


def test_kubernetes() -> None:
    event = one("kubernetes", POD_EXEC)
    assert parts(event) == (
        "anna@example.com",
        "user",
        "kubernetes:create",
        "kubernetes:pods/exec",
        "payments/api-0",
        "success",
        "10.1.2.3",
    )
    assert event["timestamp"] == "2026-11-24T03:00:00.123456Z"
    assert event["trace_id"] == POD_EXEC["auditID"]


def test_kubernetes_a_webhooks_document_and_its_stages() -> None:
    document = {
        "kind": "EventList",
        "apiVersion": "audit.k8s.io/v1",
        "metadata": {},
        "items": [
            POD_EXEC | {"stage": "RequestReceived"},
            POD_EXEC,
            POD_EXEC | {"stage": "Panic"},
            POD_EXEC | {"auditID": "2", "responseStatus": {"code": 403}, "user": {"username": "system:anonymous"}},
            POD_EXEC | {"auditID": "3", "user": {"username": "system:serviceaccount:payments:bot"}, "objectRef": None},
        ],
    }
    received, done, panic, denied, service = made(IMPORTERS["kubernetes"], json.dumps(document))
    assert received == LeftOut("stage RequestReceived")
    assert done["id"] != panic["id"]
    assert (done["result"], panic["result"], denied["result"]) == ("success", "failure", "denied")
    assert (denied["actor_type"], service["actor_type"]) == ("anonymous", "service")
    assert service["resource_id"] == POD_EXEC["requestURI"]


# --- services -------------------------------------------------------------------------------------------------------


def test_github() -> None:
    record = {
        "@timestamp": 1_795_489_200_123,
        "_document_id": "1lq2EdXXbjXgV6mQ2Qyfdg",
        "action": "protected_branch.policy_override",
        "actor": "octocat",
        "actor_id": 583231,
        "actor_ip": "2001:DB8::1",
        "actor_location": {"country_code": "DE"},
        "org": "acme",
        "repo": "acme/payments",
        "user_agent": "git/2.47",
    }
    event = one("github", record)
    assert parts(event) == (
        "octocat",
        "user",
        "github:protected_branch.policy_override",
        "github:repository",
        "acme/payments",
        "success",
        "2001:db8::1",
    )
    assert event["timestamp"] == "2026-11-24T03:00:00.123000Z"
    cloned = {name: value for name, value in record.items() if name != "repo"}
    cloned |= {"action": "git.clone", "repository": "acme/payments", "user": ""}
    assert parts(one("github", cloned))[2:5] == ("github:git.clone", "github:repository", "acme/payments")
    assert one("github", record | {"actor": "dependabot[bot]"})["actor_type"] == "service"
    assert one("github", record | {"action": "user.failed_login"})["result"] == "failure"


def test_okta() -> None:
    record = {
        "uuid": "DC9F6597-9A11-11EF-B46B-A9C9F1E5E6A1",
        "published": "2026-11-24T03:00:00.123Z",
        "eventType": "user.session.start",
        "displayMessage": "User login to Okta",
        "severity": "WARN",
        "actor": {"id": "00u1", "type": "User", "alternateId": "anna@example.com", "displayName": "Anna"},
        "client": {"ipAddress": "10.1.2.3", "userAgent": {"rawUserAgent": "Mozilla/5.0"}},
        "outcome": {"result": "FAILURE", "reason": "INVALID_CREDENTIALS"},
        "target": None,
        "authenticationContext": {"externalSessionId": "trs1"},
        "transaction": {"type": "WEB", "id": "t-1"},
    }
    event = one("okta", record)
    assert parts(event) == (
        "anna@example.com",
        "user",
        "okta:user.login",
        "okta:User",
        "anna@example.com",
        "failure",
        "10.1.2.3",
    )
    assert event["id"] == "dc9f6597-9a11-11ef-b46b-a9c9f1e5e6a1"
    assert (event["session_id"], event["trace_id"], event["reason"]) == ("trs1", "t-1", "INVALID_CREDENTIALS")
    changed: dict[str, Any] = {"eventType": "group.user_membership.add", "outcome": {"result": "DENY"}}
    changed |= {"target": [{"id": "00g1", "type": "UserGroup", "alternateId": None}]}
    assert parts(one("okta", record | changed))[2:6] == (
        "okta:group.user_membership.add",
        "okta:UserGroup",
        "00g1",
        "denied",
    )


def test_microsoft365() -> None:
    record = {
        "CreationTime": "2026-11-24T03:00:00",
        "Id": "7a4b1c1e-2a6b-4f1e-9d2e-111111111111",
        "Operation": "UserLoginFailed",
        "OrganizationId": "org",
        "RecordType": 15,
        "ResultStatus": "Success",  # Entra writes that of the request, also where the login failed
        "UserKey": "key",
        "UserType": 0,
        "Workload": "AzureActiveDirectory",
        "ClientIP": "[2001:db8::1]:443",
        "UserId": "anna@example.com",
        "LogonError": "InvalidUserNameOrPassword",
    }
    event = one("microsoft365", record)
    assert parts(event) == (
        "anna@example.com",
        "user",
        "AzureActiveDirectory:login",
        "AzureActiveDirectory:object",
        "org",
        "failure",
        "2001:db8::1",
    )
    assert event["timestamp"] == "2026-11-24T03:00:00.000000Z"
    searched = {"RecordId": record["Id"], "AuditData": json.dumps(record | {"UserType": 2, "ClientIP": "10.0.0.1:99"})}
    (found,) = made(IMPORTERS["microsoft365"], json.dumps([searched]))
    assert (found["id"], found["actor_type"], found["ip_address"]) == (record["Id"], "admin", "10.0.0.1")


def test_microsoft365_a_search_gives_the_record_that_the_api_gives() -> None:
    record = {"CreationTime": "2026-11-24T03:00:00", "Id": str(uuid.UUID(int=7)), "Operation": "FileAccessed", "n": 1.5}
    record |= {"UserId": "änna", "ObjectId": 'a "b", c\nd'}
    text = json.dumps(record, indent=1)
    columns = {"RecordId": record["Id"], "CreationDate": "2026-11-24", "AuditData": text, "ResultIndex": 1}
    table = io.StringIO()
    rows = csv.writer(table)
    rows.writerows([columns.keys(), columns.values(), ["x", "y", "{broken", "2"]])
    importer = IMPORTERS["microsoft365"]
    by_api, searched, again = (
        made(importer, json.dumps([each])) for each in (record, columns, columns | {"ResultIndex": 99})
    )
    assert by_api == searched == again
    for begin in ("", "\ufeff"):
        found, broken = records_of([(begin + table.getvalue()).encode()], importer)
        assert isinstance(found, Record)
        event = Composer(importer).event(found)
        assert isinstance(event, Event)
        assert [json.loads(event.value)] == by_api
        assert isinstance(broken, Unreadable)
        assert broken.why.startswith("AuditData is not JSON")


# --- Linux ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("said", "wanted"),
    [
        (
            "sshd[812]: Accepted publickey for anna from 10.1.2.3 port 50022 ssh2: ED25519 SHA256:abc",
            ("anna", "user", "sshd:login", "host", "web-1", "success", "10.1.2.3"),
        ),
        (
            "sshd-session[812]: Failed password for invalid user admin from 2001:db8::9 port 22 ssh2",
            ("admin", "user", "sshd:login", "host", "web-1", "failure", "2001:db8::9"),
        ),
        (
            "sshd[812]: Failed none for invalid user  from 10.0.0.9 port 22 ssh2",
            ("anonymous", "user", "sshd:login", "host", "web-1", "failure", "10.0.0.9"),
        ),
        (
            "sshd[812]: Disconnected from invalid user admin 10.0.0.9 port 22 [preauth]",
            ("admin", "user", "sshd:disconnect", "host", "web-1", "success", "10.0.0.9"),
        ),
        (
            "sudo:     anna : TTY=pts/0 ; PWD=/home/anna ; USER=root ; COMMAND=/usr/bin/cat /etc/shadow ; true",
            ("anna", "user", "sudo:run", "command", "/usr/bin/cat /etc/shadow ; true", "success", None),
        ),
        (
            "sudo:      bob : user NOT in sudoers ; TTY=pts/1 ; PWD=/tmp ; USER=root ; COMMAND=/bin/sh",
            ("bob", "user", "sudo:run", "command", "/bin/sh", "denied", None),
        ),
        (
            "sudo:      bob : 3 incorrect password attempts ; TTY=pts/1 ; PWD=/tmp ; USER=root ; COMMAND=/bin/sh",
            ("bob", "user", "sudo:run", "command", "/bin/sh", "failure", None),
        ),
        ("su[9]: FAILED SU (to root) bob on pts/1", ("bob", "user", "su:become", "host", "web-1", "failure", None)),
        (
            "CRON[77]: pam_unix(cron:session): session opened for user root(uid=0) by (uid=0)",
            ("root", "admin", "cron:session.open", "host", "web-1", "success", None),
        ),
        (
            "sshd[8]: pam_unix(sshd:auth): authentication failure; logname= uid=0 euid=0 tty=ssh ruser= rhost=10.0.0.9 "
            " user=anna",
            ("anna", "user", "sshd:authentication", "host", "web-1", "failure", "10.0.0.9"),
        ),
        (
            "useradd[99]: new user: name=mallory, UID=1002, GID=1002, home=/home/mallory, shell=/bin/bash",
            ("useradd", "admin", "useradd:new_user", "account", "mallory", "success", None),
        ),
        (
            "sshd[812]: Failed password for invalid user bob from 10.9.9.9 port 1 ssh2 from 203.0.113.7 port 42 ssh2",
            ("bob from 10.9.9.9 port 1 ssh2", "user", "sshd:login", "host", "web-1", "failure", "203.0.113.7"),
        ),
        (
            "sshd[812]: Accepted publickey for anna from 10.1.2.3 port 5 ssh2: RSA-CERT x ID a from 9.9.9.9 port 1",
            ("anna", "user", "sshd:login", "host", "web-1", "success", "10.1.2.3"),
        ),
        (
            "sshd[812]: Invalid user bob from 10.9.9.9 port 1 from 203.0.113.7 port 42",
            ("bob from 10.9.9.9 port 1", "user", "sshd:invalid_user", "host", "web-1", "failure", "203.0.113.7"),
        ),
        (
            "sshd[812]: Connection closed by invalid user bob 10.9.9.9 port 1 203.0.113.7 port 42 [preauth]",
            ("bob 10.9.9.9 port 1", "user", "sshd:disconnect", "host", "web-1", "success", "203.0.113.7"),
        ),
        (
            "sudo:  eve : TTY=pts/0 ; PWD=/tmp/x ; USER=nobody ; COMMAND=/bin/true ; USER=root ; COMMAND=/bin/bash",
            ("eve", "user", "sudo:run", "host", "web-1", "success", None),
        ),
        (
            "su: pam_unix(su:auth): authentication failure; logname=eve uid=1 tty=pts/0 ruser=eve rhost=  user=root",
            ("eve", "user", "su:authentication", "host", "web-1", "failure", None),
        ),
        (
            "systemd-logind[5]: New session 42 of user anna.",
            ("anna", "user", "logind:session.open", "host", "web-1", "success", None),
        ),
        (
            "polkitd(authority=local): Registered agent",
            ("polkitd(authority=local)", "system", "polkitd:message", "host", "web-1", "success", None),
        ),
    ],
)
def test_what_a_line_says(said: str, wanted: tuple[Any, ...]) -> None:
    (event,) = made(auth_log(), f"2026-11-24T04:00:00.123456+01:00 web-1 {said}\n")
    assert parts(event) == wanted
    assert event["timestamp"] == "2026-11-24T03:00:00.123456Z"
    assert event["metadata"]["source"] == f"2026-11-24T04:00:00.123456+01:00 web-1 {said}"
    assert event["source"]["host"] == "web-1"
    old = made(auth_log(2026, ZoneInfo("Europe/Berlin")), f"Nov 24 04:00:00 web-1 {said}\n")[0]
    assert (parts(old), old["timestamp"]) == (wanted, "2026-11-24T03:00:00.000000Z")


def test_a_year_that_no_line_names_follows_from_the_files_time() -> None:
    lines = "Dec 31 23:59:59 web-1 x: a\nJan  1 00:00:00 web-1 x: b\nFeb 29 00:00:00 web-1 x: c\n"
    december, january, february = made(auth_log(), lines, datetime(2025, 2, 1, tzinfo=UTC))
    assert (december["timestamp"][:4], january["timestamp"][:4]) == ("2024", "2025")
    assert february["timestamp"] == "2024-02-29T00:00:00.000000Z"


def test_equal_lines_are_as_many_events_and_what_is_no_line_of_syslog_is_said() -> None:
    line = "2026-11-24T04:00:00+01:00 web-1 sshd[8]: Failed password for root from 10.0.0.9 port 22 ssh2"
    repeated = line.replace("Failed", "message repeated 2 times: [ Failed") + "]"
    first, second, third, refused = made(auth_log(), "\n".join([line, line, repeated, "# a comment"]))
    assert len({first["id"], second["id"], third["id"]}) == 3
    assert (third["result"], third["metadata"]["repeated"], third["actor_type"]) == ("failure", 2, "admin")
    assert "line is none of syslog" in refused
    assert [event["id"] for event in made(auth_log(), f"{line}\n{line}\n")] == [first["id"], second["id"]]


def test_journald() -> None:
    record = {
        "__CURSOR": "s=abc;i=1",
        "__REALTIME_TIMESTAMP": "1795489200123456",
        "_SOURCE_REALTIME_TIMESTAMP": "1795489200000001",
        "_HOSTNAME": "web-1",
        "SYSLOG_IDENTIFIER": "sshd",
        "_PID": "812",
        "_SYSTEMD_UNIT": "ssh.service",
        "MESSAGE": "Accepted password for root from 10.1.2.3 port 50022 ssh2",
    }
    event = one("journald", record)
    assert parts(event) == ("root", "admin", "sshd:login", "host", "web-1", "success", "10.1.2.3")
    assert event["timestamp"] == "2026-11-24T03:00:00.000001Z"
    as_bytes = one("journald", record | {"MESSAGE": list(record["MESSAGE"].encode()), "__CURSOR": "s=abc;i=2"})
    assert parts(as_bytes) == parts(event)
    assert as_bytes["id"] != event["id"]
