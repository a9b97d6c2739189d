"""What a query's terms mean: from what a person writes to a `Query`, or to a `QueryError` that points at the place.

Pure: the clock is an argument, which `7d` and the like are reckoned from.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address, ip_network
from itertools import pairwise

from sealstream.errors import InvalidEvent
from sealstream.events import canonical_ip, parse_timestamp
from sealstream.search.errors import QueryError
from sealstream.search.fields import FIELDS, TIME_KEYS, Field, nearest_key, searchable
from sealstream.search.query import Condition, Numbers, Query, Resource, Text, Value
from sealstream.search.terms import DATE, Term, alternatives, as_uuid, shown, terms

__all__ = ["MAX_STARS", "MAX_TERMS", "parse"]

MAX_TERMS = 50
MAX_STARS = 10

_RELATIVE = re.compile(r"([0-9]{1,6})([smhdw])")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
_OCTETS = re.compile(r"([0-9]{1,3}(?:\.[0-9]{1,3}){0,2})\.\*?")
_SEQ = re.compile(r"([0-9]{1,18})(?:\.\.([0-9]{1,18}))?")


def parse(text: str, *, now: datetime, chains: Collection[str] | None = None) -> Query:
    """The query that `text` says. Raises `QueryError`.

    `now` (aware) is what relative times count from; `chains` are those that may be named (None: any).
    """
    words = terms(text, chains or ())
    if len(words) > MAX_TERMS:
        extra = words[MAX_TERMS]
        raise QueryError(f"more than {MAX_TERMS} terms", text, extra.key_start, extra.end, expected="fewer")
    times: dict[str, datetime] = {}
    found: dict[str, tuple[Field, list[Value], list[Value]]] = {}
    for term in words:
        if term.key in TIME_KEYS:
            _set_time(times, term, text, now)
            continue
        field = searchable(term.key)
        if field is None:
            raise _unknown_key(term, text)
        _field, any_of, none_of = found.setdefault(term.key, (field, [], []))
        (none_of if term.negated else any_of).append(_meant(field, term, text, chains))
    conditions = tuple(Condition(field, tuple(any_of), tuple(none_of)) for field, any_of, none_of in found.values())
    return Query(text, conditions, **times)


def _unknown_key(term: Term, text: str) -> QueryError:
    nearest = nearest_key(term.key)
    expected = ", ".join((*FIELDS, *TIME_KEYS)) + ", metadata.<name>"
    end = term.key_start + len(term.key)
    return QueryError(f"unknown key {shown(term.key)}", text, term.key_start, end, expected=expected, nearest=nearest)


# --- values -----------------------------------------------------------------------------------------------------------


def _meant(field: Field, term: Term, text: str, chains: Collection[str] | None) -> Value:
    """A term's value. Where it is none, but would be some with its commas taken for what they are not, it is said."""
    try:
        if field.kind == "chain" and chains is not None:
            _check_chain(term, text, chains)
        return _VALUES[field.kind](field, term, text)
    except QueryError as error:
        apart = alternatives(term, text)
        if not apart:
            raise
        try:
            for each in apart:
                _meant(field, terms(each)[0], each, chains)
        except QueryError:
            raise error from None
        raise _wrong(term, text, error.problem, error.expected, " ".join(apart)) from None


def _wrong(term: Term, text: str, problem: str, expected: str, nearest: str = "") -> QueryError:
    return QueryError(problem, text, term.start, term.end, expected=expected, nearest=nearest)


def _pattern(term: Term, text: str, first: int, end: int) -> Text:
    """A part of a value: a text, or with unquoted `*` a pattern."""
    stars = [place for place in range(first, end) if term.value[place] == "*" and place not in term.quoted]
    if len(stars) > MAX_STARS:
        raise _wrong(term, text, f"more than {MAX_STARS} * in a value", 'fewer; in quotes, as in "a*b", it is itself')
    pieces = [term.value[begin + 1 : stop] for begin, stop in pairwise([first - 1, *stars, end])]
    beginning, *middle = pieces[:-1] or pieces
    return Text(beginning, (*filter(None, middle), pieces[-1]) if stars else ())


def _text(_field: Field, term: Term, text: str) -> Value:
    return _pattern(term, text, 0, len(term.value))


