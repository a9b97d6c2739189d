"""Months of the log: in UTC, on demand, by several sinks at once, and without stopping readers."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import datetime

import pytest

from sealstream.errors import ChainBroken
from sealstream.postgres.rows import encode_rows
from sealstream.postgres.store import PostgresStore
from sealstream.postgres.stored import Batch, SinkStore
from sealstream.sealing import genesis_hash

PARTITIONS = (
    "SELECT string_agg(inhrelid::regclass::text, ' ' ORDER BY 1) FROM pg_inherits "
    "WHERE inhparent = 'audit_log'::regclass"
)
WHERE_FROM = "SELECT string_agg(seq || ':' || right(tableoid::regclass::text, 7), ' ' ORDER BY seq) FROM audit_log"


def batch_of(chain, expected: int = 0) -> Batch:
    before = chain.sealed[expected - 1].hash if expected else genesis_hash(chain.origin)
    values, hashes = chain.values[expected:], [sealed.hash for sealed in chain.sealed[expected:]]
    return Batch(expected, len(chain.sealed), 0, encode_rows(chain.name, values, hashes, before), [])


def store_of(migrated, chain, session_of) -> SinkStore:
    store = SinkStore(session_of(migrated.sink), chain.name)
    store.position()
    return store


@pytest.mark.parametrize("zone", ["UTC", "Asia/Tokyo", "America/Los_Angeles", "Pacific/Kiritimati"])
def test_a_batch_over_two_months_is_cut_in_utc_whatever_the_servers_zone(
    migrated, make_chain, session_of, run_sql, zone
):
    name = migrated.admin.rpartition("/")[2]
    run_sql(migrated.admin, f"ALTER DATABASE {name} SET timezone = '{zone}'", "SELECT 1")
    chain = make_chain()
    chain.add(sequenced_at="2026-11-30T23:59:59.999999Z")
    chain.add(sequenced_at="2026-12-01T00:00:00.000000Z")
    chain.add(sequenced_at="2027-02-28T12:00:00.000000Z")
    store = store_of(migrated, chain, session_of)
    session = session_of(migrated.sink)
    session.run("zone", lambda connection: connection.execute(f"SET timezone = '{zone}'"))
    SinkStore(session, chain.name).store(batch_of(chain))
    assert run_sql(migrated.admin, WHERE_FROM) == "0:2026_11 1:2026_11 2:2026_12 3:2027_02"
    assert store.position().next_seq == 4


def test_the_first_and_the_last_month_of_all_time_can_be_stored(migrated, make_chain, session_of, run_sql):
    chain = make_chain()
    chain.sealed.clear()
    chain.time = "0001-01-01T00:00:00.000000Z"
    chain.add("log", timestamp="0001-01-01T00:00:00.000000Z")
    chain.add(sequenced_at="9999-12-31T23:59:59.999999Z", timestamp="9999-12-31T23:59:59.999999Z")
    store_of(migrated, chain, session_of).store(batch_of(chain))
    assert run_sql(migrated.admin, PARTITIONS) == "audit_log_0001_01 audit_log_9999_12"
    assert run_sql(migrated.admin, 'SELECT max("timestamp") - min("timestamp") FROM audit_log') == (
        datetime.max - datetime.min
    )


@pytest.mark.parametrize("time", ["infinity", "-infinity", "0001-12-31 BC", "10000-01-01T00:00:00Z"])
def test_no_month_beyond_the_years_of_the_log(migrated, run_sql, time):
    with pytest.raises(Exception, match="expected a time of the years 0001 to 9999"):
        run_sql(migrated.sink, f"SELECT audit_log_add_month('{time}')")


def test_sinks_of_several_chains_make_the_same_month_at_once(migrated, make_chain, session_of, run_sql):
    chains = [make_chain().add_many(50) for _ in range(6)]
    stores = [store_of(migrated, chain, session_of) for chain in chains]
    with ThreadPoolExecutor(len(chains)) as pool:
        list(pool.map(lambda pair: pair[0].store(batch_of(pair[1])), zip(stores, chains, strict=True)))
    assert run_sql(migrated.admin, PARTITIONS) == "audit_log_2026_11"
    assert run_sql(migrated.admin, "SELECT count(*) FROM audit_log") == 6 * 51


def test_a_long_reader_does_not_hold_up_a_new_month_nor_see_it(migrated, make_chain, session_of):
    chain = make_chain().add_many(2)
    store = store_of(migrated, chain, session_of)
    store.store(batch_of(chain))
    with PostgresStore(migrated.reader) as view:
        rows = view.rows(chain.name, at_once=1)
        assert next(rows)[0].seq == 0
        chain.add(sequenced_at="2026-12-01T00:00:00.000000Z")
        with ThreadPoolExecutor(1) as pool:
            pool.submit(store.store, batch_of(chain, 3)).result(timeout=10)
        assert [row.seq for run in rows for row in run] == [1, 2]
    with PostgresStore(migrated.reader) as view:
        assert view.seq_bounds(chain.name) == (0, 3)


def test_a_month_whose_transaction_failed_is_made_again(migrated, make_chain, session_of):
    chain = make_chain().add_many(1)
    store = store_of(migrated, chain, session_of)
    good = batch_of(chain)
    broken = good._replace(rows=good.rows._replace(data=good.rows.data + good.rows.data))
    with pytest.raises(ChainBroken, match="duplicate key"):
        store.store(broken)
    assert store.position().next_seq == 0
    store.store(good)
    assert store.position().next_seq == 2


def test_one_entry_number_can_not_be_stored_twice_in_a_month(migrated, make_chain, session_of):
    """Also with another time, which the primary key alone would let pass."""
    chain = make_chain().add_many(1)
    store = store_of(migrated, chain, session_of)
    store.store(batch_of(chain))
    again = make_chain(chain.name)
    again.sealed.clear()
    again.time = "2026-11-25T00:00:00.000000Z"
    again.add("log")
    with pytest.raises(ChainBroken, match="_chain_seq"):
        store.store(batch_of(again)._replace(expected=2, next_seq=2))
    assert batch_of(again).rows.months == ["2026-11"]
