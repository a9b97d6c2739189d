"""The sink on real Kafka and Postgres: each entry once, whatever happens between any two messages to the server."""

from __future__ import annotations

import concurrent.futures
import contextlib
import importlib.util
import threading
import time
from pathlib import Path

import pytest
from confluent_kafka.admin import AdminClient
from tests.long_runs import long_run

from sealstream.errors import ChainBroken, ChainStopped, Fenced, Forked, InputLost, Misconfigured, Unavailable
from sealstream.kafka import create_topics, trim
from sealstream.layout import TopicConfig
from sealstream.postgres import PostgresSink, PostgresStore
from sealstream.postgres import tree as tree_module
from sealstream.postgres.driver import Session
from sealstream.postgres.stored import SinkStore

_proxy = importlib.util.spec_from_file_location("cutting_proxy", Path(__file__).with_name("cutting_proxy.py"))
cutting_proxy = importlib.util.module_from_spec(_proxy)
_proxy.loader.exec_module(cutting_proxy)


def drain(sink: PostgresSink) -> None:
    """Steps until nothing more comes, which also means that all is stored."""
    while sink.step():
        pass


def follow(sink: PostgresSink) -> None:
    """Steps for half a second more, so that notes come, which no step waits for."""
    deadline = time.monotonic() + 0.5
    while sink.step() or time.monotonic() < deadline:
        pass


def sink_of(in_kafka, dsn, **options) -> PostgresSink:
    return PostgresSink(in_kafka.kafka, in_kafka.chain.settings, dsn, **options)


def run_until_drained(in_kafka, dsn, **options) -> int:
    """As a process does it: a sink that can't go on is closed and built anew. Returns how often."""
    for built in range(1, 30):
        with contextlib.suppress(Unavailable), sink_of(in_kafka, dsn, **options) as sink:
            drain(sink)
            while sink.next_seq < in_kafka.published:  # what was published is there, but may come late
                sink.step()
            return built
    raise AssertionError("never came to the end")


def stored_values(dsn: str, chain) -> list[bytes]:
    with PostgresStore(dsn) as view:
        return [row.sealed_value for run in view.rows(chain.name) for row in run]


def assert_stored(migrated, chain) -> None:
    """Every entry once, each column as its entry says, and the position behind the last."""
    with PostgresStore(migrated.reader) as view:
        rows = [row for run in view.rows(chain.name) for row in run]
        assert view.next_seq(chain.name) == len(chain.sealed)
    assert [row.sealed_value for row in rows] == chain.values
    assert [row.column_faults() for row in rows if row.column_faults()] == []


def test_a_chain_is_stored_and_followed(in_kafka, migrated):
    in_kafka.chain.add_many(2_500)
    in_kafka.publish()
    with sink_of(in_kafka, migrated.sink, batch_entries=700) as sink:
        drain(sink)
        assert_stored(migrated, in_kafka.chain)
        for _ in range(3):
            in_kafka.chain.add_many(10)
            in_kafka.publish()
            drain(sink)
            assert sink.next_seq == len(in_kafka.chain.sealed)
        assert_stored(migrated, in_kafka.chain)


def test_the_server_notices_a_machine_that_is_gone_amid_a_copy(migrated):
    with Session(migrated.sink, "test") as session:
        said = [session.fetch("asking", f"SHOW tcp_keepalives_{each}")[0][0] for each in ("idle", "interval", "count")]
    assert said == ["20", "5", "4"]


def test_an_empty_chain_is_waited_for(in_kafka, migrated):
    with sink_of(in_kafka, migrated.sink) as sink:
        assert sink.step() is False
        in_kafka.publish()
        drain(sink)
        assert_stored(migrated, in_kafka.chain)


def test_aborted_entries_are_never_stored(in_kafka, migrated, make_chain):
    in_kafka.publish()
    other = make_chain(in_kafka.chain.name).add_many(5)
    in_kafka.write(in_kafka.topics.chain, other.values[1:], commit=False)
    in_kafka.chain.add_many(3)
    in_kafka.publish(at_once=1)
    in_kafka.write(in_kafka.topics.chain, other.values[1:], commit=False)
    run_until_drained(in_kafka, migrated.sink)
    run_until_drained(in_kafka, migrated.sink)
    assert_stored(migrated, in_kafka.chain)


