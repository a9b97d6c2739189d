"""The API as a program uses it: entries as they were sealed, errors as problems, each answer recorded before it."""

from __future__ import annotations

import csv
import io
import json
from typing import Any

import duckdb
import pytest
from tests.long_runs import long_run
from tests.pipeline import wait_until
from tests.web.conftest import EVENTS, Served

from sealstream.mappings import SCHEMAS, SchemaName, entry_of
from sealstream.sealing import entry_hash, open_checkpoint, split_sealed

pytestmark = long_run


def test_found_entries_are_the_sealed_bytes(served: Served) -> None:
    answer = served.get("/v1/search", q="actor:user-7 -result:denied", sort="seq")
    assert answer.status_code == 200
    page = answer.json()
    assert [entry["actor_id"] for entry in page["entries"]] == ["user-7"] * 6
    assert page["next"] is None
    assert page["damaged"] == []
    sealed = {json.loads(r.value or b"")["id"]: r.value for r in served.pipeline.records(served.pipeline.topics.chain)}
    for entry in page["entries"]:
        assert sealed[entry["id"]] in answer.content


def test_pages_are_disjoint_and_whole(served: Served) -> None:
    seen: list[int] = []
    after: dict[str, Any] = {}
    while True:
        page = served.get("/v1/search", q="kind:event", sort="timestamp", limit=7, **after).json()
        seen += [entry["written"]["seq"] for entry in page["entries"]]
        if page["next"] is None:
            break
        after = {"after": page["next"]}
    assert len(seen) == len(set(seen)) == EVENTS
    other = served.get("/v1/search", q="kind:event actor:user-1", sort="timestamp", **after)
    assert other.status_code == 422
    assert other.json()["type"].endswith("bad-cursor")


def test_one_entry_by_its_id_and_by_its_place(served: Served) -> None:
    name = served.pipeline.name
    by_id = served.get(f"/v1/entries/{served.pipeline.event_id(3)}")
    seq = by_id.json()["written"]["seq"]
    by_place = served.get(f"/v1/chains/{name}/entries/{seq}")
    assert by_id.content == by_place.content
    sealed = split_sealed(by_place.content)
    assert entry_hash(sealed.prev_hash, sealed.body) == sealed.hash
    for path in (f"/v1/chains/{name}/entries/999999", "/v1/entries/01932b7e-3f4a-7c1d-9e2b-5a6f7b8c9d0e"):
        missing = served.get(path)
        assert (missing.status_code, missing.json()["title"]) == (404, "Not Found")
        assert missing.headers["content-type"] == "application/problem+json"


def test_each_answer_is_recorded_before_it_with_its_rows(served: Served) -> None:
    answer = served.get("/v1/search", "reader", q="actor:user-3 result:failure", limit=2)
    read = served.reads("reader")[-1]
    assert read["metadata"] == {
        "what": "GET /v1/search",
        "store": "postgres",
        "phase": "whole",
        "query": "actor:user-3 result:failure",
        "rows": 2,
        "request_id": answer.headers["x-request-id"],
    }
    assert read["ip_address"] == "127.0.0.1"
    assert (read["actor_type"], read["resource_id"]) == ("service", served.pipeline.name)
    assert read["user_agent"].startswith("python-httpx")
    # And so it is an entry, to be found like any other.
    wait_until(
        lambda: any(
            entry["id"] == read["id"]
            for entry in served.get("/v1/search", q="action:log.read actor:reader").json()["entries"]
        ),
        30,
    )


def test_counts_answer_who_fails_too_often(served: Served) -> None:
    answer = served.get("/v1/counts", "reader", q="kind:event result:denied", by="actor", having=">2", sort="value")
    assert answer.json() == {
        "counts": [{"value": f"user-{n}", "entries": 3} for n in (0, 2, 4, 6, 8)],
        "remarks": [],
        "source": "postgres",
    }
    read = served.reads("reader")[-1]["metadata"]
    assert (read["query"], read["rows"]) == ("kind:event result:denied --count-by actor --having >2", 5)
    assert served.get("/v1/counts", by="actr").json()["errors"][0]["parameter"] == "by"


@pytest.mark.parametrize("sort", ["seq", "-timestamp"])
def test_an_export_is_whole_and_recorded_at_both_ends(served: Served, sort: str) -> None:
    answer = served.get("/v1/export", q="kind:event", sort=sort)
    assert answer.headers["content-type"] == "application/x-ndjson"
    lines = answer.content.splitlines()
    assert len(lines) == EVENTS
    assert all(split_sealed(line) for line in lines)
    wait_until(lambda: served.reads("auditor")[-1]["metadata"]["phase"] == "end", 10)
    begin, end = served.reads("auditor")[-2:]
    assert begin["metadata"]["request_id"] == end["metadata"]["request_id"] == answer.headers["x-request-id"]
    assert (end["metadata"]["begin_id"], end["metadata"]["rows"]) == (begin["id"], EVENTS)
    assert end["metadata"]["outcome"] == "complete"


