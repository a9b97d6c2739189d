"""ASGI middleware: one audit event for each HTTP request, written when its response has ended.

    app.add_middleware(AuditMiddleware, client=audit, trusted_proxies=["10.0.0.0/8"])

The event says who, what (method and route template), to which resource, from where, and with what result: below 400
`success`, 401 and 403 `denied`, else `failure`; an exception, a cancelled request and a response that broke off are
failures too. Never a body, a query string, a cookie or another header. A handler adds what it alone knows with
`describe`, also from a worker thread. Events that it emits itself during the request carry the same address and trace,
and the actor, tenant and session that it has described.

The invariant: whatever fails here, the request runs as if this middleware were not there, and never waits for it.
Lifespan and WebSocket connections pass through untouched: an endpoint that talks over a WebSocket emits its own events.
A crash loses the event of a request whose response had not ended, as it loses the response.
"""

from __future__ import annotations

import logging
import re
import time
from asyncio import CancelledError
from collections.abc import Awaitable, Callable, Collection, Mapping, MutableMapping, Sequence
from contextlib import suppress
from contextvars import ContextVar
from typing import Any, Literal, NamedTuple, TypedDict, Unpack

from sealstream.client import AuditClient, bind_shared, sharing
from sealstream.client.context import Context
from sealstream.integrations.proxies import TrustedProxies
from sealstream.integrations.routes import Scope, action_of, cut, path_params, resource_of

__all__ = ["Actor", "AuditMiddleware", "Description", "describe", "emitted_already"]

_LOG = logging.getLogger("sealstream.asgi")

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
ASGIApp = Callable[[Scope, Receive, Send], Awaitable[None]]

_TRACEPARENT = re.compile(r"[0-9a-f]{2}-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}.*")  # W3C Trace Context, section 3.2


class Actor(NamedTuple):
    """Who makes a request, as an application's `actor` function tells it."""

    id: object
    type: Literal["user", "service", "admin", "system", "anonymous"] = "user"
    on_behalf_of: object = None
    tenant: object = None
    session_id: object = None


class Description(Context, total=False):
    """What a handler can say about its request; None says nothing."""

    action: str | None
    resource_type: str | None
    resource_id: object
    result: Literal["success", "failure", "denied"] | None
    changed_fields: Sequence[str] | None
    old_values: Mapping[str, Any] | None
    new_values: Mapping[str, Any] | None
    metadata: Mapping[str, Any] | None


class _Told(TypedDict):
    fields: dict[str, Any]
    emitted: bool


_told: ContextVar[_Told | None] = ContextVar("sealstream_request", default=None)


def describe(**fields: Unpack[Description]) -> None:
    """Say about the running request what its handler alone knows; from any of its tasks and threads.

    Who acts, for whom and where from goes into this request's other events as well; the rest only into the request's
    own. `metadata` is merged; `result` can make a success a failure or a denial, never the reverse. Outside of a
    request it does nothing.
    """
    told = _told.get()
    if told is None:
        return
    unknown = fields.keys() - _DESCRIBABLE
    if unknown:
        raise TypeError(f"{sorted(unknown)[0]} can't be described: expected some of {', '.join(sorted(_DESCRIBABLE))}")
    shared: Any = {name: fields[name] for name in _SHARED if name in fields}  # type: ignore[literal-required]
    if shared:
        bind_shared(**shared)
    own = {name: value for name, value in fields.items() if name not in _SHARED and value is not None}
    metadata = own.get("metadata")
    if isinstance(metadata, Mapping):
        own["metadata"] = {**told["fields"].get("metadata", {}), **metadata}
    told["fields"].update(own)


_SHARED = frozenset(Context.__annotations__) - {"reason"}
_DESCRIBABLE = frozenset(Description.__annotations__) | frozenset(Context.__annotations__)


def emitted_already() -> None:
    """The handler has emitted an event of its own that says it all: the request's is left out, unless it fails."""
    told = _told.get()
    if told is not None:
        told["emitted"] = True


