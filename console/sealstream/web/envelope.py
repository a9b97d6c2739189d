"""What wraps every answer: a request id, the headers that keep browsers from doing harm, one log line, no traceback;
and what a request holds (`state.held`), which is given back when its answer has left or failed.

The invariant: an answer leaves with these headers or not at all, and an error that nobody foresaw leaves as a problem
document, its details only in the service's log. Query strings are not logged: they say who was looked for.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack

import structlog
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from sealstream.events import new_event_id
from sealstream.web.problems import Problem, problem_response

__all__ = ["Envelope"]

_FOR_PROGRAMS = ((b"cache-control", b"no-store"), (b"x-content-type-options", b"nosniff"))
_HEADERS = (
    *_FOR_PROGRAMS,
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"referrer-policy", b"no-referrer"),
    (b"x-frame-options", b"DENY"),
)
_HSTS = (b"strict-transport-security", b"max-age=31536000")
_UNFORESEEN = "an error that nobody foresaw; the service's log says more under this request's id"


class Envelope:
    """Around the application. `process` is named in the log lines; answers below the status `quiet_below` have none.

    `browsers`: whether any may ask; without, headers that only they heed are left out. `answered` is told each
    answer's status; 0: the connection was gone before there was one.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        tls: bool,
        process: str = "serve",
        quiet_below: int = 0,
        browsers: bool = True,
        answered: Callable[[int], object] = lambda _: None,
    ) -> None:
        self._app = app
        headers = _HEADERS if browsers else _FOR_PROGRAMS
        self._headers = (*headers, _HSTS) if tls and browsers else headers
        self._log = structlog.get_logger().bind(process=process)
        self._quiet_below = quiet_below
        self._answered = answered

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = new_event_id()
        state = scope.setdefault("state", {})
        state["request_id"] = request_id
        held = state["held"] = ExitStack()
        began, status = time.monotonic(), 0

        async def send_with_headers(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [
                    *message.get("headers", []),
                    *self._headers,
                    (b"x-request-id", request_id.encode()),
                ]
            await send(message)

        try:
            await self._app(scope, receive, send_with_headers)
        except Exception as error:
            self._log.error("a request ended in a fault", request_id=request_id, reason=repr(error), exc_info=True)
            if status:
                raise  # amid an answer: the connection is cut, so that nobody takes it for whole
            await problem_response(Problem(500, "fault", _UNFORESEEN), request_id)(scope, receive, send_with_headers)
        finally:
            held.close()
            self._answered(status)
            if not 0 < status < self._quiet_below:
                self._log.info(
                    "request",
                    request_id=request_id,
                    method=scope["method"],
                    path=scope["path"],
                    status=status,
                    ms=round((time.monotonic() - began) * 1000, 1),
                    token=state.get("token", ""),
                )
