"""`make examples`: its judge finds what is missing and doubled, and its applications leave what their plans say."""

from __future__ import annotations

import asyncio
import json
import os
import random
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from examples.apps.asking import Asked, drive
from examples.apps.comparing import Compared, Event, compare, event_of, troubles
from examples.apps.judging import complaints_of
from examples.apps.plans import PLANS, SECRETS, Plan
from examples.apps.serving import ROOT, Application, Places, application
from tests.pipeline import wait_until

from sealstream.devstack.ports import free_port
from sealstream.events import validate_event
from sealstream.kafka import KafkaSettings, read_until_end
from sealstream.layout import ChainSettings, ChainTopics

SERVICES = [make(random.Random(1), 1).service for make in PLANS.values()]


def event(number: int, **differently: str) -> Event:
    said = Event("shop", f"{number:032x}", "sam", "order.refund", "order", str(number), "success")
    return said._replace(**differently)


def test_what_is_there_once_is_neither_missing_nor_doubled() -> None:
    events = [event(n) for n in range(5)]
    assert compare(events, [], reversed(events)) == {"shop": Compared(5, [], [], [])}
    assert compare(events, [], events)["shop"].equal


def test_a_missing_and_a_doubled_event_are_named() -> None:
    events = [event(n) for n in range(5)]
    found = compare(events, [], [*events[1:], events[3], events[3]])["shop"]
    assert found == Compared(5, [event(0)], [event(3), event(3)], [])
    assert not found.equal


@pytest.mark.parametrize("field", Event._fields[1:])
def test_an_event_that_says_something_else_is_missing_and_unexpected(field: str) -> None:
    wrong = event(1, **{field: "other"})
    assert compare([event(1)], [], [wrong])["shop"] == Compared(1, [event(1)], [], [wrong])


def test_another_application_does_not_make_up_for_it() -> None:
    wrong = event(1, service="help-desk")
    found = compare([event(1)], [], [wrong])
    assert found["shop"].missing == [event(1)]
    assert found["help-desk"].unexpected == [wrong]


def test_a_request_without_an_answer_may_have_its_event_once() -> None:
    assert compare([event(1)], [event(2)], [event(1)])["shop"].equal
    assert compare([event(1)], [event(2)], [event(1), event(2)])["shop"].equal
    assert compare([event(1)], [event(2)], [event(1), event(2), event(2)])["shop"].doubled == [event(2)]


def entry(seq: int, **more: Any) -> dict[str, Any]:
    said = dict.fromkeys(("actor_id", "action", "resource_type", "resource_id", "result"), "x")
    written = {"kind": "event", "seq": seq}
    return {"id": f"id-{seq}", "written": written, "source": {"service": "shop"}, "trace_id": "t", **said, **more}


def test_statements_of_loss_ids_used_twice_and_secrets_are_troubles() -> None:
    log = {"source": {}, "written": {"kind": "log", "seq": 9}}
    well = [entry(0), entry(1, action="producer.closed"), entry(2, **log, action="segment.archived")]
    assert troubles(well, SERVICES, SECRETS) == []
    for action in ("audit.loss", "producer.gap", "producer.conflict", "producer.unsure", "signature.refused"):
        assert action in troubles([*well, entry(3, **log, action=action)], SERVICES, SECRETS)[0]
    assert "audit.loss" in troubles([*well, entry(3, action="audit.loss")], SERVICES, SECRETS)[0]
    assert troubles([*well, entry(3, id="id-0")], SERVICES, SECRETS) == ["2 entries have the id id-0"]
    for secret in SECRETS:
        assert secret in troubles([entry(0, new_values={"a": f"old {secret}s"})], SERVICES, SECRETS)[0]
    assert "stranger" in troubles([entry(0, source={"service": "stranger"}, action="stranger")], SERVICES, SECRETS)[0]


def test_an_entry_is_read_with_what_it_changed() -> None:
    read = event_of(entry(0, old_values={"b": 1, "a": None}, new_values={"b": 2}), SERVICES)
    changed = '{"new_values": {"b": 2}, "old_values": {"a": null, "b": 1}}'
    assert read == Event("shop", "t", "x", "x", "x", "x", "x", changed)
    assert event_of(entry(0, source={"service": "another"}), SERVICES) is None


