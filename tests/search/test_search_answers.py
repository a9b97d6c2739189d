"""Every backend finds what the query means, in one order: held against the plain predicate over the same entries."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from datetime import datetime
from typing import Any

import pytest
from tests.long_runs import long_run
from tests.search.conftest import NOW, Searchable
from tests.search.questions import COUNTS, QUERIES

from sealstream.search import (
    SORTS,
    ArchiveSource,
    BadCursor,
    Having,
    PostgresSource,
    Query,
    SearchSource,
    matches,
    parse,
)
from sealstream.search.cursors import cursor_after
from sealstream.search.fields import searchable as field_of
from sealstream.search.matching import scalar_text, value_at

pytestmark = long_run


@pytest.fixture(scope="module", params=["postgres", "archive"])
def asked(
    request: pytest.FixtureRequest, searchable: Searchable
) -> Iterator[tuple[SearchSource, list[dict[str, Any]]]]:
    """A backend, and what it holds."""
    if request.param == "postgres":
        source: SearchSource = PostgresSource(searchable.reader, searchable.chains)
        entries = searchable.entries()
    else:
        source, entries = ArchiveSource(searchable.bucket, searchable.chains), searchable.archived()
    yield source, entries
    source.close()


def expected(entries: list[dict[str, Any]], query: Query, sort: str) -> list[str]:
    def order(entry: dict[str, Any]) -> tuple[Any, ...]:
        place = (entry["written"]["chain"], entry["written"]["seq"])
        return place if sort.endswith("seq") else (datetime.fromisoformat(entry["timestamp"]), *place)

    found = sorted((e for e in entries if matches(query, e)), key=order, reverse=sort.startswith("-"))
    return [f"{e['written']['chain']}/{e['written']['seq']}" for e in found]


@pytest.mark.parametrize("text", QUERIES)
def test_a_query_finds_what_it_means_in_order(asked, text):
    source, entries = asked
    query = parse(text, now=NOW)
    sort = list(SORTS)[len(text) % 4]
    wanted = expected(entries, query, sort)
    if len(text) % 3:  # one or the other: each question costs a little, and both are asked often enough
        page = source.page(query, sort=sort, limit=1_000)
        assert ([found.place for found in page.entries], page.next) == (wanted, None)
    else:
        assert [found.place for batch in source.stream(query, sort=sort) for found in batch] == wanted


@pytest.mark.parametrize("sort", SORTS)
@pytest.mark.parametrize("text", ["", "action:patient.*"])
def test_pages_follow_each_other_without_a_gap_or_a_repeat(asked, text, sort):
    source, entries = asked
    query = parse(text, now=NOW)
    wanted = expected(entries, query, sort)
    found, cursor = [], None
    while True:
        page = source.page(query, sort=sort, limit=171, after=cursor)
        found += [entry.place for entry in page.entries]
        cursor = page.next
        if cursor is None:
            break
    assert found == wanted


@pytest.mark.parametrize("sort", ["timestamp", "-timestamp"])
@pytest.mark.parametrize("text", ["before:1600-01-01", "after:2300-01-01"])
def test_pages_follow_each_other_at_the_ends_of_the_calendar(asked, text, sort):
    source, entries = asked
    query = parse(text, now=NOW)
    wanted = expected(entries, query, sort)
    assert len(wanted) > 10
    found, cursor = [], None
    for _ in wanted:
        page = source.page(query, sort=sort, limit=7, after=cursor)
        found += [entry.place for entry in page.entries]
        cursor = page.next
        if cursor is None:
            break
    assert found == wanted


def test_a_cursor_outside_the_calendar_is_none(asked):
    source, _entries = asked
    query = parse("", now=NOW)
    entry = source.page(query, limit=1).entries[0]
    for time_us in (253_402_300_800_000_000, -62_135_596_800_000_001):
        with pytest.raises(BadCursor):
            source.page(query, after=cursor_after(entry._replace(time_us=time_us), "", "-timestamp"))


@pytest.mark.parametrize("key", COUNTS)
def test_counts_are_those_of_the_entries(asked, key):
    source, entries = asked
    query = parse("-actor:User-1 sealed_before:9999-01-01", now=NOW)

    def value(entry: dict[str, Any]) -> str | None:
        if key in ("day", "month"):
            return entry["timestamp"][: 10 if key == "day" else 7]
        if key == "sealed_day":
            return entry["written"]["sequenced_at"][:10]
        if key == "resource":
            return f"{entry['resource_type']}/{entry['resource_id']}"
        return scalar_text(value_at(entry, field_of(key).path))

    counts = Counter(value(entry) for entry in entries if matches(query, entry))
    wanted = sorted(
        ((each, count) for each, count in counts.items() if count > 5), key=lambda c: (-c[1], c[0] is None, c[0] or "")
    )
    assert source.count_by(query, key, having=Having(">", 5)) == wanted
    if key in ("actor", "tenant"):
        assert source.count_by(query, key, having=Having(">", 5), limit=2) == wanted[:2]
        by_value = source.count_by(query, key, sort="value")
        assert [count.value for count in by_value] == sorted(counts, key=lambda value: (value is None, value or ""))


def test_an_entry_is_found_by_its_id_and_by_its_place_and_is_what_was_sealed(asked, searchable):
    source, entries = asked
    for entry in entries[:: len(entries) // 3]:
        place = f"{entry['written']['chain']}/{entry['written']['seq']}"
        by_id, by_place = source.entry(entry["id"]), source.entry(place)
        assert by_id is not None
        assert by_id == by_place
        assert by_id.holds
        made = next(made for made in searchable.made if made.settings.name == by_id.chain)
        assert by_id.sealed_value == made.values[by_id.seq]
    assert source.entry("11111111-1111-4111-8111-111111111111") is None
    assert source.entry("other/0") is None
    assert source.entry(f"{searchable.chains[0]}/99999") is None


def test_one_chain_of_several_is_searched_by_its_name(asked, searchable):
    source, entries = asked
    own, other = searchable.chains
    for text in (f"chain:{own}", f"-chain:{other}", f"chain:{own[:-1]}* -chain:{other}"):
        query = parse(text, now=NOW)
        for sort in ("-timestamp", "seq"):
            assert [found.place for found in source.page(query, sort=sort, limit=1_000).entries] == expected(
                entries, query, sort
            )
    assert source.page(parse("chain:elsewhere", now=NOW)).entries == []


def test_a_restricted_query_finds_no_more_whatever_it_says(asked):
    source, entries = asked
    query = parse("tenant:clinic-2 tenant:clinic-1", now=NOW).restricted("tenant", ["clinic-1"])
    found = source.page(query, limit=1_000).entries
    assert {each.entry["tenant"] for each in found} == {"clinic-1"}
    assert [each.place for each in found] == expected(entries, query, "-timestamp")
    assert source.page(query.restricted("actor", [])).entries == []


def test_a_stream_ends_at_its_limit_and_may_be_given_up(asked):
    source, entries = asked
    query = parse("", now=NOW)
    for sort in ("timestamp", "-seq"):
        found = [each.place for batch in source.stream(query, sort=sort, limit=430) for each in batch]
        assert found == expected(entries, query, sort)[:430]
    begun = source.stream(query)
    assert next(begun)
    begun.close()
    assert source.page(query, limit=1).entries
