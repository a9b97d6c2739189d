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

from asyncio import CancelledError
from collections.abc import Awaitable, Callable, Collection, MutableMapping
from typing import Any

from sealstream.client import AuditClient
from sealstream.integrations.requests import (
    Actor,
    Description,
    Ended,
    Request,
    RequestAudit,
    describe,
    emitted_already,
)
from sealstream.integrations.routes import Scope, action_of, path_params, resource_of

__all__ = ["Actor", "AuditMiddleware", "Description", "describe", "emitted_already"]

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
ASGIApp = Callable[[Scope, Receive, Send], Awaitable[None]]


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
        self._audit: RequestAudit[Scope] = RequestAudit(
            client, trusted_proxies=trusted_proxies, actor=actor, exclude=exclude, framework="asgi"
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or self._audit.excluded(scope.get("path", ""), scope):
            await self.app(scope, receive, send)
            return
        try:
            client = scope.get("client")
            peer = str(client[0]) if client else None
        except Exception as error:  # noqa: BLE001 - a server with a scope of its own kind; the request must not suffer
            self._audit.complain("reading the request", error)
            peer = None
        with self._audit.begun(self._audit.known(peer, scope.get("headers", ()))) as begun:
            request = _Messages(scope, receive, send, begun, self._audit)
            try:
                await self.app(scope, request.receive, request.send)
            except BaseException as error:
                request.end("cancelled" if isinstance(error, CancelledError) else type(error).__name__)
                raise
            request.end("client disconnected" if request.disconnected else "no complete response")


class _Messages:
    """One request between its first and its last message."""

    def __init__(
        self, scope: Scope, receive: Receive, send: Send, request: Request, audit: RequestAudit[Scope]
    ) -> None:
        self.scope = scope
        self.path = str(scope.get("path", ""))
        self.status: int | None = None
        self.disconnected = False
        self._receive = receive
        self._send = send
        self._request = request
        self._audit: RequestAudit[Scope] | None = audit

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
        audit, self._audit = self._audit, None
        if audit is None:
            return
        if error is not None and self.status is None and error not in ("cancelled", "client disconnected"):
            self.status = 500  # what the server answers for us
        audit.ended(self.scope, self._request, lambda: self._ended(error))

    def _ended(self, error: str | None) -> Ended:
        scope, path = self.scope, self.path
        return Ended(action_of(scope, path), resource_of(scope, path), path_params(scope), self.status, error)
