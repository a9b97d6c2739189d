"""What a caller who wants more than is given can't do: learn of others, take all the room, or go on when told to stop.

The application within this process, its stores and its log of accesses played, so that each can be slow or away.
"""

from __future__ import annotations

import asyncio
import json
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn
from msgspec.structs import replace
from structlog.testing import capture_logs
from tests.pipeline import wait_until

from sealstream.access import Access, NotRecorded, Reader, Streamed
from sealstream.access.statements import read_statement
from sealstream.search import Page, Query, Stores
from sealstream.web import ServeSection, Token, TokenFile, exporting, new_token
from sealstream.web.app import create_app
from sealstream.web.problems import Problem
from sealstream.web.service import ServedChain, Service
from sealstream.web.sources import Sources
from sealstream.web.verifying import Verifications

ID = "019363f0-7c1e-7000-8000-0123456789ab"


class PlayedAccess:
    """An access log that keeps what it was told, or is away."""

    def __init__(self) -> None:
        self.away = False
        self.said: list[tuple[Access, str, dict[str, Any]]] = []
        self.ends: list[bool] = []

    def record(self, reader: Reader, access: Access, rows: int, *, result: str = "success", facts: Any = None) -> str:
        if self.away:
            raise NotRecorded("Kafka is away")
        at = "2026-11-24T03:00:00.000000Z"
        read_statement(reader, access, id=ID, timestamp=at, phase="whole", facts={"rows": rows}, result=result)
        self.said.append((access, result, {"ip": reader.ip_address, **(facts or {})}))
        return ID

    def begin(self, reader: Reader, access: Access) -> Streamed:
        return Streamed(ID)

    def end(self, reader: Reader, access: Access, stream: Streamed, *, complete: bool) -> None:
        self.ends.append(complete)

    def close(self) -> None:
        pass


class PlayedSource:
    """A store that answers when `may_answer` is set, and whose stream never ends."""

    name = "postgres"
    remarks = ()

    def __init__(self) -> None:
        self.may_answer = threading.Event()
        self.may_answer.set()
        self.asked = 0

    @contextmanager
    def opened(self, name: str, query: Any) -> Iterator[PlayedSource]:
        yield self

    def page(self, query: Any, **_: Any) -> Page:
        self.asked += 1
        assert self.may_answer.wait(30)
        return Page([], None)

    def stream(self, query: Any, **_: Any) -> Iterator[list[Any]]:
        while True:
            time.sleep(0.01)
            yield []

    def close(self) -> None:
        pass


class Played:
    """The service and its tokens."""

    def __init__(self, folder: Path, **settings: Any) -> None:
        self.access, self.source = PlayedAccess(), PlayedSource()
        self.tokens = TokenFile(folder / "tokens.json")
        self.report: list[Any] = []
        self.ready: Callable[[], dict[str, str]] = lambda: {"kafka": "ok"}
        service = Service(
            settings=ServeSection(**settings),
            chains={name: ServedChain(name, f"o/{name}", "vk", "hipaa") for name in ("main", "secret")},
            kafka=None,  # type: ignore[arg-type]
            prefix="audit",
            sources=self.source,  # type: ignore[arg-type]
            access=self.access,  # type: ignore[arg-type]
            tokens=self.tokens,
            verifications=Verifications(folder / "verifications", lambda _chain: self._verify()),
            progress=lambda _chain: {"sealed": 1, "signed": 1, "postgres": 1, "archive": 1, "troubles": []},
            ready=lambda: self.ready(),
        )
        self.service = service
        self.app = create_app(service)

    def _verify(self) -> list[str]:
        program = (
            f"import json, sys\nfor each in {self.report!r}: print(json.dumps(each))\n"
            "print('Traceback /srv/inside.py', file=sys.stderr)\nraise SystemExit(2)"
        )
        return [sys.executable, "-c", program]

    def token(self, name: str, **bounds: Any) -> str:
        token_id, token, digest = new_token()
        bounds = {"role": "auditor", "chains": ("main",)} | bounds
        made = Token(id=token_id, name=name, sha256=digest, created_at=datetime.now(UTC), created_by="x", **bounds)
        self.tokens.change(lambda tokens: [*tokens, made])
        return token

    def client(self, token: str | None, host: str = "127.0.0.1") -> Asking:
        return Asking(self.app, {} if token is None else {"authorization": f"Bearer {token}"}, host)


