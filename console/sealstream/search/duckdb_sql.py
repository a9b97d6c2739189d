"""A search as SQL for DuckDB over the archive's objects. Pure; every text of a person's is quoted here.

As literals, so that the optimizer can hold them against statistics and bloom filters before anything is read. Texts
compare by their bytes. There are no addresses in DuckDB: a network is a condition on the one spelling that they have.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from ipaddress import IPv4Network, IPv6Network
from typing import NamedTuple

from sealstream.events import format_timestamp
from sealstream.search.conditions import Conditions
from sealstream.search.cursors import Place
from sealstream.search.fields import Field
from sealstream.search.found import Having
from sealstream.search.query import Query, Text

__all__ = ["Objects", "Rows", "bodies_of", "counting", "one_by_id", "places", "selecting"]

_TIME_US = 'epoch_us("timestamp")'
_PICKED = f"chain, seq, {_TIME_US} AS time_us, body, prev_hash, hash"
_SCALARS = "('VARCHAR', 'UBIGINT', 'BIGINT', 'DOUBLE', 'BOOLEAN')"

# The 32 hex digits of an IPv6 address in RFC 5952's spelling: what `::` leaves out is put back.
_GROUPS = "CASE WHEN {half} = '' THEN []::VARCHAR[] ELSE string_split({half}, ':') END"
_HEAD = _GROUPS.format(half="split_part(ip_address, '::', 1)")
_TAIL = _GROUPS.format(half="split_part(ip_address, '::', 2)")
_ZEROS = f"list_resize([]::VARCHAR[], 8 - len({_HEAD}) - len({_TAIL}), '0')"
_HEX = f"array_to_string(list_transform(list_concat({_HEAD}, {_ZEROS}, {_TAIL}), lambda part: lpad(part, 4, '0')), '')"

# What stands behind a piece where it comes first, null where it comes nowhere.
_BEHIND = "CASE WHEN contains(whole, piece) THEN substring(whole, strpos(whole, piece) + length(piece)) END"


class Objects(NamedTuple):
    """Some of a chain's objects, by the paths that DuckDB opens. `below`: only rows with a lower seq (None: all)."""

    chain: str
    paths: list[str]
    below: int | None = None


class Rows(Conditions):
    """The spelling of DuckDB."""

    def text(self, value: str) -> str:
        """A literal: within it only the quote means something."""
        return "'" + value.replace("'", "''") + "'"

    def texts(self, expression: str, values: list[str]) -> str:
        """That an expression is one of several texts."""
        return f"{expression} IN ({', '.join(self.text(value) for value in values)})"

    def moment(self, value: datetime) -> str:
        """A moment."""
        return f"TIMESTAMPTZ {self.text(format_timestamp(value))}"

    def starts_with(self, expression: str, beginning: str) -> str:
        """That a text begins so: the optimizer makes a span of it, which is held against statistics."""
        return f"starts_with({expression}, {self.text(beginning)})"

    def fits(self, expression: str, pattern: Text) -> str:
        """By functions that look for a text, each once: DuckDB's own patterns with an escape try every way there is."""
        beginning, ending = pattern.text, pattern.ending
        ends = len(beginning) + len(ending)
        parts = []
        if beginning:
            parts.append(self.starts_with(expression, beginning))
        if ending:
            parts.append(f"ends_with({expression}, {self.text(ending)})")
        if beginning and ending:
            parts.append(f"length({expression}) >= {ends}")
        if pattern.middle:
            between = expression
            if beginning or ending:
                between = f"substring({expression}, {len(beginning) + 1}, length({expression}) - {ends})"
            # That each is somewhere is quickly asked, and leaves few texts of which to ask for their order.
            parts += [f"contains({between}, {self.text(piece)})" for piece in dict.fromkeys(pattern.middle)]
            if len(pattern.middle) > 1:
                parts.append(self._in_order(between, pattern.middle))
        return parts[0] if len(parts) == 1 else f"({' AND '.join(parts)})"

    def _in_order(self, expression: str, pieces: tuple[str, ...]) -> str:
        """That a text has these pieces, one behind the other: each is looked for in what the one before left."""
        listed = ", ".join([expression, *map(self.text, pieces)])
        return f"list_reduce([{listed}], lambda whole, piece: {_BEHIND}) IS NOT NULL"

    def expression(self, field: Field) -> str:
        """A column, or what the event says at the field's path."""
        if field.column:
            return field.column
        path = self.text("/" + "/".join(field.path))
        found = f"json_extract_string(body, {path})"
        return f"(CASE WHEN json_type(body, {path}) IN {_SCALARS} THEN {found} END)" if field.kind == "json" else found

    def is_id(self, value: str) -> str:
        """That the entry has this id."""
        return f"id = {self.text(value)}"

    def in_network(self, network: IPv4Network | IPv6Network) -> str:
        """Equal, or within the network's first and last address."""
        if network.prefixlen == network.max_prefixlen:
            return f"ip_address = {self.text(str(network.network_address))}"
        if isinstance(network, IPv6Network):
            first, last = (f"'{int(end):032x}'" for end in (network.network_address, network.broadcast_address))
            return f"(contains(ip_address, ':') AND {_HEX} BETWEEN {first} AND {last})"
        return f"({' AND '.join(self._ipv4(network))})"

    def _ipv4(self, network: IPv4Network) -> list[str]:
        """Whole octets are a beginning; of the one that is divided, a span is meant."""
        octets = str(network.network_address).split(".")
        whole, bits = divmod(network.prefixlen, 8)
        parts = ["NOT contains(ip_address, ':')"]
        if whole:
            parts.append(self.starts_with("ip_address", ".".join(octets[:whole]) + "."))
        if bits:
            first = int(octets[whole])
            octet = f"TRY_CAST(split_part(ip_address, '.', {whole + 1}) AS INTEGER)"
            parts.append(f"{octet} BETWEEN {first} AND {first + 2 ** (8 - bits) - 1}")
        return parts

    def any_item(self, field: Field, value: Text) -> str:
        """That one of a list's texts is meant."""
        items = f"json_extract_string(body, {self.text('$.' + '.'.join(field.path) + '[*]')})"
        return f"len(list_filter({items}, lambda item: {self.is_text('item', value)})) > 0"


