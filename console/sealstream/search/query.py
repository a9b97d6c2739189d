"""A search as data: conditions that all must hold, and the span of time. What the parser gives and each backend reads.

Values of one key are alternatives (any may hold), conditions are joined (all must hold), also two about the same key:
so what `restricted` adds can only narrow, whatever a person wrote. Pure values.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from ipaddress import IPv4Network, IPv6Network
from typing import NamedTuple

from sealstream.search.fields import FIELDS, Field

__all__ = ["Condition", "Numbers", "Query", "Resource", "Text", "Value"]


class Text(NamedTuple):
    """A text, or what it begins with. `prefix` and an empty text: any value at all."""

    text: str
    prefix: bool = False

    def matches(self, found: str) -> bool:
        """Whether a text is the one that is meant. Bytes count: upper and lower case differ."""
        return found.startswith(self.text) if self.prefix else found == self.text


class Resource(NamedTuple):
    """`type/id`; `id` None: any id."""

    type: Text
    id: Text | None


class Numbers(NamedTuple):
    """From `first` to `last`, both included."""

    first: int
    last: int


Value = Text | Resource | Numbers | IPv4Network | IPv6Network


class Condition(NamedTuple):
    """What is asked of one field: any of some values (none given: no matter), and none of others.

    `impossible`: nothing can be found.
    """

    field: Field
    any_of: tuple[Value, ...] = ()
    none_of: tuple[Value, ...] = ()
    impossible: bool = False


class Query(NamedTuple):
    """A search. `text` is what was written; times are aware, `after` is included and `before` is not."""

    text: str = ""
    conditions: tuple[Condition, ...] = ()
    after: datetime | None = None
    before: datetime | None = None
    sealed_after: datetime | None = None
    sealed_before: datetime | None = None

    def restricted(self, key: str, values: Iterable[str]) -> Query:
        """This search, of entries alone whose `key` has one of these exact values: whatever the query itself says.

        With no values nothing is found.
        """
        exact = tuple(Text(value) for value in values)
        allowed = Condition(FIELDS[key], exact, impossible=not exact)
        return self._replace(conditions=(*self.conditions, allowed))

    def chains(self, among: Iterable[str]) -> list[str]:
        """Those of these chains in which something may be found, in order."""
        found = sorted(set(among))
        for condition in self.conditions:
            if condition.field.kind == "chain":
                found = [name for name in found if _named(name, condition)]
        return found

    def seqs(self) -> Numbers:
        """The span in which everything that is found has its seq."""
        first, last = 0, 2**63 - 1
        for condition in self.conditions:
            spans = [value for value in condition.any_of if isinstance(value, Numbers)]
            if spans:
                first = max(first, min(span.first for span in spans))
                last = min(last, max(span.last for span in spans))
        return Numbers(first, last)

    def slow_keys(self) -> list[str]:
        """Keys that no index and no statistics help with, as they are written."""
        return [c.field.key for c in self.conditions if not c.field.column and c.field.kind != "resource"]


def _named(chain: str, condition: Condition) -> bool:
    def is_one(values: tuple[Value, ...]) -> bool:
        return any(isinstance(value, Text) and value.matches(chain) for value in values)

    return (
        not condition.impossible
        and (not condition.any_of or is_one(condition.any_of))
        and not is_one(condition.none_of)
    )
