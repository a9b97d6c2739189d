"""Denials across many resources or kinds of them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.anomaly.stories import HOUR, MINUTE, Story, at, watched

from sealstream.layout.alerts import Alert

NAME = "denied_scan"


def scan(
    resources: int, *, types: int = 1, apart_s: float = 5, begin: float = at(0), story: Story | None = None
) -> Story:
    story = story or Story()
    for number in range(resources):
        story.add(
            begin + number * apart_s,
            result="denied",
            resource_id=f"r-{number}",
            resource_type=f"type-{number % types}",
        )
    return story


@pytest.mark.parametrize(
    ("resources", "types", "apart_s", "alerts"),
    [(9, 1, 5, 0), (10, 1, 5, 1), (4, 4, 5, 0), (5, 5, 5, 1), (24, 1, HOUR, 0), (30, 1, 40 * MINUTE, 1)],
)
def test_what_is_a_scan(resources: int, types: int, apart_s: float, alerts: int) -> None:
    assert len(scan(resources, types=types, apart_s=apart_s).alerts(NAME)) == alerts


def test_it_says_where() -> None:
    (alert,) = scan(300, types=3).alerts(NAME)
    assert alert.severity == "high"
    assert alert.summary == (
        "user-123 was denied 10 times in 46 s, at 10 resources of 3 types (type-0, type-1, type-2); usual is none"
    )


def test_one_door_counts_by_its_tries() -> None:
    story = Story()
    for number in range(24):
        story.add(at(0) + number * 10, result="denied")
    assert story.alerts(NAME) == []
    story.add(at(0) + 240, result="denied")
    (alert,) = story.alerts(NAME)
    assert "denied 25 times" in alert.summary
    assert alert.severity == "medium"


def test_a_client_that_is_always_denied_is_used_to_it() -> None:
    story = Story()
    for number in range(20 * 24 * 12):
        story.add(at(0, 0) + number * 300, result="denied", resource_id=f"r-{number}")
    late = [alert for alert in story.alerts(NAME) if alert.window[1] > "2026-09-12"]
    assert late == []
    scan(60, apart_s=2, begin=at(15), story=story)
    assert [alert.window[0][:10] for alert in story.alerts(NAME) if alert.window[1] > "2026-09-12"] == ["2026-09-22"]


def test_logins_that_are_denied_are_another_matter() -> None:
    story = Story()
    for number in range(50):
        story.login(at(0) + number, result="denied")
    assert story.alerts(NAME) == []


def test_a_scan_of_the_next_day_is_another_one() -> None:
    assert len(scan(20, begin=at(2), story=scan(20)).alerts(NAME)) == 2


@given(st.lists(st.tuples(st.integers(0, 4_000), st.integers(0, 30), st.integers(0, 6)), max_size=80))
def test_repeats_and_a_stored_state_change_nothing(denials: list[tuple[int, int, int]]) -> None:
    story = Story()
    for second, resource, kind in denials:
        story.add(
            at(0) + second, result="denied", resource_id=f"r{resource}", resource_type=f"t{kind}", chain="ab"[kind % 2]
        )
    records = story.records()
    again = [each for number, record in enumerate(records) for each in (*records[max(0, number - 2) : number], record)]
    assert watched(again, [NAME], stored=True) == story.alerts(NAME)


def test_it_is_silent_in_ordinary_life(ordinary_alerts: list[Alert]) -> None:
    assert [alert for alert in ordinary_alerts if alert.detector == NAME] == []