def selecting(query: Query, sources: Sequence[Objects], sort: str, *, limit: int | None = None) -> str:
    """The found entries of some objects, in order, whole."""
    return _ordered(f"SELECT {_PICKED} FROM ({_found(query, sources, ', body, prev_hash, hash')})", sort, limit)


def places(query: Query, sources: Sequence[Objects], sort: str, limit: int, after: Place | None = None) -> str:
    """The first found entries' chain and seq: their bodies need not be read for that."""
    sql = f"SELECT chain, seq, {_TIME_US} AS time_us FROM ({_found(query, sources, '')})"
    if after is not None:
        sooner = "<" if sort.startswith("-") else ">"
        moment = [str(after.time_us)] if sort.removeprefix("-") != "seq" else []
        place = ", ".join([*moment, Rows().text(after.chain), f"{after.seq:d}::BIGINT"])
        sql += f" WHERE ({', '.join([_TIME_US] * len(moment) + ['chain', 'seq'])}) {sooner} ({place})"
    return _ordered(sql, sort, limit)


def bodies_of(sources: Sequence[tuple[Objects, list[int]]]) -> str:
    """The entries with these seqs, whole: of each chain the objects and the seqs."""
    each = [_whole(objects, f"seq IN ({', '.join(map(str, seqs))})") for objects, seqs in sources]
    return f"SELECT {_PICKED} FROM ({' UNION ALL '.join(each)})"


def one_by_id(entry_id: str, sources: Sequence[Objects]) -> str:
    """The first entry with this id, whole."""
    each = [_whole(objects, Rows().is_id(entry_id)) for objects in sources]
    return f"SELECT {_PICKED} FROM ({' UNION ALL '.join(each)}) ORDER BY chain, seq LIMIT 1"


def counting(
    query: Query,
    sources: Sequence[Objects],
    field: Field | str,
    *,
    having: Having | None,
    sort: str,
    limit: int | None,
) -> str:
    """How many entries there are for each value of a field, or for each `day` or `month`."""
    sql = (
        f"SELECT value, count(*) AS entries FROM ({_found(query, sources, f', {_counted(field)} AS value')}) GROUP BY 1"
    )
    if having is not None:
        sql += f" HAVING count(*) {having.comparison} {having.number:d}"
    direction = "DESC" if sort.startswith("-") else "ASC"
    by_count = sort.removeprefix("-") == "count"
    sql += f" ORDER BY {f'entries {direction}, value ASC' if by_count else f'value {direction}'} NULLS LAST"
    return sql if limit is None else f"{sql} LIMIT {limit:d}"


def _found(query: Query, sources: Sequence[Objects], more: str) -> str:
    """The found rows of all sources: chain, seq, timestamp, and `more`."""
    where = " AND ".join(Rows().all_of(query)) or "true"
    return " UNION ALL ".join(_rows(objects, where, more) for objects in sources)


def _whole(objects: Objects, where: str) -> str:
    return _rows(objects, where, ", body, prev_hash, hash")


def _rows(objects: Objects, where: str, more: str) -> str:
    paths = ", ".join(Rows().text(path) for path in objects.paths)
    bound = "" if objects.below is None else f" AND seq < {objects.below:d}"
    return (
        f'SELECT {Rows().text(objects.chain)} AS chain, seq, "timestamp"{more} '
        f"FROM read_parquet([{paths}], hive_partitioning = false) WHERE {where}{bound}"
    )


def _ordered(sql: str, sort: str, limit: int | None) -> str:
    direction = "DESC" if sort.startswith("-") else "ASC"
    names = ("chain", "seq") if sort.removeprefix("-") == "seq" else ("time_us", "chain", "seq")
    sql += f" ORDER BY {', '.join(f'{name} {direction}' for name in names)}"
    return sql if limit is None else f"{sql} LIMIT {limit:d}"


def _counted(field: Field | str) -> str:
    if isinstance(field, str):
        column, shape = {
            "day": ("timestamp", "%Y-%m-%d"),
            "month": ("timestamp", "%Y-%m"),
            "sealed_day": ("sequenced_at", "%Y-%m-%d"),
        }[field]
        return f"strftime(make_timestamp(epoch_us(\"{column}\")), '{shape}')"
    if field.kind == "resource":
        return "resource_type || '/' || resource_id"
    return "chain" if field.kind == "chain" else Rows().expression(field)
