"""One file and the environment become one checked model; what is wrong is told whole, each with its place.

The order: a variable wins over the file, the file over the default. In each of the two a secret stands as itself or as
`<name>_file`, never as both. Reading writes nothing, so a crash leaves nothing.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Generic, NamedTuple, TypeVar

from pydantic import BaseModel, ValidationError

from sealstream.settings.environment import from_environment, variable_of
from sealstream.settings.faults import DEFAULT, RULE, Fault, Origin, WrongSettings, nearest, type_word
from sealstream.settings.positions import key_lines
from sealstream.settings.secret_files import take_secret_files
from sealstream.settings.shapes import Named, Section, all_names, fields_of, is_value, leaf_of, shape_of

__all__ = ["Loaded", "read"]

Model = TypeVar("Model", bound=BaseModel)
SettingPath = tuple[str, ...]
_NO_TABLE = ("model_type", "model_attributes_type", "dict_type", "mapping_type")
_PLACE = re.compile(r" \(at line (\d+), column (\d+)\)| \(at end of document\)")


class Loaded(NamedTuple, Generic[Model]):
    """The settings, where each came from (no entry: the default), and what is odd but no fault."""

    settings: Model
    origins: Mapping[SettingPath, Origin]
    warnings: list[Fault]
    file: Path

    def origin(self, path: SettingPath) -> Origin:
        """Where the setting at this path came from."""
        return _origin(self.origins, path)


def read(
    model: type[Model], file: Path, environ: Mapping[str, str], *, other_variables: Iterable[str] = ()
) -> Loaded[Model]:
    """The settings of `file`, if it is there, and `environ`. Raises `WrongSettings` naming each fault."""
    values, origins = _from_file(file)
    given = from_environment(model, environ, _chosen(model, values), other_variables)
    faults = list(given.faults)
    folder = file.absolute().parent
    faults += take_secret_files(model, given.values, given.origins, folder)
    _drop_replaced(model, values, given.origins)
    faults += take_secret_files(model, values, origins, folder)
    merged, places = _merged(values, given.values), {**origins, **given.origins}
    try:
        settings = model.model_validate(merged)
    except ValidationError as error:
        faults += [_fault(model, fault, places) for fault in error.errors(include_url=False)]
    if faults:
        raise WrongSettings(faults)
    _resolve(model, settings, folder)
    return Loaded(settings, places, given.warnings, file)


def _from_file(file: Path) -> tuple[dict[str, Any], dict[SettingPath, Origin]]:
    try:
        data = file.read_bytes()
    except FileNotFoundError:
        return {}, {}
    except OSError as error:
        raise WrongSettings(
            [Fault(Origin(str(file)), "", f"the settings file can't be read: {error.strerror}")]
        ) from error
    try:
        text = data.decode()
        values = tomllib.loads(text)
    except UnicodeDecodeError as error:
        origin = Origin(str(file), data.count(b"\n", 0, error.start) + 1)
        raise WrongSettings([Fault(origin, "", "the settings file can't be read: it is not UTF-8")]) from error
    except tomllib.TOMLDecodeError as error:
        raise WrongSettings([_not_toml(file, text, str(error))]) from None  # its traceback would show the text
    return values, {path: Origin(str(file), line) for path, line in key_lines(text).items()}


def _not_toml(file: Path, text: str, said: str) -> Fault:
    found = _PLACE.search(said)
    line, column = (int(found[1]), int(found[2])) if found and found[1] else (text.count("\n") + 1, 1)
    reason = _PLACE.sub("", said)
    return Fault(
        Origin(str(file), line),
        "",
        f"the settings file can't be read: it is not TOML, column {column}: {reason[:1].lower()}{reason[1:]}"
        + ("; texts stand in quotes" if reason == "Invalid value" else ""),
    )


def _chosen(model: type[BaseModel], values: Mapping[str, Any]) -> list[str]:
    """The names that people gave to sections."""
    found: list[str] = []
    for name, field in fields_of(model).items():
        shape, value = shape_of(field.annotation), values.get(name)
        if isinstance(shape, Named) and isinstance(value, dict):
            found += list(value)
        elif isinstance(shape, Section) and isinstance(value, dict):
            found += _chosen(shape.model, value)
    return found


def _merged(under: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(under)
    for key, value in over.items():
        standing = merged.get(key)
        both = isinstance(standing, dict) and isinstance(value, dict)
        merged[key] = _merged(standing, value) if both else value  # type: ignore[arg-type]
    return merged


def _drop_replaced(model: type[BaseModel], values: dict[str, Any], replaced: Iterable[SettingPath]) -> None:
    """A secret's file is not even looked at where a variable gives the secret."""
    for path in replaced:
        table: Any = values
        for part in path[:-1]:
            table = table.get(part) if isinstance(table, dict) else None
        if isinstance(table, dict) and leaf_of(model, path)[1] is not None:
            table.pop(f"{path[-1]}_file", None)


def _origin(origins: Mapping[SettingPath, Origin], path: SettingPath) -> Origin:
    """Of the path itself, or of the nearest table around it that was given."""
    for length in range(len(path), 0, -1):
        if path[:length] in origins:
            return origins[path[:length]]
    return DEFAULT


def _fault(model: type[BaseModel], fault: Mapping[str, Any], origins: Mapping[SettingPath, Origin]) -> Fault:
    path = tuple(str(part) for part in fault["loc"])
    if fault["type"] == RULE and (field := fault["ctx"]["field"]):
        path = (*path, field)
    name, origin = ".".join(path), _origin(origins, path)
    if origin.variable:
        origin = origin._replace(secret_file="")
    if origin.variable == variable_of(path):
        name = ""
    if fault["type"] == "extra_forbidden":
        known = [each for each in all_names(model) if len(each) == len(path) or len(path) == 1]
        meant = nearest(".".join(path), [".".join(_with_names(each, path)) for each in known])
        return Fault(origin, name, "there is no such setting" + (f"; did you mean {meant}?" if meant else ""))
    if fault["type"] == "missing":
        return Fault(origin, name, "is missing")
    _, secret, _ = leaf_of(model, path)
    given = fault.get("input")
    message = str(fault["msg"]).removeprefix("Value error, ")
    if not is_value(model, path) and fault["type"] in _NO_TABLE:
        return Fault(origin, name, f"expected a table, got {type_word(given)}")
    plain = (
        secret is None
        and is_value(model, path)
        and isinstance(given, str | int | float | bool)
        and fault["type"] not in ("value_error", RULE)
    )
    return Fault(origin, name, f"{message[:1].lower()}{message[1:]}" + (f", got {given!r}" if plain else ""))


def _with_names(known: SettingPath, path: SettingPath) -> SettingPath:
    """The known path with the names of this one where people choose them."""
    if len(known) != len(path):
        return known
    return tuple(mine if part == "*" else part for part, mine in zip(known, path, strict=True))


def _resolve(model: type[BaseModel], settings: BaseModel, folder: Path) -> None:
    """Paths that are relative to the settings file become absolute."""
    for name, field in fields_of(model).items():
        value, shape = getattr(settings, name), shape_of(field.annotation)
        if isinstance(value, BaseModel) and isinstance(shape, Section):
            _resolve(shape.model, value, folder)
        elif isinstance(shape, Named):
            for each in (value or {}).values():
                _resolve(shape.model, each, folder)
        elif value and leaf_of(model, (name,))[2] is not None:
            setattr(settings, name, str(folder / value))
