"""What is wrong with a rule, and where in its file. Pure.

pySigma's errors know no lines; so a line is found by the member that is at fault, or by the word that the error quotes.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

import yaml
from sigma.exceptions import (
    SigmaConditionError,
    SigmaCorrelationConditionError,
    SigmaCorrelationRuleError,
    SigmaCorrelationTypeError,
    SigmaDetectionError,
    SigmaError,
    SigmaLogsourceError,
    SigmaTimespanError,
)

__all__ = ["CantRun", "line_of", "place_of"]


class CantRun(ValueError):
    """A rule that we can't run. `path`: the members of the document that lead to what is at fault."""

    def __init__(self, reason: str, *path: str) -> None:
        super().__init__(reason)
        self.path = path


_PLACES: dict[type[SigmaError], tuple[str, ...]] = {
    SigmaLogsourceError: ("logsource",),
    SigmaConditionError: ("detection", "condition"),
    SigmaDetectionError: ("detection",),
    SigmaTimespanError: ("correlation", "timespan"),
    SigmaCorrelationTypeError: ("correlation", "type"),
    SigmaCorrelationConditionError: ("correlation", "condition"),
    SigmaCorrelationRuleError: ("correlation",),
}
_WORD = re.compile(r"[\w.-]{2,}")
_QUOTED = re.compile(r"'([^']{3,})'")


def place_of(error: Exception) -> tuple[str, ...]:
    """The path to what is wrong, as near as the error tells."""
    if isinstance(error, CantRun):
        return error.path
    return next((path for kind, path in _PLACES.items() if isinstance(error, kind)), ())


def line_of(document: yaml.Node, path: Sequence[str], reason: str) -> int:
    """The line (from 1) of the member at this path, at any depth below the one before; without a path, of the first
    word that the reason speaks of and that is no member's name.
    """
    found: yaml.Node = document
    for name in path:
        found = next((key for key, _ in _members(found) if _names(key, name)), found)
        value = next((value for key, value in _members(document) if key is found), None)
        if value is not None and name != path[-1]:
            found = value
    if found is document:
        spoken, quoted = set(_WORD.findall(reason)), [each.strip() for each in _QUOTED.findall(reason)]
        values = (value for _, value in _members(document) if isinstance(value, yaml.ScalarNode))
        keys = (key for key, _ in _members(document) if "|" in key.value)
        named = (
            each
            for each in (*keys, *values)
            if spoken.intersection(_WORD.findall(str(each.value))) or any(part in str(each.value) for part in quoted)
        )
        found = next(named, document)
    return found.start_mark.line + 1


def _names(key: yaml.Node, name: str) -> bool:
    return bool(key.value == name or str(key.value).startswith(f"{name}|"))


def _members(node: yaml.Node) -> Iterator[tuple[yaml.Node, yaml.Node]]:
    """Every member below a node, the nearest first in each branch."""
    if isinstance(node, yaml.MappingNode):
        yield from node.value
        for _, value in node.value:
            yield from _members(value)
    elif isinstance(node, yaml.SequenceNode):
        for each in node.value:
            yield from _members(each)
