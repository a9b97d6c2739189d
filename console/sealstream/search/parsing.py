"""The query language's grammar: from what a person writes to a `Query`, or to a `QueryError` that points at the place.

    query = term *( spaces term )        term = ["-"] key ":" value
    value = 1*( bare / quoted / "*" )    quoted = '"' *( any / '\\"' / '\\\\' ) '"'      bare: no space, no quote

Pure: the clock is an argument, which `7d` and the like are reckoned from.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable, Collection
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address, ip_network
from itertools import pairwise
from typing import NamedTuple

from sealstream.errors import InvalidEvent
from sealstream.events import canonical_ip, parse_timestamp
from sealstream.search.errors import QueryError
from sealstream.search.fields import FIELDS, TIME_KEYS, Field, nearest_key, searchable
from sealstream.search.query import Condition, Numbers, Query, Resource, Text, Value

__all__ = ["MAX_QUERY_CHARACTERS", "MAX_STARS", "MAX_TERMS", "parse"]

MAX_QUERY_CHARACTERS = 4_096
MAX_TERMS = 50
MAX_STARS = 10

_KEY = re.compile(r"(-?)([A-Za-z_][A-Za-z0-9_.-]*):")
_RELATIVE = re.compile(r"([0-9]{1,6})([smhdw])")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_SEQ = re.compile(r"([0-9]{1,18})(?:\.\.([0-9]{1,18}))?")
_LOGIC = {
    "OR": "nothing between terms (write a key twice: any of its values is found)",
    "AND": "nothing between terms (all of them must hold)",
    "NOT": 'a "-" before the key, as in -action:read',
}


class _Term(NamedTuple):
    """One term: where it and its value stand. `quoted`: places of the value's characters that stood in quotes."""

    negated: bool
    key: str
    key_start: int
    start: int
    end: int
    value: str
    quoted: frozenset[int]


def parse(text: str, *, now: datetime, chains: Collection[str] | None = None) -> Query:
    """The query that `text` says. Raises `QueryError`.

    `now` (aware) is what relative times count from; `chains` are those that may be named (None: any).
    """
    terms = _terms(text)
    if len(terms) > MAX_TERMS:
        extra = terms[MAX_TERMS]
        raise QueryError(f"more than {MAX_TERMS} terms", text, extra.key_start, extra.end, expected="fewer")
    times: dict[str, datetime] = {}
    found: dict[str, tuple[Field, list[Value], list[Value]]] = {}
    for term in terms:
        if term.key in TIME_KEYS:
            _set_time(times, term, text, now)
            continue
        field = searchable(term.key)
        if field is None:
            raise _unknown_key(term, text)
        if field.kind == "chain" and chains is not None:
            _check_chain(term, text, chains)
        _field, any_of, none_of = found.setdefault(term.key, (field, [], []))
        (none_of if term.negated else any_of).append(_VALUES[field.kind](field, term, text))
    conditions = tuple(Condition(field, tuple(any_of), tuple(none_of)) for field, any_of, none_of in found.values())
    return Query(text, conditions, **times)


# --- words ------------------------------------------------------------------------------------------------------------


def _terms(text: str) -> list[_Term]:
    if len(text) > MAX_QUERY_CHARACTERS:
        expected = f"at most {MAX_QUERY_CHARACTERS}"
        raise QueryError(f"a query of {len(text)} characters", text[:80], 0, 80, expected=expected)
    for place, character in enumerate(text):
        if character == "\0" or "\ud800" <= character <= "\udfff":
            raise QueryError("a character that no entry can hold", text, place, place + 1, expected="text")
    terms = []
    place = 0
    while place < len(text):
        if text[place].isspace():
            place += 1
            continue
        key = _KEY.match(text, place)
        if key is None:
            raise _bare_word(text, place)
        term = _value(text, key)
        terms.append(term)
        place = term.end
    return terms


