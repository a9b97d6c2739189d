"""Django on gunicorn and on uvicorn's workers: requests, logins, changes of models, and what signals miss."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest
from tests.integrations.conftest import child_environment, gunicorn, uvicorn_workers
from tests.long_runs import long_run

from sealstream.events import validate_event
from sealstream.kafka import KafkaSettings
from sealstream.layout import ChainSettings, OutboxTables
from sealstream.relaying import OutboxRelay, OutboxStatus, outbox_status

pytestmark = long_run

Events = Callable[[int], list[dict[str, Any]]]
SITE = "tests.integrations.django_shop.site"


@pytest.fixture(scope="module")
def template(make_database: Callable[..., str]) -> str:
    """A database with the site's tables, to be cloned."""
    dsn = make_database()
    environment = child_environment(SHOP_DSN=dsn, SEALSTREAM_BOOTSTRAP="127.0.0.1:1")
    code = f"from {SITE} import prepare; prepare(); import os; os._exit(0)"
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return dsn.rpartition("/")[2]


@pytest.fixture
def shop(template: str, make_database: Callable[..., str]) -> str:
    return make_database(template)


@pytest.fixture
def environment(shop: str, kafka: KafkaSettings, chain: ChainSettings) -> dict[str, str]:
    return {"SHOP_DSN": shop, "SEALSTREAM_CHAIN": chain.name, "SEALSTREAM_BOOTSTRAP": kafka.bootstrap}


@pytest.fixture
def url(environment: dict[str, str], tmp_path: Path) -> Iterator[str]:
    with gunicorn(f"{SITE}:wsgi", tmp_path, "--preload", "--threads", "2", **environment) as served:
        yield served


def outbox(dsn: str) -> list[dict[str, Any]]:
    """What waits in the outbox, in order; each would be an event once it is numbered."""
    with psycopg.connect(dsn) as connection:
        rows = connection.execute("SELECT event FROM sealstream_outbox ORDER BY id").fetchall()
    return [json.loads(validate_event(bytes(row[0])).canonical) for row in rows]


def relayed(dsn: str, kafka: KafkaSettings, chain: ChainSettings) -> OutboxStatus:
    """The outbox, once a relay has taken everything in it to Kafka."""
    relay = OutboxRelay(kafka, chain, dsn, OutboxTables.of(), idle_s=0.001)
    try:
        while relay.step():
            pass
    finally:
        relay.close()
    return outbox_status(dsn, OutboxTables.of())


def log_in(http: httpx.Client, password: str = "right") -> str:
    return http.post("/login", data={"name": "ann", "password": password}).text


def test_requests_by_the_rules_of_all_frameworks(url: str, events: Events) -> None:
    codes = {
        200: "success",
        302: "success",
        400: "failure",
        401: "denied",
        403: "denied",
        404: "failure",
        503: "failure",
    }
    with httpx.Client(base_url=url) as http:
        for code in codes:
            http.get(f"/status/{code}")
        forwarded = {"X-Forwarded-For": "192.0.2.7", "traceparent": f"00-{'ab' * 16}-{'cd' * 8}-01"}
        http.get("/shops/3/items/a-b", headers=forwarded)
        assert http.get("/forbidden").status_code == 403
        assert http.get("/broken").status_code == 500
        http.get("/nowhere")
        http.get("/old/1999")
        http.get("/health")
        http.get("/async/5")
    found = events(len(codes) + 6)
    statuses = [event for event in found if event["action"] == "get:/status/{code}"]
    assert {event["metadata"]["http_status"]: event["result"] for event in statuses} == codes
    by_action = {event["action"]: event for event in found}
    read = by_action["get:/shops/{shop_id}/items/{item_id}"]
    assert (read["resource_type"], read["resource_id"]) == ("item", "a-b")
    assert read["metadata"]["path_params"] == {"shop_id": "3", "item_id": "a-b"}
    assert read["metadata"]["shelf"] == 3
    assert (read["ip_address"], read["trace_id"], read["reason"]) == ("192.0.2.7", "ab" * 16, "asked")
    assert by_action["get:/forbidden"]["result"] == "denied"
    broken = by_action["get:/broken"]
    assert (broken["result"], broken["metadata"]["error"]) == ("failure", "RuntimeError")
    assert (by_action["get:unmatched"]["result"], by_action["get:unmatched"]["resource_id"]) == ("failure", "/nowhere")
    assert by_action["get:old-year"]["resource_id"] == "1999"
    assert "get:/async/{number}" in by_action
    assert "secret text" not in str(found)
    assert {event["actor_id"] for event in found} == {"anonymous"}


