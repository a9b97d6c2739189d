"""One thing that somebody does, as a block or a function: recorded when it is over, with how it ended.

    with audit.action("invoice.approve", resource=invoice) as action:
        action.changes(before, invoice)

The event says `success`, `denied` or `failure` by the rule of `sealstream.client.results`, `duration_ms`, and the class
of an exception, never its text. The invariant: an exception always goes on, and is never replaced, also with `strict`.
A crash within the block loses its event, as it loses the rest of the block.
"""

from __future__ import annotations

import functools
import inspect
import time
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from types import TracebackType
from typing import Any, Literal, ParamSpec, Self, TypedDict, TypeVar, Unpack, cast

from sealstream.client.changes import changes, fields_of, not_loaded
from sealstream.client.delivery import warn
from sealstream.client.resources import NAMELESS, named_parameter, resource_of
from sealstream.client.results import Result, error_name, result_of_error, told_result
from sealstream.errors import SealstreamError

__all__ = ["Action", "ActionFields", "audited"]

P = ParamSpec("P")
R = TypeVar("R")

Emit = Callable[..., str | None]


class ActionFields(TypedDict, total=False):
    """What an action can be told beside its name, its resource and its result: fields of `AuditClient.emit`."""

    resource_type: str
    resource_id: object
    actor_id: object
    actor_type: Literal["user", "service", "admin", "system", "anonymous"] | None
    on_behalf_of: object
    reason: str | None
    changed_fields: Collection[str] | None
    old_values: Mapping[str, Any] | None
    new_values: Mapping[str, Any] | None
    metadata: Mapping[str, Any] | None
    tenant: object
    session_id: object
    trace_id: object
    ip_address: object
    user_agent: str | None
    subject_id: object
    id: object


_MOST_NAMED = 20
_NAMES = frozenset(ActionFields.__annotations__)


