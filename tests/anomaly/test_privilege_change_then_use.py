"""More rights, and then what was never done before."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.anomaly.stories import Story, at, watched

from sealstream.layout.alerts import Alert

NAME = "privilege_change_then_use"


def habits(days: int = 20) -> Story:
    story = Story()
    for day in range(days):
        for hour in range(9, 12):
            story.add(at(day, hour))
            story.add(at(day, hour, 5), action="write")
    return story


def grant(story: Story, moment: float = at(20), by: str = "root", action: str = "role.grant", **fields: str) -> Story:
    what = {"actor_id": by, "actor_type": "admin", "resource_type": "user", "resource_id": "user-123"}
    story.add(moment, **(what | {"action": action} | fields))
    return story


def use(story: Story, moment: float = at(20, 10), action: str = "patient.delete", **fields: str) -> Story:
    story.add(moment, action=action, **fields)
    return story


def test_a_grant_and_then_what_only_few_may_do() -> None:
    (alert,) = use(grant(habits())).alerts(NAME)
    assert (alert.severity, alert.subject) == ("high", "user-123")
    assert alert.summary == (
        "user-123 did patient.delete for the first time 1 h after role.grant by root; usual are 2 other actions"
    )
    assert (alert.seen["grant_chain"], alert.seen["grant_seq"], alert.seqs) == ("main", 120, [[121, 121]])
    assert "action:patient.delete" in alert.query


def test_rights_that_an_account_gives_itself_are_critical() -> None:
    (alert,) = use(grant(habits(), by="user-123", actor_type="user"), action="payroll.read").alerts(NAME)
    assert alert.severity == "critical"
    assert "role.grant by itself" in alert.summary


@pytest.mark.parametrize(("hours", "alerts"), [(3.9, 1), (4.1, 0)])
def test_use_counts_within_four_hours_of_a_grant(hours: float, alerts: int) -> None:
    assert len(use(grant(habits()), at(20, 9 + hours)).alerts(NAME)) == alerts


def test_a_promotion_that_is_followed_by_ordinary_new_work_is_nothing() -> None:
    assert use(grant(habits()), action="lab_result.read").alerts(NAME) == []


def test_who_always_deletes_goes_on_deleting() -> None:
    story = habits()
    for day in range(20):
        use(story, at(day, 12))
    assert use(grant(story)).alerts(NAME) == []


@pytest.mark.parametrize(
    "fields",
    [
        {"action": "role.revoke"},
        {"action": "permission.list"},
        {"action": "role.grant", "result": "denied"},
        {"action": "role.grant", "resource_id": "user-9"},
        {"action": "role.grant", "resource_type": "document"},
        {"action": "profile.update"},
    ],
    ids=["taken away", "looked at", "denied", "another's", "no account", "no rights"],
)
def test_what_is_no_grant(fields: dict[str, str]) -> None:
    assert use(grant(habits(), **fields)).alerts(NAME) == []


@pytest.mark.parametrize(
    "action", ["AttachUserPolicy", "iam:CreateAccessKey", "post:/users/{id}/roles", "user.promote", "admin.add"]
)
def test_grants_of_many_names(action: str) -> None:
    assert len(use(grant(habits(), action=action)).alerts(NAME)) == 1


def test_names_of_their_own_are_taken_from_the_settings() -> None:
    story = use(grant(habits(), action="elevate"), action="vault.peek")
    assert story.alerts(NAME) == []
    assert len(story.alerts(NAME, thresholds={NAME: {"grants": ["elev*"], "powers": ["vault.*"]}})) == 1


def test_use_before_the_grant_is_no_use_of_it() -> None:
    assert grant(use(habits(), at(20, 9, 0.01)), at(20, 9, 0.02)).alerts(NAME) == []
    assert use(grant(habits(), at(20, 9)), at(20, 8)).alerts(NAME) == []


def test_many_uses_are_one_alert() -> None:
    story = grant(habits())
    for number in range(30):
        use(story, at(20, 9, 5 + number), action=f"config.set{number}")
    (alert,) = story.alerts(NAME)
    assert alert.score == 1.0


def test_a_new_account_that_is_made_administrator_and_used_at_once() -> None:
    assert len(use(grant(Story(), action="user.create_admin")).alerts(NAME)) == 1


def test_grant_in_one_chain_and_use_in_another() -> None:
    (alert,) = use(grant(habits(), chain="identity")).alerts(NAME)
    assert (alert.chain, alert.seen["grant_chain"]) == ("main", "identity")


@given(
    st.lists(
        st.tuples(st.integers(0, 40_000), st.sampled_from(["grant", "self", "delete", "read", "export"])), max_size=60
    )
)
def test_repeats_and_a_stored_state_change_nothing(told: list[tuple[int, str]]) -> None:
    story = Story()
    for second, what in told:
        moment = at(0) + second
        if what in ("grant", "self"):
            grant(story, moment, by="user-123" if what == "self" else "root")
        else:
            use(story, moment, action=what, chain="ab"[second % 2])
    records = story.records()
    again = [each for number, record in enumerate(records) for each in (*records[max(0, number - 2) : number], record)]
    assert watched(again, [NAME], stored=True) == story.alerts(NAME)


def test_it_is_silent_in_ordinary_life(ordinary_alerts: list[Alert]) -> None:
    assert [alert for alert in ordinary_alerts if alert.detector == NAME] == []