def test_logins_and_who_acts(url: str, events: Events) -> None:
    with httpx.Client(base_url=url) as http:
        assert log_in(http, "wrong") == "try again"
        assert log_in(http) == "in"
        http.get("/status/200")
        key = http.cookies["sessionid"]
        http.post("/logout")
        http.get("/status/200")
    found = events(8)
    told = [(event["action"], event["result"], event["actor_id"], event["actor_type"]) for event in found]
    assert told == [
        ("login", "denied", "anonymous", "anonymous"),
        ("post:/login", "success", "anonymous", "anonymous"),
        ("login", "success", "1", "admin"),
        ("post:/login", "success", "1", "admin"),
        ("get:/status/{code}", "success", "1", "admin"),
        ("logout", "success", "1", "admin"),
        ("post:/logout", "success", "1", "admin"),
        ("get:/status/{code}", "success", "anonymous", "anonymous"),
    ]
    assert (found[0]["resource_type"], found[0]["resource_id"]) == ("user_account", "ann")
    assert found[4]["session_id"] == found[3]["session_id"]
    assert key not in str(found)
    assert "wrong" not in str(found)


def test_streamed_answers(url: str, events: Events) -> None:
    httpx.get(f"{url}/stream/2")
    with suppress(httpx.HTTPError):
        httpx.get(f"{url}/stream/5")
    whole, broken = events(2)
    assert whole["result"] == "success"
    assert (broken["result"], broken["metadata"]["error"]) == ("failure", "ValueError")


CHANGES = [
    (
        "create",
        ["id", "customer", "cents", "api_token"],
        {},
        {"customer": "bob", "cents": 5, "api_token": "[redacted]"},
    ),
    ("update", ["cents"], {"cents": 5}, {"cents": 7}),
    ("update", ["cents"], {"cents": 7}, {"cents": 8}),
    ("update.add", ["labels"], {}, {"labels": [1]}),
    ("update.clear", ["labels"], {"labels": [1]}, {}),
    ("delete", ["id", "customer", "cents", "api_token"], {"customer": "bob", "cents": 8}, {}),
]


def check_changes(found: list[dict[str, Any]]) -> None:
    assert [(event["action"], event["changed_fields"]) for event in found] == [(each[0], each[1]) for each in CHANGES]
    for event, (_action, _fields, old, new) in zip(found, CHANGES, strict=True):
        assert (event["resource_type"], event["metadata"]["model"]) == ("invoice", "shop.Invoice")
        assert (event["actor_id"], event["actor_type"]) == ("1", "admin")
        assert event["ip_address"] == "127.0.0.1"
        assert old.items() <= event.get("old_values", {}).items()
        assert new.items() <= event.get("new_values", {}).items()


def test_changes_of_models_by_signals_with_old_and_new_values(url: str, events: Events) -> None:
    with httpx.Client(base_url=url) as http:
        log_in(http)
        assert http.get("/invoices").status_code == 200
    *_login, request = found = events(2 + len(CHANGES) + 1)
    check_changes(found[2:-1])
    assert request["action"] == "get:/invoices"
    assert "t0ken" not in str(found)
    assert "rolled back" not in str(found)


def test_changes_of_models_in_their_transactions(
    environment: dict[str, str], shop: str, tmp_path: Path, events: Events
) -> None:
    with (
        gunicorn(f"{SITE}:wsgi", tmp_path, **environment, SHOP_OUTBOX="1") as url,
        httpx.Client(base_url=url) as http,
    ):
        log_in(http)
        assert http.get("/invoices").status_code == 200
        events(3)  # the login's, its request's, the request's
    found = outbox(shop)
    check_changes(found)
    assert "rolled back" not in str(found)


