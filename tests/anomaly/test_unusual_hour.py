"""A person who is active at an hour at which it never is, by the clock where it lives."""

from __future__ import annotations

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.anomaly.stories import Story, at, watched

from sealstream.anomaly.detecting import epoch_of
from sealstream.anomaly.detectors import DETECTORS
from sealstream.anomaly.hours import Week, local_hour
from sealstream.anomaly.watching import chosen
from sealstream.layout.alerts import Alert

NAME = "unusual_hour"


def habits(weeks: int = 5, *, hours: range = range(9, 17), zone: str = "UTC", **fields: str) -> Story:
    """An entry each hour of each working day, on the clock of a zone."""
    story = Story()
    for day in range(7 * weeks):
        if day % 7 < 5:
            for hour in hours:
                story.add(on_clock(day, hour, zone), **fields)
    return story


def on_clock(day: int, hour: float, zone: str) -> float:
    there = datetime.fromtimestamp(at(day, 0), UTC).replace(tzinfo=None)
    return there.replace(hour=int(hour), minute=int(hour % 1 * 60)).replace(tzinfo=ZoneInfo(zone)).timestamp()


def night(story: Story, entries: int = 5, *, day: int = 35, hour: float = 3, **fields: str) -> Story:
    for number in range(entries):
        story.add(at(day, hour) + number * 60, **fields)
    return story


def test_a_night_is_told_once_with_the_hours_that_are_usual() -> None:
    (alert,) = night(habits(), 200).alerts(NAME)
    assert alert.severity == "medium"
    assert alert.summary == (
        "user-123 was active on Monday 03:00 (UTC), 4 entries; usual is 09:00-16:59, and around this hour 2.3 of 100 "
        "days, 6 hours away"
    )
    assert (alert.usual["days"], alert.usual["hours"]) == (20.9, "09:00-16:59")


@pytest.mark.parametrize(("entries", "alerts"), [(3, 0), (4, 1)])
def test_a_look_at_night_is_nothing_yet(entries: int, alerts: int) -> None:
    assert len(night(habits(), entries).alerts(NAME)) == alerts


@pytest.mark.parametrize(("hour", "alerts"), [(17, 0), (19, 0), (20, 1), (5, 1), (6, 0)])
def test_working_late_is_usual_life(hour: float, alerts: int) -> None:
    assert len(night(habits(), hour=hour).alerts(NAME)) == alerts


def test_a_weekend_at_usual_hours_is_usual_life() -> None:
    assert night(habits(), 50, day=33, hour=11).alerts(NAME) == []


def test_who_is_new_is_not_judged() -> None:
    assert night(habits(weeks=2), 50, day=14).alerts(NAME) == []


def test_who_works_shifts_has_no_unusual_hour() -> None:
    story = Story()
    for day in range(60):
        begin = (6, 14, 22)[day // 7 % 3]
        for hour in range(begin, begin + 8):
            for number in range(5):
                story.add(at(day, hour) + number)
    assert story.alerts(NAME) == []


def test_services_work_when_they_like() -> None:
    assert night(habits(actor_type="service"), 50, actor_type="service").alerts(NAME) == []


def test_failed_logins_are_not_the_persons_own() -> None:
    assert night(habits(), 50, action="login", result="failure").alerts(NAME) == []


def test_the_clock_is_that_of_the_tenants_zone() -> None:
    thresholds = {NAME: {"zones": {"osaka": "Asia/Tokyo"}}}
    story = habits(zone="Asia/Tokyo", tenant="osaka")
    night(story, day=35, hour=3, tenant="osaka")  # noon in Osaka
    assert story.alerts(NAME, thresholds=thresholds) == []
    night(story, day=36, hour=18, tenant="osaka")  # three in the morning there
    (alert,) = story.alerts(NAME, thresholds=thresholds)
    assert "Wednesday 03:00 (Asia/Tokyo)" in alert.summary


@pytest.mark.parametrize(("zone", "usual"), [("Europe/Berlin", [(9, 16)]), ("UTC", [(7, 15)])])
def test_when_the_clocks_change_habits_stay(zone: str, usual: list[tuple[int, int]]) -> None:
    """Berlin leaves summer time on 25 October 2026: the same hours there, others in UTC."""
    (detector,) = chosen({NAME: DETECTORS[NAME]}, {NAME: {"zone": zone}})
    state = detector.state()
    for record in habits(weeks=11, zone="Europe/Berlin").records():
        state, _ = detector.detect(state, record, epoch_of(record.second))
    assert state.week.usual_hours(0.1) == usual


def test_an_event_that_waited_in_a_spool_is_judged_by_when_it_happened() -> None:
    by_day = habits()
    for number in range(6):
        by_day.add(at(35, 3) + number, happened=at(34, 10) + number)
    assert by_day.alerts(NAME) == []
    by_night = habits()
    for number in range(6):
        by_night.add(at(35, 10) + number, happened=at(35, 3) + number)
    (alert,) = by_night.alerts(NAME)
    assert (alert.seen["hour"], alert.window[0]) == ("Monday 03:00", "2026-10-12T10:00:00Z")


def test_a_clock_that_is_far_off_tells_nothing() -> None:
    story = habits()
    for number in range(50):
        story.add(at(35, 10) + number, happened=at(-300, 3))
    assert story.alerts(NAME) == []


def test_what_becomes_a_habit_is_told_a_few_times() -> None:
    story = habits()
    for day in range(35, 65):
        night(story, day=day)
    alerts = story.alerts(NAME)
    assert 1 <= len(alerts) <= 3
    assert len({alert.id for alert in alerts}) == len(alerts)


def test_a_zone_that_does_not_exist_is_refused_with_its_name() -> None:
    with pytest.raises(msgspec.ValidationError, match="'Europe/Berlinn' is no time zone"):
        chosen({NAME: DETECTORS[NAME]}, {NAME: {"zones": {"clinic": "Europe/Berlinn"}}})


@given(st.integers(0, 2**33 // 900), st.sampled_from(["UTC", "Asia/Kolkata", "America/St_Johns", "Europe/Berlin"]))
def test_hours_are_those_of_the_zones_clock(quarter: int, zone: str) -> None:
    there = datetime.fromtimestamp(quarter * 900, ZoneInfo(zone))
    hour = local_hour(zone, quarter)
    assert (hour.weekday, hour.hour, hour.day) == (there.weekday(), there.hour, there.toordinal())
    assert hour.number % 24 == there.hour


@given(st.lists(st.integers(0, 400 * 24), min_size=1, max_size=300))
def test_a_likelihood_is_one_and_forgetting_changes_no_order(hours: list[int]) -> None:
    week = Week()
    for number in sorted(set(hours)):
        week.add(local_hour("UTC", number * 4 + 80_000), 45.0)
    for number in range(0, 168, 5):
        assert 0 < week.likelihood(local_hour("UTC", number * 4), 45.0) <= 1
    assert week.active_days(45.0) <= len({(number * 4 + 80_000) // 96 for number in hours}) + 0.1
    last = local_hour("UTC", max(hours) * 4 + 80_000)
    assert week.likelihood(last, 45.0) >= 0.5 / (week.active_days(45.0) + 1)


def test_repeats_and_a_stored_state_change_nothing() -> None:
    records = night(habits(), 20).records()
    again = [each for number, record in enumerate(records) for each in (*records[max(0, number - 2) : number], record)]
    alerts = watched(records, [NAME])
    assert watched(again, [NAME], stored=True) == alerts != []


def test_it_is_silent_in_ordinary_life(ordinary_alerts: list[Alert]) -> None:
    assert [alert for alert in ordinary_alerts if alert.detector == NAME] == []
