"""OCSF: every entry that can be sealed, and every alert, is an event that the official schema allows."""

from __future__ import annotations

import copy
import json
from typing import Any

import jsonschema
import pytest
from hypothesis import given, settings
from ocsf_json_schema import OcsfJsonSchema
from referencing import Registry, Resource
from tests.forward.conftest import make_alert
from tests.mappings.conftest import LOG, entries, entry, known_entries
from tests.mappings.ecs_judge import leaves
from tests.mappings.ocsf_judge import faults, schema

from sealstream.layout.alerts import encode_alert
from sealstream.mappings import mapped_alert, mapped_entry
from sealstream.mappings.ocsf import CLASSES, ROWS
from sealstream.mappings.ocsf_members import MEMBERS


def event_of(value: bytes) -> dict[str, Any]:
    made: dict[str, Any] = json.loads(mapped_entry("ocsf", value, LOG))
    return made


KNOWN = known_entries()


@settings(max_examples=150, deadline=None)
@given(entries())
def test_whatever_can_be_sealed_is_an_event_of_the_official_schema(value: bytes) -> None:
    assert faults(event_of(value)) == []


def test_statements_claims_and_real_records_are_events_of_the_official_schema() -> None:
    wrong = {name: found for name, value in KNOWN.items() if (found := faults(event_of(value)))}
    assert wrong == {}


@pytest.mark.parametrize("severity", ["low", "medium", "high", "critical"])
def test_an_alert_is_a_detection_finding(severity: Any) -> None:
    alert = make_alert(severity=severity, rule="r-1")
    event = json.loads(mapped_alert("ocsf", encode_alert(alert), LOG))
    assert faults(event) == []
    assert (event["class_uid"], event["activity_name"], event["severity"]) == (2004, "Create", severity.title())
    assert event["finding_info"]["uid"] == event["metadata"]["uid"] == alert.id
    assert event["message"] == alert.summary
    assert "enrichments" not in event  # no log has placed it


def test_the_packages_own_json_schemas_agree() -> None:
    """A second reading of the same schema, by somebody else."""
    whole = OcsfJsonSchema(schema())
    registry: Registry[Any] = Registry(
        retrieve=lambda uri: Resource.from_contents(whole.get_schema_from_uri(uri))  # type: ignore[call-arg]
    )
    judges = {
        each["uid"]: jsonschema.Draft202012Validator(whole.get_class_schema(name), registry=registry)
        for name, each in schema()["classes"].items()
        if each["uid"] in {kind.uid for kind in CLASSES}
    }
    seen = set()
    for name, value in list(KNOWN.items())[::7] + [(name, KNOWN[name]) for name in KNOWN if name.startswith("state")]:
        event = event_of(value)
        event.pop("unmapped", None)
        seen.add(event["class_uid"])
        assert not [error.message for error in judges[event["class_uid"]].iter_errors(event)], name
    assert seen == {kind.uid for kind in CLASSES}


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        ("metadata", ..., "metadata is missing"),
        ("entity", ..., "entity is missing"),
        ("entity.uid", ..., "none of"),
        ("severity_id", 7, "none of the enum"),
        ("severity", "Grave", "expected 'Informational'"),
        ("time", "2026-11-24", "no timestamp_t"),
        ("src_endpoint.ip", "10.0.0", "not as ip_t is written"),
        ("src_endpoint.place", "here", "is unknown"),
        ("activity_id", 3, "type_uid is not"),
        ("class_uid", 9, "is no class"),
        ("metadata.version", "1.7.0", "is another"),
        ("metadata.product", {"name": 5}, "no string_t"),
        ("enrichments", {}, "is no array"),
        ("actor.invoked_by", "x", "is deprecated"),
        ("cloud", {"provider": "x"}, "is unknown"),  # a profile's, which is not claimed
    ],
)
def test_the_judge_finds_what_is_wrong(path: str, value: Any, words: str) -> None:
    event = copy.deepcopy(event_of(entry(ip_address="10.0.0.7")))
    assert faults(event) == []
    *parents, name = path.split(".")
    place = event
    for parent in parents:
        place = place[parent]
    if value is ...:
        del place[name]
    else:
        place[name] = value
    assert any(words in fault for fault in faults(event)), faults(event)


ADDRESS = "10.0.0.7"
RIGHTS = {"role": "admin"}


