"""What a search asks, as a conjunction in SQL: the structure that both backends share, whatever their spelling is.

The invariant: for every entry the text made here is true exactly where `matches` is. Null is no value, so what is not
wanted is `IS NOT TRUE`. Results and kinds, of which there are three each, stand in the statement as words of our own,
so that a planner sees that a partial index will do. Pure.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from datetime import datetime
from ipaddress import IPv4Network, IPv6Network

from sealstream.search.fields import Field
from sealstream.search.query import Condition, Numbers, Query, Resource, Text, Value

__all__ = ["Conditions"]


class Conditions(ABC):
    """A dialect, and one statement in the making."""

    @abstractmethod
    def text(self, value: str) -> str:
        """A person's text, as a parameter or safely quoted."""

    @abstractmethod
    def texts(self, expression: str, values: list[str]) -> str:
        """That an expression is one of several texts."""

    @abstractmethod
    def moment(self, value: datetime) -> str:
        """A moment."""

    @abstractmethod
    def fits(self, expression: str, pattern: Text) -> str:
        """That a text fits a pattern; where the pattern has a beginning, an index or statistics can be asked for it."""

    @abstractmethod
    def expression(self, field: Field) -> str:
        """A field's text, null where it has none."""

    @abstractmethod
    def is_id(self, value: str) -> str:
        """That the entry has this id."""

    @abstractmethod
    def in_network(self, network: IPv4Network | IPv6Network) -> str:
        """That the entry came from there."""

    @abstractmethod
    def any_item(self, field: Field, value: Text) -> str:
        """That one of a list's texts is meant."""

    def all_of(self, query: Query) -> list[str]:
        """Everything that must hold, but for the chain."""
        where = []
        for column, first, stop in (
            ('"timestamp"', query.after, query.before),
            ("sequenced_at", query.sealed_after, query.sealed_before),
        ):
            if first is not None:
                where.append(f"{column} >= {self.moment(first)}")
            if stop is not None:
                where.append(f"{column} < {self.moment(stop)}")
        for condition in query.conditions:
            where += self._condition(condition)
        return where

    def _condition(self, condition: Condition) -> list[str]:
        if condition.impossible:
            return ["false"]
        field = condition.field
        if field.kind == "chain":
            return []  # the chains that are asked are those that are meant
        if field.kind == "one_of":
            return [_choice(condition)]
        parts = []
        if condition.any_of:
            parts.append(self._any(field, condition.any_of))
        if condition.none_of:
            parts.append(f"({self._any(field, condition.none_of)}) IS NOT TRUE")
        return parts

    def _any(self, field: Field, values: tuple[Value, ...]) -> str:
        exact = [value.text for value in values if isinstance(value, Text) and value.exact]
        if len(exact) > 1 and field.kind == "text" and field.column:
            parts = [self.texts(self.expression(field), exact)]
            rest = [value for value in values if not isinstance(value, Text) or not value.exact]
        else:
            parts, rest = [], list(values)
        parts += [self._one(field, value) for value in rest]
        return parts[0] if len(parts) == 1 else f"({' OR '.join(parts)})"

    def _one(self, field: Field, value: Value) -> str:
        if isinstance(value, Resource):
            kind = self.is_text("resource_type", value.type)
            return kind if value.id is None else f"({kind} AND {self.is_text('resource_id', value.id)})"
        if isinstance(value, Numbers):
            return f"seq BETWEEN {value.first:d} AND {value.last:d}"
        if isinstance(value, IPv4Network | IPv6Network):
            return self.in_network(value)
        if field.kind == "id":
            return self.is_id(value.text)
        if field.kind == "list":
            return self.any_item(field, value)
        return self.has_text(field, value)

    def has_text(self, field: Field, value: Text) -> str:
        """That a field's text is the one that is meant."""
        return self.is_text(self.expression(field), value)

    def is_text(self, expression: str, value: Text) -> str:
        """That an expression is the text that is meant."""
        if value.exact:
            return f"{expression} = {self.text(value.text)}"
        return f"{expression} IS NOT NULL" if value.anything else self.fits(expression, value)


def _choice(condition: Condition) -> str:
    """One of few known values; the column is never null."""
    field = condition.field
    wanted = {value.text for value in condition.any_of if isinstance(value, Text)} or set(field.values)
    wanted -= {value.text for value in condition.none_of if isinstance(value, Text)}
    known = [value for value in field.values if value in wanted]
    return f"{field.column} IN ({', '.join(map(_literal, known))})" if known else "false"


def _literal(known: str) -> str:
    assert known.isidentifier(), known
    return f"'{known}'"
