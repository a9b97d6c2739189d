"""Checks of the doctor that ask Postgres know that the chain's first months have left it."""

from __future__ import annotations

from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest

from sealstream.doctor.checks import recorded, reviewed
from sealstream.doctor.outcomes import Check, Outcome, State
from sealstream.errors import Unavailable
from sealstream.health.asking import Stored
from sealstream.retention import StoredMonth
from sealstream.reviews import Cadence

NOW = datetime(2026, 12, 5, tzinfo=UTC)
ONLINE_SINCE = datetime(2026, 11, 20, tzinfo=UTC).timestamp()


@pytest.fixture(autouse=True)
def months(monkeypatch: pytest.MonkeyPatch) -> None:
    """Postgres has one month, from the first entry that it says on; what was let go is said by `asking`."""

    def kept_months(of: Any, chain: Any) -> list[StoredMonth]:
        return [StoredMonth("2026-11", of.stored(chain).first_seq, 899)]

    monkeypatch.setattr(recorded, "kept_months", kept_months)
    monkeypatch.setattr(recorded, "let_go", lambda of, _chain, _entries: of.let_go)


def asking(first_seq: int, began: str | None = None, *, is_let_go: bool = True) -> Any:
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
        fetch=lambda *_asked: [],
        let_go=[{"store": "postgres", "first_seq": 0, "last_seq": first_seq - 1}] if is_let_go else [],
    )


def outcome(checks: tuple[Check, ...], name: str, of: Any) -> Outcome:
    (check,) = (each for each in checks if each.id == name)
    return check.ask(of)


@pytest.mark.parametrize("began", ["2025-03-01T00:00:00.000000Z", None])
def test_periods_whose_reviews_have_left_with_them_are_not_overdue(began: str | None) -> None:
    found = outcome(reviewed.CHECKS, "reviews.signed", asking(400, began))
    assert found.state is State.PASS
    assert found.evidence[0].endswith("none is overdue since 2026-11-20, when what is online begins")


def test_rows_that_are_gone_and_that_nobody_let_go_end_no_duty() -> None:
    gone = asking(400, "2025-03-01T00:00:00.000000Z", is_let_go=False)
    assert outcome(reviewed.CHECKS, "reviews.signed", gone).state is State.FAIL
    assert outcome(reviewed.CHECKS, "reviews.signed", asking(400, is_let_go=False)).state is State.UNKNOWN
    assert outcome(recorded.CHECKS, "recorded.life", gone).state is State.FAIL


def test_a_beginning_that_nobody_says_is_no_pass() -> None:
    found = outcome(reviewed.CHECKS, "reviews.signed", asking(0))
    assert (found.state, bool(found.to_do)) == (State.UNKNOWN, True)
    assert found.evidence[0].endswith("no store has entry 0")


def test_a_chain_that_is_whole_online_owes_all_its_reviews() -> None:
    found = outcome(reviewed.CHECKS, "reviews.signed", asking(0, "2025-03-01T00:00:00.000000Z"))
    assert found.state is State.FAIL


@pytest.mark.parametrize(("first_seq", "said"), [(400, State.UNKNOWN), (0, State.FAIL)])
def test_a_start_that_has_left_is_not_a_start_that_was_never_sealed(first_seq: int, said: State) -> None:
    assert outcome(recorded.CHECKS, "recorded.life", asking(first_seq)).state is said
