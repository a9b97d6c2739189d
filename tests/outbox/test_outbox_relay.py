"""What an application commits is relayed once, numbered in order; what it rolls back never existed."""

from __future__ import annotations

from tests.outbox.conftest import Shop


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