@pytest.mark.parametrize("schema", SCHEMAS)
def test_exports_in_other_schemas_hold_the_entries(served: Served, schema: SchemaName) -> None:
    wanted = served.get("/v1/export", q="actor:user-5").content.splitlines()
    answer = served.get("/v1/export", q="actor:user-5", format=schema)
    assert answer.headers["content-type"] == "application/x-ndjson"
    assert answer.headers["content-disposition"].endswith(f'.{schema}.ndjson"')
    assert wanted
    assert [entry_of(schema, line) for line in answer.content.splitlines()] == wanted
    (chain,) = {json.loads(line)["written"]["chain"] for line in wanted}
    origin = served.get(f"/v1/chains/{chain}").json()["origin"]
    assert origin.encode() in answer.content


def test_exports_for_spreadsheets_and_for_duckdb(served: Served, tmp_path: Any) -> None:
    rows = list(csv.DictReader(io.StringIO(served.get("/v1/export", q="actor:user-5", format="csv").text)))
    assert {row["actor_id"] for row in rows} == {"user-5"}
    assert len(rows) == 6
    file = tmp_path / "found.parquet"
    file.write_bytes(served.get("/v1/export", q="kind:event", format="parquet").content)
    holds = "sha256('\\x00'::BLOB || prev_hash || body::BLOB) = lower(hex(hash))"
    query = f"SELECT count(*), count(*) FILTER ({holds}) FROM '{file}'"
    assert duckdb.connect().execute(query).fetchone() == (EVENTS, EVENTS)


def test_a_checkpoint_is_the_signed_note(served: Served) -> None:
    answer = served.get(f"/v1/chains/{served.pipeline.name}/checkpoint")
    assert answer.headers["content-type"].startswith("text/plain")
    assert open_checkpoint(answer.content, served.pipeline.chain.vkey).size > EVENTS


def test_chains_say_how_far_they_are(served: Served) -> None:
    (chain,) = served.get("/v1/chains").json()["chains"]
    assert (chain["name"], chain["vkey"]) == (served.pipeline.name, served.pipeline.chain.vkey)
    state = served.get(f"/v1/chains/{chain['name']}").json()
    assert state["sizes"]["sealed"] >= state["sizes"]["signed"] > EVENTS
    before = len(served.reads("auditor"))
    for _ in range(3):
        served.get("/v1/chains")
    assert len(served.reads("auditor")) == before  # a monitor does not fill the log


def test_a_verification_is_run_and_its_result_kept(served: Served) -> None:
    path = f"/v1/chains/{served.pipeline.name}/verification"
    with served.client() as client:
        assert client.post(path).status_code == 202
        assert client.post(path).status_code == 409
        wait_until(lambda: not client.get(path).json()["running"], 90)
        state = client.get(path).json()
    assert state["checkpoint"]["size"] > EVENTS
    assert {each["store"]: each["verdict"] for each in state["last"]["stores"]}["postgres"] == "holds"
    assert state["last"]["by"] == "auditor"


