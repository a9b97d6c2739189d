"""New networks, types and actions, weighed by how seldom an actor meets anything new."""

from __future__ import annotations

import random

import pytest
from tests.anomaly.stories import Story, at, watched

from sealstream.anomaly.habits import Habit, network_of, short
from sealstream.layout.alerts import Alert

NAME = "first_seen"


def habits(days: int = 60, story: Story | None = None, **fields: str) -> Story:
    """The same place and the same two types, each day."""
    story = story or Story()
    for day in range(days):
        for hour in (9, 11, 14):
            place = {"ip_address": f"10.0.3.{day % 5 + 1}"}
            story.add(at(day, hour), **(place | fields))
            story.add(at(day, hour, 5), **(place | {"action": "write", "resource_type": "note"} | fields))
    return story


def stranger(story: Story, day: int = 60, **fields: str) -> Story:
    what = {"ip_address": "198.51.100.7", "resource_type": "payroll", "action": "payroll.export"}
    story.add(at(day, 15), **(what | fields))
    return story


def test_a_new_network_from_which_something_new_is_taken() -> None:
    (alert,) = stranger(habits()).alerts(NAME)
    assert alert.severity == "medium"
    assert alert.summary.startswith(
        "new for user-123 in 1 s: resource type payroll, action payroll.export, network 198.51.100.0/24; usual are "
    )
    assert "over 61 days" in alert.summary


@pytest.mark.parametrize(
    "fields",
    [
        {"resource_type": "note", "action": "write"},
        {"ip_address": "10.0.3.1", "resource_type": "payroll", "action": "read"},
        {"ip_address": "10.0.3.77", "resource_type": "note", "action": "write"},
    ],
    ids=["network alone", "type alone", "address alone"],
)
def test_one_thing_alone_is_ordinary_life(fields: dict[str, str]) -> None:
    assert stranger(habits(), **fields).alerts(NAME) == []


@pytest.mark.parametrize(
    ("hour", "network", "alerts"),
    [(15, "198.51.100.7", 0), (21, "198.51.100.7", 1), (3, "198.51.100.7", 1), (3, "10.0.3.1", 0), (3, "10.0.3.99", 0)],
    ids=["by day", "in the evening", "at night", "at night from where it always is", "at night from beside it"],
)
def test_a_new_network_at_an_hour_at_which_it_never_is(hour: int, network: str, alerts: int) -> None:
    story = habits(30)
    story.add(at(30, hour), ip_address=network)
    told = story.alerts(NAME)
    assert len(told) == alerts
    assert all("at an hour that 1 of " in alert.summary for alert in told)


def test_an_hour_at_which_it_is_now_and_then_adds_nothing() -> None:
    story = habits(30)
    for day in range(2, 30, 7):
        story.add(at(day, 21), ip_address="10.0.3.1")
    story.add(at(30, 21), ip_address="198.51.100.7")
    assert story.alerts(NAME) == []


def test_what_comes_late_is_not_judged_by_the_hour_at_which_it_came() -> None:
    story = habits(30)
    story.add(at(30, 21), ip_address="198.51.100.7", happened=at(30, 14))
    assert story.alerts(NAME) == []


def test_a_failed_login_does_not_make_an_hour_usual() -> None:
    story = habits(30)
    for day in range(20, 30):
        story.login(at(day, 21), result="failure", ip_address="198.51.100.7")
    story.add(at(30, 21), ip_address="198.51.100.7")
    assert len(story.alerts(NAME)) == 1


def test_one_thing_alone_is_told_where_the_threshold_says_so() -> None:
    story = stranger(habits(), resource_type="note", action="write")
    (alert,) = story.alerts(NAME, thresholds={NAME: {"bits": 5.0}})
    assert "ip:198.51.100.0/24" in alert.query


def test_who_is_new_meets_only_what_is_new() -> None:
    assert stranger(habits(days=5), day=5).alerts(NAME) == []


def test_who_travels_each_week_may_travel() -> None:
    story = habits()
    for day in range(1, 60, 5):
        story.add(at(day, 18), ip_address=f"203.0.{day}.7")
    stranger(story, resource_type="note", action="write")
    assert story.alerts(NAME, thresholds={NAME: {"bits": 4.0}}) == []


def test_what_comes_within_an_hour_belongs_together_and_what_comes_later_does_not() -> None:
    def apart(minutes: int) -> Story:
        story = stranger(habits(), resource_type="note", action="write")
        story.add(at(60, 15, minutes), ip_address="10.0.3.1", resource_type="payroll", action="payroll.read")
        return story

    assert len(apart(40).alerts(NAME)) == 1
    assert apart(80).alerts(NAME) == []


def test_what_fails_or_is_denied_teaches_nothing() -> None:
    story = stranger(stranger(habits(), result="denied"), result="failure")
    assert story.alerts(NAME) == []
    assert len(stranger(story, day=61).alerts(NAME)) == 1


def test_what_was_told_is_known() -> None:
    assert len(stranger(stranger(habits()), day=62).alerts(NAME)) == 1


def test_names_of_any_length_fit() -> None:
    (alert,) = stranger(habits(), resource_type="t" * 100, action="export." + "a" * 100).alerts(NAME)
    assert "action:" not in alert.query


def test_networks_are_those_of_the_registries() -> None:
    assert network_of("198.51.100.7") == "198.51.100.0/24"
    assert network_of("2001:db8:1:2::5") == "2001:db8:1::/48"
    assert network_of("::ffff:198.51.100.7") != ""
    assert short("a" * 24) == "a" * 24
    assert len(short("a" * 25)) < 24


def test_a_habit_forgets_the_oldest_and_never_grows() -> None:
    habit, chance = Habit(), random.Random(1)
    for day in range(1, 400):
        for _ in range(5):
            habit.add(f"n-{chance.randrange(1_000)}", day, 32, 180, counts=True)
        habit.add("always", day, 32, 180, counts=True)
    assert len(habit.known) == 32
    assert "always" in habit.known
    assert habit.bits() < 0.1


def test_repeats_and_a_stored_state_change_nothing() -> None:
    records = stranger(habits()).records()
    again = [each for number, record in enumerate(records) for each in (*records[max(0, number - 2) : number], record)]
    alerts = watched(records, [NAME])
    assert watched(again, [NAME], stored=True) == alerts != []


def test_two_chains_in_either_order() -> None:
    story = habits()
    for number in range(4):
        stranger(story, action=f"payroll.export{number}", chain="phi" if number % 2 else "main")
    records = story.records()
    first = watched(records, [NAME])
    second = watched([*records[:-2], *reversed(records[-2:])], [NAME])
    assert len(first) == len(second) == 1


def test_it_is_silent_in_ordinary_life(ordinary_alerts: list[Alert]) -> None:
    assert [alert for alert in ordinary_alerts if alert.detector == NAME] == []
