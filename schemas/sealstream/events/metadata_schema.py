"""Does a value fit a JSON Schema? The dozen keywords that statements need, with a sentence for what does not fit.

The thin install has no JSON Schema package, and applications should not need one to write an audit log. The
invariant: the same verdict as a full implementation (draft 2020-12) for every schema in `statements`; a test holds
the two together. Pure; nothing to lose in a crash.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from sealstream.events.wording import got, type_of

__all__ = ["KEYWORDS", "misfit"]

KEYWORDS = frozenset(
    {
        "anyOf",
        "enum",
        "items",
        "maxItems",
        "maximum",
        "minItems",
        "minLength",
        "minimum",
        "pattern",
        "properties",
        "required",
        "type",
    }
)

_compiled = lru_cache(maxsize=None)(re.compile)


def misfit(schema: Mapping[str, Any], value: object, path: str) -> tuple[str, str] | None:
    """The path of what does not fit and what is wrong with it, or None when `value` fits."""
    if "anyOf" in schema:
        return _none_of(schema["anyOf"], value, path)
    if "enum" in schema:
        # The values are text, so Python's 1 == True makes no difference.
        if value not in schema["enum"]:
            return path, f"is none of its values: expected {', '.join(schema['enum'])}, got {got(value)}"
        return None
    match schema["type"]:
        case "string":
            return _text_misfit(schema, value, path)
        case "integer":
            return _integer_misfit(schema, value, path)
        case "number":
            return _number_misfit(schema, value, path)
        case "array":
            return _list_misfit(schema, value, path)
        case _:
            return _object_misfit(schema, value, path)


def _text_misfit(schema: Mapping[str, Any], value: object, path: str) -> tuple[str, str] | None:
    if not isinstance(value, str):
        return path, f"is {type_of(value)}: expected text"
    if len(value) < schema.get("minLength", 0):
        return path, "is empty: expected text"
    pattern = schema.get("pattern")
    if pattern is not None and not _compiled(pattern).search(value):
        return path, f"has the wrong form: expected {pattern}, got {got(value)}"
    return None


def _integer_misfit(schema: Mapping[str, Any], value: object, path: str) -> tuple[str, str] | None:
    whole = isinstance(value, int) or (isinstance(value, float) and value.is_integer())
    if isinstance(value, bool) or not whole:
        return path, f"is not an integer: expected {schema['minimum']} to {schema['maximum']}, got {got(value)}"
    if not schema["minimum"] <= value <= schema["maximum"]:
        return path, f"is out of range: expected {schema['minimum']} to {schema['maximum']}, got {got(value)}"
    return None


def _number_misfit(schema: Mapping[str, Any], value: object, path: str) -> tuple[str, str] | None:
    expected = f"expected {schema['minimum']} to {schema['maximum']}, got {got(value)}"
    if isinstance(value, bool) or not isinstance(value, int | float):
        return path, f"is not a number: {expected}"
    return None if schema["minimum"] <= value <= schema["maximum"] else (path, f"is out of range: {expected}")


def _list_misfit(schema: Mapping[str, Any], value: object, path: str) -> tuple[str, str] | None:
    if not isinstance(value, list | tuple):
        return path, f"is {type_of(value)}: expected a list"
    least, most = schema.get("minItems", 0), schema.get("maxItems")
    if len(value) < least or (most is not None and len(value) > most):
        return path, f"has {len(value)} items: expected {least} to {most if most is not None else 'any number'}"
    for index, item in enumerate(value):
        found = misfit(schema["items"], item, f"{path}[{index}]")
        if found is not None:
            return found
    return None


def _object_misfit(schema: Mapping[str, Any], value: object, path: str) -> tuple[str, str] | None:
    if not isinstance(value, dict):
        return path, f"is {type_of(value)}: expected an object"
    for name, member in schema["properties"].items():
        if name in value:
            found = misfit(member, value[name], f"{path}.{name}")
            if found is not None:
                return found
    for name in schema["required"]:
        if name not in value:
            return f"{path}.{name}", "is missing"
    return None


def _none_of(choices: list[Mapping[str, Any]], value: object, path: str) -> tuple[str, str] | None:
    """The misfit of the choice that came nearest: the one that got past its discriminating member."""
    nearest: tuple[str, str] | None = None
    for choice in choices:
        found = misfit(choice, value, path)
        if found is None:
            return None
        if nearest is None or nearest[0].endswith(".what"):
            nearest = found
    return nearest