@pytest.mark.parametrize("name", PLANS)
def test_every_plan_has_all_that_an_audit_log_is_for(name: str) -> None:
    plan = PLANS[name](random.Random(7), 8)
    asks = [*plan.logins, *plan.asks]
    assert len({ask.request_id for ask in asks}) == len(asks) > 45
    assert all(ask.events for ask in asks)
    events = [event for ask in asks for event in ask.events]
    assert {event.result for event in events} == {"success", "denied", "failure"}
    assert {ask.status // 100 for ask in asks} == {2, 4, 5}
    assert any("[redacted]" in event.changed for event in events)
    assert any("login" in event.action and event.result == "denied" for event in events)
    assert plan.asks[0].leaves  # before anything is restarted
    assert not any(secret in text for secret in SECRETS for event in events for text in event)
    assert any("swordfish" in str(ask.form or ask.json or "") for ask in asks)
    assert PLANS[name](random.Random(7), 8).asks == plan.asks


def test_whatever_differs_is_a_complaint() -> None:
    plan = PLANS["express"](random.Random(7), 2)
    whole = Asked(requests=len(plan.logins) + len(plan.asks))

    def said(asked: Asked, compared: dict[str, Compared]) -> list[str]:
        return complaints_of({"express": plan}, {"express": asked}, compared)

    well = {"shop": Compared(5, [], [], [])}
    assert said(whole, well) == []
    assert "requests were made" in said(Asked(requests=1), well)[0]
    assert said(Asked(requests=whole.requests, unexpected=["got 500"]), well) == ["got 500"]
    assert "had no answer" in said(Asked(requests=whole.requests, unanswered=plan.asks[:13]), well)[0]
    for at, word in enumerate(("missing", "doubled", "unexpected")):
        lists = [[event(1)] if at == n else [] for n in range(3)]
        assert said(whole, {"shop": Compared(5, *lists)})[0].startswith(f"{word}: ")


@contextmanager
def served(application: Application, log: Path) -> Iterator[None]:
    roots = os.pathsep.join([str(ROOT), *filter(None, sys.path)])
    environment = {**os.environ, "PYTHONPATH": roots, **application.environment}
    with log.open("wb") as written:
        process = subprocess.Popen(
            application.command, cwd=application.cwd, env=environment, stdout=written, stderr=written
        )
    try:
        wait_until(application.answers, 60, lambda: log.read_text()[-3_000:])
        yield
    finally:
        process.terminate()
        process.wait(60)


@pytest.fixture
def sealed(kafka: KafkaSettings, chain: ChainSettings) -> Callable[[], list[dict[str, Any]]]:
    """What the applications have written, as entries would hold it."""

    def read() -> list[dict[str, Any]]:
        topic = ChainTopics.of(chain.name).raw
        records = [record for batch in read_until_end(kafka, topic) for record in batch]
        events = [json.loads(validate_event(record.value).canonical) for record in records]
        return [{**said, "written": {"kind": "event", "seq": seq}} for seq, said in enumerate(events)]

    return read


@pytest.mark.parametrize("name", ["flask", "fastapi"])
def test_an_application_leaves_exactly_what_its_plan_says(
    name: str,
    kafka: KafkaSettings,
    chain: ChainSettings,
    sealed: Callable[[], list[dict[str, Any]]],
    tmp_path: Path,
) -> None:
    plan: Plan = PLANS[name](random.Random(3), 4)
    places = Places(chain.name, kafka.bootstrap, "", tmp_path / "spool", "", "")
    running, asked = application(name, free_port(), places), Asked(go_on=_set())
    with served(running, tmp_path / "log"):
        asyncio.run(drive(plan, running.url, asked))
    assert (asked.unexpected, asked.unanswered, asked.refused) == ([], [], 0)
    entries = sealed()
    assert troubles(entries, [plan.service], SECRETS) == []
    found = [said for each in entries if (said := event_of(each, [plan.service])) is not None]
    assert compare(asked.expected, [], found)[plan.service] == Compared(len(found), [], [], [])
    # Were one event of the log another, it would show.
    assert not compare(asked.expected, [], [found[0]._replace(actor="mallory"), *found[1:]])[plan.service].equal


def _set() -> threading.Event:
    event = threading.Event()
    event.set()
    return event
