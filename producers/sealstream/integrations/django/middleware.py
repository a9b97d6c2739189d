"""One audit event for each request, with its route and its user; for synchronous and asynchronous Django.

Put it first in MIDDLEWARE: what it does not enclose, it does not see. An answer is over when the middleware has it, a
streamed one with its last part. What an event says, and the crash story, are `sealstream.integrations.requests`'. The
session is named by a digest of its key, since the key itself opens it.
"""

from __future__ import annotations

from asyncio import CancelledError
from collections.abc import AsyncIterator, Callable, Iterator
from hashlib import sha256
from typing import Any

from asgiref.sync import iscoroutinefunction, markcoroutinefunction, sync_to_async

from sealstream.client.results import error_name
from sealstream.integrations.django.configuration import audit_client, configured, loaded
from sealstream.integrations.requests import Actor, Ended, Request, RequestAudit, nobody_known, tell_actor, tell_error
from sealstream.integrations.routes import action_named, resource_in

__all__ = ["AuditMiddleware", "user_actor"]

HttpRequest = Any
HttpResponse = Any


class AuditMiddleware:
    """Configured by the setting SEALSTREAM_AUDIT (`sealstream.integrations.django.configuration`)."""

    sync_capable = True
    async_capable = True

    def __init__(self, get_response: Callable[[HttpRequest], Any]) -> None:
        options = configured()
        self.get_response = get_response
        self.audit: RequestAudit[HttpRequest] = RequestAudit(
            audit_client(),
            trusted_proxies=options.get("trusted_proxies", ()),
            exclude=loaded(options.get("exclude", ())),
            framework="django",
        )
        self._actor = loaded(options.get("actor")) or user_actor
        self._asynchronous = iscoroutinefunction(get_response)
        if self._asynchronous:
            markcoroutinefunction(self)

    def __call__(self, request: HttpRequest) -> Any:
        if self._asynchronous:
            return self._acall(request)
        if self.audit.excluded(request.path, request):
            return self.get_response(request)
        with self.audit.begun(self._known(request)) as begun:
            try:
                response = self.get_response(request)
            except BaseException as error:  # Django answers nearly all by itself
                self._end(request, begun, 500, type(error).__name__)
                raise
            self._identify(request)
            self._answered(request, begun, response)
            return response

    async def _acall(self, request: HttpRequest) -> HttpResponse:
        if self.audit.excluded(request.path, request):
            return await self.get_response(request)
        with self.audit.begun(self._known(request)) as begun:
            try:
                response = await self.get_response(request)
            except BaseException as error:
                cancelled = isinstance(error, CancelledError)
                self._end(request, begun, None if cancelled else 500, error_name(error))
                raise
            if nobody_known():
                await sync_to_async(self._identify)(request)  # it may ask the database for the user
            self._answered(request, begun, response)
            return response

    def process_view(self, request: HttpRequest, _view: Any, _args: Any, _kwargs: Any) -> None:
        """Django asks when all other middleware knows the request: what the view emits knows who acts."""
        self._identify(request)

    def process_exception(self, _request: HttpRequest, exception: Exception) -> None:
        """Django asks before it makes an answer of a view's exception."""
        tell_error(error_name(exception))

    def _known(self, request: HttpRequest) -> Any:
        headers = (
            (name.lower().encode(), str(value).encode("latin-1", "replace")) for name, value in request.headers.items()
        )
        return self.audit.known(request.META.get("REMOTE_ADDR") or None, headers)

    def _identify(self, request: HttpRequest) -> None:
        try:
            if nobody_known():
                tell_actor(self._actor(request))
        except Exception as error:  # noqa: BLE001 - an application's function; the request must not suffer
            self.audit.complain("actor", error)

    def _answered(self, request: HttpRequest, begun: Request, response: HttpResponse) -> None:
        if not getattr(response, "streaming", False):
            self._end(request, begun, response.status_code, None)
        elif getattr(response, "is_async", False):
            parts = aiter(response.streaming_content)
            response.streaming_content = self._awatched(request, begun, response, parts)
        else:
            response.streaming_content = self._watched(request, begun, response)

    def _watched(self, request: HttpRequest, begun: Request, response: HttpResponse) -> Iterator[bytes]:
        begun.hold()
        parts = iter(response.streaming_content)

        def watched() -> Iterator[bytes]:
            error: str | None = "no complete response"
            try:
                while True:
                    try:
                        part = begun.within(next, parts)
                    except StopIteration:
                        error = None
                        return
                    yield part
            except Exception as fault:
                error = error_name(fault)
                raise
            finally:
                begun.within(self._end, request, begun, response.status_code, error)

        return watched()

    async def _awatched(
        self, request: HttpRequest, begun: Request, response: HttpResponse, parts: AsyncIterator[bytes]
    ) -> AsyncIterator[bytes]:
        error: str | None = "no complete response"
        try:
            async for part in parts:
                yield part
            error = None
        except BaseException as fault:
            error = error if isinstance(fault, GeneratorExit) else error_name(fault)
            raise
        finally:
            self._end(request, begun, response.status_code, error)

    def _end(self, request: HttpRequest, begun: Request, status: int | None, error: str | None) -> None:
        def ended() -> Ended:
            match = request.resolver_match
            params = {str(name): str(value) for name, value in (match.kwargs if match else {}).items()}
            if match and not params:
                params = {str(number): str(value) for number, value in enumerate(match.args)}
            template = None if match is None else _template(match)
            path = str(request.path)
            return Ended(action_named(str(request.method), template), resource_in(params, path), params, status, error)

        self.audit.ended(request, begun, ended)


def _template(match: Any) -> str:
    """`/invoices/{invoice_id}` of a path; of a regular expression, the view's name, since it reads like none."""
    route = str(match.route or "")
    if route.startswith("^") or "(?P<" in route:
        return str(match.view_name or match._func_path)
    pieces = route.split("<")
    named = (f"{{{piece.partition('>')[0].rpartition(':')[2]}}}{piece.partition('>')[2]}" for piece in pieces[1:])
    return "/" + pieces[0].lstrip("/") + "".join(named)


def user_actor(request: HttpRequest) -> Actor | None:
    """The logged-in user by primary key, an administrator where staff; the session by a digest of its key."""
    user = getattr(request, "user", None)
    if user is None or not user.is_authenticated:
        return None
    key = getattr(getattr(request, "session", None), "session_key", None)
    return Actor(
        user.pk,
        "admin" if getattr(user, "is_staff", False) else "user",
        session_id=sha256(key.encode()).hexdigest()[:32] if key else None,
    )
