"""Failed logins of one actor: many in a minute, many in an hour, and the success behind them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.anomaly.stories import DAY, HOUR, MINUTE, Story, at, told, watched

from sealstream.layout.alerts import Alert

NAME = "failed_login_burst"


def burst(count: int, apart_s: float, *, begin: float = at(0), story: Story | None = None) -> Story:
    story = story or Story()
    for number in range(count):
        story.login(begin + number * apart_s, result="failure")
    return story


def test_a_burst_is_told_once_however_long_it_goes_on() -> None:
    (alert,) = burst(3_000, 1).alerts(NAME)
    assert (alert.severity, alert.window) == ("high", ("2026-09-07T09:00:00Z", "2026-09-07T09:00:07Z"))
    assert alert.summary == "8 failed logins of user-123 in 8 s from 1 address; usual is none"


@pytest.mark.parametrize(("count", "apart_s", "alerts"), [(7, 2, 0), (8, 2, 1), (8, 23.0, 1), (8, 26.0, 0)])
def test_eight_in_three_minutes_are_a_burst(count: int, apart_s: float, alerts: int) -> None:
    assert len(burst(count, apart_s).alerts(NAME)) == alerts


def test_who_is_slow_is_found_within_the_hour() -> None:
    assert burst(39, 60).alerts(NAME) == []
    (alert,) = burst(45, 60).alerts(NAME)
    assert alert.summary.startswith("40 failed logins of user-123 in 39 min")


def test_a_burst_of_the_next_day_is_another_one() -> None:
    story = burst(20, 1)
    assert len(burst(20, 1, begin=at(1), story=story).alerts(NAME)) == 2


def test_a_burst_that_never_ends_is_told_again_each_day_until_it_is_usual() -> None:
    story = Story()
    for day in range(-30, 0):
        story.login(at(day))
    alerts = burst(6 * DAY // MINUTE, MINUTE, story=story).alerts(NAME)
    assert [alert.window[1][:10] for alert in alerts] == ["2026-09-07", "2026-09-08", "2026-09-09"]


def test_a_success_right_behind_a_burst_is_critical() -> None:
    story = burst(12, 2)
    story.login(at(0) + 40, ip_address="10.0.0.7")
    story.login(at(0) + 50)
    burst_alert, success = story.alerts(NAME)
    assert (burst_alert.severity, success.severity, success.incident) == ("high", "critical", burst_alert.id)
    assert success.summary == (
        "user-123 logged in from 10.0.0.7 behind 12 failed logins in 23 s, some of them from there"
    )


def test_a_success_long_behind_or_before_a_burst_is_nothing() -> None:
    story = burst(12, 2)
    story.login(at(0) - 1)
    story.login(at(0) + HOUR)
    assert len(story.alerts(NAME)) == 1


def test_what_always_fails_needs_more_to_be_a_burst() -> None:
    thresholds = {NAME: {"failures": 3, "window_s": 60, "slow_failures": 30}}
    story = burst(8 * DAY // MINUTE, MINUTE)
    burst(2, 1, begin=at(7), story=story)
    burst(5, 1, begin=at(7, 10), story=story)
    alerts = [alert for alert in story.alerts(NAME, thresholds=thresholds) if alert.window[1] > "2026-09-09"]
    assert [alert.window[1][:13] for alert in alerts] == ["2026-09-14T10"]


def test_several_chains_are_one_burst_and_the_query_names_them() -> None:
    story = Story()
    for number in range(10):
        story.login(at(0) + number, result="failure", chain="main" if number % 2 else "phi")
    (alert,) = story.alerts(NAME)
    assert alert.query.startswith("chain:main chain:phi actor:user-123 -result:success")
    assert alert.seqs == [[0, 3]]


def test_failures_of_anonymous_count_for_the_account_that_was_tried() -> None:
    story = Story()
    who = {"actor_id": "anonymous", "actor_type": "anonymous", "resource_type": "user_account"}
    for number in range(12):
        story.login(at(0) + number * 3, result="failure", **(who | {"resource_id": "user-7"}))
        story.login(at(0) + number * 3, result="failure", **(who | {"resource_id": f"user-{number + 20}"}))
    story.login(at(0) + 60, actor_id="user-7")
    alerts = story.alerts(NAME)
    assert [(alert.subject, alert.severity) for alert in alerts] == [("user-7", "high"), ("user-7", "critical")]
    assert "resource_id:user-7 -result:success" in alerts[0].query
    assert "from 1 address" in alerts[0].summary
    assert alerts[1].summary.endswith("some of them from there")


def test_an_actor_whose_name_needs_quotes_can_be_searched_for() -> None:
    story = Story()
    for number in range(10):
        story.login(at(0) + number, result="failure", actor_id='o"neil \\ *')
    assert told(story.alerts(NAME)) == [(NAME, 'o"neil \\ *')]


@given(st.lists(st.tuples(st.integers(0, 7_200), st.booleans(), st.sampled_from(["main", "phi"])), max_size=120))
def test_repeats_and_a_stored_state_change_nothing(logins: list[tuple[int, bool, str]]) -> None:
    story = Story()
    for second, failed, chain in logins:
        story.login(at(0) + second, result="failure" if failed else "success", chain=chain)
    records = story.records()
    again = [each for number, record in enumerate(records) for each in (*records[max(0, number - 2) : number], record)]
    alerts = story.alerts(NAME)
    assert watched(again, [NAME], stored=True) == alerts
    assert len({alert.id for alert in alerts}) == len(alerts)


def test_it_is_silent_in_ordinary_life(ordinary_alerts: list[Alert]) -> None:
    assert [alert for alert in ordinary_alerts if alert.detector == NAME] == []
