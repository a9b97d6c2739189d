"""The middleware on a real server: one event a request, whatever the request, the handler or the log do."""

from __future__ import annotations

import asyncio
import logging
import socket
import time
from collections.abc import AsyncIterator, Callable
from typing import Annotated, Any
from urllib.parse import urlsplit

import httpx
import pytest
from fastapi import APIRouter, BackgroundTasks, Depends, FastAPI, HTTPException, Request
from fastapi.responses import StreamingResponse
from starlette.applications import Starlette
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.responses import PlainTextResponse
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from tests.long_runs import long_run

from sealstream.client import AuditClient
from sealstream.errors import Misconfigured
from sealstream.integrations.asgi import Actor, AuditMiddleware, describe, emitted_already
from sealstream.integrations.proxies import TrustedProxies

pytestmark = long_run

Events = Callable[[int], list[dict[str, Any]]]
Serve = Callable[..., str]


def application(audit: AuditClient, **options: Any) -> FastAPI:
    app = FastAPI()
    app.add_middleware(AuditMiddleware, client=audit, **options)
    return app


def logged_in() -> None:
    """A plain function as a dependency: FastAPI runs it in a worker thread, on a copy of the context."""
    describe(actor_id="user-123", actor_type="admin", tenant="north", session_id="s-1", on_behalf_of="user-9")


def test_results_follow_the_status(audit: AuditClient, events: Events, serve: Serve) -> None:
    app = application(audit)

    @app.get("/status/{code}")
    def answer(code: int) -> PlainTextResponse:
        return PlainTextResponse("", status_code=code)

    url = serve(app)
    codes = {200: "success", 204: "success", 304: "success", 399: "success", 400: "failure", 401: "denied"}
    codes |= {402: "failure", 403: "denied", 404: "failure", 422: "failure", 500: "failure", 503: "failure"}
    for code in codes:
        assert httpx.get(f"{url}/status/{code}").status_code == code
    found = events(len(codes))
    assert {event["metadata"]["http_status"]: event["result"] for event in found} == codes
    for event in found:
        assert event["action"] == "get:/status/{code}"
        assert (event["resource_type"], event["resource_id"]) == ("code", str(event["metadata"]["http_status"]))
        assert (event["actor_id"], event["actor_type"]) == ("anonymous", "anonymous")
        assert event["ip_address"] == "127.0.0.1"
        assert event["user_agent"].startswith("python-httpx/")
        assert 0 <= event["metadata"]["duration_ms"] < 10_000


def test_actions_are_route_templates_whatever_routers_and_mounts_surround_them(
    audit: AuditClient, events: Events, serve: Serve, tmp_path: Any
) -> None:
    app = application(audit)
    outer, inner, bare = APIRouter(prefix="/tenants/{tenant_id}"), APIRouter(prefix="/files"), APIRouter(prefix="/bare")

    @inner.get("/{number}/{rest:path}")
    def read(tenant_id: str, number: int, rest: str) -> None: ...

    @bare.get("")
    def nothing() -> None: ...

    async def page(_request: Any) -> PlainTextResponse:
        return PlainTextResponse("")

    outer.include_router(inner)
    app.include_router(outer, prefix="/api")
    app.include_router(bare)
    app.mount(
        "/mounted/{key}",
        Starlette(routes=[Route("/pages/{page:int}", page), Mount("/deep", routes=[Route("/x", page)])]),
    )
    app.mount("/static", StaticFiles(directory=tmp_path))
    (tmp_path / "a.css").write_text("")
    url = serve(app)
    for path in (
        "/api/tenants/api/files/007/x/y/z",
        "/bare",
        "/mounted/k/pages/5",
        "/mounted/k/deep/x",
        "/static/a.css",
    ):
        assert httpx.get(url + path).status_code == 200, path
    assert httpx.post(f"{url}/bare").status_code == 405
    for number in range(5):
        assert httpx.get(f"{url}/nothing/{number}/here").status_code == 404
    assert httpx.get(f"{url}/api/tenants/t/files/x/y").status_code == 422
    found = events(12)
    assert [event["action"] for event in found[:4]] == [
        "get:/api/tenants/{tenant_id}/files/{number}/{rest}",
        "get:/bare",
        "get:/mounted/{key}/pages/{page}",
        "get:/mounted/{key}/deep/x",
    ]
    assert found[0]["resource_type"] == "rest"
    assert found[0]["resource_id"] == "x/y/z"
    assert found[0]["metadata"]["path_params"] == {"tenant_id": "api", "number": "007", "rest": "x/y/z"}
    assert (found[1]["resource_type"], found[1]["resource_id"]) == ("api_endpoint", "/bare")
    assert {event["action"] for event in found[6:11]} == {"get:unmatched"}
    assert found[6]["resource_id"] == "/nothing/0/here"
    assert found[11]["action"] == "get:/api/tenants/{tenant_id}/files/{number}/{rest}"


