"""The collector over real HTTP, before a real Kafka: what is accepted is written once, and what is refused says why."""

from __future__ import annotations

import base64
import gzip
import json
import sys
import time
import uuid
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from msgspec.structs import replace
from tests.collect.conftest import Collected, make_key

from sealstream.collect import KeyFile
from sealstream.events import canonical_event, validate_event
from sealstream.sealing import (
    EventSigner,
    new_signing_key,
    parse_vkey,
    producer_key_name,
    signer,
    split_signature,
    verifies,
)

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd


def event(**more: Any) -> dict[str, Any]:
    fields = {
        "id": str(uuid.uuid4()),
        "timestamp": "2026-11-24T03:00:00Z",
        "actor_id": "user-1",
        "actor_type": "user",
        "action": "read",
        "resource_type": "patient_record",
        "resource_id": "patient-7",
        "result": "success",
    } | more
    return {name: value for name, value in fields.items() if value is not None}


def test_an_event_is_written_with_who_was_authenticated(collected: Collected) -> None:
    sent = event(source={"service": "billing"})
    answer = collected.post(json.dumps(sent))
    assert answer.status_code == 202, answer.text
    assert answer.json() == {"accepted": 1, "refused": 0, "ids": [sent["id"]], "refusals": []}
    [written] = collected.written()[sent["id"]]
    assert written["source"]["service"] == "billing"
    assert written["source"]["authenticated_as"].startswith("key ")
    assert written["source"]["authenticated_as"].endswith(" (any)")
    assert written["timestamp"] == "2026-11-24T03:00:00.000000Z"
    validate_event(json.dumps(written).encode())


def test_each_event_of_a_batch_has_a_verdict_of_its_own(collected: Collected) -> None:
    good = [event(), event()]
    lines = [
        json.dumps(good[0]),
        json.dumps(event(result="maybe")),
        "",
        '{"id": 1',
        json.dumps(good[1]),
        json.dumps(event(written={})),
    ]
    answer = collected.post("\n".join(lines), content_type="application/x-ndjson")
    assert answer.status_code == 207
    found = answer.json()
    assert found["ids"] == [each["id"] for each in good]
    assert [(each["line"], each["field"]) for each in found["refusals"]] == [(2, "result"), (4, ""), (6, "written")]
    assert "expected one of success, failure, denied" in found["refusals"][0]["why"]
    assert {each["id"] for each in good} <= collected.written().keys()

    answer = collected.post(json.dumps([event(result="maybe"), 7]))
    assert answer.status_code == 422
    assert answer.headers["content-type"] == "application/problem+json"
    assert [each["line"] for each in answer.json()["refusals"]] == [1, 2]


def test_a_name_that_occurs_twice_is_refused_in_an_array_too(collected: Collected) -> None:
    body = json.dumps([event()]).replace('"action"', '"action": "write", "action"')
    answer = collected.post(body)
    assert answer.status_code == 422
    assert "action" in answer.json()["refusals"][0]["why"]


def test_the_idempotency_key_makes_the_same_ids_again(collected: Collected) -> None:
    body = json.dumps([event(id=None), event(id=None)])
    refused = collected.post(body)
    assert refused.status_code == 422
    assert "Idempotency-Key" in refused.json()["detail"]
    first = collected.post(body, idempotency_key="batch-1").json()["ids"]
    assert collected.post(body, idempotency_key="batch-1").json()["ids"] == first
    assert collected.post(body, idempotency_key="batch-2").json()["ids"] != first
    assert len(set(first)) == 2
    for each in first:
        one, other = collected.written()[each]
        assert one == other


def test_a_key_claims_nothing_beyond_its_bounds(collected: Collected) -> None:
    mine = event()
    assert collected.post(json.dumps(mine), "acme").status_code == 202
    assert collected.written()[mine["id"]][0]["tenant"] == "acme"
    for claim, field in (
        ({"tenant": "umbrella"}, "tenant"),
        ({"actor_type": "admin"}, "actor_type"),
        ({"source": {"authenticated_as": "root"}}, "source.authenticated_as"),
    ):
        answer = collected.post(json.dumps(event(**claim)), "acme")
        assert answer.status_code == 422
        assert answer.json()["refusals"][0]["field"] == field


