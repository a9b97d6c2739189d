"""An actor that does far more than it ever does, by its own baseline."""

from __future__ import annotations

import random

import pytest
from tests.anomaly.stories import Story, at, told, watched

from sealstream.layout.alerts import Alert

NAME = "access_spike"


def habits(story: Story, days: int = 15, a_session: int = 12, **fields: str) -> Story:
    """A session of some entries each hour from nine to five."""
    chance = random.Random(4)
    for day in range(days):
        for hour in range(9, 17):
            for _ in range(chance.randrange(1, 2 * a_session)):
                story.add(at(day, hour) + chance.uniform(0, 500), **fields)
    return story


def spike(story: Story, entries: int, *, day: int = 15, apart_s: float = 0.5) -> Story:
    for number in range(entries):
        story.add(at(day, 10) + number * apart_s, resource_id=f"x-{number}")
    return story


def test_a_spike_is_told_once_with_what_is_usual() -> None:
    (alert,) = spike(habits(Story()), 2_000).alerts(NAME)
    assert (alert.severity, alert.subject) == ("medium", "user-123")
    assert alert.summary == ("92 entries of user-123 in 46 s; usual is 13 in 10 min, and 99 of 100 have at most 26")
    assert alert.window == ("2026-09-22T10:00:00Z", "2026-09-22T10:00:45Z")
    assert (alert.usual["limit"], alert.score) == (91, 1.01)


@pytest.mark.parametrize(("entries", "alerts"), [(91, 0), (92, 1)])
def test_the_limit_is_what_the_alert_names(entries: int, alerts: int) -> None:
    assert len(spike(habits(Story()), entries).alerts(NAME)) == alerts


def test_an_hour_that_is_slow_all_along_is_found_too() -> None:
    (alert,) = spike(habits(Story()), 330, apart_s=10.8).alerts(NAME)
    assert alert.summary.split(";")[0].endswith("min")
    assert alert.usual["limit"] == alert.seen["entries"] - 1 == 150


def test_a_newcomer_is_not_judged() -> None:
    assert spike(habits(Story(), days=3), 5_000, day=3).alerts(NAME) == []


def test_someone_quiet_must_do_a_lot_before_anything_is_said() -> None:
    assert spike(habits(Story(), a_session=2), 60).alerts(NAME) == []
    assert len(spike(habits(Story(), a_session=2), 61).alerts(NAME)) == 1


def test_a_nightly_batch_is_usual_after_a_few_nights() -> None:
    story = Story()
    for day in range(25):
        for number in range(144):
            story.add(at(day, 0) + number * 600 + 5, actor_id="batch", actor_type="service")
        for number in range(3_000):
            story.add(at(day, 2) + number * 0.3, actor_id="batch", actor_type="service")
    alerts = story.alerts(NAME)
    assert [alert.window[0][:10] for alert in alerts] == []


def test_what_lasts_becomes_usual() -> None:
    story = habits(Story())
    for day in range(15, 40):
        for hour in range(9, 17):
            for number in range(120):
                story.add(at(day, hour) + number * 4)
    alerts = story.alerts(NAME)
    assert 1 <= len(alerts) <= 8
    assert alerts[-1].window[0] < "2026-09-24"


def test_failed_logins_are_no_activity_of_the_actor() -> None:
    story = habits(Story())
    for number in range(1_000):
        story.login(at(15) + number, result="failure")
    assert story.alerts(NAME) == []


def test_chains_add_up() -> None:
    story = habits(Story())
    for number in range(100):
        story.add(at(15, 10) + number, chain="phi" if number % 2 else "main")
    (alert,) = story.alerts(NAME)
    assert alert.query.startswith("chain:main chain:phi actor:user-123 ")


def test_repeats_disorder_and_a_stored_state_change_nothing() -> None:
    records = spike(habits(Story()), 500).records()
    again = [each for number, record in enumerate(records) for each in (*records[max(0, number - 2) : number], record)]
    alerts = watched(records, [NAME])
    assert watched(again, [NAME], stored=True) == alerts
    assert told(alerts) == [(NAME, "user-123")]


def test_seconds_of_two_chains_may_come_in_either_order() -> None:
    story = habits(Story())
    for number in range(400):
        story.add(at(15, 10) + number, chain="phi" if number % 2 else "main")
    records = story.records()
    swapped = records.copy()
    for place in range(len(records) - 400, len(records) - 1, 2):
        swapped[place : place + 2] = reversed(records[place : place + 2])
    first, second = watched(records, [NAME]), watched(swapped, [NAME])
    assert len(first) == len(second) == 1
    assert first[0].seen["entries"] == second[0].seen["entries"]


def test_it_is_silent_in_ordinary_life(ordinary_alerts: list[Alert]) -> None:
    assert [alert for alert in ordinary_alerts if alert.detector == NAME] == []
