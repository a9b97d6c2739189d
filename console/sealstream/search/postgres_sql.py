"""A search as SQL for `audit_log`: conditions, orders and counts. Pure; every text of a person's is a parameter."""

from __future__ import annotations

from datetime import datetime
from ipaddress import IPv4Network, IPv6Network
from typing import Any

from sealstream.events import format_timestamp
from sealstream.layout.tables import AUDIT_LOG, SCHEMA
from sealstream.sealing import canonical_json
from sealstream.search.conditions import Conditions
from sealstream.search.cursors import Place
from sealstream.search.fields import Field
from sealstream.search.found import Having, moment_of
from sealstream.search.query import Query, Text

__all__ = ["Statement", "counting", "one_by_id", "one_by_place", "selecting"]

# Times as microseconds, as Postgres holds them: no year is too early, and nothing need be converted.
_PICKED = 'chain, seq, timestamptz_send("timestamp") AS at, body, prev_hash, hash'
_EVENT = "convert_from(body, 'UTF8')::json"
_TABLE = f"{SCHEMA}.{AUDIT_LOG}"


class Statement(Conditions):
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

    def texts(self, expression: str, values: list[str]) -> str:
        """That an expression is one of several texts."""
        return f"{expression} = ANY({self.argument(values, 'text[]')})"

    def moment(self, value: datetime) -> str:
        """A moment, as text: the driver would send the first of year 1 as -infinity.

        And microseconds times an interval would go by floats, wrong beyond 2**53 of them from 1970.
        """
        return f"{self.text(format_timestamp(value))}::timestamptz"

    def fits(self, expression: str, pattern: Text) -> str:
        """By LIKE, for which the indexes are made, and which never goes back behind a piece that it has found."""
        return f"{expression} LIKE {self.text('%'.join(map(_escaped, (pattern.text, *pattern.rest))))}"

    def expression(self, field: Field) -> str:
        """A column, or what the event says at the field's path."""
        if field.column:
            return field.column
        path = self.argument(list(field.path), "text[]")
        if field.kind == "json":
            scalars = "('string', 'number', 'boolean')"
            return f"(CASE WHEN json_typeof({_EVENT} #> {path}) IN {scalars} THEN {_EVENT} #>> {path} END)"
        return f"({_EVENT} #>> {path})"

    def is_id(self, value: str) -> str:
        """That the entry has this id."""
        return f"id = {self.argument(value, 'uuid')}"

    def in_network(self, network: IPv4Network | IPv6Network) -> str:
        """Equal, or contained: an index can do both."""
        if network.prefixlen == network.max_prefixlen:
            return f"ip_address = {self.text(str(network.network_address))}::inet"
        return f"ip_address <<= {self.text(str(network))}::inet"

    def has_text(self, field: Field, value: Text) -> str:
        """By a column, or by the body, which is parsed only where it can hold the text."""
        meant = super().has_text(field, value)
        return meant if field.column else self._parsed_where_it_can_be(value, meant)

    def any_item(self, field: Field, value: Text) -> str:
        """That one of a list's texts is meant, in bodies that can hold it."""
        path = self.argument(list(field.path), "text[]")
        items = f"CASE json_typeof({_EVENT} #> {path}) WHEN 'array' THEN {_EVENT} #> {path} END"
        meant = self.is_text("(item #>> '{}')", value)
        return self._parsed_where_it_can_be(
            value,
            f"EXISTS (SELECT FROM json_array_elements({items}) item WHERE json_typeof(item) = 'string' AND {meant})",
        )

    def _parsed_where_it_can_be(self, value: Text, meant: str) -> str:
        """Looking for some bytes is many times cheaper than parsing: canonical JSON writes a text in one way.

        As CASE, of which the planner takes that half of all entries are meant: so it reads in the order of time, and
        stops at a full page. By a smaller share it would read and sort everything.
        """
        longest = max((value.text, *value.rest), key=len)
        if not longest:
            return meant
        piece = self.argument(canonical_json(longest)[1:-1], "bytea")
        return f"(CASE WHEN position({piece} IN body) > 0 THEN {meant} END)"

    def where(self, query: Query, chains: list[str]) -> list[str]:
        """Everything that must hold."""
        # Of one chain by itself the primary key can be used.
        one = f"chain = {self.text(chains[0])}" if len(chains) == 1 else self.texts("chain", chains)
        return [one, *self.all_of(query)]


def selecting(
    query: Query, chains: list[str], sort: str, *, limit: int | None = None, after: Place | None = None
) -> Statement:
    """The entries of these chains that are found, in order. By seq: of one chain."""
    statement = Statement()
    where = statement.where(query, chains)
    direction = "DESC" if sort.startswith("-") else "ASC"
    sooner = "<" if direction == "DESC" else ">"
    # Of one chain nothing need be said of the chain, and saying so would keep an index from being used.
    chain = ['chain COLLATE "C"'] if len(chains) > 1 else []
    order = ["seq"] if sort.removeprefix("-") == "seq" else ['"timestamp"', *chain, "seq"]
    if after is not None:
        written = {
            "seq": lambda: statement.argument(after.seq, "bigint"),
            '"timestamp"': lambda: statement.moment(moment_of(after.time_us)),
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
    where = statement.where(query, chains)
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
    own = f"{statement.texts('chain', chains)} AND {statement.is_id(entry_id)}"
    statement.sql = f'SELECT {_PICKED} FROM {_TABLE} WHERE {own} ORDER BY chain COLLATE "C", seq LIMIT 1'
    return statement


def one_by_place(chain: str, seq: int) -> Statement:
    """The entry at a place."""
    statement = Statement()
    own = f"chain = {statement.text(chain)} AND seq = {statement.argument(seq, 'bigint')}"
    statement.sql = f"SELECT {_PICKED} FROM {_TABLE} WHERE {own} ORDER BY sequenced_at LIMIT 1"
    return statement


def _escaped(piece: str) -> str:
    """A text in which nothing means anything to LIKE."""
    return piece.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")


def _counted(statement: Statement, field: Field | str) -> str:
    if isinstance(field, str):
        column, shape = {
            "day": ("timestamp", "YYYY-MM-DD"),
            "month": ("timestamp", "YYYY-MM"),
            "sealed_day": ("sequenced_at", "YYYY-MM-DD"),
        }[field]
        return f"""to_char("{column}" AT TIME ZONE 'UTC', '{shape}')"""
    if field.kind == "resource":
        return "resource_type || '/' || resource_id"
    if field.kind == "address":
        # Postgres writes a few IPv6 addresses with dots, an entry never does.
        mixed = f"host({field.column}) LIKE ':%.%'"
        return f"CASE WHEN {mixed} THEN {_EVENT} ->> 'ip_address' ELSE host({field.column}) END"
    return statement.expression(field)
