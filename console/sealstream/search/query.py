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
    """A text; or with `rest` a pattern: `text` is how it begins, each piece of `rest` comes somewhere behind, in order.

    The last piece is how it ends, so `user-*` is `Text("user-", ("",))`, `*.read` is `Text("", (".read",))`, `a*b*c` is
    `Text("a", ("b", "c"))` and `*`, any text at all, is `Text("", ("",))`. No piece but these ends is empty.
    """

    text: str
    rest: tuple[str, ...] = ()

    @property
    def exact(self) -> bool:
        """Whether it is a text and no pattern."""
        return not self.rest

    @property
    def anything(self) -> bool:
        """Whether any text will do."""
        return not self.text and self.rest == ("",)

    @property
    def middle(self) -> tuple[str, ...]:
        """A pattern's pieces between its beginning and its end."""
        return self.rest[:-1]

    @property
    def ending(self) -> str:
        """A pattern's last piece."""
        return self.rest[-1]

    def matches(self, found: str) -> bool:
        """Whether a text is the one that is meant. Bytes count: upper and lower case differ.

        Each piece is taken where it comes first, and no place is looked at again: what that misses, nothing finds.
        """
        if self.exact:
            return found == self.text
        if not found.startswith(self.text):
            return False
        place = len(self.text)
        for piece in self.middle:
            at = found.find(piece, place)
            if at < 0:
                return False
            place = at + len(piece)
        return len(found) - len(self.ending) >= place and found.endswith(self.ending)


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
        return [c.field.key for c in self.conditions if not _indexed(c.field) or any(map(_begins_anyhow, c.any_of))]


def _indexed(field: Field) -> bool:
    return bool(field.column) or field.kind == "resource"


def _begins_anyhow(value: Value) -> bool:
    """A pattern of which no index knows where what it finds begins."""
    if isinstance(value, Resource):
        return _begins_anyhow(value.type) or (value.type.anything and value.id is not None)
    return isinstance(value, Text) and not value.exact and not value.text and not value.anything


def _named(chain: str, condition: Condition) -> bool:
    def is_one(values: tuple[Value, ...]) -> bool:
        return any(isinstance(value, Text) and value.matches(chain) for value in values)

    return (
        not condition.impossible
        and (not condition.any_of or is_one(condition.any_of))
        and not is_one(condition.none_of)
    )
