"""A search as SQL for `audit_log`: conditions, orders and counts. Pure; every text of a person's is a parameter.

Null is no value, so what is not wanted is `IS NOT TRUE`. Results and kinds, of which there are three each, are written
into the statement, so that the planner sees that a partial index will do.
"""

from __future__ import annotations

from ipaddress import IPv4Network, IPv6Network
from typing import Any

from sealstream.events import format_timestamp
from sealstream.layout.tables import AUDIT_LOG, SCHEMA
from sealstream.search.cursors import Place
from sealstream.search.fields import Field
from sealstream.search.found import Having
from sealstream.search.query import Condition, Numbers, Query, Resource, Text, Value

__all__ = ["Statement", "counting", "one_by_id", "one_by_place", "selecting"]

# Microseconds since 2000, as Postgres holds them: no year is too early, and nothing need be converted.
_PICKED = 'chain, seq, timestamptz_send("timestamp") AS at, body, prev_hash, hash'
_EVENT = "convert_from(body, 'UTF8')::json"
_TABLE = f"{SCHEMA}.{AUDIT_LOG}"


class Statement:
    """One statement in the making: its text and its parameters."""

    def __init__(self) -> None:
        self.sql = ""
        self.arguments: list[Any] = []

    def argument(self, value: Any, kind: str) -> str:
        """A parameter, as it is written in the text."""
        self.arguments.append(value)
        return f"${len(self.arguments)}::{kind}"

    def text(self, value: str) -> str:
        """A parameter that is text."""
        return self.argument(value, "text")


def selecting(
    query: Query, chains: list[str], sort: str, *, limit: int | None = None, after: Place | None = None
) -> Statement:
    """The entries of these chains that are found, in order. By seq: of one chain."""
    statement = Statement()
    where = _where(statement, query, chains)
    direction = "DESC" if sort.startswith("-") else "ASC"
    sooner = "<" if direction == "DESC" else ">"
    # Of one chain nothing need be said of the chain, and saying so would keep the index from being used.
    chain = ['chain COLLATE "C"'] if len(chains) > 1 else []
    order = ["seq"] if sort.removeprefix("-") == "seq" else ['"timestamp"', *chain, "seq"]
    if after is not None:
        written = {
            "seq": lambda: statement.argument(after.seq, "bigint"),
            '"timestamp"': lambda: _microseconds(statement, after.time_us),
            'chain COLLATE "C"': lambda: statement.text(after.chain),
        }
        where.append(f"({', '.join(order)}) {sooner} ({', '.join(written[name]() for name in order)})")
    ordered = ", ".join(f"{name} {direction}" for name in order)
    statement.sql = f"SELECT {_PICKED} FROM {_TABLE} WHERE {' AND '.join(where)} ORDER BY {ordered}"
    if limit is not None:
        statement.sql += f" LIMIT {limit:d}"
    return statement


def counting(
    query: Query, chains: list[str], field: Field | str, *, having: Having | None, sort: str, limit: int | None
) -> Statement:
    """How many entries there are for each value of a field, or for each `day` or `month`."""
    statement = Statement()
    where = _where(statement, query, chains)
    statement.sql = (
        f"SELECT {_counted(statement, field)} AS value, count(*) AS entries FROM {_TABLE} "
        f"WHERE {' AND '.join(where)} GROUP BY 1"
    )
    if having is not None:
        statement.sql += f" HAVING count(*) {having.comparison} {having.number:d}"
    statement.sql = f"SELECT value, entries FROM ({statement.sql}) counted"
    direction = "DESC" if sort.startswith("-") else "ASC"
    if sort.removeprefix("-") == "count":
        statement.sql += f' ORDER BY entries {direction}, value COLLATE "C" ASC NULLS LAST'
    else:
        statement.sql += f' ORDER BY value COLLATE "C" {direction} NULLS LAST'
    if limit is not None:
        statement.sql += f" LIMIT {limit:d}"
    return statement


def one_by_id(chains: list[str], entry_id: str) -> Statement:
    """The entries with this id: more than one where a conflict was sealed, the first of them counts."""
    statement = Statement()
    own = f"chain = ANY({statement.argument(chains, 'text[]')}) AND id = {statement.argument(entry_id, 'uuid')}"
    statement.sql = f'SELECT {_PICKED} FROM {_TABLE} WHERE {own} ORDER BY chain COLLATE "C", seq LIMIT 1'
    return statement


def one_by_place(chain: str, seq: int) -> Statement:
    """The entry at a place."""
    statement = Statement()
    own = f"chain = {statement.text(chain)} AND seq = {statement.argument(seq, 'bigint')}"
    statement.sql = f"SELECT {_PICKED} FROM {_TABLE} WHERE {own} ORDER BY sequenced_at LIMIT 1"
    return statement


# --- conditions -------------------------------------------------------------------------------------------------------


def _where(statement: Statement, query: Query, chains: list[str]) -> list[str]:
    if len(chains) == 1:
        where = [f"chain = {statement.text(chains[0])}"]
    else:
        where = [f"chain = ANY({statement.argument(chains, 'text[]')})"]
    for column, first, stop in (
        ('"timestamp"', query.after, query.before),
        ("sequenced_at", query.sealed_after, query.sealed_before),
    ):
        # As text: the driver would send the first moment of year 1 as -infinity.
        if first is not None:
            where.append(f"{column} >= {statement.text(format_timestamp(first))}::timestamptz")
        if stop is not None:
            where.append(f"{column} < {statement.text(format_timestamp(stop))}::timestamptz")
    for condition in query.conditions:
        where += _condition(statement, condition)
    return where


