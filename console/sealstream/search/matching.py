"""Whether one entry is found by a search: the meaning of the query language, in plain Python.

Both backends must find the same entries; `sealstream tail` goes by this. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from ipaddress import IPv4Network, IPv6Network, ip_address
from typing import Any

from sealstream.events import parse_timestamp
from sealstream.sealing import canonical_json
from sealstream.search.fields import Field
from sealstream.search.query import Condition, Numbers, Query, Resource, Value

__all__ = ["matches", "scalar_text", "value_at"]


def matches(query: Query, entry: Mapping[str, Any]) -> bool:
    """Whether `entry` (the JSON document, sealed or not) is found by `query`."""
    happened, sealed = entry["timestamp"], entry["written"]["sequenced_at"]
    return (
        _within(happened, query.after, query.before)
        and _within(sealed, query.sealed_after, query.sealed_before)
        and all(_holds(condition, entry) for condition in query.conditions)
    )


def value_at(entry: Mapping[str, Any], path: tuple[str, ...]) -> Any:
    """What stands at a path of members; None where there is nothing."""
    found: Any = entry
    for member in path:
        if not isinstance(found, Mapping):
            return None
        found = found.get(member)
    return found


def scalar_text(value: Any) -> str | None:
    """A text itself, a number or truth value as canonical JSON writes it; None for everything else."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool | int | float):
        return canonical_json(value).decode()
    return None


def _within(moment: str, first: datetime | None, stop: datetime | None) -> bool:
    if first is None and stop is None:
        return True
    at = parse_timestamp(moment)
    return (first is None or at >= first) and (stop is None or at < stop)


def _holds(condition: Condition, entry: Mapping[str, Any]) -> bool:
    if condition.impossible:
        return False

    def is_one(values: tuple[Value, ...]) -> bool:
        return any(_has(condition.field, value, entry) for value in values)

    return (not condition.any_of or is_one(condition.any_of)) and not is_one(condition.none_of)


def _has(field: Field, value: Value, entry: Mapping[str, Any]) -> bool:
    if isinstance(value, Resource):
        return value.type.matches(entry["resource_type"]) and (
            value.id is None or value.id.matches(entry["resource_id"])
        )
    found = value_at(entry, field.path)
    if isinstance(value, Numbers):
        return isinstance(found, int) and value.first <= found <= value.last
    if isinstance(value, IPv4Network | IPv6Network):
        return isinstance(found, str) and ip_address(found) in value
    if field.kind == "list":
        return isinstance(found, list) and any(isinstance(one, str) and value.matches(one) for one in found)
    text = scalar_text(found)
    return text is not None and value.matches(text)
