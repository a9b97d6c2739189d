"""Both stores as one: what Postgres no longer holds comes from the archive, everything else from Postgres.

The invariant: each entry comes from exactly one of the two. The boundary is the first entry that Postgres has of each
chain: the archive answers for those below it alone, so answers are complete, and in the one order, whatever was
dropped.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from itertools import islice

from sealstream.search.archive_source import ArchiveSource
from sealstream.search.counting import none_left_out
from sealstream.search.cursors import cursor_after, open_cursor
from sealstream.search.found import Count, Found, Having, Page, order_key
from sealstream.search.postgres_source import PostgresSource
from sealstream.search.query import Query

__all__ = ["CombinedSource"]

_AT_ONCE = 1_000
_COMPARED: dict[str, Callable[[int, int], bool]] = {
    ">": lambda count, number: count > number,
    ">=": lambda count, number: count >= number,
    "=": lambda count, number: count == number,
    "<=": lambda count, number: count <= number,
    "<": lambda count, number: count < number,
}


class CombinedSource:
    """A `SearchSource` of the two; `archive` was opened to answer below what `postgres` has, and nothing else."""

    def __init__(self, postgres: PostgresSource, archive: ArchiveSource) -> None:
        self._postgres = postgres
        self._archive = archive

    @property
    def name(self) -> str:
        """Who answers."""
        return "postgres and archive"

    @property
    def chains(self) -> Sequence[str]:
        """The chains that are searched."""
        return self._postgres.chains

    @property
    def remarks(self) -> Sequence[str]:
        """What the archive showed."""
        return self._archive.remarks

    def page(self, query: Query, *, sort: str = "-timestamp", limit: int = 100, after: str | None = None) -> Page:
        """At most `limit` entries behind the cursor `after`."""
        place = open_cursor(after, query.text, sort) if after is not None else None
        found = [
            *self._postgres.first(query, sort, limit + 1, place),
            *self._archive.first(query, sort, limit + 1, place),
        ]
        found.sort(key=order_key(sort), reverse=sort.startswith("-"))
        entries = found[:limit]
        more = len(found) > limit
        return Page(entries, cursor_after(entries[-1], query.text, sort) if more and entries else None)

    def stream(self, query: Query, *, sort: str = "-timestamp", limit: int | None = None) -> Iterator[list[Found]]:
        """Everything that is found, in batches."""
        streams = [each.stream(query, sort=sort, limit=limit) for each in (self._postgres, self._archive)]
        try:
            flat = [(found for batch in stream for found in batch) for stream in streams]
            merged = islice(heapq.merge(*flat, key=order_key(sort), reverse=sort.startswith("-")), limit)
            while batch := list(islice(merged, _AT_ONCE)):
                yield batch
        finally:
            for stream in streams:
                stream.close()  # type: ignore[attr-defined]  # both are generators

    def count_by(
        self, query: Query, field: str, *, having: Having | None = None, sort: str = "-count", limit: int | None = None
    ) -> list[Count]:
        """How many entries each value of a field has: of both together, so what is wanted is decided here.

        Every value of both is in memory for that, whatever the limit; too many are refused.
        """
        total: Counter[str | None] = Counter()
        for each in (self._postgres, self._archive):
            for value, entries in each.count_by(query, field):
                total[value] += entries
        counts = none_left_out([Count(*item) for item in total.items()], field)
        if having is not None:
            counts = [count for count in counts if _COMPARED[having.comparison](count.entries, having.number)]
        backwards = sort.startswith("-")
        counts.sort(key=lambda count: count.value or "", reverse=sort == "-value")
        counts.sort(key=lambda count: count.value is None)
        if sort.removeprefix("-") == "count":
            counts.sort(key=lambda count: count.entries, reverse=backwards)
        return counts[:limit]

    def entry(self, place: str) -> Found | None:
        """The entry with this id, or at this place."""
        return self._postgres.entry(place) or self._archive.entry(place)

    def close(self) -> None:
        """Gives connections back."""
        self._postgres.close()
        self._archive.close()