@pytest.mark.parametrize("after", [False, True], ids=["unseen", "done"])
@pytest.mark.parametrize(
    ("trigger", "nth"),
    [
        pytest.param(b"BEGIN", 2, marks=long_run),
        (b"UPDATE public.audit_position", 1),  # its text is sent once; later only its name
        pytest.param(b"PGCOPY", 1, marks=long_run),
        (b"PGCOPY", 3),
        pytest.param(b"\xff\xffc\x00\x00\x00\x04", 3, marks=long_run),  # the end of COPY
        pytest.param(b"COMMIT", 1, marks=long_run),
        (b"COMMIT", 3),
    ],
)
def test_a_connection_cut_anywhere_in_a_batch_neither_loses_nor_repeats_an_entry(
    in_kafka, migrated, trigger, nth, after
):
    """`done`: the server did it and the answer was lost; with COMMIT, nobody knows whether the batch is stored."""
    in_kafka.chain.add_many(600)
    in_kafka.publish().publish_note(300, 0).publish_note(601)
    proxy = cutting_proxy.CuttingProxy(migrated.sink, trigger, after=after, nth=nth)
    assert run_until_drained(in_kafka, proxy.dsn, batch_entries=100) == 2
    proxy.close()
    assert proxy.cuts == 1
    assert_stored(migrated, in_kafka.chain)
    with PostgresStore(migrated.reader) as view:
        assert [(note.size, note.ends_segment) for note in view.notes(in_kafka.chain.name)] == [
            (300, True),
            (601, False),
        ]


@long_run
@pytest.mark.parametrize("what", [b"audit_log_add_month", b"audit_log_last", b"audit_checkpoint", b"audit_migration"])
def test_a_connection_cut_while_starting_or_at_a_rare_statement_is_mended_by_starting_anew(in_kafka, migrated, what):
    in_kafka.chain.add_many(50)
    in_kafka.publish().publish_note(51, 0)
    for after in (False, True):
        proxy = cutting_proxy.CuttingProxy(migrated.sink, what, after=after)
        run_until_drained(in_kafka, proxy.dsn)
        proxy.close()
        assert proxy.cuts == 1 or what == b"audit_log_add_month"
        in_kafka.chain.add_many(5)
        in_kafka.publish()
    run_until_drained(in_kafka, migrated.sink)
    assert_stored(migrated, in_kafka.chain)


def test_backends_killed_again_and_again_cost_no_entry(in_kafka, migrated, run_sql):
    in_kafka.chain.add_many(6_000)
    in_kafka.publish()
    stop = threading.Event()
    killed = []

    def kill() -> None:
        while not stop.wait(0.15):
            killed.append(
                run_sql(
                    migrated.admin,
                    "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity "
                    "WHERE datname = current_database() AND application_name LIKE 'sealstream postgres-sink%'",
                )
            )
            if sum(killed) >= 5:
                return

    killer = threading.Thread(target=kill)
    killer.start()
    deadline = time.monotonic() + 60
    while killer.is_alive() and time.monotonic() < deadline:
        with contextlib.suppress(Unavailable), sink_of(in_kafka, migrated.sink, batch_entries=50, wait_s=0.05) as sink:
            while killer.is_alive():
                sink.step()
    stop.set()
    killer.join()
    assert sum(killed) >= 5
    run_until_drained(in_kafka, migrated.sink)
    assert_stored(migrated, in_kafka.chain)


def test_of_two_sinks_at_once_one_stores_a_batch_and_the_other_starts_anew(in_kafka, migrated):
    in_kafka.chain.add_many(20)
    in_kafka.publish()
    with sink_of(in_kafka, migrated.sink) as first, sink_of(in_kafka, migrated.sink) as second:
        drain(first)
        with pytest.raises(Fenced, match="another sink has stored entry 0"):
            drain(second)
    assert_stored(migrated, in_kafka.chain)


