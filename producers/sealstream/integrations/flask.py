"""Flask: one audit event for each request, with its route, whoever serves it.

    app = Flask(__name__)
    audit_requests(app, AuditClient.from_env(), trusted_proxies=["10.0.0.0/8"])

Handlers add what they know with `describe`; with Flask-Login, the actor is its `current_user`. What an event says, and
the crash story, are those of `sealstream.integrations.requests` and `wsgi`. An exception that Flask answers with 500 is
named in the event. A response that is no stream is over when Flask has made it.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Collection
from typing import Any, cast

from flask import Flask, got_request_exception, request
from flask.wrappers import Request, Response

from sealstream.client import AuditClient
from sealstream.client.results import error_name
from sealstream.integrations.requests import Actor, describe, emitted_already, nobody_known, tell_actor, tell_error
from sealstream.integrations.wsgi import ROUTE, WHOLE, AuditMiddleware, Route

__all__ = ["Actor", "audit_requests", "describe", "emitted_already"]

_PARAMETER = re.compile(r"<(?:[^<>:]+:)?([^<>:]+)>")


def audit_requests(
    app: Flask,
    client: AuditClient,
    *,
    trusted_proxies: Collection[str] = (),
    actor: Callable[[Request], Actor | str | None] | None = None,
    exclude: Collection[str] = (),
) -> None:
    """Watch all requests of `app`. `actor`: asked before the view runs, and again after it where nobody was
    known then; others as `sealstream.integrations.requests.RequestAudit`.
    """
    middleware = AuditMiddleware(
        app.wsgi_app,
        client,
        trusted_proxies=trusted_proxies,
        exclude=exclude,
        framework="flask",
    )
    app.wsgi_app = middleware  # type: ignore[method-assign]
    ask = actor or _logged_in

    def look() -> None:
        """While Flask still knows the request."""
        asked = cast(Request, request._get_current_object())  # type: ignore[attr-defined]
        asked.environ.setdefault(ROUTE, _route(asked))
        try:
            if nobody_known():
                tell_actor(ask(asked))
        except Exception as fault:  # noqa: BLE001 - an application's function; the request must not suffer
            middleware.audit.complain("actor", fault)

    dispatch = app.dispatch_request

    def dispatched(*args: Any, **kwargs: Any) -> Any:
        """After the functions of `before_request`: what the view emits knows who acts."""
        look()
        return dispatch(*args, **kwargs)

    app.dispatch_request = dispatched  # type: ignore[method-assign]

    @app.after_request
    def answered(response: Response) -> Response:
        look()
        request.environ[WHOLE] = not (response.is_streamed or response.direct_passthrough)
        return response

    @app.teardown_request
    def failed(_error: BaseException | None) -> None:
        if ROUTE not in request.environ:  # no response of Flask's own: the exception goes on to the server
            look()

    def raised(_app: Flask, exception: BaseException, **_more: Any) -> None:
        tell_error(error_name(exception))

    got_request_exception.connect(raised, app, weak=False)


def _route(asked: Request) -> Route:
    if asked.url_rule is None:
        return Route(None)
    params = {str(name): str(value) for name, value in (asked.view_args or {}).items()}
    return Route(_PARAMETER.sub(r"{\1}", asked.url_rule.rule), params)


def _logged_in(_request: Request) -> Actor | None:
    """Flask-Login's user, where the application uses it."""
    login = sys.modules.get("flask_login")
    if login is None or not login.current_user or not login.current_user.is_authenticated:
        return None
    return Actor(login.current_user.get_id())