def test_what_signals_miss_by_triggers(
    url: str, shop: str, kafka: KafkaSettings, chain: ChainSettings, events: Events
) -> None:
    with httpx.Client(base_url=url) as http:
        log_in(http)
        assert http.get("/payments").status_code == 200
    with psycopg.connect(shop) as connection:
        connection.execute("INSERT INTO shop_payment VALUES (77, 1, false, '', '', NULL, '{}', '', now())")
    found = outbox(shop)
    assert [event["action"] for event in found] == [
        *("create", "create", "update", "update", "delete", "truncate", "create"),
    ]
    first, _second, paid, noted, deleted, truncated, by_hand = found
    assert first["new_values"] | {"id": 0, "scan": ""} == {
        "id": 0,
        "amount": "1.50",
        "paid": False,
        "card_number": "[redacted]",
        "note": "",
        "at": None,
        "details": '{"n": 12345678901234567890}',
        "scan": "",
    }
    assert (paid["changed_fields"], paid["old_values"], paid["new_values"]) == (
        ["paid"],
        {"paid": False},
        {"paid": True},
    )
    assert noted["new_values"].keys() == {"left_out_bytes", "sha256"}
    assert deleted["old_values"].keys() == {"left_out_bytes", "sha256"}
    assert (truncated["resource_type"], truncated["resource_id"]) == ("table", "shop_payment")
    for event in found[:-1]:
        assert (event["actor_id"], event["actor_type"], event["ip_address"]) == ("1", "admin", "127.0.0.1")
        assert event["source"] == {"service": "shop"}
        assert event["metadata"]["recorded_by"] == "trigger"
    assert by_hand["actor_type"] == "service"
    assert by_hand["actor_id"] == by_hand["metadata"]["database_user"]
    status = relayed(shop, kafka, chain)
    assert (status.waiting, status.refused) == (0, 0)
    sent = events(len(found) + 3)  # and the login, its request, the request
    assert {event["id"] for event in found} < {event["id"] for event in sent}
    assert "4111" not in str(found)


def test_asynchronous_django_on_uvicorns_workers(environment: dict[str, str], tmp_path: Path, events: Events) -> None:
    with (
        uvicorn_workers(f"{SITE}:asgi", tmp_path, **environment) as url,
        httpx.Client(base_url=url) as http,
    ):
        log_in(http)
        http.get("/async/5")
        assert http.get("/status/403").status_code == 403
        http.get("/broken")
        assert len(http.get("/async-stream").content) == 15_000
        http.get("/shops/3/items/a")
        found = events(7)
    by_action = {event["action"]: event for event in found if event["action"] != "login"}
    assert by_action["get:/async/{number}"]["metadata"]["user"] == 1
    assert by_action["get:/status/{code}"]["result"] == "denied"
    assert by_action["get:/broken"]["metadata"]["error"] == "RuntimeError"
    assert by_action["get:/async-stream"]["result"] == "success"
    assert by_action["get:/shops/{shop_id}/items/{item_id}"]["reason"] == "asked"
    assert {event["actor_id"] for event in found} == {"1"}


def test_every_way_that_sends_a_signal_is_recorded() -> None:
    """The names that Django takes for one column, proxies of a model, and both sides of a relation."""
    command = [sys.executable, "-m", "tests.integrations.django_changes"]
    environment = child_environment(SEALSTREAM_BOOTSTRAP="127.0.0.1:1")
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert {event[1] for event in found} == {"invoice"}
    joined = {"tags": [5]}
    assert [(action, key, old or None, new) for action, _, key, old, new in found if action != "delete"] == [
        ("create", "1", None, {"id": 1, "cents": 1, "owner_id": None}),
        ("update", "1", {"owner_id": None}, {"owner_id": 5}),
        ("update.add", "1", None, joined),
        ("update.remove", "1", joined, None),
        ("update.add", "1", None, joined),
        ("update.clear", "1", joined, None),
        ("create", "2", None, {"id": 2, "cents": 2, "owner_id": None}),
        ("update", "1", {"cents": 1}, {"cents": 7}),
    ]
    assert [(action, key) for action, _, key, _, _ in found if action == "delete"] == [("delete", "1")]