class Interrupted:
    """A connection; after each question, before the answer is looked at, `meanwhile()` runs."""

    def __init__(self, connection, meanwhile) -> None:
        self._connection, self._meanwhile = connection, meanwhile

    def __getattr__(self, name):
        return getattr(self._connection, name)

    async def fetch(self, query, *arguments):
        answer = await self._connection.fetch(query, *arguments)
        self._meanwhile()
        return answer


def test_a_start_sees_one_moment_while_another_sink_goes_on_storing(in_kafka, migrated, session_of):
    chain = in_kafka.chain.add_many(200)
    in_kafka.publish(100).publish_note(50, 0)
    with sink_of(in_kafka, migrated.sink) as other:
        drain(other)
        in_kafka.publish().publish_note(201)

        def other_sink_goes_on() -> None:
            with concurrent.futures.ThreadPoolExecutor(1) as thread:  # it has an event loop of its own
                thread.submit(follow, other).result()

        session = session_of(migrated.sink)
        session.connection = Interrupted(session.connection, other_sink_goes_on)
        position = SinkStore(session, chain.name).position()
    assert position.next_seq == 100
    assert position.last is not None
    assert position.last.to_bytes() == chain.values[99]
    assert position.newest is None or position.newest.size <= 100
    assert SinkStore(session_of(migrated.sink), chain.name).position().next_seq == 201


def test_many_sinks_at_once_store_each_entry_once(in_kafka, migrated):
    in_kafka.chain.add_many(3_000)
    in_kafka.publish()
    sinks = [
        threading.Thread(target=run_until_drained, args=(in_kafka, migrated.sink), kwargs={"batch_entries": 200})
        for _ in range(3)
    ]
    for sink in sinks:
        sink.start()
    for sink in sinks:
        sink.join(60)
    assert_stored(migrated, in_kafka.chain)


@long_run
@pytest.mark.parametrize("hint", ["0", "1", "chain_offset - 7", "chain_offset + 9", "1000000000", "chain_offset - 1"])
def test_a_wrong_offset_hint_is_seen_and_the_entry_found(in_kafka, migrated, run_sql, hint):
    in_kafka.chain.add_many(40)
    in_kafka.publish(at_once=7)
    run_until_drained(in_kafka, migrated.sink)
    in_kafka.chain.add_many(40)
    in_kafka.publish(at_once=7)
    run_sql(migrated.admin, f"UPDATE audit_position SET chain_offset = {hint}", "SELECT 1")
    run_until_drained(in_kafka, migrated.sink)
    assert_stored(migrated, in_kafka.chain)


def broken_chains(chain, other):
    """What could stand in the topic after 10 good entries, by what is wrong with it."""
    good = [sealed.to_bytes() for sealed in chain.sealed]
    edited = good[10].replace(b'"read"', b'"hide"')
    return {
        "edited": ([*good[:10], edited, *good[11:]], ChainBroken, "entry 10: edited"),
        "missing": ([*good[:10], *good[11:]], ChainBroken, "entry 10: missing"),
        "duplicated": ([*good[:10], good[9], *good[10:]], ChainBroken, "entry 9: duplicated"),
        "reordered": ([*good[:10], good[11], good[10], *good[12:]], ChainBroken, "entry 10: missing"),
        "forked": ([*good[:10], *(s.to_bytes() for s in other.sealed[10:])], Forked, "entry 10: forked"),
        "garbage": ([*good[:10], b"{}", *good[10:]], ChainBroken, "entry 10: edited"),
        "empty": ([*good[:10], b"", *good[10:]], ChainBroken, "entry 10: edited"),
    }