class Action:
    """A block of `with` or `async with`; for one use. `event_id`: once it is over, unless the event was dropped."""

    def __init__(
        self,
        emit: Emit,
        action: str,
        resource: object = None,
        *,
        denials: Collection[type[BaseException]] = (),
        fields: Mapping[str, Any] | None = None,
    ) -> None:
        self.action = action
        self.resource = resource
        self.event_id: str | None = None
        self._emit = emit
        self._denials = denials
        self._fields: dict[str, Any] = {}
        self._told: Result | None = None
        self._named_before: tuple[str, object] | None = None
        self._began = time.perf_counter()
        self._describe(dict(fields or {}))

    def describe(self, **fields: Unpack[ActionFields]) -> None:
        """Say more about it; `metadata` is merged."""
        self._describe(dict(cast(Mapping[str, Any], fields)))

    def changes(
        self, old: object, new: object, *, only: Collection[str] | None = None, ignore: Collection[str] = ()
    ) -> None:
        """What it changes: as `sealstream.client.changes`, but that a record nobody can read breaks nothing."""
        try:
            self._fields.update(changes(old, new, only=only, ignore=ignore))
            unknown = not_loaded(old, new) & (fields_of(old).keys() | fields_of(new).keys())
            if unknown:
                self._describe({"metadata": {"changes_not_loaded": sorted(unknown)[:_MOST_NAMED]}})
        except Exception as fault:  # noqa: BLE001 - whatever objects an application hands over, it must not suffer
            warn("changes of %s can't be read: %r", self.action, fault)
            self._describe({"metadata": {"changes_unreadable": type(fault).__name__}})

    def deny(self, reason: str | None = None) -> None:
        """It was not allowed, though no exception says so."""
        self._tell("denied", reason)

    def fail(self, reason: str | None = None) -> None:
        """It did not succeed, though no exception says so."""
        self._tell("failure", reason)

    def _tell(self, result: Result, reason: str | None) -> None:
        self._told = result
        if reason is not None:
            self._fields["reason"] = reason

    def _describe(self, fields: dict[str, Any]) -> None:
        unknown = fields.keys() - _NAMES
        if unknown:
            raise TypeError(f"an action has no {sorted(unknown)[0]}: expected some of {', '.join(sorted(_NAMES))}")
        metadata = fields.get("metadata")
        if isinstance(metadata, Mapping):
            fields["metadata"] = {**self._fields.get("metadata", {}), **metadata}
        self._fields.update(fields)

    def __enter__(self) -> Self:
        self._began = time.perf_counter()
        if self.resource is not None:
            self._named_before = resource_of(self.resource)
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, error: BaseException | None, _traceback: TracebackType | None
    ) -> None:
        try:
            self._end(error)
        except SealstreamError as refused:  # only with `strict`
            if error is None:
                raise
            error.add_note(f"the audit event {self.action} was not sent: {refused}")

    async def __aenter__(self) -> Self:
        return self.__enter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.__exit__(kind, error, traceback)

    def _end(self, error: BaseException | None) -> None:
        fields = dict(self._fields)
        metadata = fields.pop("metadata", None)
        metadata = {**metadata} if isinstance(metadata, Mapping) else {}
        metadata["duration_ms"] = round((time.perf_counter() - self._began) * 1000, 3)
        result = result_of_error(error, self._denials)
        if error is not None and result != "success":
            metadata["error"] = error_name(error)
        resource_type, resource_id = self._resource()
        self.event_id = self._emit(
            self.action,
            **{
                **fields,
                "resource_type": fields.get("resource_type") or resource_type,
                "resource_id": NAMELESS if resource_id in (None, "") else resource_id,
                "result": told_result(result, self._told),
                "metadata": metadata,
            },
        )

    def _resource(self) -> tuple[str, object]:
        if self.resource is None:
            return "action", self._fields.get("resource_id") or self.action
        kind, now = resource_of(self.resource)
        before = self._named_before[1] if self._named_before else None
        # The first name counts: Django forgets the key of a row that it deletes.
        return kind, self._fields.get("resource_id") or (now if before is None else before)


def audited(
    start: Callable[[str, object], Action],
    action: str | None,
    resource: str | Callable[..., object] | None,
) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """The decorator behind `AuditClient.audited`. `start`: makes the action of one call."""
    if callable(action):
        raise TypeError("audited is called before it decorates: expected `@audit.audited()`, or with an action's name")

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        if isinstance(function, classmethod):
            raise TypeError("@audited of a class method stands below @classmethod, next to the function")
        called_as = getattr(function, "__qualname__", "") or getattr(
            getattr(function, "func", type(function)), "__qualname__", type(function).__qualname__
        )
        if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
            raise TypeError(f"{called_as} yields: use `with audit.action(...)` in its body instead")
        signature = inspect.signature(function)
        if isinstance(resource, str) and resource not in signature.parameters:
            raise TypeError(f"{called_as} has no parameter {resource!r} to name the resource")
        name = action or called_as.replace(".<locals>", "")

        def begun(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Action:
            found: object = ("function", f"{function.__module__}.{called_as}")
            with suppress(Exception):  # a call that does not fit the function fails by itself
                if callable(resource):
                    found = resource(*args, **kwargs)
                elif resource is not None:
                    given = signature.bind(*args, **kwargs)
                    given.apply_defaults()
                    found = named_parameter(resource, given.arguments[resource])
            return start(name, found)

        if inspect.iscoroutinefunction(function):

            @functools.wraps(function)
            async def awaited(*args: P.args, **kwargs: P.kwargs) -> Any:
                async with begun(args, kwargs):
                    return await function(*args, **kwargs)

            return cast(Callable[P, R], awaited)

        @functools.wraps(function)
        def called(*args: P.args, **kwargs: P.kwargs) -> R:
            with begun(args, kwargs):
                return function(*args, **kwargs)

        return called

    return decorate
