"""What the watch says of reviews: nothing before a chain has begun, and nothing that it could not ask."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest

from sealstream.anomaly.pipeline import ChainObserved, Observation, ReviewsObserved
from sealstream.cli import watch_process
from sealstream.cli.settings import Settings
from sealstream.errors import Unavailable
from sealstream.health.asking import Signed
from sealstream.kafka import KafkaSettings
from sealstream.layout import ChainSettings, Entry, Figures, Retention, WrittenFields, figures
from sealstream.layout.pipeline_watch import WatchState
from sealstream.lookout import Seen
from sealstream.lookout.eyes import ChainEyes

NOW = datetime(2026, 12, 5, tzinfo=UTC).timestamp()
BEGAN = datetime(2026, 10, 20, tzinfo=UTC)
SETTINGS = Settings.model_validate({"reviews": {"every": "month", "due_days": 0}, "chains": {"main": {"vkey": "key"}}})
SIGNED = Entry(
    "e1", "2026-12-02T00:00:00.000000Z", "ann@desk", "admin", "review.signed", "review", "r", "success",
    WrittenFields("main", 9, "control", -1, 9, "2026-12-02T00:00:00.000000Z", 1),
    metadata={"review": "r", "period": "2026-11", "note": "looked", "document_sha256": "aa"},
)  # fmt: skip


def test_a_chain_in_which_nothing_is_sealed_yet_owes_no_review(monkeypatch: pytest.MonkeyPatch) -> None:
    began: list[datetime | None] = [None, BEGAN]
    monkeypatch.setattr(watch_process, "began_at", lambda _settings, _chain: began.pop(0))
    monkeypatch.setattr(watch_process, "sealed_statements", lambda *_asked, **_how: iter(()))
    tally = Figures()
    observed = watch_process._reviews_of(SETTINGS, "main", tally)
    assert observed((), NOW) == ()
    assert tally.value(figures.REVIEWS_OVERDUE, "main") is None
    assert late(observed((), NOW)) == ["2026-10", "2026-11"]
    assert late(observed((), NOW + 1)) == ["2026-10", "2026-11"]
    assert tally.value(figures.REVIEWS_OVERDUE, "main") == 2


def test_what_was_found_while_a_store_was_away_is_asked_for_again(monkeypatch: pytest.MonkeyPatch) -> None:
    away = [True]

    def began_at(_settings: Settings, _chain: str) -> datetime:
        if away:
            raise Unavailable("the archive does not answer")
        return BEGAN

    def sealed_statements(*_asked: Any, **_how: Any) -> Iterator[Entry]:
        yield from () if away else [SIGNED]

    monkeypatch.setattr(watch_process, "began_at", began_at)
    monkeypatch.setattr(watch_process, "sealed_statements", sealed_statements)
    observed = watch_process._reviews_of(SETTINGS, "main", Figures())
    with pytest.raises(Unavailable):
        observed((), NOW)
    away.clear()
    assert late(observed((), NOW)) == ["2026-10"]


def test_where_every_store_is_there_no_statement_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    def sealed_statements(*_asked: Any, whole: bool) -> Iterator[Entry]:
        if whole:
            raise Unavailable("Postgres holds nothing of the chain, and the topic was trimmed")
        yield from ()

    monkeypatch.setattr(watch_process, "began_at", lambda _settings, _chain: BEGAN)
    monkeypatch.setattr(watch_process, "sealed_statements", sealed_statements)
    stores = {"postgres": {"reader_dsn": "postgresql://nobody/log"}, "archive": {"bucket": "b"}}
    settings = Settings.model_validate(SETTINGS.model_dump(exclude_unset=True) | stores)
    with pytest.raises(Unavailable):
        watch_process._reviews_of(settings, "main", Figures())((), NOW)


def test_reviews_that_can_not_be_asked_hide_nothing_of_what_else_is_seen(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def away(_news: Any, _now: float) -> list[Observation]:
        raise Unavailable("the archive does not answer")

    monkeypatch.setattr(ChainEyes, "_seen", lambda _self: Seen(1_000, NOW - 5, Signed(990, NOW - 6, 900, NOW - 400)))
    chain = ChainSettings("main", "a", "key", Retention("soc2", 366))
    eyes = ChainEyes(KafkaSettings("nobody:1"), chain, lambda seq: ((), seq, False), away, wall=lambda: NOW)
    for _ in range(2):
        looked = eyes.look(WatchState(7))
        assert [type(each) for each in looked.observations] == [ChainObserved]
        assert looked.next_seq == 7
    said = capsys.readouterr()
    assert (said.out + said.err).count("the archive does not answer") == 1  # where logs go, a test before this may say


def late(observations: Any) -> list[str]:
    (reviews,) = observations
    assert isinstance(reviews, ReviewsObserved)
    return [each.period for each in reviews.overdue]
