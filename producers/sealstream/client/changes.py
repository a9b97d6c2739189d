"""`changes(old, new)`: what a write changed, from two states of a record of any kind.

    audit.emit("invoice.write", resource_type="invoice", resource_id=7, **changes(before, after))

A record is a mapping, a dataclass, a Pydantic model, an attrs class, a msgspec struct, a named tuple, a row of
SQLAlchemy or Django; None where there is none, so that `changes(None, new)` is a creation. Only columns and only what
is loaded is read of a row: no query is made, and of what is not loaded (a commit expires all of it) nothing is said.
Values that an event can't hold become text, bytes their length and
SHA-256, and nested records objects. Secrets are the client's matter (`sealstream.client.redaction`).

Pure; nothing to lose in a crash.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping
from datetime import date, time
from decimal import Decimal
from enum import Enum
from hashlib import sha256
from ipaddress import IPv4Address, IPv6Address
from typing import Any, TypedDict
from uuid import UUID

from sealstream.events import MAX_NESTING

__all__ = ["Changes", "changes", "fields_of", "plain"]

_KEPT = (str, int, float, bool, Decimal, UUID, date, time, Enum, IPv4Address, IPv6Address)
_MISSING = object()


class Changes(TypedDict):
    """As `emit` takes them."""

    changed_fields: list[str]
    old_values: dict[str, Any]
    new_values: dict[str, Any]


def changes(old: object, new: object, *, only: Collection[str] | None = None, ignore: Collection[str] = ()) -> Changes:
    """Names, in their order, and values of what differs. `only`, `ignore`: of these fields.

    Raises `TypeError` for an object whose fields nobody can tell.
    """
    before, after = fields_of(old), fields_of(new)
    unknown = not_loaded(old, new)
    names = [
        name
        for name in {**before, **after}
        if (only is None or name in only)
        and name not in ignore
        and name not in unknown
        and _differ(before.get(name, _MISSING), after.get(name, _MISSING))
    ]
    return {
        "changed_fields": names,
        "old_values": {name: plain(before[name]) for name in names if name in before},
        "new_values": {name: plain(after[name]) for name in names if name in after},
    }


def not_loaded(*records: object) -> set[str]:
    """Columns of these rows that can't be read without a query."""
    return {name for record in records for name in _columns_of(record) or () if name not in vars(record)}


def fields_of(record: object) -> dict[str, Any]:
    """The record's fields by name. Raises `TypeError`."""
    if record is None:
        return {}
    if isinstance(record, Mapping):
        return {str(name): value for name, value in record.items()}
    names = _names_of(record)
    if names is None:
        raise TypeError(
            f"the fields of {type(record).__name__} can't be told: expected a mapping, dataclass, Pydantic model, "
            "attrs class, msgspec struct, named tuple, or a row of SQLAlchemy or Django"
        )
    found = {name: getattr(record, name) for name in names}
    extra = getattr(record, "__pydantic_extra__", None)  # of models that allow it
    return {**found, **extra} if isinstance(extra, dict) else found


def _names_of(record: object) -> list[str] | None:
    """The attributes that are its fields and can be read without a query, or None."""
    kind = type(record)
    if (columns := _columns_of(record)) is not None:
        loaded = vars(record)
        return [name for name in columns if name in loaded]
    if dataclasses.is_dataclass(record):
        return [field.name for field in dataclasses.fields(record)]
    for marks in ("model_fields", "__struct_fields__", "__fields__"):  # Pydantic 2, msgspec, Pydantic 1
        if isinstance(names := getattr(kind, marks, None), Mapping | tuple):
            return list(names)
    if (attributes := getattr(kind, "__attrs_attrs__", None)) is not None:
        return [attribute.name for attribute in attributes]
    if isinstance(names := getattr(record, "_fields", None), tuple):  # named tuples, rows of SQLAlchemy's Core
        return [str(name) for name in names]
    return None


def _columns_of(record: object) -> list[str] | None:
    """Of a row of SQLAlchemy or Django: the attributes that are its columns, loaded or not; None: it is no such row."""
    kind = type(record)
    if (mapper := getattr(kind, "__mapper__", None)) is not None:
        return list(mapper.column_attrs.keys())
    if (meta := getattr(kind, "_meta", None)) is not None and hasattr(meta, "concrete_fields"):
        return [field.attname for field in meta.concrete_fields]
    return None


def _differ(old: Any, new: Any) -> bool:
    if old is new:
        return False
    try:
        return bool(old != new)
    except Exception:  # noqa: BLE001 - arrays and other values that have no one answer
        return True


def plain(value: Any, depth: int = 1) -> Any:
    """A value as an event can hold it, or as `sealstream.client.values` converts it."""
    if value is None or isinstance(value, _KEPT):
        return value
    if isinstance(value, bytes | bytearray | memoryview):
        return {"bytes": len(value), "sha256": sha256(value).hexdigest()}
    if depth > MAX_NESTING:
        return "(nested too deep)"
    if isinstance(value, Mapping):
        return {str(name): plain(member, depth + 1) for name, member in value.items()}
    names = _names_of(value)
    if names is not None:
        return {name: plain(getattr(value, name), depth + 1) for name in names}
    if isinstance(value, list | tuple):
        return [plain(item, depth + 1) for item in value]
    if isinstance(value, set | frozenset):
        return sorted((plain(item, depth + 1) for item in value), key=repr)
    return str(value)