def _condition(statement: Statement, condition: Condition) -> list[str]:
    if condition.impossible:
        return ["false"]
    field = condition.field
    if field.kind == "chain":
        return []  # `chains` are those that are meant
    if field.kind == "one_of":
        return [_choice(condition)]
    parts = []
    if condition.any_of:
        parts.append(_any(statement, field, condition.any_of))
    if condition.none_of:
        parts.append(f"({_any(statement, field, condition.none_of)}) IS NOT TRUE")
    return parts


def _choice(condition: Condition) -> str:
    """One of few known values; the column is never null."""
    field = condition.field
    wanted = {value.text for value in condition.any_of if isinstance(value, Text)} or set(field.values)
    wanted -= {value.text for value in condition.none_of if isinstance(value, Text)}
    known = [value for value in field.values if value in wanted]
    if not known:
        return "false"
    return f"{field.column} IN ({', '.join(_literal(value) for value in known)})"


def _literal(known: str) -> str:
    """A word of our own as a literal."""
    assert known.isidentifier(), known
    return f"'{known}'"


def _any(statement: Statement, field: Field, values: tuple[Value, ...]) -> str:
    exact = [value.text for value in values if isinstance(value, Text) and not value.prefix]
    others = [value for value in values if not isinstance(value, Text) or value.prefix]
    parts = [_one(statement, field, value) for value in others]
    if len(exact) == 1:
        parts.append(_one(statement, field, Text(exact[0])))
    elif exact and field.kind not in ("list", "id"):
        parts.append(f"{_expression(statement, field)} = ANY({statement.argument(exact, 'text[]')})")
    else:
        parts += [_one(statement, field, Text(text)) for text in exact]
    return parts[0] if len(parts) == 1 else f"({' OR '.join(parts)})"


def _one(statement: Statement, field: Field, value: Value) -> str:
    if isinstance(value, Resource):
        kind = _text_is(statement, "resource_type", value.type)
        return kind if value.id is None else f"({kind} AND {_text_is(statement, 'resource_id', value.id)})"
    if isinstance(value, Numbers):
        first, last = statement.argument(value.first, "bigint"), statement.argument(value.last, "bigint")
        return f"seq BETWEEN {first} AND {last}"
    if isinstance(value, IPv4Network | IPv6Network):
        alone = value.prefixlen == value.max_prefixlen
        network = statement.text(str(value.network_address if alone else value))
        return f"ip_address {'=' if alone else '<<='} {network}::inet"
    if field.kind == "id":
        return f"id = {statement.argument(value.text, 'uuid')}"
    if field.kind == "list":
        path = statement.argument(list(field.path), "text[]")
        items = (
            f"json_array_elements(CASE json_typeof({_EVENT} #> {path}) WHEN 'array' THEN {_EVENT} #> {path} END) item"
        )
        return (
            f"EXISTS (SELECT FROM {items} WHERE json_typeof(item) = 'string' "
            f"AND {_text_is(statement, _STRING_OF_ITEM, value)})"
        )
    return _text_is(statement, _expression(statement, field), value)


_STRING_OF_ITEM = "(item #>> '{}')"


def _text_is(statement: Statement, expression: str, value: Text) -> str:
    if not value.prefix:
        return f"{expression} = {statement.text(value.text)}"
    if not value.text:
        return f"{expression} IS NOT NULL"
    escaped = value.text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
    return f"{expression} LIKE {statement.text(escaped + '%')}"


def _expression(statement: Statement, field: Field) -> str:
    """A field's text: a column, or what the event says at its path."""
    if field.column:
        return field.column
    path = statement.argument(list(field.path), "text[]")
    if field.kind == "json":
        scalars = "('string', 'number', 'boolean')"
        return f"(CASE WHEN json_typeof({_EVENT} #> {path}) IN {scalars} THEN {_EVENT} #>> {path} END)"
    return f"({_EVENT} #>> {path})"


def _counted(statement: Statement, field: Field | str) -> str:
    if isinstance(field, str):
        shape = {"day": "YYYY-MM-DD", "month": "YYYY-MM"}[field]
        return f"""to_char("timestamp" AT TIME ZONE 'UTC', '{shape}')"""
    if field.kind == "resource":
        return "resource_type || '/' || resource_id"
    if field.kind == "address":
        # Postgres writes a few IPv6 addresses with dots, an entry never does.
        mixed = f"host({field.column}) LIKE ':%.%'"
        return f"CASE WHEN {mixed} THEN {_EVENT} ->> 'ip_address' ELSE host({field.column}) END"
    return _expression(statement, field)


def _microseconds(statement: Statement, since_1970: int) -> str:
    """A moment, exactly: an interval of whole microseconds is."""
    microseconds = statement.argument(since_1970, "bigint")
    return f"('1970-01-01T00:00:00Z'::timestamptz + {microseconds} * '1 microsecond'::interval)"