class Asking:
    """Somebody at an address who asks without a network between."""

    def __init__(self, app: Any, headers: dict[str, str], host: str) -> None:
        self._app, self._headers, self._host = app, headers, host

    def get(self, path: str, **more: Any) -> httpx.Response:
        return asyncio.run(self._ask("GET", path, **more))

    def post(self, path: str) -> httpx.Response:
        return asyncio.run(self._ask("POST", path))

    async def _ask(self, method: str, path: str, **more: Any) -> httpx.Response:
        transport = httpx.ASGITransport(self._app, client=(self._host, 5_000))
        async with httpx.AsyncClient(transport=transport, base_url="http://here", headers=self._headers) as client:
            return await client.request(method, path, **more)


@pytest.fixture
def played(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Played:
    monkeypatch.setattr("sealstream.web.chains._newest", lambda _who, _chain: None)
    return Played(tmp_path)


@contextmanager
def listening(played: Played) -> Iterator[str]:
    """The service on a port, with its event loop and its worker threads."""
    server = uvicorn.Server(uvicorn.Config(played.app, port=0, log_level="critical", http="h11", ws="none"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    wait_until(lambda: server.started, 20)
    try:
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(20)


def test_a_verification_tells_no_insides_and_a_tenant_no_more_than_whether_all_holds(played: Played) -> None:
    played.report = [
        {"store": "postgres", "verdict": "could not verify", "exit_code": 2, "error": "db-7.internal refused"},
        {"store": "kafka", "verdict": "holds", "exit_code": 0, "entries": 4711, "notes": ["producer umbrella-1"]},
    ]
    with capture_logs() as logs:
        played.service.verifications.start("main", "auditor-bob")
        wait_until(lambda: not played.service.verifications.running("main"), 20)
    for inside in ("db-7.internal", "/srv/inside.py"):
        assert inside in str([each for each in logs if each["log_level"] == "warning"])
    path = "/v1/chains/main/verification"
    whole = played.client(played.token("ann")).get(path).json()["last"]
    assert "inside" not in json.dumps(whole)
    assert "db-7" not in json.dumps(whole)
    assert (whole["verdict"], whole["exit_code"], whole["by"]) == ("could not verify", 2, "auditor-bob")
    assert whole["trouble"] == whole["stores"][0]["error"] == "the service's log says more"
    assert whole["stores"][1] | {"error": "", "entries": 4711, "notes": ["producer umbrella-1"]} == whole["stores"][1]
    told = played.client(played.token("acme", tenant="acme")).get(path).json()["last"]
    assert {name: value for name, value in told.items() if value is not None} == {
        name: whole[name] for name in ("verdict", "exit_code", "started_at", "finished_at")
    }


def test_that_another_chain_is_being_verified_is_not_told_by_name(played: Played) -> None:
    played.service.verifications._running = ("secret", None)  # type: ignore[assignment]
    refused = played.client(played.token("ann")).post("/v1/chains/main/verification")
    assert refused.status_code == 409
    assert "secret" not in refused.text


def test_one_token_holds_some_of_the_service_and_no_more(played: Played) -> None:
    mine, other = played.client(played.token("slow")), played.client(played.token("other"))
    most = played.service.settings.requests_at_once
    played.source.may_answer.clear()
    with ThreadPoolExecutor(most) as pool:
        waiting = [pool.submit(mine.get, "/v1/search") for _ in range(most)]
        wait_until(lambda: played.source.asked == most, 20)
        refused = mine.get("/v1/search")
        assert (refused.status_code, refused.json()["type"]) == (429, "urn:sealstream:problem:too-many-at-once")
        assert refused.headers["retry-after"] == "1"
        assert other.get("/v1/chains").status_code == 200
        played.source.may_answer.set()
        assert {each.result().status_code for each in waiting} == {200}
    assert mine.get("/v1/search").status_code == 200
    assert mine.get("/v1/search", params={"nonsense": 1}).status_code == 422
    assert [mine.get("/v1/chains/secret").status_code for _ in range(most + 1)] == [404] * (most + 1)


def test_no_more_sessions_of_postgres_are_used_than_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sealstream.web.sources._PATIENCE_S", 0.01)
    sources = Sources(Stores("postgresql://nobody@127.0.0.1:1/none", None, 1.0), ["main"], most=1)
    with sources.opened("postgres", Query()):
        with pytest.raises(Problem) as refused, sources.opened("auto", Query()):
            pass
        assert (refused.value.status, refused.value.kind) == (503, "too-many-at-once")
    with sources.opened("postgres", Query()):
        pass
    sources.close()


def test_readyz_takes_nobodys_room_and_looks_once(played: Played, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sealstream.web.health._GOOD_FOR_S", 60.0)
    looks, may_end = [], threading.Event()

    def ready() -> dict[str, str]:
        looks.append(1)
        assert may_end.wait(30)
        return {"kafka": "does not answer"}

    played.ready = ready
    token = played.token("ann")
    with listening(played) as url, httpx.Client(base_url=url, timeout=60) as client, ThreadPoolExecutor(60) as pool:
        try:
            asking = [pool.submit(client.get, "/readyz") for _ in range(60)]
            wait_until(lambda: bool(looks), 20)
            answer = client.get("/v1/chains", headers={"authorization": f"Bearer {token}"}, timeout=5)
        finally:
            may_end.set()
        assert answer.status_code == 200
        assert {each.result().status_code for each in asking} == {503}
        assert client.get("/readyz").json()["parts"] == {"kafka": "does not answer"}
        assert len(looks) == 1


@pytest.mark.parametrize("change", [{"revoked_at": datetime.now(UTC)}, {"tenant": "acme"}])
def test_an_export_ends_with_its_token(played: Played, monkeypatch: pytest.MonkeyPatch, change: dict[str, Any]) -> None:
    monkeypatch.setattr(exporting, "_LOOK_AGAIN_S", 0.05, raising=False)
    headers = {"authorization": f"Bearer {played.token('ann')}"}
    with listening(played) as url:
        with httpx.stream("GET", f"{url}/v1/export", headers=headers, timeout=3) as answer:
            assert answer.status_code == 200
            time.sleep(0.2)
            assert not played.access.ends  # while the token counts it flows
            played.tokens.change(lambda tokens: [replace(token, **change) for token in tokens])
            with pytest.raises(httpx.RemoteProtocolError):
                answer.read()
        assert played.access.ends == [False]


def test_another_chain_is_as_one_that_is_not_there_also_while_kafka_is_away(played: Played) -> None:
    ann = played.client(played.token("ann"))
    for away in (False, True):
        played.access.away = away
        answers = [ann.get(f"/v1/chains/{name}") for name in ("secret", "nowhere")]
        assert "secret" not in answers[1].text
        assert [answer.status_code for answer in answers] == [404, 404]
        told = [
            answer.json()["detail"].replace(name, "")
            for answer, name in zip(answers, ("secret", "nowhere"), strict=True)
        ]
        assert told[0] == told[1]
    assert [(access.chain, access.query, result) for access, result, _ in played.access.said] == [
        ("main", "chain:secret", "denied"),
        ("main", "chain:nowhere", "denied"),
    ]
    stranger = played.client(played.token("stranger", chains=("elsewhere",)))
    played.access.away = False
    assert stranger.get("/v1/chains/secret").status_code == 404
    assert len(played.access.said) == 2


@pytest.mark.parametrize(
    ("host", "recorded"),
    [("fe80::1%eth0", "fe80::1"), ("fe80::2%3", "fe80::2"), ("10.0.0.7", "10.0.0.7"), ("", None), ("unknown", None)],
)
def test_whoever_asks_is_answered_and_recorded_by_an_address_without_its_zone(
    played: Played, host: str, recorded: str | None
) -> None:
    assert played.client(played.token("ann"), host).get("/v1/chains").status_code == 200
    assert [facts["ip"] for _, _, facts in played.access.said] == [recorded]


@pytest.mark.parametrize("path", ["/v1/chains/", "/v1/search/", "/healthz/", "/v1/chains/main/"])
def test_a_slash_too_many_is_nothing_and_leads_nowhere(played: Played, path: str) -> None:
    answer = played.client(None).get(path, headers={"host": "evil.example"})
    assert (answer.status_code, answer.headers["content-type"]) == (404, "application/problem+json")
    assert answer.json()["type"] == "urn:sealstream:problem:not-found"
    assert "location" not in answer.headers