@pytest.mark.parametrize(
    ("fields", "kind", "activity"),
    [
        ({"action": "user.login"}, 3002, 1),
        ({"action": "post:/api/login"}, 3002, 1),
        ({"action": "UserLoggedIn"}, 3002, 1),
        ({"action": "logind:session.open"}, 3002, 1),
        ({"action": "UserLoggedOut"}, 3002, 2),
        ({"action": "su:become"}, 3002, 7),
        ({"action": "SignOut"}, 3002, 2),
        ({"action": "session.deleted"}, 3002, 2),
        ({"action": "sts:AssumeRole", "resource_type": "role", "metadata": {"user": "u-2"}}, 3002, 7),
        ({"action": "user.impersonate", "resource_type": "user"}, 3002, 7),
        ({"action": "role.grant", "resource_type": "user", "new_values": RIGHTS}, 3005, 1),
        ({"action": "role.revoke", "resource_type": "user", "old_values": RIGHTS}, 3005, 2),
        ({"action": "role.grant", "resource_type": "role", "metadata": {"user": "u-2"}}, 3005, 1),
        ({"action": "role.grant", "resource_type": "user"}, 3001, 99),
        ({"action": "role.grant", "resource_type": "role"}, 3004, 99),
        ({"action": "AttachUserPolicy", "resource_type": "user"}, 3001, 7),
        ({"action": "DetachUserPolicy", "resource_type": "user"}, 3001, 8),
        ({"action": "password.change", "resource_type": "user_account"}, 3001, 3),
        ({"action": "password.reset", "resource_type": "user_account"}, 3001, 4),
        ({"action": "mfa.enable", "resource_type": "user_account"}, 3001, 10),
        ({"action": "user.lock", "resource_type": "user_account"}, 3001, 9),
        ({"action": "user.create", "resource_type": "user"}, 3001, 1),
        ({"action": "user.read", "resource_type": "user"}, 3004, 2),
        ({"action": "query", "resource_type": "database", "ip_address": ADDRESS}, 6005, 4),
        ({"action": "table.drop", "resource_type": "table", "ip_address": ADDRESS}, 6005, 7),
        ({"action": "export", "resource_type": "s3_bucket", "ip_address": ADDRESS}, 6005, 1),
        ({"action": "query", "resource_type": "database"}, 3004, 2),
        ({"action": "get:/patients/{id}", "ip_address": ADDRESS}, 6003, 2),
        ({"action": "delete:/patients/{id}", "ip_address": ADDRESS}, 6003, 4),
        ({"action": "get:/patients/{id}"}, 3004, 2),
        ({"action": "post:unmatched", "ip_address": ADDRESS}, 6003, 1),
        ({"action": "call:/billing.Invoices/Read", "ip_address": ADDRESS}, 6003, 2),
        ({"action": "other:/a", "ip_address": ADDRESS}, 6003, 99),
        ({"action": "read"}, 3004, 2),
        ({"action": "write"}, 3004, 3),
        ({"action": "delete"}, 3004, 4),
        ({"action": "export"}, 3004, 99),
        ({"action": "invoice.approve"}, 3004, 99),
        ({"action": "alert.raised"}, 3004, 99),  # an application's claim
    ],
)
def test_which_class_and_activity(fields: dict[str, Any], kind: int, activity: int) -> None:
    event = event_of(entry(**fields))
    assert (event["class_uid"], event["activity_id"]) == (kind, activity)
    if activity == 99:
        assert event["activity_name"] == fields["action"]


def test_what_is_denied_is_a_failure_that_says_so() -> None:
    event = event_of(entry(result="denied"))
    assert (event["status"], event["status_detail"], event["severity"]) == ("Failure", "denied", "Low")


def test_a_failed_login_names_the_account_that_was_tried() -> None:
    event = event_of(
        entry(
            action="login",
            actor_id="anonymous",
            actor_type="anonymous",
            resource_type="user_account",
            resource_id="ann",
            result="failure",
        )
    )
    assert event["user"]["uid"] == "ann"
    assert event["actor"]["user"] == {"uid": "anonymous", "type_id": 0, "type": "Unknown"}


def test_no_member_of_an_event_is_lost() -> None:
    """Each text of a full event stands in the event's own members, not only in the raw data."""
    for name, value in KNOWN.items():
        event = event_of(value)
        told = json.dumps({key: each for key, each in event.items() if key != "raw_data"}, ensure_ascii=False)
        said = json.loads(value)
        for field in set(said) - {"written", "source", "old_values", "new_values", "metadata", "prev_hash", "hash"}:
            wanted = said[field]
            if wanted not in ("", [], None):
                assert json.dumps(wanted, ensure_ascii=False).strip('"') in told, (name, field)


def test_the_tables_name_every_member_and_no_other() -> None:
    found: dict[int, set[str]] = {kind.uid: set() for kind in CLASSES}
    for value in KNOWN.values():
        event = event_of(value)
        found[event["class_uid"]] |= {path for path, _ in leaves(event)} - {"unmapped"}
    common = {row.path for row in ROWS}
    for uid, paths in found.items():
        own = {name for name, _ in MEMBERS[uid]} | {"unmapped"}
        assert {path for path in paths if path.split(".")[0] not in own and not _within(path, common)} == set()
        assert {name for name in own if not any(_within(path, {name}) for path in paths)} == set(), uid
    everywhere = set().union(*found.values())
    assert {each for each in common if not any(_within(path, {each}) for path in everywhere)} == set()


def _within(path: str, places: set[str]) -> bool:
    return any(path == each or path.startswith(f"{each}.") for each in places)
