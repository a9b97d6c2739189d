"""What was mapped can be taken back, byte for byte, and nothing else can."""

from __future__ import annotations

import json
from typing import Any, get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.forward.conftest import make_alert
from tests.mappings.conftest import LOG, entry, events, known_entries, sealed

from sealstream.errors import NotCanonical
from sealstream.layout.alerts import encode_alert
from sealstream.mappings import SCHEMAS, SchemaName, entry_of, mapped_alert, mapped_entry

EVERY = pytest.mark.parametrize("schema", SCHEMAS)


def test_every_schema_has_its_name() -> None:
    assert tuple(SCHEMAS) == get_args(SchemaName)


@settings(max_examples=150, deadline=None)
@given(events(), st.sampled_from(list(SCHEMAS)))
def test_an_entry_comes_back_byte_for_byte(event: bytes, schema: SchemaName) -> None:
    value = sealed(event)
    document = mapped_entry(schema, value, LOG)
    assert b"\n" not in document
    assert entry_of(schema, document) == value
    rewritten = json.dumps(json.loads(document), indent=2, sort_keys=True, ensure_ascii=True).encode()
    assert entry_of(schema, rewritten) == value


@EVERY
def test_known_entries_come_back(schema: SchemaName) -> None:
    for name, value in known_entries().items():
        assert entry_of(schema, mapped_entry(schema, value, LOG)) == value, name


@EVERY
def test_what_was_changed_on_the_way_is_refused(schema: SchemaName) -> None:
    document = mapped_entry(schema, entry(resource_id="patient-4711"), LOG)
    with pytest.raises(NotCanonical, match="does not have the hash"):
        entry_of(schema, document.replace(b"patient-4711", b"patient-4712"))


@EVERY
@pytest.mark.parametrize(
    "document", [b"", b"[]", b"{}", b"{", b"\xff", b'{"data":5,"event":5,"raw_data":5}', b'{"data":{},"event":{}}']
)
def test_what_is_no_document_is_refused(schema: SchemaName, document: bytes) -> None:
    with pytest.raises(NotCanonical):
        entry_of(schema, document)


@EVERY
def test_an_alert_is_no_entry(schema: SchemaName) -> None:
    with pytest.raises(NotCanonical):
        entry_of(schema, mapped_alert(schema, encode_alert(make_alert()), LOG))


@EVERY
@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"{}",
        entry()[:-1],
        entry().replace(b'"action":"read"', b'"action":5'),
        entry().replace(b'"timestamp":"2026', b'"timestamp":"x'),
        entry().replace(b'"written"', b'"wrXtten"'),
        entry().replace(b"user-1", b"\xff\xfe"),
        entry(metadata={"a": 1}).replace(b'{"a":1}', b"5"),
    ],
)
def test_what_is_no_entry_is_not_mapped(schema: SchemaName, value: bytes) -> None:
    with pytest.raises(NotCanonical):
        mapped_entry(schema, value, LOG)


@EVERY
def test_a_field_of_a_later_version_goes_along(schema: SchemaName) -> None:
    import hashlib

    from sealstream.sealing import Sealed, split_sealed

    old = split_sealed(entry())
    body = old.body.replace(b'"timestamp"', b'"signature":"x","timestamp"')
    value = Sealed(body, old.prev_hash, hashlib.sha256(b"\0" + old.prev_hash + body).digest()).to_bytes()
    assert entry_of(schema, mapped_entry(schema, value, LOG)) == value


@EVERY
def test_without_a_log_the_chain_is_the_origin(schema: SchemaName) -> None:
    made: dict[str, Any] = json.loads(mapped_entry(schema, entry()))
    told = {"ocsf": lambda: made["metadata"]["log_name"], "ecs": lambda: made["sealstream"]["origin"]}
    assert told.get(schema, lambda: made["source"])() in ("main", "//main")