def test_a_handler_says_what_it_alone_knows_also_from_a_worker_thread(
    audit: AuditClient, events: Events, serve: Serve
) -> None:
    app = application(audit)

    @app.patch("/patients/{patient_id}")
    def change(patient_id: str, _: Annotated[None, Depends(logged_in)]) -> None:
        describe(
            action="write",
            resource_type="patient_record",
            resource_id=patient_id,
            reason="treatment",
            changed_fields=["a"],
            old_values={"a": 1},
            new_values={"a": 2},
            metadata={"ward": 7},
        )
        describe(metadata={"bed": 3})
        audit.emit("page_doctor", resource_type="doctor", resource_id="user-1")

    httpx.patch(serve(app) + "/patients/patient-456", headers={"traceparent": f"00-{'a' * 32}-{'b' * 16}-01"})
    explicit, request = events(2)
    for event in (explicit, request):
        assert (event["actor_id"], event["actor_type"], event["on_behalf_of"]) == ("user-123", "admin", "user-9")
        assert (event["tenant"], event["session_id"]) == ("north", "s-1")
        assert (event["trace_id"], event["ip_address"]) == ("a" * 32, "127.0.0.1")
    assert explicit["action"] == "page_doctor"
    assert "reason" not in explicit
    assert (request["action"], request["resource_type"], request["resource_id"]) == (
        "write",
        "patient_record",
        "patient-456",
    )
    assert (request["reason"], request["changed_fields"]) == ("treatment", ["a"])
    assert (request["old_values"], request["new_values"]) == ({"a": 1}, {"a": 2})
    assert request["metadata"]["ward"] == 7
    assert request["metadata"]["bed"] == 3


def test_a_handlers_own_event_replaces_the_requests_unless_the_request_fails(
    audit: AuditClient, events: Events, serve: Serve
) -> None:
    app = application(audit)

    @app.post("/approve/{n}")
    async def approve(n: int) -> None:
        audit.emit("invoice.approve", resource_type="invoice", resource_id=n)
        emitted_already()
        describe(result="success")
        if n == 2:
            raise HTTPException(403)

    @app.get("/hidden")
    async def hidden() -> None:
        describe(result="denied")
        raise HTTPException(404)

    url = serve(app)
    for path in ("/approve/1", "/approve/2"):
        httpx.post(url + path)
    httpx.get(f"{url}/hidden")
    assert [(event["action"], event["result"]) for event in events(4)] == [
        ("invoice.approve", "success"),
        ("invoice.approve", "success"),
        ("post:/approve/{n}", "denied"),
        ("get:/hidden", "denied"),
    ]


def test_an_exception_is_a_failure_and_reaches_the_server_as_it_was(
    audit: AuditClient, events: Events, serve: Serve
) -> None:
    app = application(audit)

    @app.get("/boom")
    def boom() -> None:
        raise ZeroDivisionError("with a secret")

    @app.get("/half")
    async def half() -> StreamingResponse:
        async def body() -> AsyncIterator[bytes]:
            yield b"first"
            raise ZeroDivisionError

        return StreamingResponse(body())

    url = serve(app)
    assert httpx.get(f"{url}/boom").status_code == 500
    with pytest.raises(httpx.RemoteProtocolError):
        httpx.get(f"{url}/half")
    boom_event, half_event = events(2)
    assert (boom_event["result"], boom_event["metadata"]["http_status"]) == ("failure", 500)
    assert boom_event["metadata"]["error"] == "ZeroDivisionError"
    assert "secret" not in str(boom_event)
    assert (half_event["result"], half_event["metadata"]["http_status"]) == ("failure", 200)
    assert half_event["metadata"]["error"] in ("ZeroDivisionError", "ExceptionGroup")