@pytest.mark.parametrize("fault", ["edited", "missing", "duplicated", "reordered", "forked", "garbage", "empty"])
def test_an_entry_that_does_not_extend_what_is_stored_stops_the_sink_with_nothing_stored(
    in_kafka, migrated, make_chain, fault
):
    chain = in_kafka.chain.add_many(14)
    other = make_chain(chain.name)
    other.time = "2026-11-24T03:00:01.000000Z"
    other.add_many(14)
    values, error, told = broken_chains(chain, other)[fault]
    in_kafka.write(in_kafka.topics.chain, values[:5])
    run_until_drained(in_kafka, migrated.sink)
    in_kafka.write(in_kafka.topics.chain, values[5:])
    for _ in range(2):  # a restart changes nothing
        with pytest.raises(error, match=told), sink_of(in_kafka, migrated.sink) as sink:
            drain(sink)
        assert stored_values(migrated.reader, chain) == values[:5]


def test_a_batch_before_the_broken_one_stays_stored(in_kafka, migrated):
    chain = in_kafka.chain.add_many(20)
    in_kafka.write(in_kafka.topics.chain, [*chain.values[:10], *chain.values[11:]])
    with pytest.raises(ChainBroken, match="missing"), sink_of(in_kafka, migrated.sink, batch_entries=10) as sink:
        drain(sink)
    assert stored_values(migrated.reader, chain) == chain.values[:10]


def test_another_chain_in_the_topic_is_refused_from_its_first_entry_on(in_kafka, migrated, make_chain):
    in_kafka.write(in_kafka.topics.chain, make_chain("other").add_many(2).values)
    with pytest.raises(ChainStopped), sink_of(in_kafka, migrated.sink) as sink:
        drain(sink)
    assert stored_values(migrated.reader, in_kafka.chain) == []


def test_a_topic_that_was_made_anew_and_holds_less_or_another_end_is_a_fork(in_kafka, migrated, make_chain):
    chain = in_kafka.chain.add_many(10)
    in_kafka.publish()
    run_until_drained(in_kafka, migrated.sink)
    other = make_chain(chain.name).add_many(10)
    for values, told in (
        (chain.values[:5], "ends with entry 4, but 11 entries are stored: it was rolled back"),
        (other.values, "entry 10 has the hash .* in the store"),
    ):
        in_kafka.make_topic_anew()
        in_kafka.write(in_kafka.topics.chain, values)
        with pytest.raises(Forked, match=told):
            sink_of(in_kafka, migrated.sink)
    in_kafka.make_topic_anew()
    with pytest.raises(InputLost, match="is empty, but 11 entries are stored"):
        sink_of(in_kafka, migrated.sink)


def test_a_chain_that_was_trimmed_below_the_next_entry_is_lost_input(in_kafka, migrated):
    in_kafka.chain.add_many(30)
    in_kafka.publish(at_once=10)
    with sink_of(in_kafka, migrated.sink, batch_entries=5) as sink:
        sink.step()
    stored = len(stored_values(migrated.reader, in_kafka.chain))
    assert 0 < stored < 20
    trim(in_kafka.kafka, in_kafka.topics.chain, 25)
    with pytest.raises(InputLost, match="replay from the archive"):
        sink_of(in_kafka, migrated.sink)


def test_rows_that_somebody_removed_or_changed_stop_the_sink(in_kafka, migrated, run_sql):
    in_kafka.chain.add_many(10)
    in_kafka.publish()
    run_until_drained(in_kafka, migrated.sink)
    off, on = "ALTER TABLE audit_log DISABLE TRIGGER append_only", "SELECT 1"
    run_sql(migrated.admin, off, "UPDATE audit_log SET body = body || ' ' WHERE seq = 10", on)
    with pytest.raises(ChainBroken, match="entry 10 in Postgres does not have the hash"):
        sink_of(in_kafka, migrated.sink)
    run_sql(migrated.admin, off, "DELETE FROM audit_log WHERE seq = 10", on)
    with pytest.raises(ChainBroken, match="the position in Postgres is entry 11, but its last stored entry is 9"):
        sink_of(in_kafka, migrated.sink)


