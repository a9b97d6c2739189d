"""Entries as readers decode them."""

from __future__ import annotations

import json

import pytest

from sealstream.errors import NotCanonical
from sealstream.events import FIELDS, validate_event
from sealstream.layout import HOT_COLUMNS, Entry, WrittenFields, decode_entry
from sealstream.sealing import Written, genesis_hash, seal

EVENT = {
    "id": "0193a8f2-7c1e-7000-8000-0123456789ab",
    "timestamp": "2026-11-24T03:00:00.123456Z",
    "actor_id": "user-1",
    "actor_type": "user",
    "action": "read",
    "resource_type": "patient_record",
    "resource_id": "patient-456",
    "result": "success",
}
WRITTEN = Written("main", -1, "event", 0, "2026-11-24T03:00:01.000000Z", 1, "2026-11-24T03:00:02.000000Z")


def sealed(**members: object) -> tuple[bytes, bytes]:
    event = validate_event(json.dumps(EVENT | members).encode()).canonical
    made = seal(event, WRITTEN, genesis_hash("a.b/main"))
    return made.body, made.to_bytes()


def test_a_body_and_a_sealed_entry_decode_alike():
    body, value = sealed(tenant="st-mary", user_agent="curl", metadata={"a": [1]})
    entry = decode_entry(body)
    assert entry == decode_entry(value)
    assert entry == Entry(
        **EVENT,
        tenant="st-mary",
        metadata={"a": [1]},
        written=WrittenFields(
            chain="main",
            control_offset=-1,
            kind="event",
            raw_offset=0,
            seq=1,
            sequenced_at="2026-11-24T03:00:02.000000Z",
            v=1,
            received_at="2026-11-24T03:00:01.000000Z",
        ),
    )


def test_hot_columns_are_fields_of_the_event_or_what_the_log_wrote():
    assert set(HOT_COLUMNS) - {"seq", "kind", "sequenced_at"} <= set(FIELDS)
    body, _ = sealed()
    entry = decode_entry(body)
    for column in HOT_COLUMNS:
        assert hasattr(entry, column) or hasattr(entry.written, column)


def test_every_field_that_an_entry_names_is_a_field_of_an_event():
    assert set(Entry.__struct_fields__) - {"written"} <= set(FIELDS)


def test_a_field_of_a_later_version_is_passed_over():
    body, _ = sealed()
    assert decode_entry(body.replace(b'"actor_id"', b'"aaa_later":{"x":1},"actor_id"')) == decode_entry(body)


@pytest.mark.parametrize(
    "data", [b"", b"{}", b"[]", b"\xff", b"null", b'{"id":"\xff"}', b'{"id":1}', b"[" * 100_000, b'{"x":' * 100_000]
)
def test_what_is_no_entry_is_refused_as_such(data):
    with pytest.raises(NotCanonical, match="not an entry"):
        decode_entry(data)


def test_an_entry_with_bad_utf_8_is_refused_as_such():
    body, _ = sealed()
    with pytest.raises(NotCanonical, match="not an entry"):
        decode_entry(body.replace(b"user-1", b"user-\xff"))
