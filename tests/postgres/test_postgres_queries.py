"""The auditor's three questions, against a plain Python answer over the same events."""

from __future__ import annotations

import json
import random
from collections import Counter
from datetime import UTC, datetime, timedelta

import pytest

from sealstream.events import format_timestamp
from sealstream.postgres import AuditQueries
from sealstream.postgres.rows import encode_rows
from sealstream.postgres.stored import Batch, SinkStore
from sealstream.sealing import genesis_hash

NOW = datetime(2026, 11, 24, 3, 0, tzinfo=UTC)


def store_all(session, chain) -> None:
    store = SinkStore(session, chain.name)
    store.position()
    rows = encode_rows(chain.name, chain.values, [sealed.hash for sealed in chain.sealed], genesis_hash(chain.origin))
    store.store(Batch(0, len(chain.sealed), 0, rows, []))


@pytest.fixture
def asked(migrated, make_chain, session_of):
    """Two chains of two months with 400 events each, as parsed entries, and the questions."""
    entries = []
    for name, seed in (("main", 1), ("phi", 2)):
        chain, chosen = make_chain(name), random.Random(seed)
        for number in range(400):
            chain.add(
                timestamp=format_timestamp(NOW - timedelta(hours=chosen.uniform(0, 24 * 60))),
                actor_id=chosen.choice(["alice", "bob", 'carol\'s "friend"', "'; DROP TABLE audit_log; --"]),
                resource_id=f"patient-{chosen.randrange(4)}",
                result=chosen.choice(["success", "success", "failure", "denied"]),
                reason=chosen.choice([None, "treatment", "naïve “quotes”"]),
                ip_address=chosen.choice([None, "10.0.0.7", "2001:db8::1"]),
                sequenced_at="2026-11-30T00:00:00.000000Z" if number < 200 else "2026-12-01T00:00:00.000000Z",
            )
        store_all(session_of(migrated.sink), chain)
        entries += [json.loads(sealed.body) for sealed in chain.sealed]
    with AuditQueries(migrated.reader) as queries:
        yield entries, queries


def when(entry) -> datetime:
    return datetime.fromisoformat(entry["timestamp"])


@pytest.mark.parametrize("actor", ["alice", 'carol\'s "friend"', "'; DROP TABLE audit_log; --", "nobody"])
@pytest.mark.parametrize("chain", [None, "phi"])
def test_what_one_actor_did_in_the_last_30_days(asked, actor, chain):
    entries, queries = asked
    found = queries.actor_actions(actor, days=30, as_of=NOW, chain=chain)
    expected = [
        entry
        for entry in entries
        if entry["actor_id"] == actor
        and NOW - timedelta(days=30) < when(entry) <= NOW
        and chain in (None, entry["written"]["chain"])
    ]
    assert {(row.chain, row.seq) for row in found} == {(e["written"]["chain"], e["written"]["seq"]) for e in expected}
    assert [row.timestamp for row in found] == sorted((when(entry) for entry in expected), reverse=True)
    assert Counter(row.ip_address for row in found) == Counter(entry.get("ip_address") for entry in expected)
    assert (len(found) > 0) == (actor != "nobody")
    assert queries.actor_actions(actor, days=30, as_of=NOW, chain=chain, limit=3) == found[:3]


def test_who_touched_one_patient_record_and_why(asked):
    entries, queries = asked
    found = queries.resource_accesses("patient_record", "patient-2")
    expected = [e for e in entries if e["resource_id"] == "patient-2" and e["resource_type"] == "patient_record"]
    assert len(found) == len(expected) > 100
    assert {(row.chain, row.seq, row.actor_id, row.reason, row.result, row.ip_address) for row in found} == {
        (e["written"]["chain"], e["written"]["seq"], e["actor_id"], e.get("reason"), e["result"], e.get("ip_address"))
        for e in expected
    }
    assert {row.reason for row in found} == {None, "treatment", "naïve “quotes”"}


@pytest.mark.parametrize(("more_than", "hours"), [(5, 24), (0, 24 * 7), (40, 24 * 60), (1000, 24)])
def test_whose_attempts_fail(asked, more_than, hours):
    entries, queries = asked
    failing = [
        entry for entry in entries if entry["result"] != "success" and NOW - timedelta(hours=hours) < when(entry) <= NOW
    ]
    expected = {actor: n for actor, n in Counter(e["actor_id"] for e in failing).items() if n > more_than}
    found = queries.failing_actors(more_than=more_than, hours=hours, as_of=NOW)
    assert {row.actor_id: row.attempts for row in found} == expected
    assert [row.attempts for row in found] == sorted(expected.values(), reverse=True)
    for row in found:
        own = [entry for entry in failing if entry["actor_id"] == row.actor_id]
        assert row.denied == sum(entry["result"] == "denied" for entry in own)
        assert (row.first_at, row.last_at) == (min(map(when, own)), max(map(when, own)))


def test_now_is_the_servers_now(migrated, make_chain, session_of):
    chain, now = make_chain(), datetime.now(UTC)
    for age in (timedelta(hours=1), timedelta(hours=25)):
        chain.add(actor_id="alice", timestamp=format_timestamp(now - age), result="denied")
    store_all(session_of(migrated.sink), chain)
    with AuditQueries(migrated.reader) as queries:
        assert len(queries.actor_actions("alice", days=1)) == 1
        assert [(row.actor_id, row.attempts) for row in queries.failing_actors(more_than=0)] == [("alice", 1)]


def test_counts_tell_entries_and_events_of_each_chain(asked):
    _, queries = asked
    december = datetime(2026, 12, 1, tzinfo=UTC)
    assert queries.counts() == [("main", 401, 400, december), ("phi", 401, 400, december)]


def test_a_time_without_a_zone_is_refused(asked):
    _, queries = asked
    with pytest.raises(ValueError, match="no time zone"):
        queries.actor_actions("alice", as_of=datetime(2026, 11, 24))


@pytest.mark.parametrize(
    ("statement", "index"),
    [
        (
            "SELECT * FROM audit_log WHERE actor_id = 'a' AND \"timestamp\" > now() - interval '30 days'",
            "actor_id_timestamp",
        ),
        (
            "SELECT * FROM audit_log WHERE resource_type = 'p' AND resource_id = 'x' ORDER BY \"timestamp\" DESC",
            "resource",
        ),
        ("SELECT * FROM audit_log WHERE action = 'export' ORDER BY \"timestamp\" DESC LIMIT 9", "action_timestamp"),
        (
            "SELECT actor_id, count(*) FROM audit_log WHERE result IN ('failure', 'denied') "
            "AND \"timestamp\" > now() - interval '1 day' GROUP BY 1",
            "timestamp_actor_id",
        ),
        ("SELECT * FROM audit_log WHERE id = '00000000-0000-0000-0000-000000000001'", "id_idx"),
        ('SELECT * FROM audit_log ORDER BY "timestamp" DESC LIMIT 9', "timestamp_idx"),
        ("SELECT * FROM audit_log WHERE chain = 'main' AND seq >= 5 AND seq < 9 ORDER BY seq", "chain_seq"),
    ],
)
def test_each_question_has_its_index(asked, migrated, session_of, statement, index):
    session = session_of(migrated.admin)
    session.run("planning", lambda connection: connection.execute("SET enable_seqscan = off; SET enable_sort = off"))
    plan = "\n".join(row[0] for row in session.fetch("planning", f"EXPLAIN {statement}"))
    assert index in plan
    assert "Seq Scan" not in plan
