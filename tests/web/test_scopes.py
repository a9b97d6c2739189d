"""What a token may see, tried by somebody who wants more: other chains, other tenants, other roles, other tokens."""

from __future__ import annotations

import csv
import io
import json
import threading
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from msgspec.structs import replace
from tests.long_runs import long_run
from tests.web.conftest import EVENTS, Served, make_token

from sealstream.errors import Misconfigured
from sealstream.web import Token, TokenFile, new_token
from sealstream.web.searching import remarks_for

pytestmark = long_run


def found(answer: httpx.Response) -> list[dict[str, Any]]:
    assert answer.status_code == 200, answer.text
    entries: list[dict[str, Any]] = answer.json()["entries"]
    return entries


@pytest.mark.parametrize(
    "query",
    [
        "",
        "tenant:umbrella",
        "tenant:acme tenant:umbrella",
        "tenant:*",
        "-tenant:acme",
        'tenant:"acme" tenant:umbrella* kind:event',
        "kind:log",
        "kind:control",
        "actor:user-1 -tenant:acme*",
        "metadata.tenant:umbrella",
    ],
)
def test_no_query_widens_a_tenants_token(served: Served, query: str) -> None:
    for sort in ("seq", "-timestamp"):
        assert {entry["tenant"] for entry in found(served.get("/v1/search", "acme", q=query, sort=sort))} <= {"acme"}
    lines = served.get("/v1/export", "acme", q=query).content.splitlines()
    assert {json.loads(line)["tenant"] for line in lines} <= {"acme"}
    rows = csv.DictReader(io.StringIO(served.get("/v1/export", "acme", q=query, format="csv").text))
    assert {row["tenant"] for row in rows} <= {"acme"}


def test_a_tenants_token_counts_the_tenants_own_alone(served: Served) -> None:
    def counted(**more: str) -> list[dict[str, Any]]:
        counts: list[dict[str, Any]] = served.get("/v1/counts", "acme", **more).json()["counts"]
        return counts

    assert counted(q="kind:event", by="tenant") == [{"value": "acme", "entries": EVENTS // 2}]
    assert counted(q="tenant:umbrella", by="actor") == []
    assert sum(each["entries"] for each in counted(q="kind:event tenant:umbrella tenant:acme", by="day")) == EVENTS // 2


def test_a_tenants_token_sees_all_that_is_the_tenants_own(served: Served) -> None:
    entries = found(served.get("/v1/search", "acme", q="kind:event", limit=100))
    assert len(entries) == EVENTS // 2


def test_a_cursor_of_another_token_gives_nothing_of_its_entries(served: Served) -> None:
    page = served.get("/v1/search", "auditor", q="kind:event", sort="seq", limit=5).json()
    behind = found(served.get("/v1/search", "acme", q="kind:event", sort="seq", limit=100, after=page["next"]))
    assert {entry["tenant"] for entry in behind} == {"acme"}
    last = page["entries"][-1]["written"]["seq"]
    assert min(entry["written"]["seq"] for entry in behind) > last


def test_another_tenants_entry_is_as_one_that_is_not_there(served: Served) -> None:
    name, theirs = served.pipeline.name, served.pipeline.event_id(1)
    seq = served.get(f"/v1/entries/{theirs}").json()["written"]["seq"]
    by_id = served.get(f"/v1/entries/{theirs}", "acme")
    none = served.get("/v1/entries/01932b7e-3f4a-7c1d-9e2b-5a6f7b8c9d0e", "acme")
    by_place = served.get(f"/v1/chains/{name}/entries/{seq}", "acme")
    assert by_id.status_code == by_place.status_code == none.status_code == 404
    assert by_id.json()["detail"].replace(theirs, "") == none.json()["detail"].replace(
        "01932b7e-3f4a-7c1d-9e2b-5a6f7b8c9d0e", ""
    )
    assert served.get(f"/v1/entries/{served.pipeline.event_id(0)}", "acme").status_code == 200
    assert served.get("/v1/chains/" + name, "acme").json()["sizes"] is None


def test_a_tenant_sees_who_read_its_entries_with_its_own_tokens(served: Served) -> None:
    request = served.get("/v1/search", "acme", q="actor:user-2").headers["x-request-id"]
    assert request in [read["metadata"]["request_id"] for read in served.reads("acme")]
    assert {read["tenant"] for read in served.reads("acme")} == {"acme"}
    assert all("tenant" not in read for read in served.reads("auditor"))


def test_a_role_is_held_to_and_the_attempt_is_recorded(served: Served) -> None:
    name = served.pipeline.name
    refused = served.get("/v1/export", "reader", q="actor:ann")
    assert (refused.status_code, refused.json()["type"]) == (403, "urn:sealstream:problem:forbidden")
    assert "expected an exporter" in refused.json()["detail"]
    attempt = served.reads("reader")[-1]
    assert (attempt["result"], attempt["metadata"]["what"]) == ("denied", "GET /v1/export")
    assert "actor" in attempt["metadata"]["query"]
    with served.client("acme") as client:
        assert client.post(f"/v1/chains/{name}/verification").status_code == 403


def test_another_chain_is_as_one_that_is_not_there(served: Served) -> None:
    elsewhere = "elsewhere"
    file = TokenFile(served.pipeline.folder / "tokens.json")
    made = make_token(served.pipeline, "elsewhere", "--chain", "*", "--role", "auditor")
    file.change(lambda tokens: [_only(token, elsewhere) if token.name == elsewhere else token for token in tokens])
    served.tokens["elsewhere"] = made
    name, event = served.pipeline.name, served.pipeline.event_id(3)
    assert found(served.get("/v1/search", elsewhere)) == []
    assert found(served.get("/v1/search", elsewhere, q=f"chain:{name}")) == []
    assert served.get("/v1/export", elsewhere, q=f"chain:{name}").content == b""
    assert served.get("/v1/chains", elsewhere).json() == {"chains": []}
    for path in (
        f"/v1/entries/{event}",
        f"/v1/chains/{name}",
        f"/v1/chains/{name}/entries/3",
        f"/v1/chains/{name}/checkpoint",
        f"/v1/chains/{name}/verification",
    ):
        assert served.get(path, elsewhere).status_code == 404, path
    assert served.reads("elsewhere") == []  # it may read no chain that there is, so none could record what it tried


def _only(token: Any, chain: str) -> Any:
    return replace(token, chains=(chain,))


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        "Bearer",
        "Bearer slt_",
        "Bearer slt_000000000000_" + "0" * 48,
        "Basic c2x0Xzo=",
        "Bearer " + "x" * 5_000,
        "Bearer slt_é",
    ],
)
def test_without_a_right_token_there_is_nothing(served: Served, header: str | None) -> None:
    headers = {} if header is None else {"authorization": header.encode()}
    answer = httpx.get(f"{served.url}/v1/search", headers=headers)
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"].startswith("Bearer")
    assert answer.json()["type"].endswith("unauthorized")


