"""Rows in Postgres say, column by column, what the entry says: read back by plain SQL, and judged by other code."""

from __future__ import annotations

import ipaddress
import json
import uuid
from datetime import UTC, datetime

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sealstream.errors import ChainBroken, NotCanonical
from sealstream.events import canonical_ip, format_timestamp
from sealstream.layout import HOT_COLUMNS
from sealstream.layout.tables import LOG_COLUMNS
from sealstream.postgres.driver import Session
from sealstream.postgres.rows import ColumnFault, column_faults, encode_rows
from sealstream.postgres.store import PostgresStore
from sealstream.postgres.stored import Batch, SinkStore
from sealstream.sealing import genesis_hash, parse_json

ALL = "SELECT " + ", ".join(f'"{column}"' for column in LOG_COLUMNS) + " FROM audit_log WHERE chain = $1 ORDER BY seq"

texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=40)
times = st.datetimes(timezones=st.just(UTC))
numbers = st.integers(-(2**53) + 1, 2**53 - 1) | st.floats(allow_nan=False, allow_infinity=False).filter(
    lambda number: not number.is_integer() or abs(number) < 2**53
)
events = st.fixed_dictionaries(
    {
        "id": st.uuids().map(str),
        "timestamp": times.map(format_timestamp),
        "actor_id": texts,
        "actor_type": st.sampled_from(["user", "service", "admin", "system", "anonymous"]),
        "action": texts,
        "resource_type": texts,
        "resource_id": texts,
        "result": st.sampled_from(["success", "failure", "denied"]),
        "ip_address": st.none() | st.ip_addresses().map(str).map(canonical_ip),
    },
    optional={
        "session_id": texts,
        "tenant": texts,
        "reason": texts,
        "metadata": st.dictionaries(texts, st.none() | st.booleans() | texts | numbers),
    },
)


def encoded(chain):
    hashes = [sealed.hash for sealed in chain.sealed]
    return encode_rows(chain.name, chain.values, hashes, genesis_hash(chain.origin))


def store_all(session: Session, chain) -> None:
    store = SinkStore(session, chain.name)
    store.position()
    store.store(Batch(0, len(chain.sealed), 0, encoded(chain), []))


@pytest.fixture(scope="module")
def sink_and_reader(migrated_for_module):
    with Session(migrated_for_module.sink, "test") as sink, Session(migrated_for_module.reader, "test") as reader:
        yield sink, reader


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(listed=st.lists(events, min_size=1, max_size=8))
def test_each_column_reads_as_the_entry_says(sink_and_reader, migrated_for_module, make_chain, listed):
    chain = make_chain()
    for event in listed:
        chain.add(**event)
    sink, reader = sink_and_reader
    store_all(sink, chain)
    rows = reader.fetch("reading", ALL, chain.name)
    assert len(rows) == len(listed) + 1
    for row, sealed in zip(rows, chain.sealed, strict=True):
        entry = json.loads(sealed.body)
        address = entry.get("ip_address")
        assert dict(row) == {
            "chain": chain.name,
            "seq": entry["written"]["seq"],
            "kind": entry["written"]["kind"],
            "id": uuid.UUID(entry["id"]),
            "timestamp": datetime.fromisoformat(entry["timestamp"]),
            "sequenced_at": datetime.fromisoformat(entry["written"]["sequenced_at"]),
            "ip_address": None if address is None else ipaddress.ip_address(address),
            **{name: entry[name] for name in HOT_COLUMNS[5:11]},
            "session_id": entry.get("session_id"),
            "tenant": entry.get("tenant"),
            "body": sealed.body,
            "prev_hash": sealed.prev_hash,
            "hash": sealed.hash,
        }
    events_seen = reader.fetch("reading", "SELECT event FROM audit_event WHERE chain = $1 ORDER BY seq", chain.name)
    for row, sealed in zip(events_seen, chain.sealed, strict=True):
        assert json.loads(row["event"]) == parse_json(sealed.body)
    with PostgresStore(migrated_for_module.reader) as view:
        stored = [row for run in view.rows(chain.name, at_once=3) for row in run]
    assert [row.sealed_value for row in stored] == chain.values
    assert [fault for row in stored for fault in row.column_faults()] == []


