"""Patterns with `*`: one meaning in Python, Postgres and DuckDB; beginnings are looked up; no text takes long."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from typing import Any

import duckdb
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.search.conftest import NOW, Searchable

from sealstream.postgres.driver import Session
from sealstream.search import PostgresSource, QueryError, parse
from sealstream.search.duckdb_sql import Rows
from sealstream.search.parsing import MAX_STARS
from sealstream.search.postgres_sql import Statement, selecting
from sealstream.search.query import Text

Finds = Callable[[Text, list[str | None]], list[str | None]]

# What means something to LIKE, to patterns, to SQL or to JSON; characters of one to four bytes, and some that combine.
_LETTERS = st.sampled_from([*"abAB%_\\'\".*^$()[]?+|{} \n", "é", "e\u0301", "ß", "\uffff", "🐟", "👩\u200d👩"])
_WORDS = st.lists(_LETTERS, max_size=3).map("".join)
_TEXTS = st.lists(_LETTERS, max_size=12).map("".join)
_PATTERNS = st.builds(
    lambda beginning, middle, ending: Text(beginning, (*filter(None, middle), ending)),
    _WORDS,
    st.lists(_WORDS, max_size=3),
    _WORDS,
)


@st.composite
def fitting(draw: st.DrawFn) -> tuple[Text, list[str | None]]:
    """A pattern, and texts: some that it was made to fit, some that nearly do, some that are anything."""
    pattern = draw(_PATTERNS)
    pieces = (pattern.text, *pattern.rest)
    made = ["".join(piece + draw(_WORDS) for piece in pieces[:-1]) + pieces[-1] for _ in range(3)]
    return pattern, [*made, "".join(pieces), "".join(pieces)[:-1], *draw(st.lists(_TEXTS, max_size=4)), None]


def meant(pattern: Text, text: str | None) -> bool:
    """What a pattern means, said by another."""
    pieces = (pattern.text, *pattern.rest)
    return text is not None and re.fullmatch(".*".join(map(re.escape, pieces)), text, re.DOTALL) is not None


@pytest.fixture(scope="module")
def in_duckdb() -> Iterator[Finds]:
    with duckdb.connect() as connection:

        def finds(pattern: Text, texts: list[str | None]) -> list[str | None]:
            sql = f"SELECT a FROM (SELECT unnest(?::VARCHAR[]) AS a) WHERE {Rows().is_text('a', pattern)}"
            return [row[0] for row in connection.execute(sql, [texts]).fetchall()]

        yield finds


@pytest.fixture(scope="module")
def in_postgres(searchable: Searchable) -> Iterator[Finds]:
    with Session(searchable.reader, "test") as session:

        def finds(pattern: Text, texts: list[str | None]) -> list[str | None]:
            statement = Statement()
            given_texts = statement.argument(texts, "text[]")
            sql = f"SELECT a FROM unnest({given_texts}) a WHERE {statement.is_text('a', pattern)}"
            return [row[0] for row in session.fetch("finding", sql, *statement.arguments)]

        yield finds


@pytest.fixture(params=["python", "duckdb", "postgres"])
def finds(request: pytest.FixtureRequest) -> Finds:
    """Each of the three that must agree."""
    if request.param == "python":
        return lambda pattern, texts: [text for text in texts if text is not None and pattern.matches(text)]
    found: Finds = request.getfixturevalue(f"in_{request.param}")
    return found


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(fitting())
def test_a_pattern_finds_what_it_means(finds: Finds, drawn: tuple[Text, list[str | None]]) -> None:
    pattern, texts = drawn
    assert finds(pattern, texts) == [text for text in texts if meant(pattern, text)]


@settings(max_examples=200, deadline=None)
@given(st.lists(st.text(alphabet=st.characters(codec="utf-8", exclude_characters="\0"), max_size=8), min_size=2))
def test_pieces_in_quotes_with_stars_between_them_are_a_pattern(pieces: list[str]) -> None:
    pieces = pieces[: MAX_STARS + 1]
    quoted = ['"' + piece.replace("\\", "\\\\").replace('"', '\\"') + '"' for piece in pieces]
    (condition,) = parse(f"actor:{'*'.join(quoted)}", now=NOW).conditions
    first, *middle, last = pieces
    assert condition.any_of == (Text(first, (*filter(None, middle), last)),)


def test_too_many_stars_are_refused() -> None:
    most = "a*" * MAX_STARS
    assert parse(f"actor:{most}", now=NOW).conditions
    with pytest.raises(QueryError, match=r'more than 10 \* in a value.*in quotes, as in "a\*b"'):
        parse(f"actor:{most}*", now=NOW)
    assert parse(f'actor:"{most}*"', now=NOW).conditions


@pytest.mark.parametrize(
    "pattern",
    [
        Text("", (*["a"] * (MAX_STARS - 1), "b")),
        Text("a", (*["aa"] * (MAX_STARS - 2), "ab", "")),
        Text("", ("a" * 600 + "b", "")),
        Text("a", ("a" * 300 + "b" + "a" * 300, "ab", "a")),
    ],
)
def test_no_text_takes_long(finds: Finds, pattern: Text) -> None:
    texts: list[str | None] = ["a" * 60_000] * 10
    begun = time.monotonic()
    assert finds(pattern, texts) == []
    assert time.monotonic() - begun < 10  # one who tries every way there is does not end in this life


def plan(searchable: Searchable, text: str) -> str:
    statement = selecting(parse(text, now=NOW), [searchable.chains[0]], "-timestamp", limit=100)
    with Session(searchable.admin, "test") as session:

        async def planned(connection: Any) -> Any:
            await connection.execute("SET plan_cache_mode = force_custom_plan; SET enable_seqscan = off")
            await connection.execute("SET enable_sort = on; SET random_page_cost = 1")
            return await connection.fetch(f"EXPLAIN {statement.sql}", *statement.arguments)

        return "\n".join(row[0] for row in session.run("planning", planned))


@pytest.mark.parametrize(
    ("text", "looked_up"),
    [
        ("actor:user-12*", "actor_id ~>=~ 'user-12'"),
        ("actor:user-12*3", "actor_id ~>=~ 'user-12'"),
        ("action:patients*m*ge", "action ~>=~ 'patients'"),
        ("resource:inv*ce/2026*7", "resource_type ~>=~ 'inv'"),
    ],
)
def test_postgres_looks_up_what_a_pattern_begins_with(searchable: Searchable, text: str, looked_up: str) -> None:
    assert looked_up in plan(searchable, text)


@pytest.mark.parametrize("pattern", [Text("patient.", ("",)), Text("patient.", ("r", "d"))])
def test_the_archives_statistics_are_held_against_what_a_pattern_begins_with(tmp_path, pattern) -> None:
    with duckdb.connect() as connection:
        file = tmp_path / "few.parquet"
        connection.execute(f"COPY (SELECT unnest(['login', 'patient.read', 'read']) AS action) TO '{file}'")
        where = Rows().is_text("action", pattern)
        planned = connection.sql(f"EXPLAIN SELECT * FROM read_parquet('{file}') WHERE {where}").fetchall()[0][1]
    assert "action >= 'patient.'" in planned
    assert "action < 'patient/'" in planned


def test_a_search_by_an_end_that_takes_too_long_says_which_key_it_was(searchable: Searchable) -> None:
    for text, slow in (
        ("action:*.delete", ["action"]),
        ("action:delete* action:*.delete", ["action"]),
        ("resource:*/456 reason:x", ["resource", "reason"]),
        ("action:p*.delete -action:*x tenant:* resource:*", []),
    ):
        assert parse(text, now=NOW).slow_keys() == slow
    source = PostgresSource(searchable.reader, searchable.chains)
    assert source.page(parse("action:*.delete", now=NOW)).entries == []
    source.close()
