"""Between a setting's path and its variable: `SEALSTREAM_KAFKA__BOOTSTRAP` is `kafka.bootstrap`. Pure.

Two underscores part the names. A name that people choose is in upper case with `_` for `-`; a key of a table of options
with `_` for `.`. A whole table comes as JSON.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from pydantic import BaseModel

from sealstream.settings.faults import Fault, Origin, nearest
from sealstream.settings.marks import Secret, SecretKeys
from sealstream.settings.shapes import Leaf, Named, Options, Section, all_names, fields_of, mark, shape_of

__all__ = ["PREFIX", "Given", "from_environment", "variable_of"]

PREFIX = "SEALSTREAM_"

Path = tuple[str, ...]


class Given(NamedTuple):
    """What the variables say, as a document, where each part of it came from, and what is wrong with them."""

    values: dict[str, Any]
    origins: dict[Path, Origin]
    faults: list[Fault]
    warnings: list[Fault]


def variable_of(path: Path) -> str:
    """The variable of a setting."""
    return PREFIX + "__".join(part.upper().replace(".", "_").replace("-", "_") for part in path)


def from_environment(
    model: type[BaseModel], environ: Mapping[str, str], chosen: Iterable[str], others: Iterable[str]
) -> Given:
    """`chosen`: names that people gave to sections in the file. `others`: variables that are no settings; `NAME_*` is
    every one that begins so.

    One that means no setting is a fault if it was surely meant as one, and otherwise a warning: on Kubernetes a service
    called sealstream makes variables such as SEALSTREAM_SERVICE_HOST.
    """
    given = Given({}, {}, [], [])
    listed = list(chosen)
    paths = list(all_names(model))
    under = [tuple(name if part == "*" else part for part in path) for path in paths for name in listed]
    known = sorted({variable_of(path) for path in (*paths, *under) if "*" not in path})
    apart = {name.replace("__", "_") for name in known}
    foreign = {name for name in others if not name.endswith("*")}
    beginnings = tuple(name.removesuffix("*") for name in others if name.endswith("*"))
    for name, text in sorted(environ.items()):
        if not name.startswith(PREFIX) or name in foreign or name.startswith(beginnings):
            continue
        path = _path(model, tuple(name[len(PREFIX) :].split("__")), listed)
        if path is None:
            # Without the prefix, which would make any two names alike.
            meant = nearest(name[len(PREFIX) :], [each.removeprefix(PREFIX) for each in (*known, *foreign)])
            said = "there is no such setting" + (f"; did you mean {PREFIX}{meant}?" if meant else "")
            surely = "__" in name or name in apart
            (given.faults if surely else given.warnings).append(Fault(Origin(variable=name), "", said))
            continue
        _take(given, model, path, Origin(variable=name), text)
    return given


def _path(model: type[BaseModel], parts: Path, chosen: Iterable[str]) -> Path | None:
    """The path that a variable's parts mean, or None."""
    name = parts[0].lower()
    field = fields_of(model).get(name)
    if field is None:
        base = fields_of(model).get(name.removesuffix("_file"))
        secret = base is not None and name.endswith("_file") and mark(base, Secret) is not None
        return (name,) if secret and len(parts) == 1 else None
    shape, rest = shape_of(field.annotation), parts[1:]
    if not rest:
        return (name,)
    deeper: Path | None = None
    if isinstance(shape, Section):
        deeper = _path(shape.model, rest, chosen)
    elif isinstance(shape, Named) and rest[0]:
        named = next((each for each in chosen if each.upper().replace("-", "_") == rest[0].upper()), None)
        word = named or rest[0].lower().replace("_", "-")
        below = _path(shape.model, rest[1:], chosen) if len(rest) > 1 else ()
        deeper = None if below is None else (word, *below)
    elif isinstance(shape, Options) and len(rest) == 1 and rest[0]:
        keys = mark(field, SecretKeys)
        key = rest[0].lower().replace("_", ".")
        option = key.removesuffix(".file")
        deeper = (f"{option}_file",) if keys and option != key and keys.hold(option) else (key,)
    return None if deeper is None else (name, *deeper)


def _take(given: Given, model: type[BaseModel], path: Path, origin: Origin, text: str) -> None:
    value: Any = text
    if _is_json(model, path):
        try:
            value = json.loads(text)
        except ValueError:
            given.faults.append(Fault(origin, "", "expected JSON for a whole table or list, such as {} or []"))
            return
    table = given.values
    for part in path[:-1]:
        deeper = table.setdefault(part, {})
        if not isinstance(deeper, dict):
            return  # its own variable is at fault, and said to be
        table = deeper
    standing = table.get(path[-1])
    if isinstance(standing, dict) and isinstance(value, dict):
        value = {**standing, **value}
    table[path[-1]] = value
    _note(given.origins, path, value, origin)


def _note(origins: dict[Path, Origin], path: Path, value: Any, origin: Origin) -> None:
    origins[path] = origin
    if isinstance(value, dict):
        for key, member in value.items():
            _note(origins, (*path, str(key)), member, origin)


def _is_json(model: type[BaseModel], path: Path) -> bool:
    for at, part in enumerate(path):
        field = fields_of(model).get(part)
        if field is None:
            return False  # a secret's file
        shape, rest = shape_of(field.annotation), path[at + 1 :]
        if not rest:
            return not (isinstance(shape, Leaf) and shape.text)
        if isinstance(shape, Options):
            return False
        if isinstance(shape, Named):
            return len(rest) == 1 or _is_json(shape.model, rest[1:])
        if isinstance(shape, Section):
            model = shape.model
    return False
