"""A service that acts as a person, and a person's id that appears as a service."""

from __future__ import annotations

import pytest
from tests.anomaly.stories import Story, at, told, watched

from sealstream.layout.alerts import Alert

NAME = "service_as_person"
BROWSER = "Mozilla/5.0 (X11; Linux x86_64) Firefox/150.0"


def service(days: int = 10, **fields: str) -> Story:
    story = Story()
    for day in range(days):
        for hour in range(24):
            story.add(at(day, hour), **({"actor_id": "billing", "actor_type": "service"} | fields))
    return story


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"actor_type": "user"}, "acts as a person"),
        ({"actor_type": "admin"}, "acts as a person"),
        ({"actor_type": "service", "user_agent": BROWSER}, "uses a browser"),
        ({"actor_type": "service", "action": "login"}, "logs in"),
        ({"actor_type": "service", "action": "login", "user_agent": BROWSER}, "uses a browser and logs in"),
    ],
)
def test_a_service_in_somebodys_hands(fields: dict[str, str], words: str) -> None:
    story = service()
    for number in range(20):
        story.add(at(10, 9) + number * 60, **({"actor_id": "billing", "ip_address": "198.51.100.9"} | fields))
    (alert,) = story.alerts(NAME)
    assert alert.summary == (
        f"billing {words}: {fields.get('action', 'read')} from 198.51.100.9; usual is a service, on 10 days of "
        "activity and nothing else"
    )
    assert f"actor_type:{fields['actor_type']}" in alert.query


def test_a_persons_id_in_a_programs_mouth() -> None:
    story = Story()
    for day in range(10):
        story.add(at(day), user_agent=BROWSER)
    story.add(at(10), actor_type="service")
    (alert,) = story.alerts(NAME)
    assert "acts as a service" in alert.summary
    assert "usual is a person" in alert.summary


def test_a_service_that_signs_in_each_day_may() -> None:
    story = service()
    for day in range(11):
        story.login(at(day, 0, 30), actor_id="billing", actor_type="service")
    assert story.alerts(NAME) == []


@pytest.mark.parametrize(("days", "alerts"), [(5, 0), (9, 1)])
def test_a_week_makes_it_known(days: int, alerts: int) -> None:
    story = service(days)
    story.add(at(days), actor_id="billing", actor_type="user")
    assert len(story.alerts(NAME)) == alerts


def test_an_account_that_is_both_is_known_as_neither() -> None:
    story = service(20)
    for day in range(20):
        story.add(at(day, 9, 1), actor_id="billing", actor_type="user")
    assert story.alerts(NAME) == []


def test_what_fails_was_not_done() -> None:
    story = service()
    story.login(at(10), result="failure", actor_id="billing", actor_type="user", user_agent=BROWSER)
    assert story.alerts(NAME) == []


def test_it_is_told_once() -> None:
    story = service()
    for day in range(10, 14):
        story.add(at(day, 9), actor_id="billing", actor_type="user")
    assert told(story.alerts(NAME)) == [(NAME, "billing")]


def test_repeats_and_a_stored_state_change_nothing() -> None:
    story = service()
    for number in range(10):
        kind = "user" if number % 3 else "service"
        story.add(at(10) + number, actor_id="billing", actor_type=kind, chain="ab"[number % 2], user_agent=BROWSER)
    records = story.records()
    again = [each for number, record in enumerate(records) for each in (*records[max(0, number - 2) : number], record)]
    assert watched(again, [NAME], stored=True) == story.alerts(NAME) != []


def test_it_is_silent_in_ordinary_life(ordinary_alerts: list[Alert]) -> None:
    assert [alert for alert in ordinary_alerts if alert.detector == NAME] == []
