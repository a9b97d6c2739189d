"""Searching the archive: DuckDB over the objects in the bucket, of each the version that counts.

What a query can't find is not read: days and segments by their names, row groups by their statistics, an actor's or a
resource's by bloom filters. A newer version or a delete marker neither changes nor hides an answer. The archive ends
where its last segment does, a little before the chain. It only reads, and has no memory of its own but DuckDB's, which
is bounded and goes to disk beyond; a crash leaves nothing behind but a temporary folder.
"""

from __future__ import annotations

import time
import uuid
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from threading import Lock
from typing import Any, NamedTuple

from sealstream.archive import ArchiveSettings, ArchiveStore
from sealstream.layout.archive import SegmentName
from sealstream.search import duckdb_sql
from sealstream.search.archive_files import OneVersion, path_of
from sealstream.search.archive_reading import Limit, Progress, Run, reading
from sealstream.search.counting import at_most, none_left_out
from sealstream.search.cursors import Place, cursor_after, open_cursor
from sealstream.search.fields import searchable
from sealstream.search.found import Count, Found, Having, Page
from sealstream.search.places import parse_place
from sealstream.search.query import Query
from sealstream.search.segments import following_segments

__all__ = ["ArchiveSource"]

_LISTED_FOR_S = 30.0
_TOGETHER_BYTES = 33_554_432
_TOGETHER = 64


class _Object(NamedTuple):
    name: SegmentName
    version: OneVersion


class _Listing(NamedTuple):
    at: float
    objects: list[_Object]