@pytest.mark.parametrize(
    ("path", "parameters", "status", "kind", "words"),
    [
        ("/v1/search", {"q": "actr:ann"}, 422, "bad-query", "did you mean actor"),
        ("/v1/search", {"q": "ip:10.0.0.300"}, 422, "bad-query", "no address"),
        ("/v1/search", {"limit": 0}, 422, "bad-parameter", "limit"),
        ("/v1/search", {"limit": 101}, 422, "bad-parameter", "at most 100"),
        ("/v1/search", {"after": "bm9uc2Vuc2U"}, 422, "bad-cursor", "expected one that a page"),
        ("/v1/search", {"sort": "id"}, 422, "bad-parameter", "sort"),
        ("/v1/search", {"query": "x"}, 422, "bad-parameter", "no such parameter"),
        ("/v1/search", {"q": "x" * 5_000}, 422, "bad-parameter", "4096"),
        ("/v1/search", {"q": ["a:b", "c:d"]}, 422, "bad-parameter", "twice"),
        ("/v1/search", {"q": "actor:a\0"}, 422, "bad-query", "no entry can hold"),
        ("/v1/entries/7", {}, 422, "bad-parameter", "id"),
        ("/v1/entries/7", {}, 422, "bad-parameter", "by its place an entry is at /v1/chains/{chain}/entries/{seq}"),
        ("/v1/counts", {"by": "actr"}, 422, "bad-parameter", "by: did you mean actor? expected actor, actor_type"),
        ("/v1/counts", {}, 422, "bad-parameter", "by: is missing: expected actor, actor_type"),
        ("/v1/counts", {"by": "actor", "having": "5"}, 422, "bad-parameter", "such as >5"),
        ("/v1/search", {"query": "x"}, 422, "bad-parameter", "did you mean q?"),
        ("/v1/chains/Main", {}, 422, "bad-parameter", "/v1/chains lists"),
        ("/v1/chains/main/entries/last", {}, 422, "bad-parameter", "seq: expected an entry's place"),
        ("/v1/chains/no-such/checkpoint", {}, 404, "no-such-chain", "no chain"),
        ("/v1/chains/no-such/checkpoint", {}, 404, "no-such-chain", "/v1/chains lists those that it may"),
        (
            "/v1/chains/no-such/entries/3",
            {},
            404,
            "no-such-entry",
            "there is no chain no-such that this token may read",
        ),
        ("/v1/entries/11111111-1111-4111-8111-111111111111", {}, 404, "no-such-entry", "/v1/search finds"),
        ("/v1/nothing", {}, 404, "not-found", "openapi.json"),
        ("/v1/serach", {}, 404, "not-found", "did you mean /v1/search?"),
        ("/v1/search/", {}, 404, "not-found", "did you mean /v1/search?"),
        ("/search", {}, 404, "not-found", "did you mean /v1/search?"),
        ("/v1/chain/main", {}, 404, "not-found", "did you mean /v1/chains/{chain}?"),
        ("/v1/chains/main/entries", {}, 404, "not-found", "did you mean /v1/chains/{chain}/entries/{seq}?"),
        ("/v1/chains/main/checkpoints", {}, 404, "not-found", "did you mean /v1/chains/{chain}/checkpoint?"),
        ("/" + "x" * 5_000, {}, 404, "not-found", "expected /v1/search, /v1/entries/{id}"),
        ("/", {}, 404, "not-found", "openapi.json"),
    ],
)
def test_every_error_is_a_problem_that_says_what_to_do(
    served: Served, path: str, parameters: dict[str, Any], status: int, kind: str, words: str
) -> None:
    answer = served.get(path, **parameters)
    problem = answer.json()
    assert answer.headers["content-type"] == "application/problem+json"
    assert (answer.status_code, problem["status"], problem["type"]) == (
        status,
        status,
        f"urn:sealstream:problem:{kind}",
    )
    assert words in problem["detail"]
    assert problem["instance"].endswith(answer.headers["x-request-id"])


def test_a_wrong_query_is_placed(served: Served) -> None:
    placed = served.get("/v1/search", q="actor:ann resutl:denied").json()["query"]
    assert (placed["start"], placed["end"], placed["nearest"]) == (10, 16, "result")


def test_a_method_that_a_path_has_not(served: Served) -> None:
    with served.client() as client:
        answer = client.delete("/v1/search")
    assert (answer.status_code, answer.headers["allow"]) == (405, "GET")
    assert answer.json()["detail"] == "DELETE is not a method of this path: expected GET"
    assert answer.json()["type"].endswith("method-not-allowed")


def test_a_slip_in_a_chains_name_is_told_and_an_entry_that_is_not_there_where_to_look(served: Served) -> None:
    name = served.pipeline.name
    for path in (f"/v1/chains/{name}x", f"/v1/chains/{name}x/entries/3", f"/v1/chains/{name}x/verification"):
        assert f"that this token may read: did you mean {name}? /v1/chains lists" in served.get(path).json()["detail"]
    missing = f"/v1/chains/{name}/entries/999999"
    assert f"is in postgres: /v1/chains/{name} says how many there are" in served.get(missing).json()["detail"]
    assert "is in postgres: /v1/search finds those that it may" in served.get(missing, "acme").json()["detail"]
    told = served.get(missing, source="archive").json()["detail"]
    assert "the archive ends with the last whole segment (source=auto asks Postgres, too)" in told
    assert served.get("/v1/nothing").headers["link"] == '</openapi.json>; rel="service-desc"'


def test_an_empty_answer_says_what_may_be_the_reason(served: Served) -> None:
    for path, more in (("/v1/search", {}), ("/v1/counts", {"by": "actor"})):
        (remark,) = served.get(path, q="action:read,write", **more).json()["remarks"]
        assert remark.endswith("for either of these write action:read action:write")
        (remark,) = served.get(path, q="chain:elsewhere", **more).json()["remarks"]
        assert remark == "q names no chain that this token may read: /v1/chains lists those that it may"
        assert served.get(path, q="actor:nobody", **more).json()["remarks"] == []


def test_browsers_are_told_to_keep_out(served: Served) -> None:
    for answer in (served.get("/v1/search"), served.get("/nothing"), served.get("/healthz", None)):
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["cache-control"] == "no-store"
        assert "default-src 'none'" in answer.headers["content-security-policy"]
        assert "server" not in answer.headers


def test_health_is_for_monitors_without_a_token(served: Served) -> None:
    assert served.get("/healthz", None).json() == {"status": "ok"}
    ready = served.get("/readyz", None)
    assert (ready.status_code, ready.json()["parts"]) == (200, {"kafka": "ok", "postgres": "ok", "tokens": "ok"})
