"""The webhook of kube-apiserver: what it posts becomes the events that an import of its log file makes."""

from __future__ import annotations

import gzip
import json
from typing import Any

from tests.collect.conftest import Collected, make_key
from tests.importers.test_sources import POD_EXEC, made

from sealstream.importers import IMPORTERS

PATH = "/v1/kubernetes/audit?timeout=30s"  # as client-go adds it


def event_list(*items: dict[str, Any]) -> str:
    """As kube-apiserver sends it: the items have neither kind nor apiVersion of their own."""
    bare = [{name: value for name, value in each.items() if name not in ("kind", "apiVersion")} for each in items]
    return json.dumps({"kind": "EventList", "apiVersion": "audit.k8s.io/v1", "metadata": {}, "items": bare})


def test_what_the_api_server_posts_is_what_an_import_makes(collected: Collected) -> None:
    node = {"username": "system:node:worker-1", "groups": ["system:nodes"]}
    document = event_list(
        POD_EXEC | {"stage": "RequestReceived"},
        POD_EXEC,
        POD_EXEC | {"auditID": "d0f8a7b4-0000-4000-8000-000000000001", "user": node, "verb": "get"},
        POD_EXEC | {"auditID": "", "verb": "get"},
    )
    first, again = (collected.post(document, path=PATH) for _ in range(2))
    assert first.status_code == 207, first.text
    assert first.json() == again.json()
    told = first.json()
    assert (told["accepted"], told["refused"], told["left_out"]) == (2, 1, 1)
    assert (told["refusals"][0]["line"], "auditID" in told["refusals"][0]["why"]) == (4, True)
    imported = [each for each in made(IMPORTERS["kubernetes"], document) if isinstance(each, dict)]
    assert [each["id"] for each in imported] == told["ids"]
    written = collected.written()
    for each in imported:
        one, other = written[each["id"]]
        assert one == other
        stamp = one["source"].pop("authenticated_as")
        assert stamp.endswith(" (any)")
        assert one == each


def test_lines_of_the_log_file_are_taken_as_well(collected: Collected) -> None:
    records = [POD_EXEC | {"auditID": f"line-{number}"} for number in range(3)]
    lines = "\n".join(json.dumps(each) for each in records)
    answer = collected.post(lines, path="/v1/kubernetes/audit", content_type="application/x-ndjson")
    assert (answer.status_code, answer.json()["accepted"]) == (202, 3)


def test_an_empty_list_and_stages_alone_are_well_received(collected: Collected) -> None:
    for document, left_out in ((event_list(), 0), (event_list(POD_EXEC | {"stage": "RequestReceived"}), 1)):
        answer = collected.post(document, path=PATH)
        assert answer.status_code == 202
        assert answer.json() == {"accepted": 0, "refused": 0, "left_out": left_out, "ids": [], "refusals": []}


def test_a_record_that_just_fits_an_event_fits_with_the_stamp(collected: Collected) -> None:
    for size in (60_000, 60_400, 60_500, 60_550, 60_600, 60_650, 60_700, 70_000):
        record = POD_EXEC | {"auditID": f"large-{size}", "requestObject": {"data": "x" * size}}
        answer = collected.post(event_list(record), path=PATH)
        assert answer.status_code == 202, (size, answer.text)
        written = collected.written()[answer.json()["ids"][0]][0]
        assert ("source" in written["metadata"]) != ("source_bytes" in written["metadata"])
        assert written["metadata"]["source_sha256"]


def test_who_may_claim_no_system_and_what_is_no_audit_log_is_told_so(collected: Collected) -> None:
    key = make_key(collected.pipeline, "people", "--actor-type", "user")
    node = POD_EXEC | {"user": {"username": "system:node:worker-1"}}
    answer = collected.post(event_list(node), key, PATH)
    assert (answer.status_code, answer.json()["refusals"][0]["field"]) == (422, "actor_type")
    for body in ("{", "7", '"text"', '{"items": 5}', "[null]", '{"kind": "EventList", "items": [7, [], {}]}'):
        answer = collected.post(body, path=PATH)
        assert (answer.status_code, answer.json()["type"]) == (422, "urn:sealstream:problem:refused"), body
    bomb = gzip.compress(b"[" + b" " * 60_000_000)
    for hostile, status in (
        ("", 422),
        ("[" * 50_000, 422),
        ('{"items":' * 9_000, 422),
        (b"\xff\xfe{", 422),
        (bomb, 400),
    ):
        assert collected.post(hostile, path=PATH).status_code == status, hostile[:10]
    packed = gzip.compress(event_list(POD_EXEC | {"auditID": "packed"}).encode())
    assert collected.post(packed, path=PATH, content_encoding="gzip").status_code == 202
    assert collected.post(event_list(*[POD_EXEC] * 1_001), path=PATH).status_code == 413
    assert collected.post(event_list(POD_EXEC), path=PATH.replace("30s", "<>")).status_code == 422
    assert collected.post(event_list(POD_EXEC), path="/v1/kubernetes/audit?chain=main").status_code == 422