def test_a_stream_is_one_event_when_it_ends_and_background_work_is_no_part_of_it(
    audit: AuditClient, events: Events, serve: Serve
) -> None:
    app = application(audit)

    @app.get("/stream")
    async def stream() -> StreamingResponse:
        async def body() -> AsyncIterator[bytes]:
            for _ in range(5):
                yield b"x"
                await asyncio.sleep(0.05)

        return StreamingResponse(body())

    @app.get("/background")
    async def background(tasks: BackgroundTasks) -> None:
        async def fail() -> None:
            await asyncio.sleep(0.2)
            raise RuntimeError

        tasks.add_task(fail)

    url = serve(app)
    assert httpx.get(f"{url}/stream").text == "xxxxx"
    assert httpx.get(f"{url}/background").status_code == 200
    time.sleep(0.4)
    stream_event, background_event = events(2)
    assert stream_event["result"] == "success"
    assert stream_event["metadata"]["duration_ms"] >= 240
    assert background_event["result"] == "success"
    assert background_event["metadata"]["duration_ms"] < 200


def test_a_client_that_leaves_amid_the_response_is_a_failure(audit: AuditClient, events: Events, serve: Serve) -> None:
    app = application(audit)

    @app.get("/endless")
    async def endless() -> StreamingResponse:
        async def body() -> AsyncIterator[bytes]:
            while True:
                yield b"x" * 1000
                await asyncio.sleep(0.01)

        return StreamingResponse(body())

    with httpx.stream("GET", f"{serve(app)}/endless") as response:
        next(response.iter_bytes())
    (event,) = events(1)
    assert (event["result"], event["metadata"]["error"]) == ("failure", "client disconnected")
    assert event["metadata"]["http_status"] == 200


async def test_a_cancelled_request_is_a_failure_and_stays_cancelled(audit: AuditClient, events: Events) -> None:
    started = asyncio.Event()

    async def app(_scope: Any, _receive: Any, _send: Any) -> None:
        started.set()
        await asyncio.sleep(60)

    async def nothing(*_: Any) -> Any:
        await asyncio.sleep(60)

    scope = {"type": "http", "method": "GET", "path": "/slow", "headers": [], "client": ("203.0.113.5", 1)}
    task = asyncio.create_task(AuditMiddleware(app, audit)(scope, nothing, nothing))
    await started.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    (event,) = events(1)
    assert (event["result"], event["metadata"]["error"]) == ("failure", "cancelled")
    assert "http_status" not in event["metadata"]
    assert event["ip_address"] == "203.0.113.5"


def test_only_trusted_proxies_are_believed(audit: AuditClient, events: Events, serve: Serve) -> None:
    def url(**options: Any) -> str:
        return serve(application(audit, **options))

    forged = {"X-Forwarded-For": "198.51.100.1"}
    chained = {"X-Forwarded-For": "1.1.1.1, 203.0.113.7, 10.0.0.2"}
    httpx.get(url(), headers=forged)
    httpx.get(url(trusted_proxies=["10.0.0.0/8"]), headers=forged)
    httpx.get(url(trusted_proxies=["127.0.0.1", "10.0.0.0/8"]), headers=chained)
    assert [event["ip_address"] for event in events(3)] == ["127.0.0.1", "127.0.0.1", "203.0.113.7"]


@pytest.mark.parametrize(
    ("trusted", "peer", "headers", "expected"),
    [
        (["10.0.0.0/8"], "10.0.0.1", [], "10.0.0.1"),
        (["10.0.0.0/8"], "10.0.0.1", ["203.0.113.1"], "203.0.113.1"),
        (["10.0.0.0/8"], "10.0.0.1", ["6.6.6.6, 203.0.113.1"], "203.0.113.1"),
        (["10.0.0.0/8"], "10.0.0.1", ["6.6.6.6", "203.0.113.1"], "203.0.113.1"),
        (["10.0.0.0/8"], "10.0.0.1", ["203.0.113.1, 10.1.1.1,10.2.2.2"], "203.0.113.1"),
        (["10.0.0.0/8"], "10.0.0.1", ["10.3.3.3, 10.1.1.1"], "10.3.3.3"),
        (["10.0.0.0/8"], "10.0.0.1", ["6.6.6.6, unknown, 10.1.1.1"], "10.1.1.1"),
        (["10.0.0.0/8"], "10.0.0.1", ["6.6.6.6, , 203.0.113.1"], "203.0.113.1"),
        (["10.0.0.0/8"], "10.0.0.1", ["203.0.113.1:4711"], "203.0.113.1"),
        (["10.0.0.0/8"], "10.0.0.1", ["[2001:DB8::1]:4711"], "2001:db8::1"),
        (["10.0.0.0/8"], "10.0.0.1", ["2001:DB8:0::1"], "2001:db8::1"),
        (["10.0.0.0/8"], "::ffff:10.0.0.1", ["::ffff:203.0.113.1"], "203.0.113.1"),
        (["::1"], "::1", ["203.0.113.1"], "203.0.113.1"),
        (["10.0.0.0/8"], "203.0.113.9", ["1.1.1.1"], "203.0.113.9"),
        (["10.0.0.0/8"], "10.0.0.1", ["1.1.1.1," + "10.0.0.2," * 1000 + "10.0.0.3"], "10.0.0.2"),
        (["unix"], None, ["203.0.113.1"], "203.0.113.1"),
        (["unix"], None, [], None),
        (["10.0.0.0/8"], None, ["203.0.113.1"], None),
        (["10.0.0.0/8"], "testclient", ["203.0.113.1"], None),
        ([], "fe80::1%eth0", [], None),
    ],
)
def test_the_address_is_read_from_the_nearest_proxy_outwards(
    trusted: list[str], peer: str | None, headers: list[str], expected: str | None
) -> None:
    assert TrustedProxies(trusted).client_address(peer, [header.encode() for header in headers]) == expected


