"""The reference of all settings as Markdown, from the models themselves: their docstrings, types and defaults.

Pure; `docs/configuration.md` holds what this gives, and a test holds the two equal.
"""

from __future__ import annotations

import inspect
import json
import types
from collections.abc import Iterator
from typing import Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from sealstream.settings.environment import variable_of
from sealstream.settings.marks import Secret, SecretKeys
from sealstream.settings.shapes import Named, Options, Section, fields_of, mark, shape_of

__all__ = ["reference"]

_WORDS = {str: "text", int: "number", float: "number", bool: "true or false"}


def reference(model: type[BaseModel]) -> str:
    """One heading and one table for each section, in the order of the model."""
    return "\n".join(_section(model, (), "###")).rstrip() + "\n"


def _section(model: type[BaseModel], path: tuple[str, ...], heading: str) -> Iterator[str]:
    yield f"{heading} `[{'.'.join(path)}]`" if path else f"{heading} At the top of the file"
    yield ""
    told = "" if not path else " ".join(inspect.cleandoc(model.__doc__ or "").split())
    if told:
        yield from (told, "")
    deeper: list[tuple[type[BaseModel], tuple[str, ...]]] = []
    rows: list[str] = []
    for name, field in fields_of(model).items():
        shape = shape_of(field.annotation)
        if isinstance(shape, Section):
            deeper.append((shape.model, (*path, name)))
        elif isinstance(shape, Named):
            deeper.append((shape.model, (*path, name, "NAME")))
        else:
            rows.append(_row(name, field, (*path, name)))
    if rows:
        yield from ("| setting | default | what it is |", "|---|---|---|", *rows, "")
    for below, where in deeper:
        yield from _section(below, where, heading)


def _row(name: str, field: FieldInfo, path: tuple[str, ...]) -> str:
    described = " ".join((field.description or "").split())
    parts = [described] if described else []
    variable = variable_of(path)
    if mark(field, Secret):
        parts.append(f"A secret: also `{name}_file`.")
    if keys := mark(field, SecretKeys):
        named = ", ".join(f"`{key}`" for key in sorted(keys.keys))
        words = f"; and each whose name has {', '.join(keys.words)} in it" if keys.words else ""
        parts.append(f"Secrets among them ({named}{words}) also as `NAME_file`.")
    if isinstance(shape_of(field.annotation), Options):
        variable += "__KEY"
    cells = (f"`{name}`<br>`{variable}`", _default(field), f"{' '.join(parts)} ({_type(field)})".strip())
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "must be given"
    value = field.get_default(call_default_factory=True)
    if value in ("", None, {}, [], ()):
        return ""
    return f"`{json.dumps(value, default=str)}`"


def _type(field: FieldInfo) -> str:
    word = _type_word(field.annotation)
    bounds = {
        side: getattr(each, side) for each in field.metadata for side in ("ge", "gt", "le", "lt") if hasattr(each, side)
    }
    words = {"ge": "at least", "gt": "above", "le": "at most", "lt": "below"}
    return ", ".join([word, *(f"{words[side]} {value:,}" for side, value in bounds.items())])


def _type_word(annotation: Any) -> str:
    if get_origin(annotation) is Literal:
        return "one of " + ", ".join(f"`{each}`" for each in get_args(annotation) if each)
    if get_origin(annotation) in (Union, types.UnionType):
        return " or ".join(_type_word(each) for each in get_args(annotation) if each is not type(None))
    if get_origin(annotation) in (list, tuple, set, frozenset):
        return "list of " + _type_word(get_args(annotation)[0])
    if get_origin(annotation) is dict:
        return "table"
    return _WORDS.get(annotation, getattr(annotation, "__name__", str(annotation)).lower())
