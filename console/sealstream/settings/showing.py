"""Every setting in force with its value, secrets hidden, and where it came from. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, NamedTuple

from pydantic import BaseModel

from sealstream.settings.faults import DEFAULT, Origin
from sealstream.settings.marks import Secret, SecretKeys, masked
from sealstream.settings.reading import Loaded
from sealstream.settings.shapes import Named, Options, Section, fields_of, mark, shape_of

__all__ = ["Shown", "shown"]

SettingPath = tuple[str, ...]


class Shown(NamedTuple):
    """One setting. `value`: as JSON takes it, hidden where it is a secret."""

    name: str
    value: Any
    secret: bool
    origin: Origin

    @property
    def text(self) -> str:
        """The value as a person writes it in TOML."""
        return "" if self.value is None else json.dumps(self.value, ensure_ascii=False)

    def members(self) -> dict[str, Any]:
        """For programs."""
        return {
            "name": self.name,
            "value": self.value,
            "secret": self.secret,
            "default": self.origin == DEFAULT,
            "from": {member: value for member, value in self.origin._asdict().items() if value},
        }


def shown(loaded: Loaded[Any]) -> list[Shown]:
    """Every setting, in the order of the model."""
    return list(_shown(loaded, type(loaded.settings), loaded.settings, ()))


def _shown(loaded: Loaded[Any], model: type[BaseModel], settings: BaseModel, before: SettingPath) -> Iterator[Shown]:
    for name, field in fields_of(model).items():
        path, value, shape = (*before, name), getattr(settings, name), shape_of(field.annotation)
        if isinstance(shape, Section) and isinstance(value, BaseModel):
            yield from _shown(loaded, shape.model, value, path)
        elif isinstance(shape, Named) and value:
            for chosen, section in value.items():
                yield from _shown(loaded, shape.model, section, (*path, chosen))
        elif isinstance(shape, Options) and value:
            keys = mark(field, SecretKeys)
            for key, option in value.items():
                secret = Secret() if keys and keys.hold(key) else None
                yield _one(loaded, (*path, key), option, secret)
        elif value is not None or not isinstance(shape, Section):
            yield _one(loaded, path, value, mark(field, Secret))


def _one(loaded: Loaded[Any], path: SettingPath, value: Any, secret: Secret | None) -> Shown:
    plain = json.loads(json.dumps(value, default=str))
    name = ".".join(json.dumps(part) if "." in part else part for part in path)
    return Shown(
        name, masked(value, secret) if secret else plain, secret is not None, loaded.origins.get(path, DEFAULT)
    )
