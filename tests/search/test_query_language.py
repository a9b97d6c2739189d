"""The query language: what is understood, and what is told of what is not. Pure."""

from __future__ import annotations

from datetime import UTC, datetime
from ipaddress import ip_network

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.search.conftest import NOW

from sealstream.search import FIELDS, TIME_KEYS, BadCursor, Found, Query, QueryError, hint, matches, parse, render
from sealstream.search.cursors import cursor_after, open_cursor
from sealstream.search.query import Numbers, Resource, Text


def condition(text: str):
    """The one condition of a query."""
    (only,) = parse(text, now=NOW).conditions
    return only


def test_several_values_are_alternatives_and_a_minus_excludes():
    actor = condition("actor:a -actor:b actor:c*")
    assert actor.any_of == (Text("a"), Text("c", ("",)))
    assert actor.none_of == (Text("b"),)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ('actor:"a b"', Text("a b")),
        (r'actor:"say \"hi\" \\ there"', Text('say "hi" \\ there')),
        (r"actor:back\slash", Text("back\\slash")),
        ('actor:"a*"', Text("a*")),
        ('actor:"a*"*', Text("a*", ("",))),
        ('actor:"a b"*', Text("a b", ("",))),
        ("actor:*", Text("", ("",))),
        ("actor:**", Text("", ("",))),
        ("action:*.delete", Text("", (".delete",))),
        ("action:*delete*", Text("", ("delete", ""))),
        ("action:patient.*.read", Text("patient.", (".read",))),
        ('actor:a*"*"*b', Text("a", ("*", "b"))),
        ("actor:a:b", Text("a:b")),
        ("resource:patient_record/456", Resource(Text("patient_record"), Text("456"))),
        ("resource:patient_record", Resource(Text("patient_record"), None)),
        ("resource:pat*", Resource(Text("pat", ("",)), None)),
        ("resource:file/etc/pass*", Resource(Text("file"), Text("etc/pass", ("",)))),
        ("resource:*/4*6", Resource(Text("", ("",)), Text("4", ("6",)))),
        ('resource:"a/b"/c', Resource(Text("a/b"), Text("c"))),
        ("ip:10.0.0.0/8", ip_network("10.0.0.0/8")),
        ("ip:::ffff:10.0.0.7", ip_network("10.0.0.7")),
        ("ip:2001:DB8::1", ip_network("2001:db8::1")),
        ("seq:10..20", Numbers(10, 20)),
        ("seq:7", Numbers(7, 7)),
        ("id:01932B7E-3F4A-7C1D-9E2B-5A6F7B8C9D0E", Text("01932b7e-3f4a-7c1d-9e2b-5a6f7b8c9d0e")),
        ("metadata.http_status:404", Text("404")),
    ],
)
def test_a_value_is_what_was_written(text, value):
    assert condition(text).any_of == (value,)


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("after:2026-11-01", datetime(2026, 11, 1, tzinfo=UTC)),
        ("after:2026-11-01T08:00:00+02:00", datetime(2026, 11, 1, 6, tzinfo=UTC)),
        ("after:7d", datetime(2026, 11, 22, 12, tzinfo=UTC)),
        ("after:24h", datetime(2026, 11, 28, 12, tzinfo=UTC)),
        ("after:0001-01-01", datetime(1, 1, 1, tzinfo=UTC)),
    ],
)
def test_times_are_dates_moments_or_so_long_ago(text, moment):
    assert parse(text, now=NOW).after == moment


@pytest.mark.parametrize(
    ("text", "marked", "told"),
    [
        ("actr:x", "actr", 'unknown key "actr": did you mean actor?'),
        ("user:x", "user", "did you mean actor?"),
        ("created:2026-11-01", "created", "did you mean after?"),
        ("colour:red", "colour", "expected actor, actor_type"),
        ("action:read reslut:denied", "reslut", "did you mean result?"),
        ("result:deneid", "deneid", "did you mean result:denied?"),
        ("kind:events", "events", "did you mean kind:event?"),
        ("actor_type:robot", "robot", "expected user, service, admin, system, anonymous"),
        ("ip:10.0.0.300", "10.0.0.300", "expected an IP address or a network"),
        ("ip:10.0.0.1/8", "10.0.0.1/8", "did you mean ip:10.0.0.0/8?"),
        ("seq:20..10", "20..10", "did you mean seq:10..20?"),
        ("ip:10.1.*", "10.1.*", "did you mean ip:10.1.0.0/16?"),
        ("ip:10.", "10.", "did you mean ip:10.0.0.0/8?"),
        ("ip:10.300.*", "10.300.*", "expected an IP address or a network"),
        ("result:denied,failure", "denied,failure", "did you mean result:denied result:failure?"),
        ("-kind:log,control", "log,control", "did you mean -kind:log -kind:control?"),
        ("result:denied,fail", "denied,fail", '"denied,fail" is no result'),
        ("ip:10.0.0.7,10.0.0.0/8", "10.0.0.7,10.0.0.0/8", "did you mean ip:10.0.0.7 ip:10.0.0.0/8?"),
        ("seq:4,7..9", "4,7..9", "did you mean seq:4 seq:7..9?"),
        ("chain:main,main", "main,main", "did you mean chain:main chain:main?"),
        ("seq:many", "many", "expected a number, or first..last"),
        ("id:42", "42", "expected a UUID"),
        ("resource:/456", "/456", "expected type/id"),
        ("after:2026-11-31", "2026-11-31", "is no time"),
        ("after:2026-11-01T08:00:00", "2026-11-01T08:00:00", "did you mean after:2026-11-01T08:00:00Z?"),
        ("after:yesterday", "yesterday", "so long ago (7d, 24h, 30m)"),
        ("-after:7d", "after:7d", "did you mean before:7d?"),
        ("after:7d after:8d", "after:8d", "stands here twice"),
        ("after:7d before:8d", "before:8d", "nothing can be found"),
        ("main", "main", "did you mean chain:main?"),
        ("alice", "alice", "expected key:value"),
        ("10.0.0.7", "10.0.0.7", "did you mean ip:10.0.0.7?"),
        ("2026-11-01", "2026-11-01", "did you mean after:2026-11-01?"),
        ("actor=alice", "actor=alice", "did you mean actor:alice?"),
        ("patient_record/456", "patient_record/456", "did you mean resource:patient_record/456?"),
        ("actor:a OR actor:b", "OR", "write a key twice"),
        ("actor: x", "actor:", "has no value"),
        ('actor:"x', '"x', "a quote that is not closed"),
        (r'actor:"\n"', "\\", "a lone backslash"),
        ("chain:mian", "mian", "did you mean chain:main?"),
        ("chain:other", "other", "expected main"),
    ],
)
def test_what_is_wrong_is_placed_and_told(text, marked, told):
    with pytest.raises(QueryError) as raised:
        parse(text, now=NOW, chains=["main"])
    error = raised.value
    assert text[error.start : error.end] == marked
    assert told in error.told()
    line, caret, sentence = render(error).split("\n")
    assert line == text
    assert line[caret.index("^") : caret.rindex("^") + 1] == marked
    assert sentence == error.told()


