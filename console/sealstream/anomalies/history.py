"""History as the roll-up takes it: entries of a span of time from the archive or Postgres, rolled up into seconds.

The invariant: the seconds of a chain are those that the roll-up process writes of the same entries, each once and in
order; of a share of the subjects, those records alone. Bodies are decoded only where a share is concerned: which they
are, the archive's columns tell. Reads only.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import datetime
from operator import attrgetter
from typing import NamedTuple

import msgspec

from sealstream.anomalies.archive_history import archive_runs, archive_size
from sealstream.anomalies.postgres_history import postgres_runs, postgres_size
from sealstream.anomaly.rolling import Counted, Second
from sealstream.anomaly.sharing import Share, ShareRollUp
from sealstream.archive import ArchiveSettings, ArchiveStore
from sealstream.errors import Misconfigured, NotCanonical

__all__ = ["History", "Read", "decoded", "seconds_of", "size_of"]

Read = Callable[[str, int], object]
"""Told how many entries of which chain were read, whether or not they concern anybody."""


class History(NamedTuple):
    """What is read: from the archive (a bucket, or a copy of it in a folder) or, where that is None, from Postgres.

    `since`, `until`: of `sequenced_at`, aware, the end exclusive. It can be sent to another process.
    """

    chains: tuple[str, ...]
    since: datetime
    until: datetime
    archive: ArchiveSettings | str | None = None
    reader_dsn: str = ""

    @property
    def store(self) -> str:
        """What is asked, by name."""
        return "postgres" if self.archive is None else "archive"

    def spanning(self, since: datetime) -> History:
        """The same from another beginning."""
        return self._replace(since=since)


def size_of(history: History) -> dict[str, int]:
    """How many entries there are to read of each chain, at most; the archive's whole segments count."""
    sizes = {}
    for chain in history.chains:
        if history.archive is None:
            sizes[chain] = postgres_size(_dsn(history), chain, history.since, history.until)
        else:
            with closing(ArchiveStore(history.archive, chain)) as store:
                sizes[chain] = archive_size(store, history.since, history.until)
    return sizes


def seconds_of(history: History, share: Share, read: Read = lambda _chain, _entries: None) -> Iterator[Second]:
    """The seconds of all chains in the order of time, with the records of the share. Chains that begin later, or of
    which nothing is there, give what they have.
    """
    seconds = [_chain_seconds(history, chain, share, read) for chain in history.chains]
    return heapq.merge(*seconds, key=attrgetter("second"))


def decoded(bodies: list[bytes]) -> list[Counted]:
    """Bodies as the roll-up takes them. Raises `NotCanonical`."""
    try:
        return [_decode(body) for body in bodies]
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise NotCanonical(f"an entry's body is not as it must be: {error}; run `sealstream verify`") from error


_decode = msgspec.json.Decoder(Counted).decode


def _chain_seconds(history: History, chain: str, share: Share, read: Read) -> Iterator[Second]:
    roll_up = ShareRollUp(chain, share)
    for bodies in _runs(history, chain, share, lambda entries: read(chain, entries)):
        for entry in decoded(bodies):
            second = roll_up.take(entry)
            if second is not None:
                yield second
    last = roll_up.so_far()
    if last is not None:
        yield last


def _runs(history: History, chain: str, share: Share, read: Callable[[int], object]) -> Iterator[list[bytes]]:
    if history.archive is None:
        yield from postgres_runs(_dsn(history), chain, history.since, history.until, read)
        return
    with closing(ArchiveStore(history.archive, chain)) as store:
        yield from archive_runs(store, history.since, history.until, share, read)


def _dsn(history: History) -> str:
    if not history.reader_dsn:
        raise Misconfigured("postgres.reader_dsn is not set: history is read with the role sealstream_reader")
    return history.reader_dsn