class ArchiveSource:
    """A `SearchSource`. `source`: the bucket, or a copy of it in a folder.

    `below`: of each chain only entries with a lower seq (none named: all). `timeout_s`: how long a page, a count or the
    look for an entry may take, whose reading is ended then; None: as long as it takes, as a stream may in any case.
    `progress`: called while objects are read.
    """

    def __init__(
        self,
        source: ArchiveSettings | str | Path,
        chains: Sequence[str],
        *,
        below: dict[str, int] | None = None,
        timeout_s: float | None = None,
        progress: Progress = lambda _done, _total: None,
    ) -> None:
        self._chains = tuple(chains)
        self._stores = {chain: ArchiveStore(source, chain) for chain in self._chains}
        self._below = below or {}
        self._timeout_s = timeout_s
        self._progress = progress
        self._listed: dict[str, _Listing] = {}
        self._lock = Lock()
        self._remarks: list[str] = []

    @property
    def name(self) -> str:
        """Who answers."""
        return "archive"

    @property
    def chains(self) -> Sequence[str]:
        """The chains that are searched."""
        return self._chains

    @property
    def remarks(self) -> Sequence[str]:
        """What the listing showed: segments that are not there, objects that repeat others."""
        return self._remarks

    def size(self, chain: str) -> int:
        """How many entries of a chain are archived."""
        objects = self._objects(chain)
        return objects[-1].name.last_seq + 1 if objects else 0

    def page(self, query: Query, *, sort: str = "-timestamp", limit: int = 100, after: str | None = None) -> Page:
        """At most `limit` entries behind the cursor `after`."""
        place = open_cursor(after, query.text, sort) if after is not None else None
        entries = self.first(query, sort, limit + 1, place)
        more = len(entries) > limit
        entries = entries[:limit]
        return Page(entries, cursor_after(entries[-1], query.text, sort) if more and entries else None)

    def first(self, query: Query, sort: str, limit: int, after: Place | None) -> list[Found]:
        """The first `limit` entries behind a place: first which they are, then their bodies, from their segments."""
        allowed = Limit.of(self._timeout_s)
        chosen = self._chosen(query)
        if not chosen:
            return []
        with self._reading(chosen, allowed) as run:
            sql = duckdb_sql.places(query, self._sources(chosen), sort, limit, after)
            order = {(chain, seq): number for number, (chain, seq, _at) in enumerate(_flat(run(sql)))}
            wanted = []
            for chain, objects in chosen.items():
                seqs = sorted(seq for name, seq in order if name == chain)
                if seqs:
                    wanted.append((_objects(chain, [o for o in objects if _has_any(o.name, seqs)]), seqs))
            found = [Found(*row) for row in _flat(run(duckdb_sql.bodies_of(wanted)))] if wanted else []
        return sorted(found, key=lambda each: order[each.chain, each.seq])

    def stream(self, query: Query, *, sort: str = "-timestamp", limit: int | None = None) -> Iterator[list[Found]]:
        """Everything that is found, in batches: by seq some segments at a time, by time sorted on disk if need be."""
        chosen = self._chosen(query)
        if not chosen:
            return
        if sort.removeprefix("-") != "seq":
            runs = [self._sources(chosen)]
        else:
            runs = [
                [_objects(chain, together, self._below.get(chain))]
                for chain in sorted(chosen, reverse=sort.startswith("-"))
                for together in _together(chosen[chain], backwards=sort.startswith("-"))
            ]
        left = limit
        with self._reading(chosen) as run:
            for sources in runs:
                for rows in run(duckdb_sql.selecting(query, sources, sort, limit=left)):
                    yield [Found(*row) for row in rows]
                    left = None if left is None else left - len(rows)
                if left is not None and left <= 0:
                    return

    def count_by(
        self, query: Query, field: str, *, having: Having | None = None, sort: str = "-count", limit: int | None = None
    ) -> list[Count]:
        """How many entries each value of a field has."""
        allowed = Limit.of(self._timeout_s)
        chosen = self._chosen(query)
        if not chosen:
            return []
        sql = duckdb_sql.counting(
            query, self._sources(chosen), searchable(field) or field, having=having, sort=sort, limit=at_most(limit)
        )
        with self._reading(chosen, allowed) as run:
            return none_left_out([Count(value, entries) for value, entries in _flat(run(sql))], field)

    def entry(self, place: str) -> Found | None:
        """The entry with this id, or at this place."""
        named = parse_place(place)
        allowed = Limit.of(self._timeout_s)
        if isinstance(named, uuid.UUID):
            chosen = self._chosen(Query())
            if not chosen:
                return None
            sql = duckdb_sql.one_by_id(str(named), self._sources(chosen))
        else:
            if named.chain not in self._chains:
                return None
            objects = [each for each in self._objects(named.chain) if _has_any(each.name, [named.seq])]
            if not objects:
                return None
            chosen = {named.chain: objects}
            sql = duckdb_sql.bodies_of([(_objects(named.chain, chosen[named.chain]), [named.seq])])
        with self._reading(chosen, allowed) as run:
            return next((Found(*row) for row in _flat(run(sql))), None)

    def close(self) -> None:
        """Gives connections back."""
        for store in self._stores.values():
            store.close()

    # --- which objects ------------------------------------------------------------------------------------------------

    def _chosen(self, query: Query) -> dict[str, list[_Object]]:
        """The objects of each chain in which something may be found."""
        first, last = query.seqs()
        since = query.sealed_after.date().isoformat() if query.sealed_after else ""
        until = query.sealed_before.date().isoformat() if query.sealed_before else "9999-99-99"
        chosen = {}
        for chain in query.chains(self._chains):
            stop = min(last + 1, self._below.get(chain, last + 1))
            objects = [
                each
                for each in self._objects(chain)
                if since <= each.name.date <= until and each.name.first_seq < stop and each.name.last_seq >= first
            ]
            if objects:
                chosen[chain] = objects
        return chosen

    def _sources(self, chosen: dict[str, list[_Object]]) -> list[duckdb_sql.Objects]:
        return [_objects(chain, objects, self._below.get(chain)) for chain, objects in chosen.items()]

    def _objects(self, chain: str) -> list[_Object]:
        """A chain's segments, each once, as they were listed a moment ago."""
        with self._lock:
            listed = self._listed.get(chain)
            if listed is None or time.monotonic() - listed.at > _LISTED_FOR_S:
                store = self._stores[chain]
                following = following_segments(
                    list(store.objects()), lambda remark: self._remark(f"chain {chain}: {remark}")
                )
                objects = [
                    _Object(name, OneVersion(store, stored.key, stored.versions[0])) for name, stored in following
                ]
                listed = self._listed[chain] = _Listing(time.monotonic(), objects)
            return listed.objects

    def _remark(self, remark: str) -> None:
        if remark not in self._remarks:
            self._remarks.append(remark)

    def _reading(self, chosen: dict[str, list[_Object]], limit: Limit | None = None) -> AbstractContextManager[Run]:
        """Of all chains' objects."""
        versions = (each.version for several in chosen.values() for each in several)
        return reading({path_of(version.key): version for version in versions}, self._progress, limit)


def _flat(batches: Iterator[list[tuple[Any, ...]]]) -> Iterator[tuple[Any, ...]]:
    return (row for rows in batches for row in rows)


def _objects(chain: str, objects: Sequence[_Object], below: int | None = None) -> duckdb_sql.Objects:
    return duckdb_sql.Objects(chain, [path_of(each.version.key) for each in objects], below)


def _has_any(name: SegmentName, seqs: Sequence[int]) -> bool:
    """Whether a segment has one of these seqs, which are sorted."""
    at = bisect_left(seqs, name.first_seq)
    return at < len(seqs) and seqs[at] <= name.last_seq


def _together(objects: Sequence[_Object], *, backwards: bool) -> Iterator[list[_Object]]:
    """The objects in order, some at a time: as much as can be sorted in memory."""
    group: list[_Object] = []
    size = 0
    for each in reversed(objects) if backwards else objects:
        group.append(each)
        size += each.version.version.size
        if size >= _TOGETHER_BYTES or len(group) >= _TOGETHER:
            yield group
            group, size = [], 0
    if group:
        yield group
