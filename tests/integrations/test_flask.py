"""Flask on gunicorn: one event a request, from forked workers, with the rules of the ASGI middleware."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.integrations.conftest import gunicorn

from sealstream.kafka import KafkaSettings
from sealstream.layout import ChainSettings

Events = Callable[[int], list[dict[str, Any]]]


@pytest.fixture
def url(kafka: KafkaSettings, chain: ChainSettings, tmp_path: Path) -> Iterator[str]:
    options = ("--preload", "--workers", "2", "--threads", "2")
    environment = {
        "SEALSTREAM_CHAIN": chain.name,
        "SEALSTREAM_BOOTSTRAP": kafka.bootstrap,
        "SEALSTREAM_CLIENT_SERVICE": "flask-shop",
    }
    with gunicorn("tests.integrations.flask_app:app", tmp_path, *options, **environment) as served:
        yield served


def test_one_event_a_request_by_the_rules_of_all_frameworks(url: str, events: Events) -> None:
    codes = {
        200: "success",
        304: "success",
        400: "failure",
        401: "denied",
        403: "denied",
        404: "failure",
        500: "failure",
    }
    with httpx.Client(base_url=url, headers={"X-User": "ann"}) as http:
        for code in codes:
            assert http.get(f"/status/{code}").status_code == code
        forwarded = {"X-Forwarded-For": "192.0.2.7", "traceparent": f"00-{'ab' * 16}-{'cd' * 8}-01"}
        http.get("/patients/p-1/files/a/b", headers=forwarded)
        http.get("/forbidden")
        assert http.get("/broken").status_code == 500
        assert http.post("/orders").text == "placed"
        http.get("/nowhere")
        http.get("/health")
        http.head("/status/200")
        http.get("/reset/s3cr3t-token")
    found = events(14)
    statuses = [event for event in found if event["action"] == "get:/status/{code}"]
    assert {event["metadata"]["http_status"]: event["result"] for event in statuses} == codes
    assert {event["resource_type"] for event in statuses} == {"code"}
    by_action = {event["action"]: event for event in found if event not in statuses}
    names = ("read", "get:/forbidden", "get:/broken", "order.place", "get:unmatched", "head:/status/{code}")
    read, forbidden, broken, _order, nowhere, head = (by_action[name] for name in names)
    reset = by_action["get:/reset/{token}"]
    assert len(by_action) == 7
    assert (read["action"], read["resource_type"], read["resource_id"]) == ("read", "name", "a/b")
    assert read["metadata"]["path_params"] == {"patient_id": "p-1", "name": "a/b"}
    assert (read["ip_address"], read["trace_id"], read["reason"]) == ("192.0.2.7", "ab" * 16, "asked")
    assert forbidden["result"] == "denied"
    assert (broken["result"], broken["metadata"]["error"]) == ("failure", "RuntimeError")
    assert "hunter2" not in str(found)
    assert (nowhere["result"], nowhere["resource_id"]) == ("failure", "/nowhere")
    assert head["result"] == "success"
    assert (reset["resource_type"], reset["resource_id"]) == ("token", "[redacted]")
    assert {(event["actor_id"], event["tenant"]) for event in found} == {("ann", "north")}
    assert {event["source"]["service"] for event in found} == {"flask-shop"}
    assert all(event["user_agent"].startswith("python-httpx/") for event in found)


def test_a_streamed_response_ends_when_its_last_part_is_sent(url: str, events: Events) -> None:
    assert len(httpx.get(f"{url}/stream/2").text) > 1_000
    with suppress(httpx.HTTPError):
        httpx.get(f"{url}/stream/5")
    whole, broken = sorted(events(2), key=lambda event: str(event["resource_id"]))
    assert (whole["result"], whole["metadata"]["parts"]) == ("success", 2)
    assert whole["metadata"]["duration_ms"] >= 20
    assert (broken["result"], broken["metadata"]["error"]) == ("failure", "ValueError")


def test_forked_workers_number_their_own_events_and_none_is_lost(
    url: str, raw: Callable[[], list[bytes]], events: Events
) -> None:
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _n: httpx.post(f"{url}/orders").status_code, range(120)))
    assert answers == [200] * 120
    found = events(120)
    by_process = defaultdict(set)
    for event in found:
        by_process[event["producer_id"]].add(event["metadata"]["pid"])
    assert all(len(processes) == 1 for processes in by_process.values())
    assert len(by_process) == 2
