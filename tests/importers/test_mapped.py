"""Any JSON or CSV by a mapping file: what becomes what, and what a mapping that can't work is told."""

from __future__ import annotations

import json
import tomllib
from typing import Any

import pytest

from sealstream.errors import InvalidEvent, Misconfigured
from sealstream.importers import Composer, Event, LeftOut, Record, importer_of_mapping, records_of

BILLING = """
name = "billing"
key = "{request}"

[event]
timestamp = "{time}"
actor_id = '{user.email|user.id|"anonymous"}'
action = "billing.{verb}"
resource_type = "invoice"
resource_id = "{invoice.id}"
result = "{status}"
ip_address = "{from}"

[event.metadata]
amount = "{invoice.lines.0.amount}"

[event.source]
service = "{{billing}}"

[values.result]
200 = "success"
403 = "denied"
"*" = "failure"

[[leave_out]]
where = "{verb}"
is = ["ping"]
why = "a ping"
"""
RECORD: dict[str, Any] = {
    "request": "r-1",
    "time": "2026-11-24T03:00:00+01:00",
    "user": {"id": 7},
    "verb": "approve",
    "invoice": {"id": 42, "lines": [{"amount": 12.5}]},
    "status": 403,
    "from": "10.0.0.7",
}


def made(mapping: str, data: str) -> list[Any]:
    importer = importer_of_mapping(tomllib.loads(mapping))
    composer = Composer(importer)
    found: list[Any] = []
    for record in records_of([data.encode()], importer):
        if not isinstance(record, Record):
            found.append(record)
            continue
        try:
            event = composer.event(record)
        except InvalidEvent as error:
            found.append(error.reason)
        else:
            found.append(json.loads(event.value) if isinstance(event, Event) else event)
    return found


def test_what_becomes_what() -> None:
    (event,) = made(BILLING, json.dumps(RECORD))
    assert event | {"id": "", "metadata": {}} == {
        "id": "",
        "timestamp": "2026-11-24T02:00:00.000000Z",
        "actor_id": "7",
        "actor_type": "user",
        "action": "billing.approve",
        "resource_type": "invoice",
        "resource_id": "42",
        "result": "denied",
        "ip_address": "10.0.0.7",
        "source": {"service": "{billing}"},
        "metadata": {},
    }
    assert event["metadata"]["amount"] == 12.5
    assert event["metadata"]["importer"] == "billing"
    assert event["metadata"]["source"] == RECORD


def test_the_key_alone_makes_the_id() -> None:
    one, two, other = made(
        BILLING,
        "\n".join(json.dumps(RECORD | more) for more in ({}, {"time": "2026-11-25T00:00:00Z"}, {"request": "r-2"})),
    )
    assert one["id"] == two["id"] != other["id"]


def test_without_a_key_equal_records_of_a_file_are_two_and_of_two_files_the_same() -> None:
    mapping = BILLING.replace('key = "{request}"', "")
    lines = "\n".join([json.dumps(RECORD)] * 2)
    first, second = ([event["id"] for event in made(mapping, lines)] for _ in range(2))
    assert first == second
    assert first[0] != first[1]


def test_left_out_refused_and_default() -> None:
    left_out, nobody, refused = made(
        BILLING,
        json.dumps([RECORD | {"verb": "ping"}, RECORD | {"user": None, "status": 500}, RECORD | {"invoice": {}}]),
    )
    assert left_out == LeftOut("a ping")
    assert (nobody["actor_id"], nobody["result"]) == ("anonymous", "failure")
    assert refused == "resource_id is made of {invoice.id}, which the record lacks"


@pytest.mark.parametrize(
    ("lines", "kept"),
    [
        (2**60, "1152921504606846976"),
        ("a\0b", "a\ufffdb"),
        ([[{"x\0": 1e300}]], [[{"x\ufffd": "1e+300"}]]),
        (json.loads("[" * 30 + "]" * 30), None),
    ],
)
def test_what_no_event_can_hold_is_changed_where_it_was_picked_out_and_kept_whole_in_the_source(
    lines: Any, kept: Any
) -> None:
    record = RECORD | {"invoice": {"id": 42, "lines": lines}}
    (event,) = made(BILLING.replace("{invoice.lines.0.amount}", "{invoice.lines}"), json.dumps(record))
    assert kept is None or event["metadata"]["amount"] == kept
    source = event["metadata"]["source"]
    assert (json.loads(source) if isinstance(source, str) else source) == record


