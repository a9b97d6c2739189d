"""What a resource is called: a pair of type and id, an object that has an id, or a parameter named like one.

The invariant: naming never raises and never asks a database; what has no id yet is asked again when the action is over,
and what has none even then is called `-`. Pure.
"""

from __future__ import annotations

import re
from contextlib import suppress
from typing import Any

__all__ = ["NAMELESS", "check_resource", "named_parameter", "resource_of"]

NAMELESS = "-"
_CAMEL = re.compile("(?<=[a-z0-9])(?=[A-Z])")
_PLAIN = (str, int, float, bytes, bool)


def resource_of(resource: object) -> tuple[str, object]:
    """Type and id; the id is None where there is none yet.

    `resource`: a pair, as it is; a row of Django or SQLAlchemy by its primary key; any other object by its `id` (else
    `pk`, `uuid`), with its class's name in lower case and underscores as the type.
    """
    if _is_pair(resource):
        return resource[0], resource[1]  # type: ignore[index]
    kind: Any = type(resource)
    name = _CAMEL.sub("_", kind.__name__).lower()
    with suppress(Exception):
        if hasattr(getattr(kind, "_meta", None), "concrete_fields"):  # Django
            return kind._meta.model_name, getattr(resource, "pk", None)
        if (mapper := getattr(kind, "__mapper__", None)) is not None:  # SQLAlchemy; expired rows keep their identity
            identity = resource._sa_instance_state.identity  # type: ignore[attr-defined]
            loaded = vars(resource)
            keys = identity or [loaded.get(mapper.get_property_by_column(each).key) for each in mapper.primary_key]
            return name, None if None in keys else keys[0] if len(keys) == 1 else ",".join(map(str, keys))
        for attribute in ("id", "pk", "uuid"):
            if (found := getattr(resource, attribute, None)) is not None:
                return name, found
    return name, None


def check_resource(resource: object) -> None:
    """Raises `TypeError` for what can never name a resource: a text, a number, a tuple that is no pair."""
    if isinstance(resource, _PLAIN) or (type(resource) is tuple and len(resource) != 2):
        raise TypeError(f"resource is {resource!r:.80}: expected a pair of type and id, or an object that has an id")


def _is_pair(resource: object) -> bool:
    """Named tuples, rows of SQLAlchemy's Core among them, are records."""
    return isinstance(resource, tuple) and len(resource) == 2 and not hasattr(resource, "_fields")


def named_parameter(name: str, value: object) -> tuple[str, object]:
    """The resource that a parameter names: `invoice_id=7` is invoice 7; an object is what `resource_of` says."""
    if isinstance(value, _PLAIN) or not any(hasattr(value, each) for each in ("id", "pk", "_sa_instance_state")):
        return name.removesuffix("_id") or name, value
    return resource_of(value)