def test_a_proxy_that_is_none_is_refused(audit: AuditClient) -> None:
    with pytest.raises(Misconfigured, match=r"trusted proxy '10\.0\.0\.1/8': expected"):
        AuditMiddleware(FastAPI(), audit, trusted_proxies=["10.0.0.1/8"])


def test_nobody_can_make_a_request_too_odd_to_be_logged(audit: AuditClient, events: Events, serve: Serve) -> None:
    app = application(audit)

    @app.get("/items/{item}")
    async def item(item: str) -> None:
        describe(reason=item, new_values={"told": item, "deep": _nested(100), "big": 2**70, "inf": float("inf")})

    # h11's own bound is 16 KiB of what has come of a request so far, and is met or not as the network cuts it.
    address = urlsplit(serve(app, h11_max_incomplete_event_size=131_072))
    odd = [
        b"GET /items/a%00b HTTP/1.1",
        b"GET /items/%ff%fe%ed%a0%80 HTTP/1.1",
        b"GET /items/" + b"x" * 20_000 + b" HTTP/1.1",
        b"GET /%00/" + b"y" * 20_000 + b" HTTP/1.1",
        b"BREW /items/1 HTTP/1.1",
        b"GET /items/%F0%9F%98%80 HTTP/1.1",
        b"GET //items//1/../2 HTTP/1.1",
        b"GET /items/1?token=" + b"z" * 5_000 + b" HTTP/1.1",
    ]
    header = b"Host: x\r\nConnection: close\r\nUser-Agent: \xff\xfe\x80" + b"u" * 5_000
    header += b"\r\ntraceparent: nonsense\r\nX-Forwarded-For: ,,,\xff\r\n"
    for line in odd:
        with socket.create_connection((address.hostname, address.port)) as connection:
            connection.sendall(line + b"\r\n" + header + b"\r\n")
            assert connection.recv(100).startswith(b"HTTP/1.1 "), line[:40]
            while connection.recv(4096):
                pass
    found = events(len(odd))
    assert {event["action"] for event in found} <= {"get:/items/{item}", "get:unmatched", "other:/items/{item}"}
    assert found[0]["resource_id"] == "a?b"
    assert len(found[2]["resource_id"]) == 512
    assert found[5]["resource_id"] == "\U0001f600"
    assert audit.stats().dropped == {}


def _nested(levels: int) -> Any:
    value: Any = "bottom"
    for _ in range(levels):
        value = [value]
    return value


def test_no_body_query_cookie_or_credential_is_logged(
    audit: AuditClient, raw: Callable[[], list[bytes]], events: Events, serve: Serve
) -> None:
    app = application(audit)

    @app.post("/login")
    async def login(request: Request) -> dict[str, str]:
        await request.body()
        return {"answer": "SECRET-answer"}

    httpx.post(
        f"{serve(app)}/login?token=SECRET-query",
        content=b"SECRET-body",
        headers={"Cookie": "session=SECRET-cookie", "Authorization": "Bearer SECRET-token", "X-Api-Key": "SECRET-key"},
    )
    events(1)
    assert b"SECRET" not in b"".join(raw())


