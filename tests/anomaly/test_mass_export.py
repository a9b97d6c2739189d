"""Many exports of one kind of thing in a day or over a week, against the actor's own."""

from __future__ import annotations

import random

import msgspec
import pytest
from tests.anomaly.stories import HOUR, Story, at, watched

from sealstream.anomaly.tallies import Tally
from sealstream.layout.alerts import Alert

NAME = "mass_export"
_DAY_S = 86_400


def habits(days: int = 40, *, least: int = 1, most: int = 2, kind: str = "report", story: Story | None = None) -> Story:
    """A few exports of reports on each working day, among reads."""
    story, chance = story or Story(), random.Random(2)
    for day in range(days):
        if day % 7 < 5:
            story.add(at(day, 8))
            exports(story, chance.randint(least, most), moment=at(day, 10), kind=kind)
    return story


def exports(
    story: Story, count: int, *, moment: float, kind: str = "report", apart_s: float = 60, **fields: str
) -> Story:
    for number in range(count):
        what = {"action": "report.export", "resource_type": kind, "resource_id": f"{kind}-{number}"}
        story.add(moment + number * apart_s, **(what | fields))
    return story


@pytest.mark.parametrize(("count", "alerts"), [(15, 0), (16, 1), (300, 1)])
def test_more_than_fifteen_in_a_day_for_who_makes_two(count: int, alerts: int) -> None:
    assert len(exports(habits(33), count, moment=at(33, 12)).alerts(NAME)) == alerts


def test_it_says_how_many_of_what_and_what_is_usual() -> None:
    (alert,) = exports(habits(33), 16, moment=at(33, 12)).alerts(NAME)
    assert (alert.severity, alert.seen["exports"], alert.seen["type"]) == ("high", 16, "report")
    assert alert.summary == "user-123 made 16 exports of report in 15 min; the most in 1 day was 2"
    assert "resource_type:report" in alert.query


def test_drops_of_what_was_never_exported_are_found_within_the_week() -> None:
    story = habits(40)
    for day in range(35, 46):
        if day % 7 < 5:
            exports(story, 5, moment=at(day, 13), kind="patient_record", apart_s=HOUR / 2)
    (alert,) = story.alerts(NAME)
    assert alert.window == ("2026-10-12T13:00:00Z", "2026-10-14T14:00:00Z")
    assert alert.summary == ("user-123 made 13 exports of patient_record in 49 h; there was none before, in 37 days")


def test_drops_of_what_is_always_exported_are_found_once_a_month_is_known() -> None:
    def drip(begins: int) -> Story:
        story = habits(begins)
        for day in range(begins, begins + 7):
            if day % 7 < 5:
                exports(story, 8, moment=at(day, 13), apart_s=HOUR / 2)
        return story

    assert drip(21).alerts(NAME) == []
    (alert,) = drip(42).alerts(NAME)
    assert alert.seen["days"] == 7
    assert "in 7 days was" in alert.summary


def test_a_month_is_closed_each_month() -> None:
    story = Story()
    for day in range(120):
        if day % 7 < 5:
            exports(story, 12 if day % 30 in (25, 26, 27, 28) else 1, moment=at(day, 10))
    assert story.alerts(NAME) == []


def test_what_was_told_is_told_again_after_a_week_or_when_it_is_critical() -> None:
    def days(*counts: int) -> list[str]:
        story = habits(42)
        for number, count in enumerate(counts):
            exports(story, count, moment=at(42 + number, 10), apart_s=20)
        return [alert.window[1][:10] for alert in story.alerts(NAME)]

    assert days(20, 20) == ["2026-10-19"]
    assert days(20, 400) == ["2026-10-19", "2026-10-20"]
    assert days(40, 0, 0, 0, 0, 0, 0, 0, 200) == ["2026-10-19", "2026-10-27"]


def test_a_newcomer_may_make_forty_a_day_and_a_new_service_any() -> None:
    assert exports(Story(), 40, moment=at(0)).alerts(NAME) == []
    (alert,) = exports(Story(), 41, moment=at(0)).alerts(NAME)
    assert "what is usual is not known yet" in alert.summary
    assert exports(Story(), 500, moment=at(0), actor_type="service", apart_s=1).alerts(NAME) == []


def test_what_fails_or_is_denied_carries_nothing_off() -> None:
    story = exports(habits(), 100, moment=at(40, 12), result="denied")
    assert exports(story, 100, moment=at(40, 15), result="failure").alerts(NAME) == []


def test_kinds_beyond_the_first_few_are_counted_together() -> None:
    story = Story()
    for day in range(40):
        for number in range(12):
            exports(story, 1, moment=at(day, 8 + number), kind=f"kind-{number}")
    exports(story, 30, moment=at(40), kind="another")
    (alert,) = story.alerts(NAME)
    assert alert.seen["type"] == "(others)"
    assert "exports of other types" in alert.summary


def test_repeats_and_a_stored_state_change_nothing() -> None:
    records = exports(habits(), 40, moment=at(40, 12)).records()
    again = [each for number, record in enumerate(records) for each in (*records[max(0, number - 2) : number], record)]
    alerts = watched(records, [NAME])
    assert watched(again, [NAME], stored=True) == alerts != []


def test_it_is_silent_in_ordinary_life(ordinary_alerts: list[Alert]) -> None:
    assert [alert for alert in ordinary_alerts if alert.detector == NAME] == []


def test_a_tally_holds_the_open_week_against_weeks_that_are_over() -> None:
    tally, chance, seq = Tally(), random.Random(5), 0
    made: dict[int, int] = {}
    for day in range(100, 160):
        if chance.random() < 0.7:
            made[day] = chance.randrange(1, 6)
            for _ in range(made[day]):
                tally.add(day * _DAY_S + 40_000, 1, "main", [[seq, seq]], half_life_days=1e15)
                seq += 2
            assert tally.sum(7) == sum(count for each, count in made.items() if each > day - 7)
            assert tally.greatest_day(1e15) == pytest.approx(
                max([0, *(count for each, count in made.items() if each < day)])
            )
            over = [each for each in made if each <= day - 7]
            weeks = [sum(made.get(each - back, 0) for back in range(7)) for each in over]
            assert tally.greatest_week(1e15) == pytest.approx(max([0, *weeks]))
    assert len(tally.days) <= 14
    assert len(tally.seqs(7, "main")) <= 12 + 6 * 2
    assert tally.chains(7) == {"main"}
    encoded = msgspec.json.encode(tally)
    assert msgspec.json.encode(msgspec.json.decode(encoded, type=Tally)) == encoded


def test_a_tally_forgets_by_half_and_learns_little_from_a_flood() -> None:
    tally = Tally()
    tally.add(100 * _DAY_S, 10, "main", [[100, 100]], half_life_days=30)
    tally.add(130 * _DAY_S, 1, "main", [[130, 130]], half_life_days=30)
    assert tally.greatest_day(30) == pytest.approx(5)
    tally.add(131 * _DAY_S, 100_000, "main", [[131, 131]], half_life_days=30)
    tally.add(132 * _DAY_S, 1, "main", [[132, 132]], half_life_days=30)
    assert tally.greatest_day(30) == pytest.approx(40, rel=0.05)
