"""Checks of the doctor that ask Postgres know that the chain's first months have left it."""

from __future__ import annotations

from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest

from sealstream.doctor.checks import reviewed
from sealstream.doctor.outcomes import Check, State
from sealstream.errors import Unavailable
from sealstream.health.asking import Stored
from sealstream.reviews import Cadence

NOW = datetime(2026, 12, 5, tzinfo=UTC)
ONLINE_SINCE = datetime(2026, 11, 20, tzinfo=UTC).timestamp()


def asking(first_seq: int, began: str | None = None) -> Any:
    """Of one chain of which nobody has reviewed anything, and which began then (None: nobody says)."""

    def entry_0(_chain: Any) -> Any:
        if began is None:
            raise Unavailable("no store has entry 0")
        return SimpleNamespace(written=SimpleNamespace(sequenced_at=began))

    return SimpleNamespace(
        system=SimpleNamespace(
            chains=[SimpleNamespace(name="main")], cadences={"main": Cadence("month", 10)}, clock=lambda: NOW
        ),
        statements=lambda _chain, _actions: [],
        stored=lambda _chain: Stored(900, NOW.timestamp(), 1_000, first_seq, ONLINE_SINCE),
        entry_0=entry_0,
    )


def state(checks: tuple[Check, ...], name: str, of: Any) -> State:
    (check,) = (each for each in checks if each.id == name)
    return check.ask(of).state


@pytest.mark.parametrize("began", ["2025-03-01T00:00:00.000000Z", None])
def test_periods_whose_reviews_have_left_with_them_are_not_overdue(began: str | None) -> None:
    assert state(reviewed.CHECKS, "reviews.signed", asking(400, began)) is State.PASS


def test_a_chain_that_is_whole_online_owes_all_its_reviews() -> None:
    assert state(reviewed.CHECKS, "reviews.signed", asking(0, "2025-03-01T00:00:00.000000Z")) is State.FAIL