EDITS = {
    "kind": ("'log'", "event", "log"),
    "id": ("'00000000-0000-0000-0000-000000000001'", None, "00000000-0000-0000-0000-000000000001"),
    "timestamp": ("'infinity'", "2026-11-24T02:59:59.123456Z", "9223372036854775807 microseconds after 2000-01-01"),
    "actor_id": ("actor_id || ' '", "user-1", "user-1 "),
    "actor_type": ("'admin'", "user", "admin"),
    "action": ("''", "read", ""),
    "resource_type": ("'x'", "patient_record", "x"),
    "resource_id": ("'x'", "patient-1", "x"),
    "result": ("'denied'", "success", "denied"),
    "ip_address": ("'10.0.0.7/8'", "10.0.0.7", "10.0.0.7/8"),
    "session_id": ("''", None, ""),
    "tenant": ("'t'", None, "t"),
}


@pytest.mark.parametrize("column", EDITS)
def test_a_column_that_a_database_administrator_edits_is_named_with_both_values(
    migrated, make_chain, session_of, run_sql, column
):
    chain = make_chain().add_many(2)
    store_all(session_of(migrated.sink), chain)
    value, expected, stored = EDITS[column]
    run_sql(
        migrated.admin,
        "ALTER TABLE audit_log DISABLE TRIGGER append_only",
        f'UPDATE audit_log SET "{column}" = {value} WHERE seq = 1',
        "SELECT 1",
    )
    with PostgresStore(migrated.reader) as view:
        (row,) = next(view.rows(chain.name, 1, 2))
    if column == "id":
        expected = json.loads(chain.sealed[1].body)["id"]
    assert row.column_faults() == [ColumnFault(column, stored, expected)]


def test_times_and_numbers_that_are_edited_are_seen_too(migrated, make_chain, session_of, run_sql):
    chain = make_chain().add_many(2)
    store_all(session_of(migrated.sink), chain)
    run_sql(
        migrated.admin,
        "ALTER TABLE audit_log DISABLE TRIGGER append_only",
        "UPDATE audit_log SET sequenced_at = sequenced_at + interval '1 microsecond', "
        "\"timestamp\" = '0044-03-15 00:00:00+00 BC', ip_address = NULL WHERE seq = 1",
        "UPDATE audit_log SET seq = 7, ip_address = '::ffff:10.0.0.7' WHERE seq = 2",
        "SELECT 1",
    )
    with PostgresStore(migrated.reader) as view:
        first, second = (row for run in view.rows(chain.name, 1) for row in run)
    by_column = {fault.column: fault for fault in first.column_faults()}
    assert set(by_column) == {"timestamp", "sequenced_at", "ip_address"}
    assert by_column["sequenced_at"][1:] == ("2026-11-24T03:00:00.000001Z", "2026-11-24T03:00:00.000000Z")
    assert by_column["timestamp"].stored.endswith("microseconds after 2000-01-01")
    assert second.column_faults() == [
        ColumnFault("seq", "7", "2"),
        ColumnFault("ip_address", "::ffff:10.0.0.7", "10.0.0.7"),
    ]


@pytest.mark.parametrize("body", [b"", b"{}", b"\xff", b"[1]", b'{"id":1}'])
def test_a_body_that_is_no_entry_is_said_to_be_none(body):
    with pytest.raises(NotCanonical):
        column_faults(body, ())


@pytest.mark.parametrize("seq", ["9223372036854775808", "1" + "0" * 25, "-9223372036854775809"])
def test_a_number_that_no_column_can_hold_is_no_failure_of_the_reader(make_chain, seq):
    body = make_chain().add_many(1).sealed[1].body.replace(b'"seq":1,', f'"seq":{seq},'.encode())
    with pytest.raises(NotCanonical, match="fit no column"):
        column_faults(body, ())


@pytest.mark.parametrize(
    "fields",
    [
        {"timestamp": "2026-11-24T03:00:00Z"},
        {"timestamp": "2026-11-24 03:00:00.000000Z"[:26] + "Z"},
        {"timestamp": "2026-13-24T03:00:00.000000Z"},
        {"timestamp": "2026-11-24T03:00:00.-00001Z"},
        {"timestamp": "2026-11-24T03:00:00.00 001Z"},
        {"id": "not-a-uuid"},
        {"id": "00"},
        {"id": "00" * 17},
        {"ip_address": "10.0.0.256"},
        {"ip_address": "::g"},
        {"ip_address": "10.1"},
        {"ip_address": "fe80::1%eth0"},
    ],
)
def test_a_sealed_entry_that_no_row_can_hold_stops_the_chain(make_chain, fields):
    chain = make_chain()
    chain.add(**fields)
    with pytest.raises(ChainBroken, match="no row can hold"):
        encoded(chain)
