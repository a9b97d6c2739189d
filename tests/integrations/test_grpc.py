"""gRPC's real servers, with threads and with asyncio, over a real connection."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from typing import Any

import grpc
import pytest

from sealstream.client import AuditClient
from sealstream.client.testing import Recorded, recording
from sealstream.integrations.grpc import Actor, AioAuditInterceptor, AuditInterceptor, describe

SERVICE = "/shop.Shop/"
METADATA = (("traceparent", f"00-{'ab' * 16}-{'cd' * 8}-01"), ("x-forwarded-for", "192.0.2.7"), ("x-user", "ann"))


@pytest.fixture
def recorded() -> Iterator[Recorded]:
    with recording() as events:
        yield events


def who(context: Any) -> Actor | None:
    name = dict(context.invocation_metadata()).get("x-user")
    return Actor(name, "service") if name else None


def read(_asked: bytes, _context: Any) -> bytes:
    describe(resource_type="invoice", resource_id=7, reason="asked")
    return b"read"


def refuse(_asked: bytes, context: Any) -> bytes:
    context.abort(grpc.StatusCode.PERMISSION_DENIED, "secret text")
    raise AssertionError


def not_found(_asked: bytes, context: Any) -> bytes:
    context.set_code(grpc.StatusCode.NOT_FOUND)
    return b""


def broken(_asked: bytes, _context: Any) -> bytes:
    raise ValueError("secret text")


def stream(asked: bytes, _context: Any) -> Iterator[bytes]:
    for number in range(int(asked)):
        if number == 3:
            raise ValueError("secret text")
        yield b"part"
        time.sleep(0.01)
    describe(metadata={"parts": int(asked)})


def total(asked: Iterator[bytes], _context: Any) -> bytes:
    return str(sum(map(int, asked))).encode()


def asynchronous(function: Callable[..., Any]) -> Callable[..., Any]:
    async def awaited(asked: Any, context: Any) -> Any:
        if function is refuse:
            await context.abort(grpc.StatusCode.PERMISSION_DENIED, "secret text")
        if function is total:
            return str(sum([int(each) async for each in asked])).encode()
        return function(asked, context)

    async def streamed(asked: Any, context: Any) -> AsyncIterator[bytes]:
        for each in function(asked, context):
            yield each
            await asyncio.sleep(0)

    return streamed if function is stream else awaited


def handlers(kind: Callable[..., Any] = lambda function: function) -> Any:
    made = {
        each.__name__: grpc.unary_unary_rpc_method_handler(kind(each)) for each in (read, refuse, not_found, broken)
    }
    made["stream"] = grpc.unary_stream_rpc_method_handler(kind(stream))
    made["total"] = grpc.stream_unary_rpc_method_handler(kind(total))
    made["Check"] = grpc.unary_unary_rpc_method_handler(kind(read))
    return made


def call(port: int, cut: bool = True) -> None:
    """All methods, as a client calls them; `cut`: one answer is not waited for."""
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        channel.unary_unary(f"{SERVICE}read")(b"", metadata=METADATA)
        for name in ("refuse", "not_found", "broken", "nowhere"):
            with suppress(grpc.RpcError):
                channel.unary_unary(SERVICE + name)(b"")
        assert len(list(channel.unary_stream(f"{SERVICE}stream")(b"2"))) == 2
        with suppress(grpc.RpcError):
            list(channel.unary_stream(f"{SERVICE}stream")(b"5"))
        assert channel.stream_unary(f"{SERVICE}total")(iter([b"1", b"2"])) == b"3"
        channel.unary_unary("/grpc.health.v1.Health/Check")(b"")
        if not cut:
            return
        cut_off = channel.unary_stream(f"{SERVICE}stream")(b"3")
        next(cut_off)
        cut_off.cancel()


def check(recorded: Recorded, cut: bool = True) -> None:
    deadline = time.monotonic() + 10
    while len(recorded) < 7 + cut and time.monotonic() < deadline:
        time.sleep(0.02)
    told = [
        (event["action"].rpartition("/")[2], event["result"], event["metadata"]["grpc_status"]) for event in recorded
    ]
    assert sorted(told) == sorted(
        [
            ("read", "success", "OK"),
            ("refuse", "denied", "PERMISSION_DENIED"),
            ("not_found", "failure", "NOT_FOUND"),
            ("broken", "failure", "UNKNOWN"),
            ("stream", "success", "OK"),
            ("stream", "failure", "UNKNOWN"),
            ("total", "success", "OK"),
        ]
        + [("stream", "failure", "CANCELLED")] * cut
    )
    known = recorded.one(action=f"call:{SERVICE}read")
    assert (known["resource_type"], known["resource_id"], known["reason"]) == ("invoice", "7", "asked")
    assert (known["actor_id"], known["actor_type"]) == ("ann", "service")
    assert (known["ip_address"], known["trace_id"]) == ("192.0.2.7", "ab" * 16)
    assert known["user_agent"].startswith("grpc-python/")
    refused = recorded.one(result="denied")
    assert (refused["resource_type"], refused["resource_id"]) == ("grpc_method", f"{SERVICE}refuse")
    assert refused["ip_address"] == "127.0.0.1"
    assert recorded.one(action=f"call:{SERVICE}broken")["metadata"]["error"] == "ValueError"
    assert any(event["metadata"].get("parts") == 2 for event in recorded)
    assert "secret text" not in str(list(recorded))
    assert recorded.dropped == {}


def test_a_server_with_threads(recorded: Recorded) -> None:
    audit = AuditInterceptor(AuditClient("main", "127.0.0.1:1"), actor=who, trusted_proxies=["127.0.0.1"])
    server = grpc.server(ThreadPoolExecutor(4), interceptors=[audit])
    server.add_generic_rpc_handlers(
        (
            grpc.method_handlers_generic_handler("shop.Shop", handlers()),
            grpc.method_handlers_generic_handler("grpc.health.v1.Health", handlers()),
        )
    )
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    call(port)
    check(recorded)
    server.stop(1).wait()


@pytest.mark.parametrize("threads", [False, True])
async def test_a_server_with_asyncio(recorded: Recorded, threads: bool) -> None:
    @asynccontextmanager
    async def running() -> AsyncIterator[int]:
        audit = AioAuditInterceptor(AuditClient("main", "127.0.0.1:1"), actor=who, trusted_proxies=["127.0.0.1"])
        server = grpc.aio.server(ThreadPoolExecutor(4), interceptors=[audit])
        for service in ("shop.Shop", "grpc.health.v1.Health"):
            made = grpc.method_handlers_generic_handler(service, handlers() if threads else handlers(asynchronous))
            server.add_generic_rpc_handlers((made,))
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        yield port
        await server.stop(1)

    async with running() as port:
        cut = not threads  # grpc.aio holds a thread's generator where it is when the client has gone
        await asyncio.to_thread(call, port, cut)
        await asyncio.to_thread(check, recorded, cut)