def test_a_token_with_another_secret_is_refused(served: Served) -> None:
    right = served.tokens["reader"]
    for wrong in (right[:-1] + ("0" if right[-1] != "0" else "1"), right + "0", right[:-1], right.upper()):
        assert httpx.get(f"{served.url}/v1/chains", headers={"authorization": f"Bearer {wrong}"}).status_code == 401


def test_a_revoked_token_counts_no_longer_at_once_and_both_are_sealed(served: Served) -> None:
    pipeline = served.pipeline
    served.tokens["brief"] = make_token(pipeline, "brief", "--chain", pipeline.name, "--expires", "2w")
    assert served.get("/v1/chains", "brief").status_code == 200
    for _ in range(2):  # a second time changes nothing
        said = pipeline.command("tokens", "revoke", "brief")
        assert (said.code, "is revoked" in said.out) == (0, True), said.err
        assert served.get("/v1/chains", "brief").status_code == 401
    values = [json.loads(record.value or b"") for record in pipeline.records(pipeline.topics.control)]
    told = [value for value in values if value["resource_type"] == "token" and value["metadata"]["name"] == "brief"]
    assert [value["action"] for value in told] == ["token.created", "token.revoked", "token.revoked"]
    assert told[1]["id"] == told[2]["id"]
    assert told[0]["metadata"]["role"] == "reader"
    assert served.tokens["brief"] not in json.dumps(values)
    listed = pipeline.command("tokens", "list", "--all", "--json")
    state = next(each for each in json.loads(listed.out) if each["name"] == "brief")
    assert (state["state"], "sha256" in state) == ("revoked", False)
    assert served.tokens["brief"].rpartition("_")[2] not in (pipeline.folder / "tokens.json").read_text()


def test_an_expired_token_counts_no_longer(served: Served) -> None:
    served.tokens["old"] = make_token(served.pipeline, "old", "--chain", served.pipeline.name, "--expires", "1h")
    past = datetime.now(UTC) - timedelta(seconds=1)
    TokenFile(served.pipeline.folder / "tokens.json").change(
        lambda tokens: [replace(token, expires_at=past) if token.name == "old" else token for token in tokens]
    )
    assert served.get("/v1/chains", "old").status_code == 401
    assert "expired" in served.pipeline.command("tokens", "list", "--all").out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["reader", "--chain", "*"], "exists"),
        (["a b", "--chain", "*"], "token name"),
        (["x", "--chain", "no-such"], "not in the settings"),
        (["x", "--chain", "*", "--expires", "soon"], "expected 12h"),
        (["x", "--chain", "*", "--tenant", ""], "1 to 128"),
    ],
)
def test_a_token_that_would_be_wrong_is_not_made(served: Served, arguments: list[str], words: str) -> None:
    said = served.pipeline.command("tokens", "create", *arguments)
    assert (said.code, said.out) == (2, "")
    assert words in said.err


def test_a_file_that_others_may_write_is_not_trusted(served: Served, tmp_path: Any) -> None:
    copied = tmp_path / "tokens.json"
    copied.write_bytes((served.pipeline.folder / "tokens.json").read_bytes())
    copied.chmod(0o620)
    with pytest.raises(Misconfigured, match="may be written by others"):
        TokenFile(copied).tokens()


def test_many_who_change_tokens_at_once_lose_none(tmp_path: Any) -> None:
    def add(number: int) -> None:
        token_id, _, digest = new_token()
        token = Token(
            id=token_id,
            name=f"n{number}",
            sha256=digest,
            role="reader",
            chains=("*",),
            created_at=datetime.now(UTC),
            created_by="ann@here",
        )
        TokenFile(tmp_path / "tokens.json").change(lambda tokens: [*tokens, token])

    threads = [threading.Thread(target=add, args=(number,)) for number in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(TokenFile(tmp_path / "tokens.json").tokens()) == 12
    assert (tmp_path / "tokens.json").stat().st_mode & 0o777 == 0o600


def test_what_a_source_remarks_of_other_chains_is_not_told() -> None:
    who = SimpleNamespace(chains=lambda: ["main"])
    source = SimpleNamespace(remarks=["chain main: the archive lacks entry 7", "chain main-2: passed over"])
    assert remarks_for(who, source) == ["chain main: the archive lacks entry 7"]  # type: ignore[arg-type]
