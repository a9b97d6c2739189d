"""Which store answers a request: connections that are kept, for what Postgres has whole; else as `choose_source` says.

The invariant: an answer is the same as that of `sealstream search`. Nothing is kept that could be wrong for longer than
a minute: a month that was dropped meanwhile is looked for in the archive when Postgres is next asked where a chain
begins. No more sessions of Postgres are in use at once than `most`, however many ask: so neither the server's
connections nor our threads are all taken by slow searches.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from threading import BoundedSemaphore, Lock

from sealstream.errors import Misconfigured, Unavailable
from sealstream.search import ArchiveSource, PostgresSource, Query, SearchSource, Stores, choose_source
from sealstream.web.problems import Problem

__all__ = ["Sources"]

_WHOLE_FOR_S = 60.0
_PATIENCE_S = 1.0
_BUSY_S = 5.0


class Sources:
    """The stores of one service; used by any thread. `most`: how many requests use Postgres at once."""

    def __init__(self, stores: Stores, chains: Sequence[str], *, most: int = 16) -> None:
        self._most = most
        self._free = BoundedSemaphore(most)
        self._stores = stores
        self._chains = tuple(chains)
        self._postgres = PostgresSource(stores.reader_dsn, self._chains, timeout_s=stores.timeout_s)
        self._lock = Lock()
        self._archive: ArchiveSource | None = None
        self._whole: dict[str, float] = {}

    @contextmanager
    def opened(self, name: str, query: Query) -> Iterator[SearchSource]:
        """The source for this query: `auto`, `postgres` or `archive`."""
        if name == "archive":
            yield self._opened_archive()
            return
        with self._session_free():
            if name == "postgres" or self._is_whole(query):
                yield self._postgres
                return
            source = choose_source(self._stores, self._chains, query)
            try:
                yield source
            finally:
                source.close()

    def close(self) -> None:
        """Gives connections back."""
        self._postgres.close()
        if self._archive is not None:
            self._archive.close()

    @contextmanager
    def _session_free(self) -> Iterator[None]:
        """One of the places for who uses Postgres. Raises a problem when none becomes free soon."""
        if not self._free.acquire(timeout=_PATIENCE_S):
            detail = f"{self._most} searches and exports use Postgres, as many as this service allows at once"
            raise Problem.wait("too-many-at-once", detail, _BUSY_S, 503)
        try:
            yield
        finally:
            self._free.release()

    def _opened_archive(self) -> ArchiveSource:
        with self._lock:
            if self._archive is None:
                try:
                    source = choose_source(self._stores, self._chains, Query(), source="archive")
                except Misconfigured as error:
                    raise Problem(422, "bad-parameter", "source: this service has no archive") from error
                assert isinstance(source, ArchiveSource)
                self._archive = source
            return self._archive

    def _is_whole(self, query: Query) -> bool:
        """Whether Postgres has all that was ever sealed of the chains that are asked."""
        now = time.monotonic()
        for chain in query.chains(self._chains):
            if now - self._whole.get(chain, float("-inf")) > _WHOLE_FOR_S:
                try:
                    first = self._postgres.first_stored(chain)
                except Unavailable:
                    return False
                if first is None or first.seq > 0:
                    return False
                self._whole[chain] = now
        return True
