"""A database that is set back to an older state: no number is used for two events, no event is sealed twice.

The log is ahead of such a database: it holds events that the database does not know it has sent, and some that the
database never had, as it now is.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient
from tests.outbox.conftest import Shop
from tests.outbox.test_outbox_crashes import KillAfter, run_until_killed

from sealstream.errors import Fenced, Misconfigured
from sealstream.kafka import create_topics, end_offset
from sealstream.layout import ChainSettings, ChainTopics
from sealstream.relaying import relay as relay_module
from sealstream.relaying import renew_outbox

Backup = dict[str, list[tuple[Any, ...]]]

_TABLES = ("relay", "table", "refused", "stream")


def back_up(shop: Shop) -> Backup:
    """All rows of the outbox, as a consistent backup has them."""
    return {name: list(shop.execute(f"SELECT * FROM :{name}")) for name in _TABLES}


def restore(shop: Shop, backup: Backup) -> None:
    """In place: nothing else about the database tells that it happened. Sequences go back too."""
    with shop.connect() as connection:
        filled = shop.tables.filled
        for name in _TABLES:
            connection.execute(filled(f"DELETE FROM :{name}"))
        for name in reversed(_TABLES):
            for row in backup[name]:
                marks = ", ".join(["%s"] * len(row))
                connection.execute(filled(f"INSERT INTO :{name} OVERRIDING SYSTEM VALUE VALUES ({marks})"), row)
        highest = max((row[1] for row in backup["table"]), default=0)
        connection.execute(filled(f"ALTER TABLE :table ALTER id RESTART WITH {highest + 1}"))


def actions(shop: Shop) -> list[str]:
    return [event["action"] for event in shop.sealed() if event["action"] != "sell"]


def test_events_of_a_lost_future_are_not_sealed_again_and_their_numbers_not_used_again(shop: Shop) -> None:
    shop.sell(1, 2)
    shop.relay_all()
    shop.sell(3, 4)  # wait in the backup
    backup = back_up(shop)
    shop.sell(5)
    shop.relay_all(batch_rows=2)
    shop.sell(6)
    shop.relay_all()
    restore(shop, backup)
    shop.sell(7)
    shop.relay_all()
    assert shop.sold() == [1, 2, 3, 4, 5, 6, 7]  # `sold` also finds no conflict and no gap
    assert actions(shop) == ["producer.closed", "outbox.behind"]
    *_, last, closed, seven, restored = shop.sealed()
    assert closed["producer_id"] == last["producer_id"] != restored["producer_id"] == seven["producer_id"]
    assert closed["producer_seq"] == last["producer_seq"] + 1
    assert restored["metadata"] == {"producer_id": last["producer_id"], "known": 2, "seen": 6, "already_sent": 2}
    assert shop.relay_all() == 0
    assert len(shop.sealed()) == len(shop.sent())


def test_a_backup_restored_again_and_again_and_newer_ones_in_between(shop: Shop) -> None:
    shop.sell(1, 2)
    backup = back_up(shop)  # from before the first relay
    shop.relay_all()
    shop.sell(3)
    shop.relay_all()
    for n in (10, 20, 30):
        restore(shop, backup)
        shop.sell(n)
        shop.relay_all()
        newer = back_up(shop)
        shop.sell(n + 1)
        shop.relay_all()
        restore(shop, newer)
        shop.sell(n + 2)
        shop.relay_all()
    assert shop.sold() == [1, 2, 3, 10, 11, 12, 20, 21, 22, 30, 31, 32]
    assert actions(shop).count("outbox.behind") == 6


def test_tables_that_are_set_back_under_a_relay_that_runs(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    relay = shop.relay()
    shop.sell(1)
    while relay.step():
        pass
    backup = back_up(shop)
    shop.sell(2)
    while relay.step():
        pass
    restore(shop, backup)
    shop.sell(3)
    monkeypatch.setattr(relay_module, "_NOTE_EVERY_S", 0.0)
    with pytest.raises(Fenced):
        relay.step()
    shop.close(relay)
    shop.relay_all()
    assert shop.sold() == [1, 2, 3]


def test_a_table_whose_ids_begin_anew_under_a_relay_that_runs(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    relay = shop.relay(batch_rows=1)
    shop.sell(*range(5))
    while relay.step():
        pass
    shop.execute("TRUNCATE :table RESTART IDENTITY")
    shop.sell(5)
    monkeypatch.setattr(relay_module, "_NOTE_EVERY_S", 0.0)
    for _ in range(5):
        relay.step()
    assert shop.sold() == [*range(6)]


def test_a_backup_from_the_middle_of_a_batch(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    kill = KillAfter(monkeypatch)
    shop.sell(1, 2, 3)
    kill.at = "taking from the outbox"
    assert run_until_killed(shop, batch_rows=2)
    backup = back_up(shop)  # 1 and 2 are numbered, and not sent
    shop.sell(4)
    shop.relay_all(batch_rows=2)
    restore(shop, backup)
    shop.sell(5)
    shop.relay_all(batch_rows=2)
    assert shop.sold() == [1, 2, 3, 4, 5]
    restore(shop, backup)
    shop.relay_all(batch_rows=2)
    assert shop.sold() == [1, 2, 3, 4, 5]
    assert len(shop.sealed()) == len(shop.sent())


def test_a_relay_killed_after_each_of_its_effects_on_a_restored_database(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    kill = KillAfter(monkeypatch)
    sold: list[int] = []
    for effects in range(100):
        n = len(sold)
        sold += [n, n + 1, n + 2]
        shop.sell(n)
        backup = back_up(shop)
        shop.sell(n + 1)
        shop.relay_all()
        restore(shop, backup)
        shop.sell(n + 2)
        kill.left = effects
        if not run_until_killed(shop):
            break
        shop.relay_all()
    kill.left = -1
    assert shop.sold() == sold
    assert actions(shop).count("outbox.behind") == effects + 1
    assert {"ending the outbox's stream", "looking for events that are in the log already"} <= {*kill.reached}


def test_a_copy_of_the_database_has_numbers_of_its_own(
    make_database: Callable[..., str], make_shop: Callable[..., Shop]
) -> None:
    """A dump that was loaded elsewhere, a clone, a standby that was promoted: the original may live on."""
    original = make_shop(make_database())
    original.sell(1)
    original.relay_all()
    copied_dsn = make_database(original.dsn.rpartition("/")[2])
    copy = original.copied_to(copied_dsn)
    copy.sell(2)
    copy.relay_all()
    original.sell(3)
    original.relay_all()
    copy.sell(4)
    copy.relay_all()
    assert original.sold() == [1, 2, 3, 4]
    ids = [event["producer_id"] for event in original.sealed() if event["action"] == "sell"]
    assert len({*ids}) == 4, "each that begins sees the other's events, and takes a new stream"


def test_another_log_is_refused_until_the_outbox_is_renewed(shop: Shop, another_chain: ChainSettings) -> None:
    shop.sell(1)
    shop.relay_all()
    shop.sell(2)
    shop.chain = another_chain
    with pytest.raises(Misconfigured, match="sealstream outbox renew"):
        shop.relay_all()
    shop.close(shop.relays[0])
    assert renew_outbox(shop.dsn, shop.tables, discard=True) == 1
    shop.sell(3)
    shop.relay_all()
    assert shop.sold() == [1]
    shop.topic = ChainTopics.of(shop.chain.name).raw
    assert shop.sold() == [3]


def test_what_was_trimmed_before_it_was_seen_is_for_a_person_to_judge(shop: Shop) -> None:
    shop.sell(1)
    shop.relay_all()
    client = AdminClient({"bootstrap.servers": shop.kafka.bootstrap})
    shop.execute("UPDATE :relay SET raw_offset = 0")  # as of long ago
    end = end_offset(shop.kafka, shop.topic, committed=True)
    for future in client.delete_records([TopicPartition(shop.topic, 0, end)]).values():
        future.result(30)
    shop.sell(2)
    with pytest.raises(Misconfigured, match="--accept-unseen"):
        shop.relay_all()
    shop.close(shop.relays[0])
    assert shop.relay_all(accept_unseen=True) == 1
    assert shop.relay_all() == 0
    assert [event["resource_id"] for event in shop.sent()] == ["2"]
    assert shop.sent()[0]["producer_seq"] == 1


def test_a_topic_that_was_made_anew_is_told_where_the_numbers_ended(shop: Shop) -> None:
    shop.sell(1, 2)
    shop.relay_all()
    client = AdminClient({"bootstrap.servers": shop.kafka.bootstrap})
    client.delete_topics([shop.topic], operation_timeout=30)[shop.topic].result()
    create_topics(shop.kafka, ChainTopics.of(shop.chain.name).configs())
    shop.sell(3)
    shop.relay_all()
    closed, sold = shop.sent()
    assert (closed["action"], closed["producer_seq"], closed["metadata"]["next"]) == ("producer.closed", 2, 3)
    assert (sold["producer_seq"], sold["resource_id"]) == (0, "3")
    assert sold["producer_id"] != closed["producer_id"]
