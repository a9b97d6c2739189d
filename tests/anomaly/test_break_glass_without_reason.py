"""Emergency access with and without a word why."""

from __future__ import annotations

import pytest
from tests.anomaly.stories import MINUTE, Story, at, watched

from sealstream.anomaly.actions import BREAK_GLASS, traits
from sealstream.layout.alerts import Alert

NAME = "break_glass_without_reason"


def test_access_without_a_reason_is_told_with_what_is_usual() -> None:
    story = Story()
    for day in range(30):
        story.add(at(day), action="break_glass", reason="unconscious")
    story.add(at(30), action="break_glass", resource_id="p-7")
    (alert,) = story.alerts(NAME)
    assert (alert.severity, alert.confidence) == ("high", 0.95)
    assert alert.summary == (
        "1 emergency access of user-123 to patient_record without a reason (break_glass); usual is 1.0 a day with and "
        "without"
    )
    assert "action:break_glass -reason:*" in alert.query


def test_one_with_a_reason_is_nothing_also_beside_one_without() -> None:
    story = Story()
    story.add(at(0), action="break_glass", reason="unconscious")
    assert story.alerts(NAME) == []
    story.add(at(0) + 0.2, action="break_glass")
    (alert,) = story.alerts(NAME)
    assert alert.seen == {"without_reason": 1, "entries": 2}


@pytest.mark.parametrize(("minutes", "alerts"), [(59, 1), (121, 2)])
def test_the_next_within_an_hour_belongs_to_it(minutes: int, alerts: int) -> None:
    story = Story()
    story.add(at(0), action="break_glass")
    story.add(at(0, 9, minutes), action="break_glass")
    assert len(story.alerts(NAME)) == alerts


@pytest.mark.parametrize(
    ("action", "is_it"),
    [
        ("break_glass", True),
        ("break-glass.open", True),
        ("BreakGlassAccess", True),
        ("emergency.access", True),
        ("breakglass", True),
        ("emergency_contact.update", False),
        ("glass.break_down", True),
        ("read", False),
    ],
)
def test_names_of_emergency_access(action: str, is_it: bool) -> None:
    assert bool(traits(action) & BREAK_GLASS) is is_it


def test_a_name_of_its_own_is_taken_from_the_settings() -> None:
    story = Story()
    story.add(at(0), action="firecall.open")
    assert story.alerts(NAME) == []
    assert len(story.alerts(NAME, thresholds={NAME: {"actions": ["firecall.*"]}})) == 1


def test_what_was_denied_broke_no_glass() -> None:
    story = Story()
    story.add(at(0), action="break_glass", result="denied")
    assert story.alerts(NAME) == []


def test_repeats_and_a_stored_state_change_nothing() -> None:
    story = Story()
    for number in range(200):
        reason = {} if number % 3 else {"reason": "x"}
        story.add(at(0) + number * 31 * MINUTE, action="break_glass", chain="ab"[number % 2], **reason)
    records = story.records()
    again = [each for number, record in enumerate(records) for each in (*records[max(0, number - 2) : number], record)]
    assert watched(again, [NAME], stored=True) == story.alerts(NAME) != []


def test_it_is_silent_in_ordinary_life(ordinary_alerts: list[Alert]) -> None:
    assert [alert for alert in ordinary_alerts if alert.detector == NAME] == []
