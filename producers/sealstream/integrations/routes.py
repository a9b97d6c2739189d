"""What a request is called: its route's template, and the resource that its path names.

The framework writes what it matched into the ASGI scope, a different part of it in each version: Starlette the endpoint
and the parameters, newer ones and FastAPI the route, whose path lacks the prefix of routers and mounts around it. The
prefix is found in the concrete path, in which the remaining parameters are put back.

The invariant: an action has one of a few values however many paths are asked for, and whatever a stranger writes into a
path or a header comes out as text that an event accepts, so that nobody can make a request too odd to be logged.
Pure; nothing to lose in a crash.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, MutableMapping
from functools import lru_cache
from hashlib import sha256
from typing import Any

__all__ = [
    "Scope",
    "action_named",
    "action_of",
    "cut",
    "path_params",
    "resource_in",
    "resource_of",
    "template_of",
]

Scope = MutableMapping[str, Any]

UNMATCHED = "unmatched"
_PARAMETER = re.compile("{([a-zA-Z_][a-zA-Z0-9_]*)(:[a-zA-Z_][a-zA-Z0-9_]*)?}")
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT", "QUERY"})


def cut(text: str, limit: int) -> str:
    """`text` as an event accepts it: at most `limit` bytes of UTF-8, without NUL and lone surrogates."""
    data = text.encode("utf-8", "replace")
    return data[:limit].decode("utf-8", "ignore").replace("\0", "?")


def path_params(scope: Scope) -> dict[str, str]:
    """The parameters in the path as text, in their order."""
    found = scope.get("path_params")
    return {str(name): str(value) for name, value in found.items()} if isinstance(found, Mapping) else {}


def template_of(scope: Scope, path: str) -> str | None:
    """`/patients/{patient_id}` for the matched route, the endpoint's name where that can't be told, None for none.

    `path`: the request's whole path, as it was before routing (old Starlette shortens it in the scope).
    """
    params, route, endpoint = path_params(scope), scope.get("route"), scope.get("endpoint")
    own = getattr(route, "path", None)
    name = getattr(endpoint, "__name__", None)
    if isinstance(own, str):
        if not hasattr(route, "endpoint"):  # a mount, and nothing inside it matched
            return f"{own}/*"
        inner = dict(_PARAMETER.findall(own))
        inside = own.count("/") + sum(
            params.get(each, "").count("/") for each, kind in inner.items() if kind == ":path"
        )
        outer = {each: value for each, value in params.items() if each not in inner}
        prefix = _with_names(path.rsplit("/", inside)[0] if inside else path, outer)
        template = None if prefix is None else prefix + _PARAMETER.sub(r"{\1}", own)
    elif name is not None:
        template = _with_names(path, params)
    else:
        return None
    return name if template is None else template


def _with_names(path: str, params: Mapping[str, str]) -> str | None:
    """The path with each parameter's value replaced by its name, from the right; None when one is not found."""
    path += "/"
    for name, value in reversed(list(params.items())):
        before, found, after = path.rpartition(f"/{value}/")
        if not (found and value):
            return None
        path = f"{before}/{{{name}}}/{after}"
    return path[:-1]


def action_of(scope: Scope, path: str) -> str:
    """`get:/patients/{patient_id}`; `get:unmatched` where no route matched. At most 128 bytes, a digest at the cut."""
    return action_named(str(scope.get("method", "")), template_of(scope, path))


def action_named(method: str, template: str | None) -> str:
    """The same, for a framework that knows its template."""
    return _bounded(f"{method.lower() if method in _METHODS else 'other'}:{template or UNMATCHED}")


@lru_cache(maxsize=1024)
def _bounded(action: str) -> str:
    data = action.encode("utf-8", "replace")
    return cut(action, 128) if len(data) <= 128 else f"{cut(action, 111)}~{sha256(data).hexdigest()[:16]}"


def resource_of(scope: Scope, path: str) -> tuple[str, str]:
    """Type and id of the resource that the path names: its last parameter; without any, the path itself."""
    return resource_in(path_params(scope), path)


def resource_in(params: Mapping[str, str], path: str) -> tuple[str, str]:
    """The same, for a framework that knows its parameters."""
    if not params:
        return "api_endpoint", cut(path, 512) or "/"
    name, value = list(params.items())[-1]
    return cut(name.removesuffix("_id") or name, 128), cut(value, 512) or "-"
