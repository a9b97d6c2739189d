"""An account that nobody used for weeks is used again."""

from __future__ import annotations

import pytest
from tests.anomaly.stories import Story, at, watched

from sealstream.layout.alerts import Alert

NAME = "dormant_actor"


def habits(days: int = 20) -> Story:
    story = Story()
    for day in range(days):
        if day % 7 < 5:
            for hour in (9, 13):
                story.add(at(day, hour), ip_address="10.0.0.7")
    return story


def test_a_return_after_forty_days_is_told_once() -> None:
    story = habits()
    for number in range(50):
        story.add(at(58, 9) + number * 900, ip_address="198.51.100.9")
    (alert,) = story.alerts(NAME)
    assert alert.severity == "medium"
    assert alert.summary == (
        "user-123 is active again after 40 days: read from 198.51.100.9; its longest pause was 67 h, over 15 days of "
        "activity"
    )
    assert alert.seen["last"] == "2026-09-25T13:00:00Z"


@pytest.mark.parametrize(("days", "alerts"), [(29, 0), (31, 1)])
def test_thirty_days_are_dormant(days: int, alerts: int) -> None:
    story = habits(19)
    story.add(at(18, 13) + days * 86_400)
    story.add(at(18, 13) + (days + 1) * 86_400)
    assert len(story.alerts(NAME)) == alerts


def test_who_often_pauses_so_long_is_not_dormant() -> None:
    story = Story()
    for month in range(12):
        story.add(at(month * 35))
        story.add(at(month * 35 + 1))
    alerts = story.alerts(NAME)
    assert len(alerts) == 0 or alerts[-1].window[0] < "2026-12"
    story.add(at(11 * 35 + 60))
    assert [alert.window[0][:10] for alert in story.alerts(NAME)][-1] == "2027-11-26"


def test_an_account_that_was_used_once_has_no_habits() -> None:
    story = habits(3)
    story.add(at(80))
    assert story.alerts(NAME) == []


def test_failed_logins_wake_nobody_but_are_told_with_the_return() -> None:
    story = habits()
    for day in range(25, 58):
        story.login(at(day), result="failure")
    assert story.alerts(NAME) == []
    story.login(at(58))
    (alert,) = story.alerts(NAME)
    assert (alert.severity, alert.seen["failed_logins"]) == ("high", 33)
    assert "behind 33 failed logins" in alert.summary


def test_a_return_with_what_only_few_may_do_is_high() -> None:
    story = habits()
    story.add(at(60), action="user.delete")
    assert [alert.severity for alert in story.alerts(NAME)] == ["high"]


def test_what_is_done_to_an_account_does_not_wake_it() -> None:
    story = habits()
    for day in range(20, 60, 5):
        story.add(at(day), actor_id="root", action="profile.update", resource_type="user", resource_id="user-123")
    story.add(at(60))
    assert [alert.subject for alert in story.alerts(NAME)] == ["user-123"]


@pytest.mark.parametrize(
    ("days_before", "fields", "alerts"),
    [
        (3, {}, 0),
        (15, {}, 1),
        (3, {"result": "denied"}, 1),
        (3, {"actor_id": "user-123"}, 1),
        (3, {"action": "account.disable"}, 1),
    ],
    ids=["enabled", "long before", "denied", "by itself", "disabled"],
)
def test_whose_account_another_has_just_enabled_is_expected_back(
    days_before: int, fields: dict[str, str], alerts: int
) -> None:
    story = habits()
    enabled = {"actor_id": "root", "action": "account.enable", "resource_type": "user_account"}
    story.add(at(60 - days_before, 9), **(enabled | {"resource_id": "user-123"} | fields))
    story.add(at(60, 10))
    assert len(story.alerts(NAME)) == alerts


def test_repeats_and_a_stored_state_change_nothing() -> None:
    story = habits()
    for number in range(10):
        story.add(at(60) + number, chain="ab"[number % 2])
    records = story.records()
    again = [each for number, record in enumerate(records) for each in (*records[max(0, number - 2) : number], record)]
    assert watched(again, [NAME], stored=True) == story.alerts(NAME) != []


def test_it_is_silent_in_ordinary_life(ordinary_alerts: list[Alert]) -> None:
    assert [alert for alert in ordinary_alerts if alert.detector == NAME] == []
