"""Many actors whose logins fail from one address, and an office whose people mistype."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.anomaly.stories import DAY, HOUR, MINUTE, Story, at, watched

from sealstream.layout.alerts import Alert

NAME = "password_spray"


def spray(actors: int, apart_s: float, *, begin: float = at(0), story: Story | None = None) -> Story:
    story = story or Story()
    for number in range(actors):
        story.login(begin + number * apart_s, result="failure", actor_id=f"user-{number}", ip_address="203.0.113.9")
    return story


@pytest.mark.parametrize(("actors", "apart_s", "alerts"), [(7, 1, 0), (8, 1, 1), (8, 60, 1), (8, 120, 0), (300, 1, 1)])
def test_eight_actors_in_ten_minutes_are_a_spray(actors: int, apart_s: float, alerts: int) -> None:
    assert len(spray(actors, apart_s).alerts(NAME)) == alerts


def test_it_says_who_and_how_many() -> None:
    (alert,) = spray(9, 5).alerts(NAME)
    assert (alert.subject_kind, alert.subject, alert.severity) == ("address", "203.0.113.9", "high")
    assert alert.summary == (
        "logins of 8 actors (user-0, user-1, user-2 and 3 more) failed from 203.0.113.9 in 36 s, 8 attempts, and none "
        "of them got in; usual are such actors: none"
    )


def test_low_and_slow_is_found_within_the_day() -> None:
    assert spray(15, 45 * MINUTE).alerts(NAME) == []
    (alert,) = spray(30, 45 * MINUTE).alerts(NAME)
    assert alert.seen["actors"] == 16


def test_one_actor_who_fails_a_thousand_times_is_no_spray() -> None:
    story = Story()
    for number in range(1_000):
        story.login(at(0) + number, result="failure", ip_address="203.0.113.9")
    assert story.alerts(NAME) == []


def test_an_office_behind_one_address_mistypes_and_gets_in() -> None:
    chance, story = random.Random(3), Story()
    for day in range(10):
        for number in range(400):
            moment = at(day, 8) + chance.uniform(0, HOUR)
            who = {"actor_id": f"user-{number}", "ip_address": "203.0.113.9"}
            if chance.random() < 0.3:
                story.login(moment - 20, result="failure", **who)
            if chance.random() < 0.995:
                story.login(moment, **who)
    assert story.alerts(NAME) == []


def test_a_spray_out_of_that_office_is_found_all_the_same() -> None:
    story = Story()
    for day in range(10):
        for number in range(100):
            story.login(at(day, 8) + 30 * number, actor_id=f"user-{number}", ip_address="203.0.113.9")
    spray(40, 2, begin=at(10, 20), story=story)
    assert len(story.alerts(NAME)) == 1


def test_the_one_who_gets_in_is_critical() -> None:
    story = spray(20, 10)
    story.login(at(0) + 300, actor_id="user-7", ip_address="203.0.113.9")
    story.login(at(0) + 320, actor_id="user-somebody-else", ip_address="203.0.113.9")
    alert, success = story.alerts(NAME)
    assert (success.severity, success.incident, success.seen["actor"]) == ("critical", alert.id, "user-7")


def test_sprays_of_two_days_are_two() -> None:
    story = spray(20, 1)
    assert len(spray(20, 1, begin=at(1), story=story).alerts(NAME)) == 2


def test_one_that_goes_on_is_told_again_each_day_until_it_is_usual() -> None:
    story = Story()
    for number in range(3 * DAY // 60):
        story.login(at(0) + number * 60, result="failure", actor_id=f"user-{number}", ip_address="203.0.113.9")
    alerts = story.alerts(NAME)
    assert [alert.window[1][:10] for alert in alerts] == ["2026-09-07", "2026-09-08"]


def test_accounts_count_where_who_tries_them_is_anonymous() -> None:
    story, nobody = Story(), {"actor_id": "anonymous", "actor_type": "anonymous", "result": "failure"}
    for number in range(40):
        account = {"resource_type": "user_account", "resource_id": f"user-{number}"}
        story.login(at(0) + number * 3_000, **(nobody | account), ip_address="203.0.113.9")
        story.login(at(0) + number * 3_000, **nobody, ip_address="198.51.100.9")
    (alert,) = story.alerts(NAME)
    assert (alert.subject, alert.seen["actors"]) == ("203.0.113.9", 16)
    assert "(user-0, user-1, " in alert.summary


@given(st.lists(st.tuples(st.integers(0, 3_000), st.integers(0, 20), st.booleans()), max_size=100))
def test_repeats_and_a_stored_state_change_nothing(logins: list[tuple[int, int, bool]]) -> None:
    story = Story()
    for second, actor, failed in logins:
        story.login(
            at(0) + second, result="failure" if failed else "success", actor_id=f"u{actor}", chain="ab"[actor % 2]
        )
    records = story.records()
    again = [each for number, record in enumerate(records) for each in (*records[max(0, number - 2) : number], record)]
    assert watched(again, [NAME], stored=True) == story.alerts(NAME)


def test_it_is_silent_in_ordinary_life(ordinary_alerts: list[Alert]) -> None:
    assert [alert for alert in ordinary_alerts if alert.detector == NAME] == []
