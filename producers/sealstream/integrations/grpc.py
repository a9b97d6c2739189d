"""gRPC: one audit event for each call that a server answers, of `grpc` and `grpc.aio`.

    server = grpc.server(pool, interceptors=[AuditInterceptor(client)])
    server = grpc.aio.server(interceptors=[AioAuditInterceptor(client)])

The event says who, which method, from where, and with what result: status OK is `success`, PERMISSION_DENIED and
UNAUTHENTICATED are `denied`, everything else, a cancelled call included, is `failure`. Handlers add what they know with
`describe`. Of the call's metadata only `user-agent` and `traceparent` are read, and `x-forwarded-for` from a proxy that
is trusted. A streamed answer ends with its last message. What else an event says, and the crash story, are
`sealstream.integrations.requests`'. Interceptors that authenticate go before this one, and bind or describe who it is.
"""

from __future__ import annotations

from asyncio import CancelledError
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from inspect import isasyncgenfunction, iscoroutinefunction
from typing import Any
from urllib.parse import unquote

import grpc

from sealstream.client import AuditClient
from sealstream.client.results import Result, error_name
from sealstream.integrations.requests import Actor, Ended, Request, RequestAudit, describe, emitted_already
from sealstream.integrations.routes import cut

__all__ = ["Actor", "AioAuditInterceptor", "AuditInterceptor", "describe", "emitted_already"]

_DENIED = ("PERMISSION_DENIED", "UNAUTHENTICATED")


class _Calls:
    """What both kinds of servers share."""

    def __init__(
        self,
        client: AuditClient,
        *,
        trusted_proxies: Collection[str] = (),
        actor: Callable[[Any], Actor | str | None] | None = None,
        exclude: Collection[str] = ("/grpc.health.v1.Health/Check", "/grpc.health.v1.Health/Watch"),
    ) -> None:
        self.audit: RequestAudit[Any] = RequestAudit(
            client, trusted_proxies=trusted_proxies, actor=actor, exclude=exclude, framework="grpc"
        )

    def excluded(self, method: str) -> bool:
        return self.audit.excluded(method, None)

    @contextmanager
    def begun(self, context: Any) -> Iterator[Request]:
        """`context`: the servicer's."""
        headers = (
            (str(name).encode(), value if isinstance(value, bytes) else str(value).encode("latin-1", "replace"))
            for name, value in context.invocation_metadata() or ()
        )
        with self.audit.begun(self.audit.known(_peer(context), headers)) as request:
            yield request

    def ended(self, method: str, context: Any, request: Request, error: BaseException | None, whole: bool) -> None:
        def end() -> Ended:
            code = _code(context)
            if code is None and error is not None:
                code = "CANCELLED" if isinstance(error, CancelledError) else "UNKNOWN"  # as gRPC answers for us
            elif code is None:
                code = "OK" if whole else "CANCELLED"
            result: Result = "success" if code == "OK" else "denied" if code in _DENIED else "failure"
            # `abort` raises a bare Exception, which says nothing that its code does not.
            name = error_name(error) if error is not None and type(error).__name__ not in _ABORTS else None
            about = {"grpc_status": code, **({"error": name} if name else {})}
            return Ended(f"call:{cut(method, 123)}", ("grpc_method", cut(method, 512)), {}, None, None, result, about)

        self.audit.ended(context, request, end)


_ABORTS = ("Exception", "AbortError")
_NAMES = {status.value[0]: status.name for status in grpc.StatusCode}  # asyncio's contexts tell numbers


def _code(context: Any) -> str | None:
    code = context.code() if hasattr(context, "code") else None
    if code is None or code == 0:
        return None
    return str(getattr(code, "name", "") or _NAMES.get(code, code))


def _peer(context: Any) -> str | None:
    """`ipv4:10.0.0.1:5000` and `ipv6:[::1]:5000`, with escapes in some versions; None for a Unix socket."""
    kind, _, place = unquote(str(context.peer() or "")).partition(":")
    if kind not in ("ipv4", "ipv6"):
        return None
    return place.rpartition(":")[0].strip("[]")


class AuditInterceptor(grpc.ServerInterceptor):  # type: ignore[misc]
    """For `grpc.server`. Options as `sealstream.integrations.requests.RequestAudit`; `actor` gets the servicer's
    context, `exclude` are whole methods (`/package.Service/Method`), by default those of the health service.
    """

    def __init__(self, client: AuditClient, **options: Any) -> None:
        self._calls = _Calls(client, **options)

    def intercept_service(self, continuation: Any, details: Any) -> Any:
        """Wrap the method's handler."""
        handler = continuation(details)
        if handler is None or self._calls.excluded(details.method):
            return handler
        streams = handler.response_streaming
        return _wrapped(handler, lambda behaviour: _in_threads(self._calls, details.method, behaviour, streams))


