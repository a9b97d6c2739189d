"""The clinic under load: the log holds exactly what the load has counted, and answers an auditor's questions."""

from __future__ import annotations

import asyncio
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from sealstream.client import AuditClient

Events = Callable[[int], list[dict[str, Any]]]
Serve = Callable[..., str]


@pytest.fixture(autouse=True)
def _examples(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2]))
    assert sys.path[0] == str(Path(__file__).parents[2])


def test_the_log_holds_exactly_what_was_done(audit: AuditClient, events: Events, serve: Serve) -> None:
    from examples.clinic import load
    from examples.clinic.app import create_app

    url = serve(create_app(audit), lifespan="on")
    done = asyncio.run(load.run(url, requests=250, seed=11))
    assert done.unexpected == []
    assert done.requests == 258  # everybody logs in first
    found = events(done.events)
    assert httpx.get(f"{url}/health").json()["audit"]["emitted"] == done.events
    assert Counter(event["result"] for event in found) == done.by_result
    refused = Counter(event["actor_id"] for event in found if event["result"] != "success")
    assert refused == done.denied_or_failed_by_actor
    assert refused["user-302"] > 5
    known = [event for event in found if event["resource_id"] == load.KNOWN_PATIENT and event["action"] != "export"]
    known = [event for event in known if event["resource_type"] == "patient_record"]
    assert len(known) == done.accesses_to_known_patient
    mine = [event for event in known if event["actor_id"] == "user-123"]
    assert len(mine) >= 5
    assert all(event["reason"] for event in mine)
    assert all(event["action"] != "write" or event["changed_fields"] for event in mine)
    assert len({event["ip_address"] for event in found}) > 5
    assert {event["source"]["service"] for event in found} == {"tested"}


def test_the_same_seed_is_the_same_day() -> None:
    from examples.clinic import load

    assert load.plan(100, 3) == load.plan(100, 3)
    assert load.plan(100, 3) != load.plan(100, 4)
    assert len(load.plan(60, 3)) == 60
