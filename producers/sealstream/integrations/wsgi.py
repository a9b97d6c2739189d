"""WSGI middleware (PEP 3333): one audit event for each HTTP request, written when its response has ended.

    application = AuditMiddleware(application, client=audit, trusted_proxies=["10.0.0.0/8"])

What it says, and what handlers add with `describe`, is as `sealstream.integrations.requests` decides; Flask has a
module of its own on top of this one, which knows its routes. A response ends when the server closes it; one that was
closed before its last part broke off. Each part of a streamed response is made with what the request has bound, also
where the server takes it elsewhere.

The invariant: whatever fails here, the request runs as if this middleware were not there, and never waits for it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from sealstream.client import AuditClient
from sealstream.integrations.requests import Actor, Ended, Request, RequestAudit, describe, emitted_already
from sealstream.integrations.routes import action_named, resource_in

__all__ = ["ROUTE", "WHOLE", "Actor", "AuditMiddleware", "Environ", "Route", "describe", "emitted_already"]

Environ = dict[str, Any]
StartResponse = Callable[..., Any]
WSGIApp = Callable[[Environ, StartResponse], Iterable[bytes]]


ROUTE = "sealstream.route"
WHOLE = "sealstream.whole"


class Route(NamedTuple):
    """What a framework matched: `template` such as `/invoices/{invoice_id}`, None for nothing."""

    template: str | None
    params: Mapping[str, str] = {}


class AuditMiddleware:
    """Options as `sealstream.integrations.requests.RequestAudit`. A framework on top of it puts what it knows into the
    environment: under `ROUTE` a `Route`, under `WHOLE` whether the response is all there.
    """

    def __init__(
        self,
        app: WSGIApp,
        client: AuditClient,
        *,
        trusted_proxies: Collection[str] = (),
        actor: Callable[[Environ], Actor | str | None] | None = None,
        exclude: Collection[str] | Callable[[Environ], bool] = (),
        framework: str = "wsgi",
    ) -> None:
        self.app = app
        self.audit: RequestAudit[Environ] = RequestAudit(
            client, trusted_proxies=trusted_proxies, actor=actor, exclude=exclude, framework=framework
        )

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        path = _path(environ)
        if self.audit.excluded(path, environ):
            return self.app(environ, start_response)
        known = self.audit.known(environ.get("REMOTE_ADDR") or None, _headers(environ))
        with self.audit.begun(known) as request:
            response = _Response(self, environ, path, request, start_response)
            try:
                parts = self.app(environ, response.start)
            except BaseException as error:
                response.end(type(error).__name__)
                raise
            response.take(parts)
            if environ.get(WHOLE):
                response.end(None)
            return response


class _Response:
    """One response, between the application and the server."""

    def __init__(
        self, middleware: AuditMiddleware, environ: Environ, path: str, request: Request, start: StartResponse
    ) -> None:
        self._middleware: AuditMiddleware | None = middleware
        self._environ = environ
        self._path = path
        self._request = request
        self._start = start
        self._status: int | None = None
        self._complete = False

    def start(self, status: str, headers: list[tuple[str, str]], *exc_info: Any) -> Any:
        """The server's `start_response`, listened to."""
        self._status = int(status[:3]) if status[:3].isdigit() else None
        return self._start(status, headers, *exc_info)

    def take(self, parts: Iterable[bytes]) -> None:
        """What the application answered."""
        self._parts = parts
        self._request.hold()
        self._complete = self._environ.get("REQUEST_METHOD") == "HEAD"  # servers may leave its parts alone
        self._iterator: Iterator[bytes] | None = None

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        try:
            if self._iterator is None:
                self._iterator = self._request.within(iter, self._parts)
            return self._request.within(next, self._iterator)
        except StopIteration:
            self._complete = True
            raise
        except BaseException as error:
            self.end(type(error).__name__)
            raise

    def close(self) -> None:
        """By the server, when it is done with the response, however it ended."""
        try:
            close = getattr(self._parts, "close", None)
            if close is not None:
                self._request.within(close)
        except BaseException as error:
            self._request.within(self.end, type(error).__name__)
            raise
        self._request.within(self.end, None if self._complete else "no complete response")

    def end(self, error: str | None) -> None:
        middleware, self._middleware = self._middleware, None
        if middleware is None:
            return
        if error is not None and self._status is None:
            self._status = 500  # what the server answers for us

        def ended() -> Ended:
            route = self._environ.get(ROUTE) or Route(None)
            return Ended(
                action_named(str(self._environ.get("REQUEST_METHOD", "")), route.template),
                resource_in(route.params, self._path),
                route.params,
                self._status,
                error,
            )

        middleware.audit.ended(self._environ, self._request, ended)


def _path(environ: Environ) -> str:
    whole = f"{environ.get('SCRIPT_NAME', '')}{environ.get('PATH_INFO', '')}"
    return whole.encode("latin-1", "replace").decode("utf-8", "replace")  # PEP 3333, "Unicode Issues"


def _headers(environ: Environ) -> Iterator[tuple[bytes, bytes]]:
    for name in ("user-agent", "x-forwarded-for", "traceparent"):
        value = environ.get(f"HTTP_{name.upper().replace('-', '_')}")
        if isinstance(value, str):
            yield name.encode(), value.encode("latin-1", "replace")
