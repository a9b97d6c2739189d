"""What users test their own code with: events in memory, from every client, and none of them anywhere else."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from sealstream.client import AuditClient, Outbox
from sealstream.client.testing import Recorded, recording

pytest_plugins = ["pytester"]
Sent = Callable[[], list[dict[str, Any]]]


def test_nothing_recorded_goes_to_kafka_and_afterwards_everything_does(
    make_client: Callable[..., AuditClient], sent: Sent
) -> None:
    client = make_client()
    client.emit("before", resource_type="r", resource_id=1)
    with recording() as recorded:
        client.emit("within", resource_type="r", resource_id=1)
        made_within = make_client()
        made_within.emit("within too", resource_type="r", resource_id=1)
        assert made_within.flush() == 0
        assert made_within.stats().delivered == 1
    client.emit("after", resource_type="r", resource_id=1)
    made_within.emit("after too", resource_type="r", resource_id=1)
    for each in (client, made_within):
        each.close()
    assert [event["action"] for event in recorded] == ["within", "within too"]
    by_producer: dict[str, list[tuple[str, int]]] = {}
    for event in sent():
        by_producer.setdefault(event["producer_id"], []).append((event["action"], event["producer_seq"]))
    assert sorted(by_producer.values()) == [
        [("after too", 0), ("producer.closed", 1)],
        [("before", 0), ("after", 1), ("producer.closed", 2)],
    ]


def test_a_client_that_is_closed_within_is_closed(make_client: Callable[..., AuditClient], sent: Sent) -> None:
    client = make_client()
    client.emit("before", resource_type="r", resource_id=1)
    with recording() as recorded:
        client.close()
        assert client.emit("late", resource_type="r", resource_id=1) is None
        assert recorded.dropped == {"closed": 1}
    assert [event["action"] for event in sent()] == ["before", "producer.closed"]


def test_an_inner_recording_hides_the_outer(recorded: Recorded) -> None:
    client = AuditClient("main", "127.0.0.1:1")
    with recording() as inner:
        client.emit("inner", resource_type="r", resource_id=1)
    client.emit("outer", resource_type="r", resource_id=1)
    assert [event["action"] for event in inner] == ["inner"]
    assert [event["action"] for event in recorded] == ["outer"]


def test_questions(recorded: Recorded) -> None:
    client = AuditClient("main", "127.0.0.1:1")
    for n in range(2):
        client.emit("read", resource_type="r", resource_id=n)
    assert recorded.one(resource_id="1")["action"] == "read"
    assert len(recorded.where(action="read", tenant=None)) == 2
    with pytest.raises(AssertionError, match="got 2; recorded are\n  action='read' resource_type='r' resource_id='0'"):
        recorded.one(action="read")
    assert recorded.dropped == {}


def test_an_outbox_is_not_recorded(recorded: Recorded) -> None:
    assert Outbox().row("read", resource_type="r", resource_id=1).id is not None
    assert recorded == []


PAGE = """
    from sealstream.client import AuditClient, bound, bind
    audit = AuditClient("main", "127.0.0.1:1")

    def test_one(audit_events):
        bind(actor_id="ann")
        audit.emit("read", resource_type="r", resource_id=1)
        assert audit_events.one(action="read")["actor_id"] == "ann"

    def test_nothing_is_left_of_another_test(audit_events):
        assert audit_events == []
        assert bound() == {}

    def test_a_refused_event_fails_its_test(audit_events):
        audit.emit("read", resource_type="r", resource_id=1, result="fine")

    def test_unless_that_is_the_point(audit_events):
        audit_events.allow_dropped = True
        audit.emit("read", resource_type="r", resource_id=1, result="fine")
        assert audit_events.dropped == {"invalid": 1}
"""


def test_the_fixture(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(PAGE)
    done = pytester.runpytest_subprocess("-p", "sealstream.client.pytest_plugin", "-q")
    done.assert_outcomes(passed=4, errors=1)
    done.stdout.fnmatch_lines(["*audit events would have been dropped: {'invalid': 1}*"])