class AuditMiddleware:
    """`client`: the process's `AuditClient`.

    `trusted_proxies`: addresses and networks whose `X-Forwarded-For` is believed (`unix` for a Unix socket). A server
    that evaluates the header itself (uvicorn does, for 127.0.0.1) should be told not to, or be trusted instead of this.
    `actor`: who makes the request, from its ASGI scope as the application left it; handlers can `describe` it instead.
    `exclude`: paths without events, or a function that tells by the scope.
    """

    def __init__(
        self,
        app: ASGIApp,
        client: AuditClient,
        *,
        trusted_proxies: Collection[str] = (),
        actor: Callable[[Scope], Actor | str | None] | None = None,
        exclude: Collection[str] | Callable[[Scope], bool] = (),
    ) -> None:
        self.app = app
        self.client = client
        self._proxies = TrustedProxies(trusted_proxies)
        self._actor = actor
        self._exclude = exclude if callable(exclude) else frozenset(exclude)
        self._complaints: set[str] = set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or self._excluded(scope):
            await self.app(scope, receive, send)
            return
        request = _Request(scope, receive, send, self._ended)
        token = _told.set(request.told)
        try:
            with sharing(**self._known(scope)) as shared:
                request.shared = shared
                try:
                    await self.app(scope, request.receive, request.send)
                except BaseException as error:
                    request.end("cancelled" if isinstance(error, CancelledError) else type(error).__name__)
                    raise
                request.end("client disconnected" if request.disconnected else "no complete response")
        finally:
            _told.reset(token)

    def _excluded(self, scope: Scope) -> bool:
        if not callable(self._exclude):
            return scope.get("path") in self._exclude
        try:
            return bool(self._exclude(scope))
        except Exception as error:  # noqa: BLE001 - an application's function; the request must not suffer
            self._complain("exclude", error)
            return False

    def _known(self, scope: Scope) -> Context:
        """What the request says of itself before anybody has looked at it."""
        try:
            forwarded_for: list[bytes] = []
            known: Context = {}
            for name, value in scope.get("headers", ()):
                if name == b"user-agent":
                    known["user_agent"] = cut(value.decode("latin-1"), 1_024)
                elif name == b"x-forwarded-for":
                    forwarded_for.append(value)
                elif name == b"traceparent" and (match := _TRACEPARENT.fullmatch(value.decode("latin-1"))):
                    known["trace_id"] = match[1]
            client = scope.get("client")
            known["ip_address"] = self._proxies.client_address(str(client[0]) if client else None, forwarded_for)
            return known
        except Exception as error:  # noqa: BLE001 - a server with a scope of its own kind; the request must not suffer
            self._complain("reading the scope", error)
            return {}

    def _ended(self, request: _Request, error: str | None) -> None:
        try:
            self._emit(request, error)
        except Exception as fault:  # noqa: BLE001 - a failing log never breaks a request
            self._complain("emitting", fault)

    def _emit(self, request: _Request, error: str | None) -> None:
        scope, told = request.scope, request.told["fields"]
        result = "failure" if error else _result(request.status)
        if told.get("result") in ("denied", "failure"):  # a denial dressed as 404; but nobody talks a failure away
            result = told["result"]
        if request.told["emitted"] and result == "success":
            return
        resource_type, resource_id = resource_of(scope, request.path)
        if told.get("resource_type") or told.get("resource_id"):
            resource_type = told.get("resource_type") or resource_type
            resource_id = told.get("resource_id") or resource_id
        metadata = {**told.get("metadata", {}), "duration_ms": request.duration_ms()}
        if request.status is not None:
            metadata["http_status"] = request.status
        if error:
            metadata["error"] = error
        params = path_params(scope)
        if len(params) > 1:
            metadata["path_params"] = {cut(name, 128): cut(value, 512) for name, value in params.items()}
        self.client.emit(
            told.get("action") or action_of(scope, request.path),
            resource_type=resource_type,
            resource_id=resource_id,
            result=result,
            reason=told.get("reason"),
            changed_fields=told.get("changed_fields"),
            old_values=told.get("old_values"),
            new_values=told.get("new_values"),
            metadata=metadata,
            **{**request.shared, **self._asked_actor(scope, request.shared)},
        )

    def _asked_actor(self, scope: Scope, shared: Mapping[str, Any]) -> dict[str, Any]:
        """Who the application's `actor` function says it is, unless a handler has said it."""
        if self._actor is None or shared.get("actor_id") is not None:
            return {}
        try:
            actor = self._actor(scope)
        except Exception as error:  # noqa: BLE001 - an application's function; the request must not suffer
            self._complain("actor", error)
            return {}
        if actor is None:
            return {}
        actor = actor if isinstance(actor, Actor) else Actor(actor)
        named = {"tenant": actor.tenant, "session_id": actor.session_id}
        return {
            "actor_id": actor.id,
            "actor_type": actor.type,
            "on_behalf_of": actor.on_behalf_of,
            **{name: value for name, value in named.items() if value is not None},
        }

    def _complain(self, what: str, error: Exception) -> None:
        place = f"{what}: {type(error).__name__}"
        if place not in self._complaints and len(self._complaints) < 64:
            self._complaints.add(place)
            with suppress(Exception):  # also the application's log handlers
                _LOG.warning("audit middleware, %s: %r; the request goes on", what, error)


class _Request:
    """One request between its first and its last message."""

    def __init__(
        self, scope: Scope, receive: Receive, send: Send, ended: Callable[[_Request, str | None], None]
    ) -> None:
        self.scope = scope
        self.path = str(scope.get("path", ""))
        self.told: _Told = {"fields": {}, "emitted": False}
        self.shared: dict[str, Any] = {}
        self.status: int | None = None
        self.disconnected = False
        self._receive = receive
        self._send = send
        self._ended: Callable[[_Request, str | None], None] | None = ended
        self._began = time.perf_counter()

    async def receive(self) -> Message:
        message = await self._receive()
        if message["type"] == "http.disconnect":
            self.disconnected = True
        return message

    async def send(self, message: Message) -> None:
        kind = message["type"]
        if kind == "http.response.start":
            self.status = message["status"]
        await self._send(message)
        if (kind == "http.response.body" and not message.get("more_body")) or kind == "http.response.pathsend":
            self.end(None)

    def end(self, error: str | None) -> None:
        """Only the first end counts: what a background task does after the response is not the request's result."""
        ended, self._ended = self._ended, None
        if ended is not None:
            if error is not None and self.status is None and error not in ("cancelled", "client disconnected"):
                self.status = 500  # what the server answers for us
            ended(self, error)

    def duration_ms(self) -> float:
        return round((time.perf_counter() - self._began) * 1000, 3)


def _result(status: int | None) -> Literal["success", "failure", "denied"]:
    if status in (401, 403):
        return "denied"
    return "success" if status is not None and status < 400 else "failure"
