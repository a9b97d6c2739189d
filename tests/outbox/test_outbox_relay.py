"""What an application commits is relayed once, numbered in order; what it rolls back never existed."""

from __future__ import annotations

import json
import random
import threading
import time
import uuid

import psycopg
import pytest
from tests.outbox.conftest import Shop

from sealstream.errors import Fenced, Misconfigured, Unavailable
from sealstream.layout import OutboxTables
from sealstream.relaying import make_outbox
from sealstream.relaying import relay as relay_module
from sealstream.relaying import rows as rows_module


def test_what_commits_is_sent_once_and_what_rolls_back_never(shop: Shop) -> None:
    shop.sell(1, 2)
    with shop.connect() as connection:
        shop.write(connection, 3)
        connection.rollback()
    shop.sell(4)
    assert shop.relay_all() == 3
    assert shop.relay_all() == 0
    assert [event["resource_id"] for event in shop.sent()] == ["1", "2", "4"]
    assert [event["producer_seq"] for event in shop.sent()] == [0, 1, 2]
    assert len({event["producer_id"] for event in shop.sent()}) == 1
    assert shop.waiting() == 0


def test_events_whose_transaction_commits_later_than_the_ones_behind_them_are_not_skipped(shop: Shop) -> None:
    late = [*range(100, 120)]
    with shop.connect() as slow, shop.connect() as rolled_back:
        for n in late:  # more than the relay takes at once, or it could not lose a part of them
            shop.write(slow, n)
        shop.write(rolled_back, 0)
        relay = shop.relay(batch_rows=7)
        for n in range(1, 9):  # enough rounds for a relay to believe that the lowest ids are gone
            shop.sell(n)
            while relay.step():
                pass
        rolled_back.rollback()
        for n in range(9, 15):
            shop.sell(n)
            while relay.step():
                pass
        slow.commit()
        while relay.step():
            pass
    assert shop.sold() == [*range(1, 15), *late]


def test_numbers_follow_causes_while_many_transactions_overlap(shop: Shop) -> None:
    """Eight writers commit, linger and roll back at random while a relay is close behind them.

    The floor below which the relay no longer looks moves all the time: one row that it should not have passed is lost.
    """
    told: dict[int, tuple[float, float]] = {}  # number of the sale: when it was written, and when it was committed
    fresh = iter(range(1_000_000))
    taking = threading.Lock()
    stop = threading.Event()

    def write(seed: int) -> None:
        chance = random.Random(seed)
        with shop.connect() as connection:
            while not stop.is_set():
                with taking:
                    numbers = [next(fresh) for _ in range(chance.randint(1, 4))]
                begun = time.monotonic()
                for n in numbers:
                    shop.write(connection, n)
                    if chance.random() < 0.2:
                        time.sleep(chance.random() * 0.05)
                if chance.random() < 0.2:
                    connection.rollback()
                    continue
                connection.commit()
                told.update(dict.fromkeys(numbers, (begun, time.monotonic())))

    writers = [threading.Thread(target=write, args=(seed,)) for seed in range(8)]
    for writer in writers:
        writer.start()
    relay = shop.relay(batch_rows=100)
    end = time.monotonic() + 3
    while time.monotonic() < end:
        relay.step()
    assert relay._rows is not None
    assert relay._rows._floor > 0, "the floor never moved: this test could not fail"
    stop.set()
    for writer in writers:
        writer.join()
    while relay.step():
        pass
    sold = shop.sold()
    assert sorted(sold) == sorted(told)
    latest_begin = 0.0
    for n in sold:  # nobody whose commit was over before another began stands behind it
        begun, committed = told[n]
        assert committed > latest_begin, f"sale {n} was committed before one that stands before it was begun"
        latest_begin = max(latest_begin, begun)


def test_a_second_relay_waits_and_goes_on_where_the_first_one_ended(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(relay_module, "_WAITING_S", 0.01)
    first, second = shop.relay(), shop.relay()
    shop.sell(1)
    assert first.step()
    assert not second.step()
    assert first.step()  # and is not settled yet
    shop.close(first)
    shop.sell(2)
    while second.step():
        pass
    assert [event["producer_seq"] for event in shop.sent()] == [0, 1]
    assert shop.sold() == [1, 2]


def test_a_relay_whose_place_was_taken_while_it_was_frozen_changes_nothing(shop: Shop) -> None:
    """As through a pooler that lends connections by the transaction, where an advisory lock protects nobody."""
    frozen, other = shop.relay(batch_rows=2), shop.relay()
    shop.sell(1, 2, 3)
    frozen.step()
    frozen.step()  # 1 and 2 are sent and not settled
    other._held.take_over()
    with pytest.raises(Fenced):
        frozen.step()
    shop.close(frozen)
    shop.close(other)
    assert shop.waiting() == 3
    assert shop.relay_all() == 1
    assert shop.sold() == [1, 2, 3]
    assert len(shop.sent()) == 3, "the topic said what was sent already"


def test_a_frozen_relays_late_records_are_repeats_for_the_sequencer(shop: Shop) -> None:
    """Its driver still holds the batch when the next relay has sent it: the same bytes arrive again."""
    frozen = shop.relay()
    shop.sell(*range(10))
    frozen.step()
    assert frozen._rows is not None
    batch = frozen._rows.advance(0)
    assert batch is not None
    with shop.connect(autocommit=True) as connection:
        connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE application_name = 'sealstream outbox relay' AND datname = current_database()"
        )
    shop.sell(10)
    assert shop.relay_all() == 1  # the batch that was on its way is sent while beginning
    assert frozen._sender is not None
    frozen._sender.send(batch.events)
    with pytest.raises(Unavailable):
        frozen.step()
    assert len(shop.sent()) == 21
    assert shop.sold() == [*range(11)]