@pytest.mark.parametrize("how", ["plain", "cloudevent", "binary"])
def test_what_its_producer_has_signed_stays_as_it_was_signed(collected: Collected, how: str) -> None:
    signs = EventSigner(signer(new_signing_key(producer_key_name("shop", collected.pipeline.chain.origin))))
    mine = signs.signed(canonical_event(event(tenant="acme")))
    envelope = {"specversion": "1.0", "id": "1", "source": "/shop", "type": "sale"}
    if how == "cloudevent":
        whole = json.dumps({**envelope, "subject": "s", "data": json.loads(mine)})
        answer = collected.post(whole, "acme", content_type="application/cloudevents+json")
    else:
        headers = {f"ce_{name}": value for name, value in envelope.items()} if how == "binary" else {}
        answer = collected.post(mine, "acme", **headers)
    assert answer.status_code == 202, answer.text
    (written,) = collected.written()[json.loads(mine)["id"]]
    signature = split_signature(json.dumps(written, separators=(",", ":"), sort_keys=True).encode())
    assert written["source"]["authenticated_as"].startswith("key ")
    assert signature is not None
    assert verifies(parse_vkey(signs.vkey), signature)
    unnamed = signs.signed(canonical_event(event()))  # the key would give it a tenant, and spoil the signature
    refused = collected.post(unnamed, "acme")
    assert (refused.status_code, refused.json()["refusals"][0]["field"]) == (422, "tenant")
    assert collected.post(unnamed, "any").status_code == 202


def test_a_tenant_adds_to_no_stream_but_its_own(collected: Collected) -> None:
    others, own = event(producer_id="victim", producer_seq=7), event(producer_id="acme/mine", producer_seq=0)
    for each in (others, own):
        assert collected.post(json.dumps(each), "acme").status_code == 202
    assert collected.written()[others["id"]][0]["producer_id"] == "acme/victim"
    assert collected.written()[own["id"]][0]["producer_id"] == "acme/mine"
    signs = EventSigner(signer(new_signing_key(producer_key_name("shop", collected.pipeline.chain.origin))))
    forged = signs.signed(canonical_event(event(tenant="acme", producer_id="victim", producer_seq=7)))
    refused = collected.post(forged, "acme")
    assert (refused.status_code, refused.json()["refusals"][0]["field"]) == (422, "producer_id")


def test_who_has_no_key_is_told_so(collected: Collected) -> None:
    assert collected.post(json.dumps(event()), None).status_code == 401
    assert collected.post(json.dumps(event()), "slk_000000000000_" + "0" * 48).status_code == 401
    assert collected.post(json.dumps(event()), collected.keys["any"][:-1]).status_code == 401


def test_a_revoked_key_counts_no_longer_and_both_are_sealed(collected: Collected) -> None:
    key = make_key(collected.pipeline, "gone")
    assert collected.post(json.dumps(event()), key).status_code == 202
    said = collected.pipeline.command("collect", "keys", "revoke", "gone")
    assert said.code == 0, said.err
    assert collected.post(json.dumps(event()), key).status_code == 401
    told = [json.loads(record.value or b"") for record in collected.pipeline.records(collected.pipeline.topics.control)]
    about = [each for each in told if each.get("metadata", {}).get("name") == "gone"]
    assert [each["action"] for each in about] == ["apikey.created", "apikey.revoked"]
    assert key not in json.dumps(told)
    assert "gone" not in collected.pipeline.command("collect", "keys", "list").out


@pytest.mark.parametrize("encoding", ["gzip", "zstd"])
def test_packed_bodies_are_unpacked_and_bombs_are_not(collected: Collected, encoding: str) -> None:
    pack = gzip.compress if encoding == "gzip" else zstd.compress
    sent = event()
    packed = pack(json.dumps(sent).encode())
    assert collected.post(packed, content_encoding=encoding).status_code == 202
    assert sent["id"] in collected.written()
    assert collected.post(packed[:-4], content_encoding=encoding).status_code == 400
    assert collected.post(b"not packed", content_encoding=encoding).status_code == 400
    assert collected.post(packed, content_encoding="br").status_code == 415
    assert collected.post(b" " * 100_001).status_code == 413
    bomb = pack(b"[" + b" " * 60_000_000)
    assert len(bomb) < 100_000
    before = most_memory(collected)
    for _ in range(5):
        answer = collected.post(bomb, content_encoding=encoding)
        assert (answer.status_code, answer.json()["type"]) == (413, "urn:sealstream:problem:too-large")
    assert most_memory(collected) - before < 20_000_000


def most_memory(collected: Collected) -> int:
    """The most bytes that the collector has ever had resident."""
    told = Path(f"/proc/{collected.process.pid}/status").read_text()
    return int(told.split("VmHWM:")[1].split()[0]) * 1024