def test_every_segments_note_and_the_newest_checkpoint_are_stored(in_kafka, migrated):
    chain = in_kafka.chain.add_many(300)
    in_kafka.publish()
    with sink_of(in_kafka, migrated.sink, batch_entries=50) as sink:
        in_kafka.publish_note(40)
        drain(sink)
        for first, size in ((0, 100), (100, 200)):
            in_kafka.publish_note(size, first).publish_note(size + 17)
        follow(sink)
    with PostgresStore(migrated.reader) as view:
        notes = view.notes(chain.name)
    assert [(note.size, note.ends_segment) for note in notes] == [(100, True), (200, True), (217, False)]
    for note in notes:
        assert note.note == chain.note(note.size).value
        assert note.compact_range == chain.range_at(note.size).hashes
        assert note.chain_offset == note.size


def test_a_note_that_is_ahead_waits_for_its_entries(in_kafka, migrated):
    chain = in_kafka.chain.add_many(60)
    in_kafka.publish(30).publish_note(50, 0).publish_note(61)
    with sink_of(in_kafka, migrated.sink) as sink:
        drain(sink)
        follow(sink)
        with PostgresStore(migrated.reader) as view:
            assert view.notes(chain.name) == []
        in_kafka.publish()
        drain(sink)
    with PostgresStore(migrated.reader) as view:
        assert [(note.size, note.ends_segment) for note in view.notes(chain.name)] == [(50, True), (61, False)]


def newest_note(dsn, chain) -> int:
    with PostgresStore(dsn) as view:
        return view.notes(chain.name)[-1].size


@pytest.mark.parametrize("in_memory", [10, 1_000])
def test_notes_are_taken_up_again_after_each_restart(in_kafka, migrated, monkeypatch, in_memory):
    monkeypatch.setattr(tree_module, "MAX_IN_MEMORY", in_memory)
    monkeypatch.setattr(tree_module, "READ_AT_ONCE", 7)
    chain = in_kafka.chain
    for first in range(0, 200, 40):
        chain.add_many(39 if first == 0 else 40)
        in_kafka.publish()
        run_until_drained(in_kafka, migrated.sink)  # the note comes while no sink runs
        in_kafka.publish_note(first + 40, first)
    chain.add_many(3)
    in_kafka.publish().publish_note(203)
    with sink_of(in_kafka, migrated.sink) as sink:
        deadline = time.monotonic() + 30
        while newest_note(migrated.reader, chain) < 203 and time.monotonic() < deadline:
            follow(sink)
    with PostgresStore(migrated.reader) as view:
        assert [(note.size, note.ends_segment) for note in view.notes(chain.name)] == [
            *((size, True) for size in range(40, 201, 40)),
            (203, False),
        ]


@pytest.mark.parametrize("first_seq", [None, 0])
def test_a_note_with_another_root_is_a_fork_and_is_not_stored(in_kafka, migrated, first_seq):
    in_kafka.chain.add_many(20)
    in_kafka.publish().publish_note(15, first_seq, wrong_root=bytes(32))
    with (
        sink_of(in_kafka, migrated.sink) as sink,
        pytest.raises(Forked, match=r"the note over 15 entries signs the root 0{64}"),
    ):
        follow(sink)
    with PostgresStore(migrated.reader) as view:
        assert view.notes(in_kafka.chain.name) == []


