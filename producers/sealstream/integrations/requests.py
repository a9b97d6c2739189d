"""What every web framework's middleware has in common: who asks, what a handler says, and with what result it ends.

A framework's module knows when a request begins and ends, its route and its headers; everything else is decided here,
so that a request is recorded alike whatever serves it. The result is that of `sealstream.client.results`: below 400
`success`, 401 and 403 `denied`, else `failure`; an exception, a cancelled request and a response that broke off are
failures too. Never a body, a query string, a cookie or another header.

The invariant: whatever fails here, the request runs as if nobody watched it. Nothing here outlives its request.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from typing import Any, Generic, Literal, NamedTuple, ParamSpec, TypedDict, TypeVar, Unpack

from sealstream.client import AuditClient, bind_shared, bound, context, sharing
from sealstream.client.context import Captured, Context, captured, resumed
from sealstream.client.results import Result, result_of_status, told_result
from sealstream.client.tracing import trace_id_of
from sealstream.errors import SealstreamError
from sealstream.integrations.proxies import TrustedProxies
from sealstream.integrations.routes import cut

__all__ = [
    "Actor",
    "Description",
    "Ended",
    "Request",
    "RequestAudit",
    "describe",
    "emitted_already",
    "nobody_known",
    "tell_actor",
    "tell_error",
]

T = TypeVar("T")
P = ParamSpec("P")
R = TypeVar("R")


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
    error: str | None


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
    if "metadata" in own:
        said = own["metadata"]
        more = said if isinstance(said, Mapping) else {"metadata": said}
        own["metadata"] = {**told["fields"].get("metadata", {}), **more}
    told["fields"].update(own)


_SHARED = frozenset(Context.__annotations__) - {"reason"}
_DESCRIBABLE = frozenset(Description.__annotations__) | frozenset(Context.__annotations__)


def emitted_already() -> None:
    """The handler has emitted an event of its own that says it all: the request's is left out, unless it fails."""
    told = _told.get()
    if told is not None:
        told["emitted"] = True


def tell_error(name: str) -> None:
    """The exception that the framework will turn into an answer of its own."""
    told = _told.get()
    if told is not None:
        told["error"] = name


def nobody_known() -> bool:
    """Whether a request runs here that gets an event, and nobody has said who makes it."""
    return _told.get() is not None and bound().get("actor_id") is None


def tell_actor(actor: Actor | str | None) -> None:
    """Who makes the running request, unless its handler has said it; for a framework that can be asked only within."""
    if actor is not None and nobody_known():
        bind_shared(**_as_context(actor))


def _as_context(actor: Actor | str) -> dict[str, Any]:
    actor = actor if isinstance(actor, Actor) else Actor(actor)
    named = {"tenant": actor.tenant, "session_id": actor.session_id}
    return {
        "actor_id": actor.id,
        "actor_type": actor.type,
        "on_behalf_of": actor.on_behalf_of,
        **{name: value for name, value in named.items() if value is not None},
    }


class Ended(NamedTuple):
    """How a request was called and how it ended. `error`: None where it ended as it should. `result`: where there is no
    HTTP status that tells.
    """

    action: str
    resource: tuple[str, str]
    path_params: Mapping[str, str]
    status: int | None
    error: str | None
    result: Result | None = None
    metadata: Mapping[str, Any] = {}


