"""The words of a query: `key:value` terms and where they stand, before anything is known of what a key means.

    query = term *( spaces term )        term = ["-"] key ":" value
    value = 1*( bare / quoted / "*" )    quoted = '"' *( any / '\\"' / '\\\\' ) '"'      bare: no space, no quote

A comma is a character of a value like others; `alternatives` says what somebody meant who took it for more. Pure.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Collection
from ipaddress import ip_network
from typing import NamedTuple

from sealstream.search.errors import QueryError
from sealstream.search.fields import nearest_key

__all__ = ["DATE", "MAX_QUERY_CHARACTERS", "Term", "alternatives", "as_uuid", "shown", "terms"]

MAX_QUERY_CHARACTERS = 4_096
DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")

_KEY = re.compile(r"(-?)([A-Za-z_][A-Za-z0-9_.-]*):")
_PARTS = re.compile(r'(?:"(?:\\.|[^"\\])*"|[^",])+')
_LOGIC = {
    "OR": "nothing between terms (write a key twice: any of its values is found)",
    "AND": "nothing between terms (all of them must hold)",
    "NOT": 'a "-" before the key, as in -action:read',
}


class Term(NamedTuple):
    """One term: where it and its value stand. `quoted`: places of the value's characters that stood in quotes."""

    negated: bool
    key: str
    key_start: int
    start: int
    end: int
    value: str
    quoted: frozenset[int]


def terms(text: str, chains: Collection[str] = ()) -> list[Term]:
    """The terms of a query, in order. Raises `QueryError`; to who names one of `chains` alone it says how to."""
    if len(text) > MAX_QUERY_CHARACTERS:
        expected = f"at most {MAX_QUERY_CHARACTERS}"
        raise QueryError(f"a query of {len(text)} characters", text[:80], 0, 80, expected=expected)
    for place, character in enumerate(text):
        if character == "\0" or "\ud800" <= character <= "\udfff":
            raise QueryError("a character that no entry can hold", text, place, place + 1, expected="text")
    found = []
    place = 0
    while place < len(text):
        if text[place].isspace():
            place += 1
            continue
        key = _KEY.match(text, place)
        if key is None:
            raise _bare_word(text, place, chains)
        term = _value(text, key)
        found.append(term)
        place = term.end
    return found


def _value(text: str, key: re.Match[str]) -> Term:
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
    return Term(bool(key[1]), name, key.start(2), key.end(), place, "".join(characters), frozenset(quoted))


def alternatives(term: Term, text: str) -> list[str]:
    """`key:a` and `key:b` of a term `key:a,b`; empty without a comma outside of quotes, or with nothing at its side."""
    raw = text[term.start : term.end]
    parts = _PARTS.findall(raw)
    if len(parts) < 2 or ",".join(parts) != raw:
        return []
    if term.key == "resource":  # type/1,2 is meant as two of one type
        kind = parts[0].partition("/")[0] if "/" in parts[0] and '"' not in parts[0] else ""
        parts = [f"{kind}/{part}" if kind and "/" not in part else part for part in parts]
    sign = "-" if term.negated else ""
    return [f"{sign}{term.key}:{part}" for part in parts]


def _bare_word(text: str, start: int, chains: Collection[str]) -> QueryError:
    end = start
    while end < len(text) and not text[end].isspace():
        end += 1
    word = text[start:end]
    if word in _LOGIC:
        return QueryError(f"{word} is not a word of this language", text, start, end, expected=_LOGIC[word])
    bare = word.strip("\"'-")
    nearest = ""
    if bare in chains:
        nearest = f"chain:{bare}"
    elif as_uuid(bare):
        nearest = f"id:{bare}"
    elif _as_network(bare):
        nearest = f"ip:{bare}"
    elif DATE.fullmatch(bare):
        nearest = f"after:{bare}"
    elif "=" in bare and (key := nearest_key(bare.partition("=")[0])):
        nearest = f"{key}:{bare.partition('=')[2]}"
    elif 0 < bare.find("/") < len(bare) - 1:
        nearest = f"resource:{bare}"
    expected = "key:value, such as actor:user-123 (there is no search for words anywhere in an entry)"
    return QueryError(f"{shown(word)} has no key", text, start, end, expected=expected, nearest=nearest)


def shown(text: str) -> str:
    """A piece of a query in a sentence: short, and harmless to a terminal."""
    return '"' + "".join(c if c.isprintable() else "?" for c in text[:60]) + '"'


def as_uuid(text: str) -> str | None:
    """The UUID that a text writes, in its one spelling; None: it writes none."""
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
