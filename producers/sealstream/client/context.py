"""Who acts, for whom, in which session and request: bound once, filled into every event that follows.

Two layers. What `bind` sets is local to the running task or thread, as context variables are: a copy is inherited by
what it starts, and nothing leaks back or sideways. What `bind_shared` sets belongs to the whole request that `sharing`
encloses, whichever of its threads and tasks sets it; a web framework runs handlers in worker threads on copies of the
context, and what a login there finds out must be known when the request ends. The inner layer wins.

The invariant: an actor is bound as one. Naming another `actor_id` forgets the type and the principal of the one before,
so that no event joins one person's id with another's rights. Nothing here outlives the process.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, NamedTuple, TypedDict, Unpack, cast

__all__ = [
    "ACTOR_FIELDS",
    "Captured",
    "Context",
    "bind",
    "bind_shared",
    "bound",
    "captured",
    "clear",
    "context",
    "resumed",
    "sharing",
    "unbind",
]


class Context(TypedDict, total=False):
    """What can be bound; None binds nothing."""

    actor_id: object
    actor_type: str | None
    on_behalf_of: object
    tenant: object
    session_id: object
    trace_id: object
    ip_address: object
    user_agent: str | None
    reason: str | None
    subject_id: object


ACTOR_FIELDS = ("actor_id", "actor_type", "on_behalf_of")
_NAMES = frozenset(Context.__annotations__)
_NOTHING: Mapping[str, Any] = {}

_bound: ContextVar[Mapping[str, Any]] = ContextVar("sealstream_bound", default=_NOTHING)
_shared: ContextVar[dict[str, Any] | None] = ContextVar("sealstream_shared", default=None)


def bind(**fields: Unpack[Context]) -> None:
    """Fill these into every later event of this task or thread, and of those that it starts from now on."""
    _bound.set({**_bound.get(), **_checked(fields)})


def unbind(*names: str) -> None:
    """Forget these again."""
    _bound.set({name: value for name, value in _bound.get().items() if name not in names})


def clear() -> None:
    """Forget everything that this task or thread has bound; a worker calls it before each job."""
    _bound.set(_NOTHING)


@contextmanager
def context(**fields: Unpack[Context]) -> Iterator[None]:
    """`bind` for the length of a `with` block; afterwards, what was bound before is bound again."""
    token = _bound.set({**_bound.get(), **_checked(fields)})
    try:
        yield
    finally:
        _bound.reset(token)


@contextmanager
def sharing(**fields: Unpack[Context]) -> Iterator[dict[str, Any]]:
    """One request, with the fields that are known of it at first; yields what is shared, as it then stands."""
    shared = _checked(fields)
    token = _shared.set(shared)
    try:
        yield shared
    finally:
        _shared.reset(token)


def bind_shared(**fields: Unpack[Context]) -> None:
    """Fill these into every later event of this whole request; outside of one, the same as `bind`."""
    shared = _shared.get()
    if shared is None:
        bind(**fields)
    else:
        shared.update(_checked(fields))


def bound() -> dict[str, Any]:
    """What would be filled into an event now."""
    return {**(_shared.get() or _NOTHING), **_bound.get()}


class Captured(NamedTuple):
    """Both layers, to be bound again elsewhere. `shared` is the request's own, not a copy."""

    own: Mapping[str, Any]
    shared: dict[str, Any] | None

    @property
    def empty(self) -> bool:
        """Nothing is bound, and no request encloses this."""
        return not self.own and self.shared is None


def captured() -> Captured:
    """What is bound here."""
    return Captured(_bound.get(), _shared.get())


@contextmanager
def resumed(bound_there: Captured) -> Iterator[None]:
    """Exactly what was bound there, for the length of a `with` block."""
    own, shared = _bound.set(bound_there.own), _shared.set(bound_there.shared)
    try:
        yield
    finally:
        _shared.reset(shared)
        _bound.reset(own)


def _checked(fields: Context) -> dict[str, Any]:
    named = cast(dict[str, Any], fields)
    unknown = named.keys() - _NAMES
    if unknown:
        raise TypeError(f"{sorted(unknown)[0]} can't be bound: expected some of {', '.join(sorted(_NAMES))}")
    if named.get("actor_id") is not None:
        return {"actor_type": "user", "on_behalf_of": None, **named}
    return dict(named)