class Request:
    """One request between its beginning and its end. `shared`: what is bound for all of it."""

    def __init__(self) -> None:
        self.told: _Told = {"fields": {}, "emitted": False, "error": None}
        self.shared: dict[str, Any] = {}
        self._bound = Captured({}, self.shared)
        self._outer = captured().own
        self._began = time.perf_counter()

    def hold(self) -> None:
        """Within the request: what is bound now is bound in what `within` runs later."""
        self._bound = captured()

    def within(self, function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Run a later part of it, in whatever thread. Other context variables are as they are there: a framework that
        leaves one behind in the first part could not take it back from a copy of the context.
        """
        token = _told.set(self.told)
        try:
            with resumed(self._bound):
                try:
                    return function(*args, **kwargs)
                finally:
                    self._bound = captured()
        finally:
            _told.reset(token)

    def bound_within(self) -> dict[str, Any]:
        """Within the request: what its own code has bound, for all of it or by `bind`, which goes before."""
        own = {name: value for name, value in captured().own.items() if self._outer.get(name) is not value}
        return {**self.shared, **own}

    def duration_ms(self) -> float:
        """Since it began."""
        return round((time.perf_counter() - self._began) * 1000, 3)


def _said(value: Any, otherwise: Any) -> Any:
    """What a handler said, unless it is nothing; never asked whether it is true, which may raise."""
    return otherwise if value is None or (type(value) is str and not value) else value


class RequestAudit(Generic[T]):
    """`client`: the process's `AuditClient`. `T`: what the framework calls a request.

    `trusted_proxies`: addresses and networks whose `X-Forwarded-For` is believed (`unix` for a Unix socket). `actor`:
    who makes the request, where no handler has said it. `exclude`: paths without events, or a function that tells.
    Raises `Misconfigured`.
    """

    def __init__(
        self,
        client: AuditClient,
        *,
        trusted_proxies: Collection[str] = (),
        actor: Callable[[T], Actor | str | None] | None = None,
        exclude: Collection[str] | Callable[[T], bool] = (),
        framework: str,
    ) -> None:
        self.client = client
        self._proxies = TrustedProxies(trusted_proxies)
        self._actor = actor
        self._exclude = exclude if callable(exclude) else frozenset(exclude)
        self._log = logging.getLogger(f"sealstream.{framework}")
        self._complaints: set[str] = set()

    def excluded(self, path: str, asked: T) -> bool:
        """Whether this request gets no event."""
        if not callable(self._exclude):
            return path in self._exclude
        try:
            return bool(self._exclude(asked))
        except Exception as error:  # noqa: BLE001 - an application's function; the request must not suffer
            self.complain("exclude", error)
            return False

    def known(self, peer: str | None, headers: Iterable[tuple[bytes, bytes]]) -> Context:
        """What the request says of itself before anybody has looked at it. Names of `headers` in lower case."""
        try:
            forwarded_for: list[bytes] = []
            known: Context = {}
            for name, value in headers:
                if name == b"user-agent":
                    known["user_agent"] = cut(value.decode("latin-1"), 1_024)
                elif name == b"x-forwarded-for":
                    forwarded_for.append(value)
                elif name == b"traceparent" and (trace_id := trace_id_of(value.decode("latin-1"))):
                    known["trace_id"] = trace_id
            known["ip_address"] = self._proxies.client_address(peer, forwarded_for)
            return known
        except Exception as error:  # noqa: BLE001 - a server with a scope of its own kind; the request must not suffer
            self.complain("reading the request", error)
            return {}

    @contextmanager
    def begun(self, known: Context) -> Iterator[Request]:
        """The block in which the request runs; `describe` and other events know it within. What is bound within ends
        with it: a server's threads go on to other requests.
        """
        request = Request()
        token = _told.set(request.told)
        try:
            with context(), sharing(**known) as shared:
                request.shared = shared
                yield request
        finally:
            _told.reset(token)

    def ended(self, asked: T, request: Request, end: Callable[[], Ended]) -> None:
        """Emit the request's event; never raises."""
        try:
            self._emit(asked, request, end())
        except Exception as fault:  # noqa: BLE001 - a failing log never breaks a request
            self.complain("emitting", fault)
            if not isinstance(fault, SealstreamError):  # those, of a strict client, are counted
                with suppress(SealstreamError):
                    self.client.refuse(fault, "request")

    def _emit(self, asked: T, request: Request, end: Ended) -> None:
        told = request.told["fields"]
        error = end.error or request.told["error"]
        result = "failure" if end.error else end.result or result_of_status(end.status)
        if error and result == "success":
            result = "failure"
        result = told_result(result, told.get("result"))
        if request.told["emitted"] and result == "success":
            return
        resource_type, resource_id = end.resource
        if self.client.redaction.is_secret(resource_type):  # /reset/{token}: what the path names is no name
            resource_id = "[redacted]"
        resource_type = _said(told.get("resource_type"), resource_type)
        resource_id = _said(told.get("resource_id"), resource_id)
        metadata = {**told.get("metadata", {}), **end.metadata, "duration_ms": request.duration_ms()}
        if end.status is not None:
            metadata["http_status"] = end.status
        if error:
            metadata["error"] = error
        if len(end.path_params) > 1:
            metadata["path_params"] = {cut(name, 128): cut(value, 512) for name, value in end.path_params.items()}
        within = request.bound_within()
        who = {**within, **self._asked_actor(asked, within)}
        reason = who.pop("reason", None)
        self.client.emit(
            _said(told.get("action"), end.action),
            resource_type=resource_type,
            resource_id=resource_id,
            result=result,
            reason=_said(told.get("reason"), reason),
            changed_fields=told.get("changed_fields"),
            old_values=told.get("old_values"),
            new_values=told.get("new_values"),
            metadata=metadata,
            **who,
        )

    def _asked_actor(self, asked: T, within: Mapping[str, Any]) -> dict[str, Any]:
        """Who the application's `actor` function says it is, unless a handler has said it."""
        if self._actor is None or within.get("actor_id") is not None:
            return {}
        try:
            actor = self._actor(asked)
        except Exception as error:  # noqa: BLE001 - an application's function; the request must not suffer
            self.complain("actor", error)
            return {}
        if actor is None:
            return {}
        return _as_context(actor)

    def complain(self, what: str, error: Exception) -> None:
        """Say once for each place that something of ours, or the application's, failed."""
        place = f"{what}: {type(error).__name__}"
        if place not in self._complaints and len(self._complaints) < 64:
            self._complaints.add(place)
            with suppress(Exception):  # also the application's log handlers
                self._log.warning("audit middleware, %s: %r; the request goes on", what, error)