def test_bodies_that_are_none_are_problems(collected: Collected) -> None:
    for body, kind, status in (
        (b"", "application/json", 422),
        (b"[]", "application/json", 422),
        (b"\n\n", "application/x-ndjson", 422),
        (b"[1", "application/json", 400),
        (b"[" * 50_000, "application/json", 400),
        (b"[\xff]", "application/json", 400),
        (b"[" + b"1," * 2_000 + b"1]", "application/json", 413),
        (b"{}", "text/plain", 415),
    ):
        answer = collected.post(body, content_type=kind)
        assert answer.status_code == status, (body[:20], answer.text[:300])
        assert answer.headers["content-type"] == "application/problem+json"
    assert collected.post(json.dumps(event()), path="/v1/events?chain=main").status_code == 422
    assert collected.post(json.dumps(event()), path="/v1/event").status_code == 404
    assert httpx.get(collected.url + "/v1/events").status_code == 405


def test_an_expired_key_counts_no_longer(collected: Collected) -> None:
    key = make_key(collected.pipeline, "brief", "--expires", "12h")
    assert collected.post(json.dumps(event()), key).status_code == 202
    soon = datetime.now(UTC) + timedelta(seconds=1.5)
    file = KeyFile(collected.pipeline.folder / "collect-keys.json")
    file.change(lambda keys: [replace(each, expires_at=soon) if each.name == "brief" else each for each in keys])
    assert collected.post(json.dumps(event()), key).status_code == 202
    time.sleep(1.6)
    answer = collected.post(json.dumps(event()), key)
    assert (answer.status_code, "expired" in answer.json()["detail"]) == (401, True)


@pytest.mark.parametrize("batched", [False, True])
def test_cloudevents_are_events(collected: Collected, batched: bool) -> None:
    held = event(id=None, timestamp=None, action=None, resource_id=None)
    envelope = {
        "specversion": "1.0",
        "id": f"order-{batched}",
        "source": "/shop",
        "type": "order.cancel",
        "subject": "order-7",
        "time": "2026-11-24T03:00:00.123456789Z",
        "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        "data": held,
    }
    kind = "application/cloudevents-batch+json" if batched else "application/cloudevents+json"
    body = json.dumps([envelope] if batched else envelope)
    first, second = (collected.post(body, content_type=kind) for _ in range(2))
    assert first.status_code == 202, first.text
    assert first.json() == second.json()
    written = collected.written()[first.json()["ids"][0]][0]
    assert written["timestamp"] == "2026-11-24T03:00:00.123456Z"
    assert (written["action"], written["resource_id"]) == ("order.cancel", "order-7")
    assert written["trace_id"] == "0af7651916cd43dd8448eb211c80319c"
    assert written["source"]["service"] == "/shop"


def test_a_cloudevents_data_may_stand_in_base64(collected: Collected) -> None:
    held, kind = event(id=None), "application/cloudevents+json"
    envelope = {"specversion": "1.0", "id": "order-bytes", "source": "/shop", "type": "order.cancel"}
    packed = base64.b64encode(json.dumps(held).encode()).decode()
    answers = [
        collected.post(json.dumps({**envelope, **data}), content_type=kind)
        for data in ({"data": held}, {"data_base64": packed})
    ]
    assert [each.status_code for each in answers] == [202, 202]
    one, other = collected.written()[answers[0].json()["ids"][0]]
    assert one == other
    for wrong in ("e30", "é", 7, base64.b64encode(b"[]").decode(), base64.b64encode(b"\xff\x00").decode()):
        assert collected.post(json.dumps({**envelope, "data_base64": wrong}), content_type=kind).status_code == 422


def test_a_cloudevent_in_binary_mode_is_the_same_event(collected: Collected) -> None:
    held = event(id=None, timestamp=None, action=None, resource_id=None)
    attributes = {
        "specversion": "1.0",
        "id": "order-binary",
        "source": "/shop/größe",
        "type": "order.cancel",
        "subject": "order-7",
        "time": "2026-11-24T03:00:00Z",
    }
    whole = json.dumps({**attributes, "data": held})
    structured = collected.post(whole, content_type="application/cloudevents+json")
    headers = {f"ce_{name}": quote(value, safe="/:") for name, value in attributes.items()}
    binary = collected.post(json.dumps(held), **headers)
    assert binary.status_code == 202, binary.text
    assert binary.json() == structured.json()
    one, other = collected.written()[binary.json()["ids"][0]]
    assert one == other
    assert one["source"]["service"] == "/shop/größe"
    refused = collected.post(json.dumps(held), ce_specversion="1.0", ce_id="1", ce_source="/shop")
    assert (refused.status_code, refused.json()["refusals"][0]["field"]) == (422, "type")


def test_it_says_whether_it_is_ready_and_what_it_takes(collected: Collected) -> None:
    assert httpx.get(collected.url + "/readyz").json() == {"status": "ok", "parts": {"kafka": "ok", "keys": "ok"}}
    document = httpx.get(collected.url + "/openapi.json").json()
    assert set(document["paths"]) == {"/v1/events", "/v1/logs", "/v1/kubernetes/audit", "/healthz", "/readyz"}
