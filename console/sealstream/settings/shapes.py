"""What a model of settings is made of: sections, tables whose names people choose, tables of options, and values.

Pure: it looks at types alone, so that a section that somebody adds is read, shown and documented like the others.
"""

from __future__ import annotations

import types
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, NamedTuple, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from sealstream.settings.marks import InFolder, Secret, SecretKeys

__all__ = [
    "Leaf",
    "Named",
    "Options",
    "Section",
    "Shape",
    "all_names",
    "fields_of",
    "is_value",
    "leaf_of",
    "mark",
    "shape_of",
]


class Section(NamedTuple):
    """A table with the fields of a model."""

    model: type[BaseModel]


class Named(NamedTuple):
    """A table of sections under names that people choose, as `chains`."""

    model: type[BaseModel]


class Options(NamedTuple):
    """A table of values under names that somebody else chose, as librdkafka's."""


class Leaf(NamedTuple):
    """One value. `text`: the environment gives it as it is; other types that are no number come as JSON."""

    text: bool


Shape = Section | Named | Options | Leaf


def shape_of(annotation: Any) -> Shape:
    """The shape of a type; `X | None` is as X."""
    if get_origin(annotation) is Annotated:
        return shape_of(get_args(annotation)[0])
    if get_origin(annotation) in (Union, types.UnionType):
        given = [each for each in get_args(annotation) if each is not type(None)]
        return shape_of(given[0]) if len(given) == 1 else Leaf(True)
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return Section(annotation)
    if get_origin(annotation) in (dict, Mapping):
        value = shape_of(get_args(annotation)[1])
        return Named(value.model) if isinstance(value, Section) else Options()
    return Leaf(get_origin(annotation) not in (list, tuple, set, frozenset))


def fields_of(model: type[BaseModel]) -> Mapping[str, FieldInfo]:
    """The model's fields by name."""
    return model.model_fields


def mark(field: FieldInfo, kind: type[Any]) -> Any:
    """The mark of this kind, or None."""
    return next((each for each in field.metadata if isinstance(each, kind)), None)


def leaf_of(model: type[BaseModel], path: tuple[str, ...]) -> tuple[FieldInfo | None, Secret | None, InFolder | None]:
    """The field at a path of a document, and its marks; Nones where there is none."""
    for at, part in enumerate(path):
        field = fields_of(model).get(part)
        if field is None:
            return None, None, None
        shape = shape_of(field.annotation)
        rest = path[at + 1 :]
        if isinstance(shape, Named) and len(rest) > 1:
            return leaf_of(shape.model, rest[1:])
        if isinstance(shape, Section) and rest:
            return leaf_of(shape.model, rest)
        if isinstance(shape, Options) and rest:
            keys = mark(field, SecretKeys)
            return field, Secret() if keys and keys.hold(rest[0]) else None, None
        return field, mark(field, Secret), mark(field, InFolder)
    return None, None, None


def is_value(model: type[BaseModel], path: tuple[str, ...]) -> bool:
    """Whether one value stands at this path; no: a table, or nothing."""
    for at, part in enumerate(path):
        field = fields_of(model).get(part)
        if field is None:
            return False
        shape, rest = shape_of(field.annotation), path[at + 1 :]
        if isinstance(shape, Named) and len(rest) > 1:
            return is_value(shape.model, rest[1:])
        if isinstance(shape, Section) and rest:
            return is_value(shape.model, rest)
        return isinstance(shape, Leaf) or (isinstance(shape, Options) and bool(rest))
    return False


def all_names(model: type[BaseModel], before: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """The path of every setting, with those that name a secret's file; `*` stands for a name that people choose."""
    for name, field in fields_of(model).items():
        path = (*before, name)
        shape = shape_of(field.annotation)
        yield path
        if isinstance(shape, Section):
            yield from all_names(shape.model, path)
        elif isinstance(shape, Named):
            yield from all_names(shape.model, (*path, "*"))
        elif mark(field, Secret):
            yield (*before, f"{name}_file")
