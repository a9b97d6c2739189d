"""What a search gives, and what gives it: entries, pages, counts, orders, and the interface of every backend.

Entries come in a total order, the same from every backend, so that a cursor (the place behind a page's last entry)
means the same to all. Pure: shapes alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import Any, NamedTuple, Protocol

import msgspec

from sealstream.errors import NotCanonical
from sealstream.layout import decode_entry
from sealstream.sealing import Sealed, entry_hash
from sealstream.search.query import Query

__all__ = ["COUNT_SORTS", "SORTS", "Count", "Found", "Having", "Page", "SearchSource", "moment_of", "order_key"]

SORTS = {
    "-timestamp": "newest first, by when it happened",
    "timestamp": "oldest first, by when it happened",
    "-seq": "last sealed first (of several chains one after another)",
    "seq": "first sealed first",
}
COUNT_SORTS = {
    "-count": "most first",
    "count": "fewest first",
    "value": "by the value",
    "-value": "by the value, backwards",
}

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class _FoundFields(NamedTuple):
    chain: str
    seq: int
    time_us: int
    body: bytes
    prev_hash: bytes
    hash: bytes


class Found(_FoundFields):
    """One entry. `time_us`: its `timestamp` in microseconds since 1970; `body`, `prev_hash`, `hash`: as sealed."""

    @property
    def place(self) -> str:
        """`chain/seq`."""
        return f"{self.chain}/{self.seq}"

    @property
    def timestamp(self) -> datetime:
        """When it happened, by its producer's clock."""
        return moment_of(self.time_us)

    @property
    def sealed_value(self) -> bytes:
        """The sealed entry: the JSON document that every store and export holds, byte for byte."""
        return Sealed(self.body, self.prev_hash, self.hash).to_bytes()

    @property
    def holds(self) -> bool:
        """Whether the bytes still have the hash that is stored with them; `verify` says much more."""
        return entry_hash(self.prev_hash, self.body) == self.hash

    @cached_property
    def entry(self) -> dict[str, Any]:
        """The entry without its seal. Raises `NotCanonical` when the bytes are none: somebody has changed them."""
        try:
            decode_entry(self.body)
            decoded: dict[str, Any] = msgspec.json.decode(self.body)
        except (NotCanonical, msgspec.DecodeError, RecursionError) as error:
            raise NotCanonical(f"{self.place}: {error}; run `sealstream verify all`") from error
        return decoded


class Page(NamedTuple):
    """Some entries, and the cursor behind the last; None: there are no more."""

    entries: list[Found]
    next: str | None


class Count(NamedTuple):
    """How many entries have this value; None: have none."""

    value: str | None
    entries: int


class Having(NamedTuple):
    """Which counts are wanted: `comparison` is one of > >= = < <=."""

    comparison: str
    number: int


class SearchSource(Protocol):
    """A store that can be searched. Used by several threads at a time. Raises errors of the tree and no others."""

    @property
    def name(self) -> str:
        """Who answers: `postgres`, `archive`, or both."""

    @property
    def chains(self) -> Sequence[str]:
        """The chains that are searched, and no others."""

    @property
    def remarks(self) -> Sequence[str]:
        """What a person should know of the answers so far: that something is missing, or was passed over."""

    def page(self, query: Query, *, sort: str = "-timestamp", limit: int = 100, after: str | None = None) -> Page:
        """At most `limit` entries, those that come behind the cursor `after`. Raises `BadCursor`, `SearchTooBroad`."""

    def stream(self, query: Query, *, sort: str = "-timestamp", limit: int | None = None) -> Iterator[list[Found]]:
        """Everything that is found, in batches; memory stays flat. Close the iterator to end early."""

    def count_by(
        self, query: Query, field: str, *, having: Having | None = None, sort: str = "-count", limit: int | None = None
    ) -> list[Count]:
        """How many entries each value of `field` (one of `COUNTABLE`, or `metadata.<name>`) has."""

    def entry(self, place: str) -> Found | None:
        """The entry with this id, or at this place (`chain/seq`); None: there is none here. Raises `BadPlace`."""

    def close(self) -> None:
        """Gives connections back."""


def moment_of(time_us: int) -> datetime:
    """So many microseconds since 1970, exactly. Raises `OverflowError` outside of years 1 to 9999."""
    return _EPOCH + timedelta(microseconds=time_us)


def order_key(sort: str) -> Any:
    """The key by which entries are ordered; `sort` beginning with "-" wants it reversed."""
    if sort.removeprefix("-") == "seq":
        return lambda found: (found.chain, found.seq)
    return lambda found: (found.time_us, found.chain, found.seq)