def test_what_other_programs_insert_is_brought_into_form_and_what_is_no_event_is_told(shop: Shop) -> None:
    event = {
        "id": str(uuid.uuid4()).upper(),
        "timestamp": "2026-11-24T04:00:00+01:00",
        "actor_id": "batch",
        "actor_type": "service",
        "action": "import",
        "resource_type": "file",
        "resource_id": 'a "b" \u00e4',
        "result": "success",
    }
    rows = [
        json.dumps(event, indent=2).encode(),
        b'{"id": "no',
        b"\xff",
        json.dumps({**event, "color": "red"}).encode(),
        b'{"action":"a","action":"b"}',
        b"null",
        b"[" * 10_000,
        json.dumps({**event, "id": str(uuid.uuid4()), "metadata": {"long": "x" * 61_300}}).encode(),
    ]
    with shop.connect() as connection:
        for row in rows:
            connection.execute(shop.tables.insert_sql("%s"), (row,))
    shop.sell(1)
    shop.relay_all()
    imported, sold, loss = shop.sealed()
    assert imported["id"] == event["id"].lower()
    assert imported["timestamp"] == "2026-11-24T03:00:00.000000Z"
    assert (imported["producer_seq"], sold["producer_seq"]) == (0, 1)
    assert (loss["action"], loss["metadata"], loss["result"]) == (
        "audit.loss",
        {"count": 7, "reason": "invalid"},
        "failure",
    )
    refused = shop.execute("SELECT event, reason FROM :refused ORDER BY id")
    assert [bytes(row) for row, _ in refused] == rows[1:]
    assert any("color" in reason for _, reason in refused)
    assert shop.status().refused == 7


def test_large_events_are_taken_by_their_bytes(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rows_module, "BATCH_BYTES", 100_000)
    with shop.connect() as connection:
        for n in range(7):
            shop.write(connection, n, metadata={"long": "x" * 50_000})
    relay = shop.relay()
    rounds = 0
    while relay.step():
        rounds += 1
    assert rounds == 6  # taking over; 2, 2, 2 and 1 events; the last settling
    assert shop.sold() == [*range(7)]


def test_a_stream_that_says_nothing_for_long_ends_in_good_order(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    shop.sell(1)
    relay = shop.relay()
    while relay.step():
        pass
    shop.execute("UPDATE :stream SET used_at = now() - interval '13 hours'")
    monkeypatch.setattr(relay_module, "_NOTE_EVERY_S", 0.0)
    relay.step()
    monkeypatch.setattr(relay_module, "_NOTE_EVERY_S", 30.0)
    shop.sell(2)
    while relay.step():
        pass
    first, closed, second = shop.sealed()
    assert closed["action"] == "producer.closed"
    assert (closed["producer_id"], closed["resource_id"]) == (first["producer_id"],) * 2
    assert (closed["producer_seq"], closed["metadata"]["next"]) == (1, 2)
    assert second["producer_id"] != first["producer_id"]
    assert second["producer_seq"] == 0


def test_a_stream_that_the_log_has_forgotten_is_left_in_silence(shop: Shop) -> None:
    shop.sell(1)
    shop.relay_all()
    shop.execute("UPDATE :stream SET used_at = now() - interval '21 days'")
    shop.sell(2)
    shop.relay_all()
    first, second = shop.sealed()
    assert second["producer_id"] != first["producer_id"]
    assert second["producer_seq"] == 0


def test_the_roles_need_no_more_than_is_granted(shop: Shop) -> None:
    names = [f"t_{uuid.uuid4().hex[:12]}" for _ in range(2)]
    for name in names:
        shop.execute(f"CREATE ROLE {name} LOGIN PASSWORD 'of-the-tests'")
    try:
        make_outbox(shop.dsn, shop.tables, *names)
        app, relay = (shop.dsn.replace(shop.dsn.split("//")[1].split("@")[0], f"{name}:of-the-tests") for name in names)
        with psycopg.connect(app) as connection:
            shop.outbox.emit(connection, "sell", resource_type="sale", resource_id=1)
        with psycopg.connect(app) as connection, pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute(shop.tables.filled("SELECT event FROM :table"))
        with psycopg.connect(app) as connection, pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute(shop.tables.filled("DELETE FROM :table"))
        with psycopg.connect(app) as connection:
            connection.execute(shop.tables.insert_sql("'no event'"))
        shop.relay_all(dsn=relay)
        assert [event["action"] for event in shop.sealed()] == ["sell", "audit.loss"]
    finally:
        for name in names:
            shop.execute(f"DROP OWNED BY {name}")
            shop.execute(f"DROP ROLE {name}")


def test_what_is_not_there_is_named(postgres_admin_dsn: str, shop: Shop) -> None:
    relay = shop.relay(dsn=postgres_admin_dsn)
    with pytest.raises(Misconfigured, match="sealstream outbox init"):
        relay.step()
    with pytest.raises(Unavailable):
        shop.relay(dsn="postgresql://nobody@127.0.0.1:1/nothing")
    with pytest.raises(Misconfigured, match="outbox table"):
        OutboxTables.of('x"; DROP TABLE sale; --')