def test_the_application_tells_who_asks_and_its_mistakes_harm_nobody(
    audit: AuditClient, events: Events, serve: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    def who(scope: Any) -> Actor | str | None:
        name = dict(scope["headers"])[b"x-user"].decode()
        return None if name == "nobody" else name if name == "bob" else Actor(7, "service", "boss", "north", "s-9")

    app = application(audit, actor=who, exclude={"/health"})

    @app.get("/health")
    @app.get("/x")
    async def answer() -> None: ...

    url = serve(app)
    httpx.get(f"{url}/health")
    with caplog.at_level(logging.WARNING, logger="sealstream.asgi"):
        for name in ("bob", "robot", "nobody"):
            httpx.get(f"{url}/x", headers={"X-User": name})
        for _ in range(3):
            assert httpx.get(f"{url}/x").status_code == 200  # no such header: a KeyError
        found = events(6)
    assert [(event["actor_id"], event["actor_type"]) for event in found[:3]] == [
        ("bob", "user"),
        ("7", "service"),
        ("anonymous", "anonymous"),
    ]
    assert (found[1]["on_behalf_of"], found[1]["tenant"], found[1]["session_id"]) == ("boss", "north", "s-9")
    assert {event["actor_id"] for event in found[3:]} == {"anonymous"}
    assert len([record for record in caplog.records if record.name == "sealstream.asgi"]) == 1


def test_a_log_that_fails_or_is_closed_never_breaks_a_request(serve: Serve) -> None:
    class Broken(AuditClient):
        def emit(self, *_: Any, **__: Any) -> str | None:
            raise RuntimeError("no log today")

    closed = AuditClient("main", "127.0.0.1:1", strict=True)
    closed.close(0)
    unreachable = AuditClient("main", "127.0.0.1:1", max_pending_bytes=65_536)
    broken = Broken("main", "127.0.0.1:1")
    for client in (closed, unreachable, broken):
        app = application(client)

        @app.get("/x")
        async def answer() -> str:
            return "here"

        with httpx.Client(base_url=serve(app)) as http:
            began = time.perf_counter()
            assert [http.get("/x").json() for _ in range(200)] == ["here"] * 200
            assert time.perf_counter() - began < 10
        client.close(0.1)
    assert sum(unreachable.stats().dropped.values()) == 200
    assert closed.stats().dropped == {"closed": 200}


def test_middleware_with_tasks_of_its_own_around_and_within(audit: AuditClient, events: Events, serve: Serve) -> None:
    async def passing(request: Request, call_next: Any) -> Any:
        return await call_next(request)

    app = FastAPI()
    app.add_middleware(BaseHTTPMiddleware, dispatch=passing)
    app.add_middleware(AuditMiddleware, client=audit)
    app.add_middleware(BaseHTTPMiddleware, dispatch=passing)

    @app.get("/patients/{patient_id}")
    def patient(patient_id: str) -> None:
        describe(actor_id="user-1", reason="treatment")

    assert httpx.get(serve(app) + "/patients/1").status_code == 200
    (event,) = events(1)
    assert (event["action"], event["actor_id"], event["reason"]) == (
        "get:/patients/{patient_id}",
        "user-1",
        "treatment",
    )


def test_concurrent_requests_keep_to_themselves(audit: AuditClient, events: Events, serve: Serve) -> None:
    app = application(audit)

    @app.get("/{n}")
    async def slow(n: int) -> None:
        describe(actor_id=f"user-{n}")
        await asyncio.sleep(0.01)
        await asyncio.to_thread(audit.emit, "own", resource_type="r", resource_id=n)

    url = serve(app)

    async def all_at_once() -> None:
        async with httpx.AsyncClient(base_url=url) as http:
            await asyncio.gather(*(http.get(f"/{n}") for n in range(50)))

    asyncio.run(all_at_once())
    for event in events(100):
        assert event["actor_id"] == f"user-{event['resource_id']}"


async def test_lifespan_and_websockets_pass_untouched(audit: AuditClient, events: Events) -> None:
    seen = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append((scope, receive, send))

    for kind in ("lifespan", "websocket"):
        scope, receive, send = {"type": kind}, object(), object()
        await AuditMiddleware(app, audit)(scope, receive, send)  # type: ignore[arg-type]
        assert seen.pop() == (scope, receive, send)
    events(0)


def test_describe_outside_of_a_request_does_nothing_and_refuses_unknown_names_inside(
    audit: AuditClient, events: Events, serve: Serve
) -> None:
    describe(actor_id="user-1")
    assert audit.emit("read", resource_type="r", resource_id="1") is not None
    app = application(audit)

    @app.get("/")
    async def wrong() -> None:
        describe(resource="x")  # type: ignore[call-arg]

    assert httpx.get(serve(app)).status_code == 500
    outside, inside = events(2)
    assert outside["actor_id"] == "anonymous"
    assert inside["metadata"]["error"] == "TypeError"
