"""A relay that ends at any line, and servers that go away: each event is sealed once all the same, in order."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from tests.outbox.conftest import Shop
from tests.pipeline import make_pipeline, pipeline_roles

from sealstream.relaying.sending import BatchSender
from sealstream.relaying.session import Session

__all__ = ["make_pipeline", "pipeline_roles"]


class Killed(BaseException):
    """Nobody in the product catches it."""


class KillAfter:
    """Ends a relay after its n-th effect: a transaction, or sending a batch (every other time, half of it).

    What only reads has no effect: an end after it is an end after the effect before.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.left = -1
        self.at = ""
        self.reached: list[str] = []
        transaction, send = Session.transaction, BatchSender.send

        def counted_transaction(session: Session, doing: str, work: Any) -> Any:
            result = transaction(session, doing, work)
            self._count(doing)
            return result

        def counted_send(sender: BatchSender, events: Sequence[bytes]) -> int:
            half = self.left == 0 and "sending" in self.reached
            last = send(sender, events[: len(events) // 2] if half else events)
            self._count("sending half" if half else "sending")
            return last

        monkeypatch.setattr(Session, "transaction", counted_transaction)
        monkeypatch.setattr(BatchSender, "send", counted_send)

    def _count(self, doing: str) -> None:
        if self.left == 0 or self.at == doing:
            self.left, self.at = -1, ""
            self.reached.append(doing)
            raise Killed(doing)
        self.left -= self.left > 0


def run_until_killed(shop: Shop, **options: Any) -> bool:
    """Whether the relay was killed before everything was settled."""
    try:
        shop.relay_all(**options)
    except Killed:
        while shop.relays:
            shop.close(shop.relays[0])
        return True
    return False


def test_a_relay_killed_after_each_of_its_effects_neither_loses_nor_repeats_an_event(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    kill = KillAfter(monkeypatch)
    sold: list[int] = []
    for effects in range(100):
        numbers = [len(sold) + n for n in range(7)]
        sold += numbers
        shop.sell(*numbers)
        kill.at = "taking from the outbox"  # so that each time a batch is on its way
        assert run_until_killed(shop, batch_rows=4)
        kill.left, kill.at = effects, ""
        if not run_until_killed(shop, batch_rows=4):
            break
    kill.left = -1
    shop.relay_all()
    assert shop.sold() == sold
    assert {"sending", "sending half", "taking from the outbox", "settling what was sent from the outbox"} <= {
        *kill.reached
    }
    assert shop.waiting() == 0