def _value(text: str, key: re.Match[str]) -> _Term:
    """The value after a key: bare and quoted parts up to the next space."""
    characters: list[str] = []
    quoted: set[int] = set()
    place = key.end()
    opened = -1
    while place < len(text) and (opened >= 0 or not text[place].isspace()):
        character = text[place]
        place += 1
        if character == '"':
            opened = place - 1 if opened < 0 else -1
            continue
        if opened >= 0:
            if character == "\\":
                if text[place : place + 1] not in ('"', "\\"):
                    expected = '\\" or \\\\ (within quotes a backslash stands before a quote or a backslash)'
                    raise QueryError("a lone backslash", text, place - 1, place, expected=expected)
                character = text[place]
                place += 1
            quoted.add(len(characters))
        characters.append(character)
    if opened >= 0:
        raise QueryError("a quote that is not closed", text, opened, len(text), expected='another "')
    name = key[2]
    if not characters:
        end = max(place, key.end())
        raise QueryError(f"{name}: has no value", text, key.start(), end, expected=f"{name}:something, without a space")
    return _Term(bool(key[1]), name, key.start(2), key.end(), place, "".join(characters), frozenset(quoted))


def _bare_word(text: str, start: int) -> QueryError:
    end = start
    while end < len(text) and not text[end].isspace():
        end += 1
    word = text[start:end]
    if word in _LOGIC:
        return QueryError(f"{word} is not a word of this language", text, start, end, expected=_LOGIC[word])
    bare = word.strip("\"'-")
    nearest = ""
    if _as_uuid(bare):
        nearest = f"id:{bare}"
    elif _as_network(bare):
        nearest = f"ip:{bare}"
    elif _DATE.fullmatch(bare):
        nearest = f"after:{bare}"
    elif "=" in bare and (key := nearest_key(bare.partition("=")[0])):
        nearest = f"{key}:{bare.partition('=')[2]}"
    elif 0 < bare.find("/") < len(bare) - 1:
        nearest = f"resource:{bare}"
    expected = "key:value, such as actor:user-123 (there is no search for words anywhere in an entry)"
    return QueryError(f"{_shown(word)} has no key", text, start, end, expected=expected, nearest=nearest)


def _unknown_key(term: _Term, text: str) -> QueryError:
    nearest = nearest_key(term.key)
    expected = ", ".join((*FIELDS, *TIME_KEYS)) + ", metadata.<name>"
    end = term.key_start + len(term.key)
    return QueryError(f"unknown key {_shown(term.key)}", text, term.key_start, end, expected=expected, nearest=nearest)


def _shown(text: str) -> str:
    return '"' + "".join(c if c.isprintable() else "?" for c in text[:60]) + '"'


# --- values -----------------------------------------------------------------------------------------------------------


def _wrong(term: _Term, text: str, problem: str, expected: str, nearest: str = "") -> QueryError:
    return QueryError(problem, text, term.start, term.end, expected=expected, nearest=nearest)


def _pattern(term: _Term, text: str, first: int, end: int) -> Text:
    """A part of a value: a text, or with unquoted `*` a pattern."""
    stars = [place for place in range(first, end) if term.value[place] == "*" and place not in term.quoted]
    if len(stars) > MAX_STARS:
        raise _wrong(term, text, f"more than {MAX_STARS} * in a value", 'fewer; in quotes, as in "a*b", it is itself')
    pieces = [term.value[begin + 1 : stop] for begin, stop in pairwise([first - 1, *stars, end])]
    beginning, *middle = pieces[:-1] or pieces
    return Text(beginning, (*filter(None, middle), pieces[-1]) if stars else ())


def _text(_field: Field, term: _Term, text: str) -> Value:
    return _pattern(term, text, 0, len(term.value))


def _one_of(field: Field, term: _Term, text: str) -> Value:
    if term.value not in field.values:
        nearest = nearest_key(term.value, field.values)
        problem = f"{_shown(term.value)} is no {field.key}"
        raise _wrong(term, text, problem, ", ".join(field.values), f"{field.key}:{nearest}" if nearest else "")
    return Text(term.value)


def _resource(_field: Field, term: _Term, text: str) -> Value:
    """`type/id`, divided at the first slash that is not quoted."""
    slash = next((at for at, c in enumerate(term.value) if c == "/" and at not in term.quoted), None)
    if slash is None:
        return Resource(_pattern(term, text, 0, len(term.value)), None)
    if slash in (0, len(term.value) - 1):
        raise _wrong(term, text, f"{_shown(term.value)} is no resource", "type/id, type/* or a type alone")
    return Resource(_pattern(term, text, 0, slash), _pattern(term, text, slash + 1, len(term.value)))