def _one_of(field: Field, term: Term, text: str) -> Value:
    if term.value not in field.values:
        nearest = nearest_key(term.value, field.values)
        problem = f"{shown(term.value)} is no {field.key}"
        raise _wrong(term, text, problem, ", ".join(field.values), f"{field.key}:{nearest}" if nearest else "")
    return Text(term.value)


def _resource(_field: Field, term: Term, text: str) -> Value:
    """`type/id`, divided at the first slash that is not quoted."""
    slash = next((at for at, c in enumerate(term.value) if c == "/" and at not in term.quoted), None)
    if slash is None:
        return Resource(_pattern(term, text, 0, len(term.value)), None)
    if slash in (0, len(term.value) - 1):
        raise _wrong(term, text, f"{shown(term.value)} is no resource", "type/id, type/* or a type alone")
    return Resource(_pattern(term, text, 0, slash), _pattern(term, text, slash + 1, len(term.value)))


def _address(_field: Field, term: Term, text: str) -> Value:
    try:
        if "/" not in term.value:
            return ip_network(canonical_ip(term.value))
        network = ip_network(term.value, strict=False)
    except (InvalidEvent, ValueError):
        expected = "an IP address or a network, such as 10.0.0.7, 10.0.0.0/8 or 2001:db8::/32"
        nearest = _network_of_octets(term.value)
        raise _wrong(term, text, f"{shown(term.value)} is no address", expected, nearest and f"ip:{nearest}") from None
    if str(network.network_address) != str(ip_address(term.value.partition("/")[0])):
        raise _wrong(
            term, text, f"{shown(term.value)} has bits set behind its /{network.prefixlen}", "", f"ip:{network}"
        )
    return network


def _network_of_octets(written: str) -> str:
    """The network that `10.0.*` or `10.0.` is meant for; "": none."""
    beginning = _OCTETS.fullmatch(written)
    octets = beginning[1].split(".") if beginning else []
    if not octets or any(int(octet) > 255 for octet in octets):
        return ""
    whole = [str(int(octet)) for octet in octets] + ["0"] * (4 - len(octets))
    return f"{'.'.join(whole)}/{8 * len(octets)}"


def _seq(_field: Field, term: Term, text: str) -> Value:
    match = _SEQ.fullmatch(term.value)
    if match is None:
        raise _wrong(term, text, f"{shown(term.value)} is no place", "a number, or first..last such as 10..20")
    first, last = int(match[1]), int(match[2] or match[1])
    if last < first:
        raise _wrong(term, text, f"{term.value} ends before it begins", "", f"seq:{last}..{first}")
    return Numbers(first, last)


def _id(_field: Field, term: Term, text: str) -> Value:
    found = as_uuid(term.value)
    if found is None:
        expected = "a UUID such as 01932b7e-3f4a-7c1d-9e2b-5a6f7b8c9d0e"
        raise _wrong(term, text, f"{shown(term.value)} is no id", expected)
    return Text(found)


_VALUES: dict[str, Callable[[Field, Term, str], Value]] = {
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


def _check_chain(term: Term, text: str, chains: Collection[str]) -> None:
    wanted = _pattern(term, text, 0, len(term.value))
    if not any(wanted.matches(chain) for chain in chains):
        nearest = nearest_key(term.value, tuple(chains))
        known = ", ".join(sorted(chains)) or "none yet"
        raise _wrong(term, text, f"there is no chain {shown(term.value)}", known, f"chain:{nearest}" if nearest else "")


# --- times ------------------------------------------------------------------------------------------------------------


def _set_time(times: dict[str, datetime], term: Term, text: str, now: datetime) -> None:
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


def _moment(term: Term, text: str, now: datetime) -> datetime:
    expected = "a UTC date (2026-11-01), a time (2026-11-01T08:00:00Z) or so long ago (7d, 24h, 30m)"
    value = term.value
    relative = _RELATIVE.fullmatch(value)
    if relative:
        try:
            return now.astimezone(UTC) - timedelta(**{_UNITS[relative[2]]: int(relative[1])})
        except OverflowError:
            raise _wrong(term, text, f"{value} ago is before all calendars", expected) from None
    whole = f"{value}T00:00:00Z" if DATE.fullmatch(value) else value
    try:
        return parse_timestamp(whole)
    except InvalidEvent as error:
        nearest = f"{term.key}:{value}Z" if "no offset" in str(error) else ""
        detail = "is no time of the calendar" if "T" in whole else "is no time"
        raise _wrong(term, text, f"{shown(value)} {detail}", expected, nearest) from None