def test_csv_with_local_times() -> None:
    mapping = """
name = "doors"
records = "csv"
delimiter = ";"
timestamp_format = "%d.%m.%Y %H:%M:%S"
timezone = "Europe/Berlin"
[event]
timestamp = "{When}"
actor_id = "{Badge}"
action = "door.open"
resource_type = "door"
resource_id = "{Door name}"
"""
    data = '\ufeffWhen;Badge;Door name\n24.07.2026 03:00:00;b-1;"north;\nouter"\n24.12.2026 03:00:00;b-2;south\nx;y\n'
    summer, winter, short = made(mapping, data)
    assert (summer["timestamp"], winter["timestamp"]) == ("2026-07-24T01:00:00.000000Z", "2026-12-24T02:00:00.000000Z")
    assert summer["resource_id"] == "north;\nouter"
    assert (short.line, short.why) == (5, "has 2 columns: expected 3, as the first line")


@pytest.mark.parametrize(
    ("form", "value", "time"),
    [
        ("unix", 1_800_000_000, "2027-01-15T08:00:00.000000Z"),
        ("unix", "1800000000", "2027-01-15T08:00:00.000000Z"),
        ("unix_ms", 1_800_000_000_123, "2027-01-15T08:00:00.123000Z"),
        ("unix_us", 1_800_000_000_123_456, "2027-01-15T08:00:00.123456Z"),
        ("unix_ns", 1_800_000_000_123_456_789, "2027-01-15T08:00:00.123456Z"),
        ("rfc3339", "2027-01-15 08:00:00.1234567", "2027-01-15T08:00:00.123456Z"),
        ("%Y%m%d%H%M%S%z", "20270115100000+0200", "2027-01-15T08:00:00.000000Z"),
    ],
)
def test_forms_of_time(form: str, value: Any, time: str) -> None:
    (event,) = made(f'timestamp_format = "{form}"\n{BILLING}', json.dumps(RECORD | {"time": value}))
    assert event["timestamp"] == time


@pytest.mark.parametrize("value", ["yesterday", None, True, "2026-11-24", {"a": 1}, 10**30, "2026-13-24T03:00:00Z"])
def test_what_is_no_time_is_said(value: Any) -> None:
    for form in ("rfc3339", "unix", "%Y-%m-%dT%H"):
        (said,) = made(f'timestamp_format = "{form}"\n{BILLING}', json.dumps(RECORD | {"time": value}))
        assert isinstance(said, str), said
        assert "timestamp" in said


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        ('name = "billing"', "", "name: expected"),
        ('key = "{request}"', 'keys = "{request}"', "keys is not known: expected some of"),
        ('action = "billing.{verb}"', "", "event.action is missing"),
        ('action = "billing.{verb}"', 'action = "billing.{verb"', "event.action: a brace is left open"),
        ('action = "billing.{verb}"', 'action = "{}"', "event.action: expected {a.b}"),
        ('action = "billing.{verb}"', 'actions = "x"', "event.actions is not known"),
        ('resource_type = "invoice"', "resource_type = 7", "event.resource_type: expected text"),
        ('service = "{{billing}}"', 'name = "x"', "event.source.name is not known"),
        ('403 = "denied"', '403 = "refused"', "values.result.403: expected one of success, failure, denied"),
        ('is = ["ping"]', 'is = "ping"', "leave_out 1: expected where"),
        ('key = "{request}"', 'records = "xml"', 'records: expected "json" or "csv"'),
        ('key = "{request}"', 'timezone = "Mars"', "timezone: expected a name"),
        ('key = "{request}"', 'timestamp_format = "iso"', "timestamp_format: expected rfc3339, unix"),
    ],
)
def test_a_mapping_that_cannot_work_is_refused_by_name(before: str, after: str, said: str) -> None:
    assert before in BILLING
    with pytest.raises(Misconfigured) as refused:
        importer_of_mapping(tomllib.loads(BILLING.replace(before, after, 1)))
    assert said in str(refused.value)
