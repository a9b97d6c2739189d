"""The line of each key, found in any document that the standard library's parser accepts."""

from __future__ import annotations

import json
import tomllib
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sealstream.settings.positions import key_lines

DOCUMENT = '''\
# [not.a.table]
log = "a # no comment = 1"
title = """
[nor.this]
key = 1"""
[ kafka . options ]   # spaces
"ssl.ca.location" = '/x'
'quoted key' = """a\\""" """
[[lists]]
a = [ 1, # one
  { b = 2, c.d = "}" },
  "]",
]
when = 1979-05-27 07:32:00
[[lists]]
[lists.below]
x = {}
[chains.main]
at.once = 1.5
'''


def paths(value: Any, before: tuple[str, ...] = ()) -> set[tuple[str, ...]]:
    """Every path of a parsed document."""
    members = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    found = {before} if before else set()
    for key, member in members:
        found |= paths(member, (*before, str(key)))
    return found


def test_every_key_is_found_where_it_stands() -> None:
    lines = key_lines(DOCUMENT)
    assert set(lines) == paths(tomllib.loads(DOCUMENT))
    found = {".".join(path): line for path, line in lines.items()}
    expected = {"log": 2, "title": 3, "kafka": 6, "kafka.options.ssl.ca.location": 7, "kafka.options.quoted key": 8}
    expected |= {"lists.0.a.1.b": 11, "lists.0.a.1.c.d": 11, "lists.0.a.2": 12, "lists.0.when": 14, "lists.1": 15}
    expected |= {"lists.1.below.x": 17, "chains.main": 18, "chains.main.at.once": 19}
    assert {name: found[name] for name in expected} == expected


def test_windows_line_ends_count_once() -> None:
    assert key_lines("a = 1\r\n\r\nb = '''\r\n'''\r\nc = 1\r\n")[("c",)] == 5


words = st.text("ab1-_", min_size=1, max_size=3)
keys = words | st.text(' "\\.#=]x\u00e9', max_size=4).map(json.dumps)
values = st.sampled_from(
    [
        "1",
        "-0.5e3",
        "true",
        '"#]"',
        "'}'",
        '"""\n[x]\n"""',
        "'''a\nb = 1'''",
        "1979-05-27T07:32:00Z",
        "[]",
        "{}",
    ]
)
nested = st.recursive(
    values,
    lambda inner: (
        st.lists(inner, max_size=3).map(lambda each: "[\n" + ", # ]\n".join(each) + "]")
        | st.dictionaries(words, inner, max_size=2).map(
            lambda table: "{" + ", ".join(f"{k} = {v}" for k, v in table.items()) + "}"
        )
    ),
    max_leaves=4,
)
statements = (
    st.builds("{} = {}".format, st.lists(keys, min_size=1, max_size=2).map(" . ".join), nested)
    | st.builds("[{}]".format, st.lists(keys, min_size=1, max_size=2).map(".".join))
    | st.builds("[[{}]]".format, keys)
)


@given(st.lists(statements, max_size=6).map("\n".join))
@settings(max_examples=100, deadline=None)
def test_it_finds_what_the_parser_finds(text: str) -> None:
    try:
        parsed = tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return
    assert set(key_lines(text)) == paths(parsed)


@pytest.mark.parametrize("text", ["", "\n", "# only this", "a = 1"])
def test_a_document_may_end_anywhere(text: str) -> None:
    assert set(key_lines(text)) == paths(tomllib.loads(text))
