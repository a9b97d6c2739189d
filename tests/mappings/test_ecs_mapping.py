"""ECS: every entry that can be sealed, and every alert, has fields that Elastic's own schema knows, of their types."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from tests.forward.conftest import make_alert
from tests.mappings.conftest import LOG, entries, entry, known_entries
from tests.mappings.ecs_judge import Flat, faults, leaves

from sealstream.layout.alerts import encode_alert
from sealstream.mappings import mapped_alert, mapped_entry
from sealstream.mappings.ecs import ROWS


def document_of(value: bytes) -> dict[str, Any]:
    made: dict[str, Any] = json.loads(mapped_entry("ecs", value, LOG))
    return made


KNOWN = known_entries()


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(value=entries())
def test_whatever_can_be_sealed_fits_the_official_schema(ecs_fields: Flat, value: bytes) -> None:
    assert faults(document_of(value), ecs_fields) == []


def test_statements_claims_and_real_records_fit_the_official_schema(ecs_fields: Flat) -> None:
    wrong = {name: found for name, value in KNOWN.items() if (found := faults(document_of(value), ecs_fields))}
    assert wrong == {}


def test_an_alert_fits_the_official_schema(ecs_fields: Flat) -> None:
    alert = make_alert(severity="critical", rule="r-1")
    document = json.loads(mapped_alert("ecs", encode_alert(alert), LOG))
    assert faults(document, ecs_fields) == []
    assert (document["event"]["kind"], document["event"]["severity"]) == ("alert", 99)
    assert document["rule"] == {"name": alert.detector, "id": "r-1"}
    assert document["message"] == alert.summary


@pytest.mark.parametrize("window", [["x", "y"], ["2026-13-01T00:00:00Z"] * 2, [1, 2], [], 5, ["2026-11-24T03:00:00Z"]])
def test_a_window_that_is_none_makes_no_date(window: Any) -> None:
    value = entry(action="alert.raised", metadata={"window": window})
    event = document_of(value.replace(b'"kind":"event"', b'"kind":"control"'))["event"]
    assert event["kind"] == "alert"
    assert "start" not in event
    assert "end" not in event


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        ("event.category", ["audit"], "none of"),
        ("event.category", "iam", "is no array"),
        ("event.type", ["user"], "not expected"),
        ("event.sequence", "7", "no long"),
        ("event.who", "x", "no field of ECS"),
        ("source.ip", "10.0", "no ip"),
        ("@timestamp", "yesterday", "no date"),
    ],
)
def test_the_judge_of_fields_finds_what_is_wrong(ecs_fields: Flat, path: str, value: Any, words: str) -> None:
    document = copy.deepcopy(document_of(entry(action="user.login", ip_address="10.0.0.7")))
    assert faults(document, ecs_fields) == []
    *parents, name = path.split(".")
    place = document
    for parent in parents:
        place = place[parent]
    place[name] = value
    assert any(words in fault for fault in faults(document, ecs_fields))


@pytest.mark.parametrize(
    ("fields", "category", "types"),
    [
        ({"action": "user.login"}, ["authentication"], ["start"]),
        ({"action": "sts:AssumeRole"}, ["authentication"], ["start"]),
        ({"action": "user.logout"}, ["authentication"], ["end"]),
        ({"action": "user.create", "resource_type": "user"}, ["iam"], ["user", "creation"]),
        ({"action": "role.grant", "resource_type": "group"}, ["iam"], ["group", "change"]),
        ({"action": "read", "resource_type": "table"}, ["database"], ["access"]),
        ({"action": "get:/a", "result": "denied"}, ["api"], ["access", "denied"]),
        ({"action": "call:/billing.Invoices/Read"}, ["api"], ["access"]),
        ({"action": "read"}, None, ["access"]),
        ({"action": "write", "result": "denied"}, None, ["change", "denied"]),
        ({"action": "invoice.approve"}, None, ["info"]),
    ],
)
def test_categories_and_types(fields: dict[str, Any], category: list[str] | None, types: list[str]) -> None:
    event = document_of(entry(**fields))["event"]
    assert (event.get("category"), event["type"]) == (category, types)


def test_no_value_of_an_application_makes_a_field() -> None:
    """However metadata is shaped, the fields of a document are those of the table: an index refuses none of them."""
    for metadata in ({"a": 1}, {"a": {"b": []}}, {"a.b": "x", "@timestamp": 5}):
        document = document_of(entry(metadata=metadata, new_values=metadata, old_values=metadata))
        assert {path for path, _ in leaves(document)} <= {row.path for row in ROWS}
        assert json.loads(document["sealstream"]["metadata"]) == metadata


def test_the_table_has_every_field_and_no_other() -> None:
    found = {path for value in KNOWN.values() for path, _ in leaves(document_of(value))}
    assert found == {row.path for row in ROWS}


def test_no_text_of_an_event_is_lost() -> None:
    for name, value in KNOWN.items():
        document = document_of(value)
        del document["event"]["original"]
        told = json.dumps(document, ensure_ascii=False)
        said = json.loads(value)
        for field in set(said) - {"written", "source", "old_values", "new_values", "metadata"}:
            if said[field] not in ("", [], None):
                assert json.dumps(said[field], ensure_ascii=False).strip('"') in told, (name, field)