def test_a_caret_stands_right_behind_wide_characters_and_nothing_moves_the_cursor():
    with pytest.raises(QueryError) as raised:
        parse('actor:"患者\x1b[2J" actr:x', now=NOW)
    line, caret, _ = render(raised.value).split("\n")
    assert line == 'actor:"患者?[2J" actr:x'
    assert caret == " " * len('actor:"0000?[2J" ') + "^^^^"


@settings(max_examples=300, deadline=None)
@given(st.text(alphabet=st.characters(codec="utf-8"), max_size=60))
def test_any_text_is_understood_or_told_what_is_wrong(text):
    wrong = None
    try:
        parse(text, now=NOW)
    except QueryError as error:
        wrong = error
    assert wrong is None or (0 <= wrong.start < wrong.end and render(wrong).count("\n") == 2)


@settings(max_examples=200, deadline=None)
@given(st.text(alphabet=st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=30))
def test_any_text_in_quotes_means_itself(value):
    quoted = '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
    assert condition(f"actor:{quoted}").any_of == (Text(value),)


@given(st.sampled_from([*FIELDS, *TIME_KEYS]), st.integers(0, 20))
def test_a_key_with_a_slip_of_the_pen_is_recognised(key, at):
    slip = key[: at % len(key)] + key[at % len(key) + 1 :]
    if slip in FIELDS or slip in TIME_KEYS or len(key) < 4:
        return
    with pytest.raises(QueryError) as raised:
        parse(f"{slip}:x", now=NOW)
    assert raised.value.nearest or raised.value.expected


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (
            "after:7d action:read,write",
            "the comma in action:read,write is part of its value: for either of these write",
        ),
        ("action:read,write", "write action:read action:write"),
        ('actor:"ann b","bob, c",x*', 'actor:"ann b" actor:"bob, c" actor:x*'),
        ("resource:patient/1,2,3", "resource:patient/1 resource:patient/2 resource:patient/3"),
        ("resource:patient,file", "resource:patient resource:file"),
        ("metadata.note:a,b", "metadata.note:a metadata.note:b"),
        ('actor:"ann, b"', ""),
        ("-action:read,write", ""),
        ("action:read,", ""),
        ("action:a,,b", ""),
        ("action:read action:write", ""),
        ("", ""),
    ],
)
def test_who_finds_nothing_hears_that_a_comma_joins_no_values(text, told):
    found = hint(parse(text, now=NOW))
    assert told in found if told else found == ""


def test_too_much_is_refused():
    with pytest.raises(QueryError, match="more than 50 terms"):
        parse(" ".join(f"actor:{n}" for n in range(51)), now=NOW)
    with pytest.raises(QueryError, match="a query of 5006 characters"):
        parse("actor:" + "x" * 5000, now=NOW)


def test_a_restricted_query_can_only_narrow():
    entry = {
        "timestamp": "2026-11-01T00:00:00.000000Z",
        "tenant": "a",
        "written": {"sequenced_at": "2026-11-01T00:00:00.000000Z"},
    }
    query = parse("tenant:a tenant:b", now=NOW)
    assert matches(query.restricted("tenant", ["a"]), entry)
    assert not matches(query.restricted("tenant", ["b"]), entry)
    assert not matches(query.restricted("tenant", []), entry)


def test_a_cursor_leads_back_to_its_place_and_to_no_other_search():
    found = Found("main", 7, 1_790_000_000_123_456, b"{}", b"", b"")
    cursor = cursor_after(found, "actor:a", "seq")
    assert open_cursor(cursor, "  actor:a ", "seq") == (1_790_000_000_123_456, "main", 7)
    for wrong in (
        (cursor, "actor:b", "seq"),
        (cursor, "actor:a", "-seq"),
        (cursor[:-2], "actor:a", "seq"),
        ("x" * 999, "", "seq"),
        ("é", "", "seq"),
    ):
        with pytest.raises(BadCursor):
            open_cursor(*wrong)


def test_nothing_asked_is_everything():
    assert parse("", now=NOW) == Query()
    assert parse(" \n\t ", now=NOW).conditions == ()