class AioAuditInterceptor(grpc.aio.ServerInterceptor):  # type: ignore[misc]
    """The same for `grpc.aio.server`."""

    def __init__(self, client: AuditClient, **options: Any) -> None:
        self._calls = _Calls(client, **options)

    async def intercept_service(self, continuation: Any, details: Any) -> Any:
        """Wrap the method's handler."""
        handler = await continuation(details)
        if handler is None or self._calls.excluded(details.method):
            return handler
        streams = handler.response_streaming

        def watched(behaviour: Any) -> Any:
            # As `grpc.aio` tells them apart: what is no coroutine function runs in its pool of threads.
            is_async = iscoroutinefunction(behaviour) or isasyncgenfunction(behaviour)
            return (_in_tasks if is_async else _in_threads)(self._calls, details.method, behaviour, streams)

        return _wrapped(handler, watched)


class _Remembering:
    """The context of a thread's handler on `grpc.aio`, which does not tell what status was set: remembers it."""

    def __init__(self, context: Any) -> None:
        self._context = context
        self._code: Any = None

    def code(self) -> Any:
        return self._code

    def set_code(self, code: Any) -> None:
        self._code = code
        self._context.set_code(code)

    def abort(self, code: Any, *about: Any, **more: Any) -> None:
        self._code = code
        self._context.abort(code, *about, **more)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._context, name)


def _in_threads(calls: _Calls, method: str, behaviour: Any, streams: bool) -> Any:
    """A handler of a thread's, with its event."""

    def unary(asked: Any, context: Any) -> Any:
        context = context if hasattr(context, "code") else _Remembering(context)
        error: BaseException | None = None
        with calls.begun(context) as request:
            try:
                return behaviour(asked, context)
            except BaseException as raised:
                error = raised
                raise
            finally:
                calls.ended(method, context, request, error, True)

    def streaming(asked: Any, context: Any) -> Any:
        context = context if hasattr(context, "code") else _Remembering(context)
        with calls.begun(context) as request:
            request.hold()  # its messages may be made in several threads
        error: BaseException | None = None
        whole = False
        try:
            messages = request.within(lambda: iter(behaviour(asked, context)))
            while True:
                try:
                    message = request.within(next, messages)
                except StopIteration:
                    whole = True
                    return
                yield message
        except GeneratorExit:
            raise
        except BaseException as raised:
            error = raised
            raise
        finally:
            request.within(calls.ended, method, context, request, error, whole)

    return streaming if streams else unary


def _in_tasks(calls: _Calls, method: str, behaviour: Any, streams: bool) -> Any:
    """A coroutine's, with its event."""

    async def unary(asked: Any, context: Any) -> Any:
        error: BaseException | None = None
        with calls.begun(context) as request:
            try:
                return await behaviour(asked, context)
            except BaseException as raised:
                error = raised
                raise
            finally:
                calls.ended(method, context, request, error, True)

    async def streaming(asked: Any, context: Any) -> Any:
        error: BaseException | None = None
        whole = False
        with calls.begun(context) as request:
            try:
                answer = behaviour(asked, context)
                if hasattr(answer, "__aiter__"):
                    async for message in answer:
                        yield message
                else:  # a coroutine that writes to its context
                    await answer
                whole = True
            except GeneratorExit:
                raise
            except BaseException as raised:
                error = raised
                raise
            finally:
                calls.ended(method, context, request, error, whole)

    return streaming if streams else unary


def _wrapped(handler: Any, watched: Callable[[Any], Any]) -> Any:
    make, behaviour = {
        (False, False): (grpc.unary_unary_rpc_method_handler, handler.unary_unary),
        (False, True): (grpc.unary_stream_rpc_method_handler, handler.unary_stream),
        (True, False): (grpc.stream_unary_rpc_method_handler, handler.stream_unary),
        (True, True): (grpc.stream_stream_rpc_method_handler, handler.stream_stream),
    }[handler.request_streaming, handler.response_streaming]
    return make(
        watched(behaviour),
        request_deserializer=handler.request_deserializer,
        response_serializer=handler.response_serializer,
    )
