"""Whoever corrects an event is told everything that is wrong with it, at once."""

from __future__ import annotations

from sealstream.cli.event_faults import all_faults

SOUND = {
    "id": "01932b7e-3f4a-7c1d-9e2b-5a6f7b8c9d0e",
    "timestamp": "2026-11-24T03:00:00Z",
    "actor_id": "a",
    "actor_type": "user",
    "action": "read",
    "resource_type": "r",
    "resource_id": "1",
    "result": "success",
}


def test_a_sound_event_has_no_fault() -> None:
    assert all_faults(SOUND) == []


def test_every_fault_is_told_once() -> None:
    wrong = SOUND | {"timestamp": "yesterday", "result": "maybe", "nonsense": 1, "metadata": [1], "ip_address": "x"}
    del wrong["actor_type"]
    found = [fault.field for fault in all_faults(wrong)]
    assert sorted(found) == ["actor_type", "ip_address", "metadata", "nonsense", "result", "timestamp"]


def test_a_fault_of_the_whole_event_ends_the_search() -> None:
    (fault,) = all_faults(SOUND | {"metadata": {"x": "y" * 70_000}})
    assert "61" in fault.reason
