"""Any JSON or CSV by a mapping file: templates that say what of a record becomes which field of an event.

    name = "billing"                       # in metadata.importer, and part of every id
    records = "json"                       # one a line, a list, or documents; or "csv"
    key = "{request_id}"                   # what makes a record that record; without it, all that it says

    [event]
    timestamp = "{time}"
    actor_id = "{user.email|user.id}"      # the first that the record has
    action = "billing.{verb}"
    resource_type = "invoice"
    resource_id = "{invoice.id}"
    result = "{status}"

    [values.result]                        # what a field's values become
    200 = "success"
    "*" = "failure"

The invariant: a mapping that can't work is refused as a whole, by the name of what is wrong in it, before a record is
read. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

from sealstream.errors import InvalidEvent, Misconfigured
from sealstream.events import FIELDS, SOURCE_FIELDS, format_timestamp
from sealstream.importers.records import Fields, Importer, LeftOut
from sealstream.importers.values import milliseconds, rfc3339, shown

__all__ = ["importer_of_mapping"]

_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}").fullmatch
_MEMBERS = {
    "name",
    "records",
    "list",
    "delimiter",
    "key",
    "timestamp_format",
    "timezone",
    "event",
    "values",
    "leave_out",
}
_TABLES = ("metadata", "source", "old_values", "new_values")
_NOT_MAPPED = {"id", "producer_id", "producer_seq", "changed_fields", "signature", *_TABLES}
_PLAIN = tuple(name for name in FIELDS if name not in _NOT_MAPPED)
_NEEDED = ("timestamp", "actor_id", "action", "resource_type", "resource_id")
_DEFAULTS = {"actor_type": "user", "result": "success"}
_PER_SECOND = {"unix": 1, "unix_ms": 1_000, "unix_us": 1_000_000, "unix_ns": 1_000_000_000}
_PLACE = re.compile(r"\{\{|\}\}|\{([^{}]*)\}")
_OFFSET = re.compile(r"(?:[Zz]|[+-][0-9]{2}:?[0-9]{2})$")
_FRACTION = re.compile(r"(\.[0-9]{6})[0-9]+")


class _Place(NamedTuple):
    """`{a.b|c|"text"}`: paths to try, and the text if there is none of them."""

    paths: tuple[tuple[str, ...], ...]
    otherwise: str | None
    said: str


class _Template(NamedTuple):
    """Texts and places in turn. `alone`: one place and nothing else, which gives the value as it is."""

    parts: tuple[str | _Place, ...]
    said: str

    @property
    def alone(self) -> bool:
        return len(self.parts) == 1 and isinstance(self.parts[0], _Place)

    def value(self, record: Any) -> Any:
        """None: the record lacks what one place asks for."""
        found = [part if isinstance(part, str) else _looked_up(part, record) for part in self.parts]
        if self.alone:
            return found[0]
        if any(each is None for each in found):
            return None
        return "".join(each if isinstance(each, str) else _spelled(each) for each in found)


def importer_of_mapping(mapping: Mapping[str, Any]) -> Importer:
    """The importer that a mapping file describes. Raises `Misconfigured`, naming the member at fault."""
    _only(mapping, _MEMBERS, "")
    name = mapping.get("name")
    if not isinstance(name, str) or not _NAME(name):
        raise Misconfigured(f"name: expected lower-case letters, digits, . _ and -, got {shown(name)}")
    form = mapping.get("records", "json")
    if form not in ("json", "csv"):
        raise Misconfigured(f'records: expected "json" or "csv", got {shown(form)}')
    delimiter = mapping.get("delimiter", ",")
    if not isinstance(delimiter, str) or len(delimiter) != 1:
        raise Misconfigured(f"delimiter: expected one character, got {shown(delimiter)}")
    listed = mapping.get("list")
    if listed is not None and (not isinstance(listed, str) or form != "json"):
        raise Misconfigured(f"list: expected the name of the member that holds records of JSON, got {shown(listed)}")
    event = _table(mapping, "event")
    _only(event, {*_PLAIN, *_TABLES}, "event.")
    missing = [each for each in _NEEDED if each not in event]
    if missing:
        raise Misconfigured(f"event.{missing[0]} is missing: an event needs {', '.join(_NEEDED)}")
    plain = {field: _template(event[field], f"event.{field}") for field in _PLAIN if field in event}
    tables = {
        table: {key: _template(value, f"event.{table}.{key}") for key, value in _table(event, table, "event.").items()}
        for table in _TABLES
        if table in event
    }
    _only(tables.get("source", {}), set(SOURCE_FIELDS), "event.source.")
    key = _template(mapping["key"], "key") if "key" in mapping else None
    values = {field: _values(field, table) for field, table in _table(mapping, "values", missing={}).items()}
    leave_out = [_rule(each, number) for number, each in enumerate(_rules(mapping), 1)]
    time_of = _time(mapping)

    def fields(record: Any) -> Fields | LeftOut:
        if not isinstance(record, dict):
            raise InvalidEvent(f"record is no object: got {shown(record)}")
        for template, ones, why in leave_out:
            if (said := template.value(record)) is not None and _spelled(said) in ones:
                return LeftOut(why)
        made: Fields = dict(_DEFAULTS)
        for field, template in plain.items():
            value = template.value(record)
            if value is not None and field in values:
                value = values[field].get(_spelled(value), values[field].get("*", value))
            if value is not None and value != "":
                made[field] = value
            elif field in _NEEDED:
                raise InvalidEvent(f"{field} is made of {template.said}, which the record lacks", field)
        made["timestamp"] = time_of(made["timestamp"])
        for table, templates in tables.items():
            found = {each: template.value(record) for each, template in templates.items()}
            made[table] = {each: value for each, value in found.items() if value is not None}
        if key is not None:
            made["id"] = key.value(record)
            if made["id"] is None:
                raise InvalidEvent(f"key is made of {key.said}, which the record lacks", "id")
        return made

    from_ = {field: template.said for field, template in plain.items()}
    from_ |= {f"{table}.{each}": one.said for table, templates in tables.items() for each, one in templates.items()}
    if key is not None:
        from_["id"] = key.said
    return Importer(name, form, fields, lists=(listed,) if listed else (), from_=from_, delimiter=delimiter)


# --- reading the mapping --------------------------------------------------------------------------------------------


def _only(table: Mapping[str, Any], known: set[str], before: str) -> None:
    for name in table:
        if name not in known:
            raise Misconfigured(f"{before}{name} is not known: expected some of {', '.join(sorted(known))}")


def _table(
    mapping: Mapping[str, Any], name: str, before: str = "", missing: dict[str, Any] | None = None
) -> dict[str, Any]:
    found = mapping.get(name, missing)
    if not isinstance(found, dict):
        raise Misconfigured(f"{before}{name}: expected a table, got {shown(found)}")
    return found


def _template(value: object, name: str) -> _Template:
    if not isinstance(value, str):
        raise Misconfigured(f'{name}: expected text such as "{{user.email}}", got {shown(value)}')
    parts: list[str | _Place] = []
    text, position = "", 0
    for found in _PLACE.finditer(value):
        text += value[position : found.start()]
        position = found.end()
        if found[1] is None:
            text += found[0][0]
            continue
        if text:
            parts.append(text)
            text = ""
        parts.append(_place(found[1], name))
    text += value[position:]
    if text or not parts:
        parts.append(text)
    if any("{" in part or "}" in part for part in _PLACE.split(value)[::2]):
        raise Misconfigured(f"{name}: a brace is left open in {shown(value)}; {{{{ and }}}} stand for the characters")
    return _Template(tuple(parts), value)


def _place(said: str, name: str) -> _Place:
    paths: list[tuple[str, ...]] = []
    otherwise: str | None = None
    for each in said.split("|"):
        one = each.strip()
        if otherwise is not None or not one:
            raise Misconfigured(f'{name}: expected {{a.b}} or {{a|b|"text"}}, the text at the end, got {{{said}}}')
        if one[0] == one[-1] == '"' and len(one) > 1:
            otherwise = one[1:-1]
        else:
            paths.append(tuple(one.split(".")))
    return _Place(tuple(paths), otherwise, said)


def _values(field: str, table: object) -> dict[str, str]:
    if field not in _PLAIN or field == "timestamp" or not isinstance(table, dict):
        raise Misconfigured(f"values.{field}: expected a table for one of {', '.join(_PLAIN[1:])}")
    for said, value in table.items():
        if not isinstance(value, str):
            raise Misconfigured(f"values.{field}.{said}: expected text, got {shown(value)}")
        choices = FIELDS[field].choices
        if choices and value not in choices:
            raise Misconfigured(f"values.{field}.{said}: expected one of {', '.join(choices)}, got {shown(value)}")
    return table


def _rules(mapping: Mapping[str, Any]) -> list[Any]:
    rules = mapping.get("leave_out", [])
    if not isinstance(rules, list):
        raise Misconfigured("leave_out: expected [[leave_out]] with where and is")
    return rules


def _rule(rule: Any, number: int) -> tuple[_Template, frozenset[str], str]:
    name = f"leave_out {number}"
    if not isinstance(rule, dict) or not isinstance(rule.get("is"), list):
        raise Misconfigured(f'{name}: expected where = "{{path}}" and is = ["value", ...]')
    _only(rule, {"where", "is", "why"}, f"{name}: ")
    template = _template(rule.get("where"), f"{name}: where")
    ones = frozenset(map(_spelled, rule["is"]))
    return template, ones, str(rule.get("why") or f"{template.said} is {', '.join(sorted(ones))}")


def _time(mapping: Mapping[str, Any]) -> Callable[[object], str]:
    form, zone_name = mapping.get("timestamp_format", "rfc3339"), mapping.get("timezone", "UTC")
    try:
        zone = ZoneInfo(zone_name)
    except (KeyError, ValueError, TypeError, OSError) as error:
        raise Misconfigured(f"timezone: expected a name such as Europe/Berlin, got {shown(zone_name)}") from error
    if form in _PER_SECOND:
        return lambda value: milliseconds(value, "timestamp", _PER_SECOND[form])
    if form == "rfc3339":

        def from_rfc3339(value: object) -> str:
            text = _FRACTION.sub(r"\1", value.strip()) if isinstance(value, str) else ""
            if zone_name == "UTC" or not text or _OFFSET.search(text[10:]):
                return rfc3339(value, "timestamp")
            return _local(lambda: datetime.fromisoformat(text), value, zone)

        return from_rfc3339
    if not isinstance(form, str) or "%" not in form:
        raise Misconfigured(
            f"timestamp_format: expected rfc3339, {', '.join(_PER_SECOND)} or a pattern such as %d/%m/%Y %H:%M:%S, "
            f"got {shown(form)}"
        )
    return lambda value: _local(lambda: datetime.strptime(_spelled(value).strip(), form), value, zone)


def _local(parse: Callable[[], datetime], value: object, zone: ZoneInfo) -> str:
    try:
        moment = parse()
    except ValueError as error:
        raise InvalidEvent(f"timestamp can't be read from {shown(value)}: {error}", "timestamp") from None
    return format_timestamp(moment if moment.tzinfo is not None else moment.replace(tzinfo=zone))


# --- looking into records -------------------------------------------------------------------------------------------


def _looked_up(place: _Place, record: Any) -> Any:
    for path in place.paths:
        found = _at(record, path)
        if found is not None and found != "":
            return found
    return place.otherwise


def _at(value: Any, path: tuple[str, ...]) -> Any:
    """The member at a path. A name with dots in it is found too, a number is a place in a list."""
    if not path:
        return value
    if isinstance(value, list):
        if path[0].isdigit() and int(path[0]) < len(value):
            return _at(value[int(path[0])], path[1:])
        return None
    if not isinstance(value, dict):
        return None
    for length in range(len(path), 0, -1):
        name = path[0] if length == 1 else ".".join(path[:length])
        if name in value and (found := _at(value[name], path[length:])) is not None:
            return found
    return None


def _spelled(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value)