@pytest.mark.parametrize("fault", ["another key", "garbage", "no headers"])
def test_a_note_that_the_chains_key_did_not_sign_stops_the_sink(in_kafka, migrated, make_chain, fault):
    chain = in_kafka.chain.add_many(5)
    in_kafka.publish()
    note = make_chain(chain.name).add_many(5).note(5) if fault == "another key" else chain.note(5)
    value = b"garbage" if fault == "garbage" else note.value
    in_kafka.write(in_kafka.topics.checkpoints, [value], () if fault == "no headers" else note.headers)
    with (
        sink_of(in_kafka, migrated.sink) as sink,
        pytest.raises(ChainBroken, match="not a checkpoint that the chain has signed"),
    ):
        follow(sink)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (
            "compact_range = decode(repeat('00', octet_length(compact_range)), 'hex')",
            "does not hash to the signed root",
        ),
        ("compact_range = ''", "expected .* hashes of 32 bytes"),
        ("note = 'x'", "does not hold"),
        ("size = size + 1", "does not hold"),
    ],
)
def test_a_stored_note_that_somebody_changed_stops_the_sink(in_kafka, migrated, run_sql, change, told):
    in_kafka.chain.add_many(9)
    in_kafka.publish().publish_note(9, 0)
    with sink_of(in_kafka, migrated.sink) as sink:
        follow(sink)
    run_sql(
        migrated.admin,
        "ALTER TABLE audit_checkpoint DISABLE TRIGGER ALL",
        f"UPDATE audit_checkpoint SET {change}",
        "SELECT 1",
    )
    with pytest.raises(ChainBroken, match=told):
        sink_of(in_kafka, migrated.sink)


def test_no_server_wrong_role_or_no_schema_each_say_what_to_do(in_kafka, migrated, empty_database):
    with pytest.raises(Unavailable, match="connecting to Postgres"):
        sink_of(in_kafka, "postgresql://nobody@127.0.0.1:1/none")
    with pytest.raises(Misconfigured, match="run `sealstream migrate`"):
        sink_of(in_kafka, empty_database)
    with pytest.raises(Misconfigured, match="permission denied"):
        sink_of(in_kafka, migrated.reader)


def test_a_server_without_free_connections_or_read_only_is_unavailable_and_costs_no_entry(
    in_kafka, migrated, roles, run_sql
):
    in_kafka.chain.add_many(9)
    in_kafka.publish()
    run_sql(migrated.admin, f"ALTER ROLE {roles.sink} CONNECTION LIMIT 0", "SELECT 1")
    try:
        with pytest.raises(Unavailable, match="too many connections"):
            sink_of(in_kafka, migrated.sink)
    finally:
        run_sql(migrated.admin, f"ALTER ROLE {roles.sink} CONNECTION LIMIT -1", "SELECT 1")
    name = migrated.admin.rpartition("/")[2]
    run_sql(migrated.admin, f"ALTER DATABASE {name} SET default_transaction_read_only = on", "SELECT 1")
    with pytest.raises(Unavailable, match="read-only"):
        sink_of(in_kafka, migrated.sink)
    run_sql(
        migrated.admin,
        "SET default_transaction_read_only = off",
        f"ALTER DATABASE {name} RESET default_transaction_read_only",
        "SELECT 1",
    )
    run_until_drained(in_kafka, migrated.sink)
    assert_stored(migrated, in_kafka.chain)


def test_a_topic_that_would_delete_entries_is_refused(in_kafka, migrated):
    config = {"cleanup.policy": "compact", "message.timestamp.type": "LogAppendTime"}
    client = AdminClient({"bootstrap.servers": in_kafka.kafka.bootstrap})
    client.delete_topics([in_kafka.topics.chain], operation_timeout=30)[in_kafka.topics.chain].result()
    time.sleep(0.2)
    create_topics(in_kafka.kafka, [TopicConfig(in_kafka.topics.chain, config)])
    with pytest.raises(Misconfigured, match=r"cleanup\.policy"):
        sink_of(in_kafka, migrated.sink)


def test_large_entries_come_in_batches_that_memory_can_hold(in_kafka, migrated):
    for _ in range(120):
        in_kafka.chain.add(reason="x" * 55_000)
    in_kafka.publish(at_once=10)
    with sink_of(in_kafka, migrated.sink, batch_bytes=1_000_000) as sink:
        drain(sink)
    assert_stored(migrated, in_kafka.chain)


def test_closing_twice_or_after_a_failure_is_harmless(in_kafka, migrated, run_sql):
    in_kafka.chain.add_many(5)
    in_kafka.publish()
    sink = sink_of(in_kafka, migrated.sink)
    sink.step()
    sink.close()
    sink.close()
    assert_stored(migrated, in_kafka.chain)
