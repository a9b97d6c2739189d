"""What a caller may have meant who named no path, no chain or no value that there is.

The invariant: nothing is ever named but what /openapi.json shows to everybody and what the caller's own token may read.
Pure.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from difflib import SequenceMatcher, get_close_matches
from typing import Any

from sealstream.search import COUNTABLE, nearest_key

__all__ = ["nearest_path", "no_such_chain", "told_fault"]

_NEAR = 0.7
_LONGEST = 200
_EXPECTED = {
    "chain": "a chain's name, 1 to 39 of a-z, 0-9 and '-': /v1/chains lists those that the token may read",
    "seq": "an entry's place, a whole number from 0",
    "id": "an event's id, a UUID; by its place an entry is at /v1/chains/{chain}/entries/{seq}",
    "by": f"{', '.join(COUNTABLE)} or metadata.<name>",
    "having": "a comparison and a number, such as >5",
}
_UNFIT = ("string_pattern_mismatch", "uuid_parsing", "uuid_type", "int_parsing")


def nearest_path(path: str, known: Sequence[str]) -> str:
    """The path of a route, such as `/v1/chains/{chain}`, that this one is most like; "": it is like none."""

    path = path[:_LONGEST]

    def likeness(route: str) -> float:
        return SequenceMatcher(None, _filled(route, path), path, autojunk=False).ratio()

    nearest = max(known, key=likeness, default="")
    return nearest if nearest and likeness(nearest) >= _NEAR else ""


def _filled(route: str, path: str) -> str:
    """The route's path with what stands in the places of its parameters."""
    parts = path.split("/")
    return "/".join(
        parts[at] if part.startswith("{") and at < len(parts) else part for at, part in enumerate(route.split("/"))
    )


def no_such_chain(name: str, own: Sequence[str]) -> str:
    """What is said to a token, which may read `own`, of a name that is none of these."""
    near = get_close_matches(name, own, 1)
    meant = f"did you mean {near[0]}? " if near else ""
    return f"there is no chain {name} that this token may read: {meant}/v1/chains lists those that it may"


def told_fault(fault: Mapping[str, Any]) -> str:
    """What is wrong with a parameter: the framework's words, or ours where these show a pattern and no meaning."""
    name, given = str(fault["loc"][-1]), fault.get("input")
    expected = _EXPECTED.get(name, "")
    if fault["type"] == "missing":
        return f"is missing: expected {expected}" if expected else "is missing"
    if fault["type"] not in _UNFIT or not expected:
        return str(fault["msg"])
    near = nearest_key(given, COUNTABLE) if name == "by" and isinstance(given, str) else ""
    return f"did you mean {near}? expected {expected}" if near else f"expected {expected}"