def _address(_field: Field, term: _Term, text: str) -> Value:
    try:
        if "/" not in term.value:
            return ip_network(canonical_ip(term.value))
        network = ip_network(term.value, strict=False)
    except (InvalidEvent, ValueError):
        expected = "an IP address or a network, such as 10.0.0.7, 10.0.0.0/8 or 2001:db8::/32"
        raise _wrong(term, text, f"{_shown(term.value)} is no address", expected) from None
    if str(network.network_address) != str(ip_address(term.value.partition("/")[0])):
        raise _wrong(
            term, text, f"{_shown(term.value)} has bits set behind its /{network.prefixlen}", "", f"ip:{network}"
        )
    return network


def _seq(_field: Field, term: _Term, text: str) -> Value:
    match = _SEQ.fullmatch(term.value)
    if match is None:
        raise _wrong(term, text, f"{_shown(term.value)} is no place", "a number, or first..last such as 10..20")
    first, last = int(match[1]), int(match[2] or match[1])
    if last < first:
        raise _wrong(term, text, f"{term.value} ends before it begins", "", f"seq:{last}..{first}")
    return Numbers(first, last)


def _id(_field: Field, term: _Term, text: str) -> Value:
    found = _as_uuid(term.value)
    if found is None:
        expected = "a UUID such as 01932b7e-3f4a-7c1d-9e2b-5a6f7b8c9d0e"
        raise _wrong(term, text, f"{_shown(term.value)} is no id", expected)
    return Text(found)


_VALUES: dict[str, Callable[[Field, _Term, str], Value]] = {
    "text": _text,
    "one_of": _one_of,
    "resource": _resource,
    "address": _address,
    "seq": _seq,
    "id": _id,
    "chain": _text,
    "json": _text,
    "list": _text,
}


def _check_chain(term: _Term, text: str, chains: Collection[str]) -> None:
    wanted = _pattern(term, text, 0, len(term.value))
    if not any(wanted.matches(chain) for chain in chains):
        nearest = nearest_key(term.value, tuple(chains))
        known = ", ".join(sorted(chains)) or "none yet"
        raise _wrong(
            term, text, f"there is no chain {_shown(term.value)}", known, f"chain:{nearest}" if nearest else ""
        )


def _as_uuid(text: str) -> str | None:
    try:
        return str(uuid.UUID(text)) if len(text) == 36 else None
    except ValueError:
        return None


def _as_network(text: str) -> bool:
    try:
        ip_network(text, strict=False)
    except ValueError:
        return False
    return not text.isdigit()


# --- times ------------------------------------------------------------------------------------------------------------


def _set_time(times: dict[str, datetime], term: _Term, text: str, now: datetime) -> None:
    whole = (term.key_start, term.end)
    if term.negated:
        other = {"after": "before", "before": "after"}[term.key.removeprefix("sealed_")]
        opposite = f"{'sealed_' if term.key.startswith('sealed_') else ''}{other}:{term.value}"
        raise QueryError(f"-{term.key}: can't be negated", text, *whole, nearest=opposite)
    if term.key in times:
        raise QueryError(f"{term.key}: stands here twice", text, *whole, expected="it once")
    times[term.key] = _moment(term, text, now)
    sealed = "sealed_" if term.key.startswith("sealed_") else ""
    first, last = times.get(f"{sealed}after"), times.get(f"{sealed}before")
    if first is not None and last is not None and first >= last:
        problem = f"{sealed}before: is not later than {sealed}after:, so nothing can be found"
        raise QueryError(problem, text, *whole, expected="a later one")


def _moment(term: _Term, text: str, now: datetime) -> datetime:
    expected = "a UTC date (2026-11-01), a time (2026-11-01T08:00:00Z) or so long ago (7d, 24h, 30m)"
    value = term.value
    relative = _RELATIVE.fullmatch(value)
    if relative:
        try:
            return now.astimezone(UTC) - timedelta(**{_UNITS[relative[2]]: int(relative[1])})
        except OverflowError:
            raise _wrong(term, text, f"{value} ago is before all calendars", expected) from None
    whole = f"{value}T00:00:00Z" if _DATE.fullmatch(value) else value
    try:
        return parse_timestamp(whole)
    except InvalidEvent as error:
        nearest = f"{term.key}:{value}Z" if "no offset" in str(error) else ""
        detail = "is no time of the calendar" if "T" in whole else "is no time"
        raise _wrong(term, text, f"{_shown(value)} {detail}", expected, nearest) from None
