"""Secrets that stand in files of their own, as Kubernetes, Docker and systemd hand them out.

`password_file = "kafka.password"` gives `password` what the file holds, without one newline at its end. The file is
read when the settings are: who changes it starts the process anew.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import BaseModel

from sealstream.settings.faults import DEFAULT, Fault, Origin, type_word
from sealstream.settings.marks import Secret, SecretKeys
from sealstream.settings.shapes import Named, Options, Section, fields_of, mark, shape_of

__all__ = ["secret_in", "take_secret_files"]

_MAX_BYTES = 65_536

SettingPath = tuple[str, ...]


def take_secret_files(
    model: type[BaseModel],
    values: dict[str, Any],
    origins: dict[SettingPath, Origin],
    folder: Path,
    before: SettingPath = (),
) -> list[Fault]:
    """Put each secret in the place of its file's name, in `values` and `origins`; the faults.

    `folder`: what relative names are relative to. A secret that is empty counts as not given.
    """
    faults: list[Fault] = []
    for name, field in fields_of(model).items():
        shape, value = shape_of(field.annotation), values.get(name)
        if isinstance(shape, Section) and isinstance(value, dict):
            faults += take_secret_files(shape.model, value, origins, folder, (*before, name))
        elif isinstance(shape, Named) and isinstance(value, dict):
            for chosen, section in value.items():
                if isinstance(section, dict):
                    faults += take_secret_files(shape.model, section, origins, folder, (*before, name, chosen))
        elif isinstance(shape, Options) and isinstance(value, dict) and (keys := mark(field, SecretKeys)):
            for key in [each.removesuffix("_file") for each in value if each.endswith("_file")]:
                if keys.hold(key):
                    faults += _take(value, origins, folder, (*before, name), key)
        elif mark(field, Secret):
            faults += _take(values, origins, folder, before, name)
    return faults


def _take(
    table: dict[str, Any], origins: dict[SettingPath, Origin], folder: Path, before: SettingPath, name: str
) -> list[Fault]:
    named = f"{name}_file"
    if named not in table:
        return []
    path = table.pop(named)
    place = origins.pop((*before, named), None) or origins.get(before, DEFAULT)
    setting = "" if place.variable else ".".join((*before, named))
    if path == "":
        return []
    if not isinstance(path, str):
        return [Fault(place, setting, f"expected the path of a file, got {type_word(path)}")]
    if table.get(name):
        other = origins.get((*before, name), DEFAULT)
        return [Fault(place, setting, f"{'.'.join((*before, name))} is given too ({other}): give one of the two")]
    file = folder / path
    text, wrong = secret_in(file)
    if wrong:
        table[name] = "unknown"  # so that no rule complains of its absence too; the settings are refused
        return [Fault(place, setting, wrong)]
    table[name] = text
    origins[*before, name] = place._replace(secret_file=str(file))
    return []


def secret_in(file: Path) -> tuple[str, str]:
    """What the file holds, and what is wrong with it: one of the two is empty."""
    try:
        with file.open("rb") as opened:
            data = opened.read(_MAX_BYTES + 1)
    except FileNotFoundError:
        return "", f"there is no file {file}: expected one that holds the secret"
    except OSError as error:
        return "", f"can't read {file}: {error.strerror}; the process needs to be able to read it"
    if len(data) > _MAX_BYTES:
        return "", f"{file} is larger than {_MAX_BYTES} bytes: expected a secret alone"
    try:
        text = data.decode()
    except UnicodeDecodeError:
        return "", f"{file} is not UTF-8 text: expected a secret alone"
    text = text.removesuffix("\n").removesuffix("\r")
    if not text.strip():
        return "", f"{file} is empty: expected the secret"
    return text, ""
