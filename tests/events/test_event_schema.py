"""The JSON Schema files: equal to the code, and of one mind with the validation."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import sealstream.events.schema as command
from sealstream.errors import InvalidEvent
from sealstream.events import FIELDS, SOURCE_FIELDS, canonical_ip, json_schema, statement_schemas, validate_event
from sealstream.events.json_schemas import BEYOND_THE_SCHEMA, schema_texts

JUDGE = jsonschema.Draft202012Validator(json_schema())


def refused(data: bytes) -> InvalidEvent | None:
    try:
        validate_event(data)
    except InvalidEvent as refusal:
        return refusal
    return None


@pytest.mark.parametrize("name", ["event.schema.json", "statements.schema.json"])
def test_the_files_in_the_repository_are_what_the_code_says(name):
    stored = Path(command.__file__).with_name(name).read_text(encoding="utf-8")
    assert stored == schema_texts()[name], "run: python -m sealstream.events.schema --write"


def test_the_command_prints_both_schemas():
    printed = subprocess.run(
        [sys.executable, "-W", "error", "-m", "sealstream.events.schema"], capture_output=True, text=True, check=True
    )
    assert printed.stdout == "".join(schema_texts().values())
    assert printed.stderr == ""


@pytest.mark.parametrize("schema", [json_schema(), statement_schemas()], ids=["event", "statements"])
def test_the_schemas_are_draft_2020_12(schema):
    jsonschema.Draft202012Validator.check_schema(schema)


def test_what_a_schema_cannot_see_is_listed_by_name(corpus):
    comment = json_schema()["$comment"]
    assert all(f"{name}: {rule}" in comment for name, rule in BEYOND_THE_SCHEMA.items())
    assert {case.beyond for case in corpus} - {""} == set(BEYOND_THE_SCHEMA)


def test_schema_and_validation_agree_on_hostile_events(hostile):
    try:
        value = json.loads(hostile.data)  # Python's parser is lenient: duplicates, NaN and lone surrogates get in
    except (ValueError, RecursionError):
        assert refused(hostile.data) is not None
        return  # nothing for a schema to see
    accepted = refused(hostile.data) is None
    if hostile.beyond:
        assert not accepted
        return
    assert JUDGE.is_valid(value) == accepted


def test_what_is_said_to_be_beyond_the_schema_is_accepted_by_it(corpus):
    """Otherwise the list would excuse disagreements that need no excuse."""
    seen = set()
    for case in corpus:
        if case.beyond not in ("", "bytes"):
            assert JUDGE.is_valid(json.loads(case.data)), case.name
            seen.add(case.beyond)
    assert seen == set(BEYOND_THE_SCHEMA) - {"bytes"}


def test_every_field_has_a_description():
    properties = json_schema()["properties"]
    assert set(properties) == set(FIELDS)
    assert all(properties[name]["description"] for name in FIELDS)


# Events whose every member is valid, nearly valid or wild.
ODD_TEXT = st.sampled_from(["", "\0", "a\n", "é" * 64, "é" * 65, "a" * 128, "a" * 129, "a" * 512, "a" * 513, "user"])
WILD = (
    st.none()
    | st.booleans()
    | st.integers(-2, 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=8)
    | ODD_TEXT
    | st.lists(st.text(max_size=3) | st.none() | st.integers(), max_size=2)
    | st.dictionaries(st.sampled_from(["service", "host", "x", "\0"]), st.text(max_size=3) | st.none(), max_size=2)
)
DIGITS = "0123456789"
TIMES = st.builds(
    "{:04}-{:02}-{:02}{}{:02}:{:02}:{:02}{}{}".format,
    st.sampled_from([0, 1, 4, 100, 400, 1900, 2000, 2023, 2024, 9999]),
    st.integers(0, 13),
    st.integers(0, 32),
    st.sampled_from("Tt "),
    st.integers(0, 24),
    st.sampled_from([0, 59, 60]),
    st.sampled_from([0, 59, 60]),
    st.sampled_from(["", ".", ".1", ".123456", ".1234567"]),
    st.sampled_from(["Z", "z", "+00:00", "-00:00", "+14:00", "-23:59", "+24:00", "+01:60", "", "\n", "+1:00"]),
)
ADDRESSES = (
    st.ip_addresses().map(str)
    | st.from_regex(r"[0-9a-fA-F:.]{1,20}", fullmatch=True)
    | st.lists(st.sampled_from(["", "0", "1", "ffff", "00000", "1.2.3.4", "::", "g"]), min_size=1, max_size=9).map(
        ":".join
    )
)
MEMBERS: dict[str, st.SearchStrategy[Any]] = {
    "id": st.uuids().map(str) | st.uuids().map(lambda id: str(id).upper()) | st.uuids().map(lambda id: id.hex),
    "timestamp": TIMES,
    "actor_type": st.sampled_from(["user", "anonymous", "USER"]),
    "result": st.sampled_from(["success", "denied", "error"]),
    "ip_address": ADDRESSES,
    "source": st.dictionaries(st.sampled_from([*SOURCE_FIELDS, "name"]), ODD_TEXT | st.none(), max_size=3),
    "changed_fields": st.lists(ODD_TEXT, max_size=3),
    "producer_seq": st.sampled_from([0, 1, 2**53 - 1, 2**53, 1.0, 1.5, -1]),
}
OBJECTS = st.dictionaries(
    st.sampled_from(["a", "b", "\0", ""]),
    st.recursive(
        WILD, lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=2), inner, max_size=2)
    ),
    max_size=3,
)
MEMBERS |= dict.fromkeys(("old_values", "new_values", "metadata"), OBJECTS)
GOOD = {
    "id": "0193a8f2-7c1e-7000-8000-0123456789ab",
    "timestamp": "2026-11-24T03:00:00.123456Z",
    "actor_id": "user-1",
    "actor_type": "user",
    "action": "read",
    "resource_type": "patient_record",
    "resource_id": "patient-456",
    "result": "success",
}


@st.composite
def events(draw: st.DrawFn) -> dict[str, Any]:
    """A good event with one or two members that may not be."""
    event: dict[str, Any] = dict(GOOD)
    for name in draw(st.lists(st.sampled_from([*FIELDS, "kind", "foo"]), min_size=1, max_size=2, unique=True)):
        event[name] = draw(MEMBERS.get(name, ODD_TEXT) | WILD)
    if draw(st.booleans()):
        event |= {"producer_id": draw(ODD_TEXT | st.none()), "producer_seq": draw(MEMBERS["producer_seq"] | st.none())}
    for name in draw(st.lists(st.sampled_from(list(GOOD)), max_size=1)):
        if draw(st.integers(0, 9)) == 0:
            del event[name]
    return event


def beyond_the_schema(event: dict[str, Any]) -> bool:
    """Whether a rule that only the validation knows may decide: reckoned here independently of it."""
    source = event.get("source")
    for record, fields in ((event, FIELDS), (source if isinstance(source, dict) else {}, SOURCE_FIELDS)):
        for name, field in fields.items():
            text = record.get(name)
            if isinstance(text, str) and field.limit and len(text) <= field.limit < len(text.encode()):
                return True
    time = event.get("timestamp")
    return isinstance(time, str) and time[:4] in ("0000", "0001", "9999")


@settings(max_examples=1500, deadline=None)
@given(events())
def test_schema_and_validation_agree(event):
    refusal = refused(json.dumps(event).encode())
    if beyond_the_schema(event):
        assert refusal is None or refusal.reason
    else:
        assert JUDGE.is_valid(event) == (refusal is None), refusal


@settings(max_examples=1500, deadline=None)
@given(TIMES)
def test_the_timestamp_pattern_agrees_with_the_parser(text):
    if text[:4] not in ("0000", "0001", "9999"):
        assert JUDGE.is_valid(GOOD | {"timestamp": text}) == (
            refused(json.dumps(GOOD | {"timestamp": text}).encode()) is None
        )


@settings(max_examples=1500, deadline=None)
@given(ADDRESSES)
def test_the_address_pattern_agrees_with_the_parser(text):
    try:
        canonical_ip(text)
        accepted = True
    except InvalidEvent:
        accepted = False
    assert JUDGE.is_valid(GOOD | {"ip_address": text}) == accepted


def test_the_date_pattern_knows_every_day_of_four_centuries():
    judge = jsonschema.Draft202012Validator(json_schema()["properties"]["timestamp"])
    for year in [1, 4, 100, 400, 1900, 2000, 2023, 2024, 9998]:
        for month in range(14):
            for day in range(33):
                text = f"{year:04}-{month:02}-{day:02}T00:00:00Z"
                try:
                    datetime(year, month, day, tzinfo=UTC)
                    exists = True
                except ValueError:
                    exists = False
                assert judge.is_valid(text) == exists, text
