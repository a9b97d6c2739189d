"""Where a setting came from, and what is wrong with one: values that say themselves. Pure."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from pydantic_core import PydanticCustomError

from sealstream.errors import Misconfigured

__all__ = ["DEFAULT", "RULE", "Fault", "Origin", "WrongSettings", "broken_rule", "nearest", "type_word"]

RULE = "sealstream_rule"


def broken_rule(field: str, message: str) -> PydanticCustomError:
    """What a model's validator raises about one of its fields, so that the fault names that field's place."""
    return PydanticCustomError(RULE, "{told}", {"told": message, "field": field})


class Origin(NamedTuple):
    """`file` and `line` (from 1), or `variable`; `secret_file`: the file that it named. All empty: the default."""

    file: str = ""
    line: int = 0
    variable: str = ""
    secret_file: str = ""

    def __str__(self) -> str:
        place = self.variable or (f"{self.file}:{self.line}" if self.line else self.file) or "default"
        return f"{self.secret_file} (named by {place})" if self.secret_file else place


DEFAULT = Origin()


class Fault(NamedTuple):
    """One thing that is wrong. `name`: the setting's; empty where the file as a whole, or the variable, says it all."""

    origin: Origin
    name: str
    message: str

    def __str__(self) -> str:
        where = str(self.origin._replace(secret_file="")) if self.origin != DEFAULT else ""
        return ": ".join(part for part in (where, self.name, self.message) if part)


class WrongSettings(Misconfigured):
    """Every fault of the settings, in the order of the file, the variables after it."""

    def __init__(self, faults: Iterable[Fault]) -> None:
        self.faults: Sequence[Fault] = sorted(
            dict.fromkeys(faults), key=lambda fault: (fault.origin.variable, fault.origin.line, fault.name)
        )
        lines = [str(fault) for fault in self.faults]
        super().__init__(
            lines[0] if len(lines) == 1 else "\n  ".join([f"{len(lines)} things in the settings are wrong", *lines])
        )


def type_word(value: object) -> str:
    """What a value is, said without the value: where a table was expected, the text may hold a secret."""
    if isinstance(value, bool):
        return "true or false"
    words = ((str, "a text"), (int | float, "a number"), (dict, "a table"), (list, "a list"))
    return next((word for kind, word in words if isinstance(value, kind)), "something else")


def nearest(name: str, known: Iterable[str]) -> str:
    """The known name that was likely meant, or an empty text. A last part that is the same counts most."""
    listed = list(known)
    last = name.rpartition(".")[2]
    elsewhere = [each for each in listed if "." not in name and each.rpartition(".")[2] == last]
    if len(elsewhere) == 1:
        return elsewhere[0]
    found = difflib.get_close_matches(name, listed, n=1, cutoff=0.72)
    return found[0] if found else ""
