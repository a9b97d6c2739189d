"""Which store answers: the one that is asked for, or Postgres, with the archive for what Postgres no longer holds.

The archive is left out where nothing can be in it: when Postgres has the whole chain, or everything asked for was
sealed since its first entry. An entry is sealed after it happens, unless its producer's clock runs ahead: up to a day
of that is allowed for (docs/decisions/0202).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import timedelta
from pathlib import Path
from typing import NamedTuple

from sealstream.archive import ArchiveSettings
from sealstream.errors import Misconfigured, Unavailable
from sealstream.search.archive_reading import Progress
from sealstream.search.archive_source import ArchiveSource
from sealstream.search.combined_source import CombinedSource
from sealstream.search.found import SearchSource, moment_of
from sealstream.search.postgres_source import FirstStored, PostgresSource
from sealstream.search.query import Query

__all__ = ["SOURCES", "Stores", "choose_source"]

SOURCES = ("auto", "postgres", "archive")

_CLOCK_AHEAD = timedelta(days=1)


class Stores(NamedTuple):
    """Where the stores are. `reader_dsn` empty: no Postgres. `archive` None: no archive; a path: a copy of it.

    `timeout_s`: how long a statement may take in Postgres. `archive_timeout_s`: how long a page, a count or the look
    for an entry may take in the archive; None: as long as it takes.
    """

    reader_dsn: str = ""
    archive: ArchiveSettings | Path | None = None
    timeout_s: float = 15.0
    archive_timeout_s: float | None = None


def choose_source(
    stores: Stores,
    chains: Sequence[str],
    query: Query,
    *,
    source: str = "auto",
    say: Callable[[str], object] = lambda _: None,
    progress: Progress = lambda _done, _total: None,
) -> SearchSource:
    """The source that answers `query`; `close` it. `say` is told who answers when it is not Postgres, and why."""
    if source == "archive":
        return _archive(stores, chains, None, progress)
    if not stores.reader_dsn:
        if source == "postgres" or stores.archive is None:
            raise Misconfigured("postgres.reader_dsn is not set: searches are made with the role sealstream_reader")
        say("the archive answers: postgres.reader_dsn is not set")
        return _archive(stores, chains, None, progress)
    postgres = PostgresSource(stores.reader_dsn, chains, timeout_s=stores.timeout_s)
    if source == "postgres":
        return postgres
    try:
        below = _no_longer_there(postgres, query)
    except Unavailable as error:
        postgres.close()
        if stores.archive is None:
            raise
        say(f"the archive answers, which ends a little before the chain: {error}")
        return _archive(stores, chains, None, progress)
    if not below or stores.archive is None:
        return postgres
    for chain, first in below.items():
        say(_why(chain, first))
    behind = {chain: first.seq if first is not None else 2**63 - 1 for chain, first in below.items()}
    # Of the chains that Postgres has whole, the archive is not asked for anything.
    behind |= {chain: 0 for chain in chains if chain not in behind}
    return CombinedSource(postgres, _archive(stores, chains, behind, progress))


def _archive(stores: Stores, chains: Sequence[str], below: dict[str, int] | None, progress: Progress) -> ArchiveSource:
    if stores.archive is None:
        raise Misconfigured("archive.bucket is not set: there is no archive to search")
    return ArchiveSource(stores.archive, chains, below=below, timeout_s=stores.archive_timeout_s, progress=progress)


def _no_longer_there(postgres: PostgresSource, query: Query) -> dict[str, FirstStored | None]:
    """The chains of which something that is asked for may be in the archive alone."""
    below: dict[str, FirstStored | None] = {}
    for chain in query.chains(postgres.chains):
        first = postgres.first_stored(chain)
        if first is None:
            below[chain] = None
            continue
        sealed_since = moment_of(first.sealed_us)
        if (
            first.seq > query.seqs().first
            and (query.sealed_after is None or query.sealed_after < sealed_since)
            and (query.after is None or query.after < sealed_since + _CLOCK_AHEAD)
        ):
            below[chain] = first
    return below


def _why(chain: str, first: FirstStored | None) -> str:
    if first is None:
        return f"the archive answers for chain {chain}, of which Postgres has nothing"
    sealed_since = moment_of(first.sealed_us)
    enough = (sealed_since + timedelta(days=2)).date().isoformat()
    return (
        f"the archive answers for what Postgres no longer has of chain {chain}: entries below {first.seq}, sealed "
        f"before {sealed_since:%Y-%m-%d %H:%M:%SZ} (with after:{enough} Postgres alone answers, at once)"
    )
