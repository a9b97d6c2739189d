"""History rolled up: entries of a span of time from the archive or Postgres, as records of activity by subject.

Stretches of time come one after another, each of some thousands of entries; within one, a subject's records come
together, since whoever watches them then has all that it knows of it at hand (docs/decisions/0270).

The invariant: a subject's records are those that the roll-up process writes of the same entries, each once and in the
order of time, those of several chains as well. Of a share of the subjects there are its records alone. Reads only.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import datetime
from operator import attrgetter
from typing import NamedTuple

import msgspec

from sealstream.anomalies.archive_history import archive_end, archive_rows, archive_size
from sealstream.anomalies.postgres_history import postgres_runs, postgres_size
from sealstream.anomaly.bulk import BySubject, Rows, roll_up, rows_of
from sealstream.anomaly.rolling import Counted
from sealstream.anomaly.runs import Run
from sealstream.anomaly.sharing import Share
from sealstream.archive import ArchiveSettings, ArchiveStore
from sealstream.errors import Misconfigured, NotCanonical
from sealstream.layout.activity import AddressActivity

__all__ = ["History", "Read", "decoded", "ends_of", "size_of", "stretches_of"]

Read = Callable[[str, int], object]
"""Told how many entries of which chain were read, whether or not they concern anybody."""


_AT_ONCE = 100_000
_NEVER = 2**62


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


def ends_of(history: History) -> dict[str, datetime | None]:
    """When the last entry of each chain was sealed that the archive holds, None where it holds none of it; of Postgres,
    which has what is sealed within seconds, nothing is said.
    """
    ends = {}
    for chain in history.chains if history.archive is not None else ():
        assert history.archive is not None
        with closing(ArchiveStore(history.archive, chain)) as store:
            ends[chain] = archive_end(store)
    return ends


def stretches_of(
    history: History, share: Share, read: Read = lambda _chain, _entries: None, *, cut_at: int = 0
) -> Iterator[tuple[int, BySubject]]:
    """Stretches of time one after another, each with its first second (since 1970) and the share's records.

    None lies on both sides of `cut_at`. Chains that begin later, or of which nothing is there, give what they have.
    """
    has = share.knowing()
    chains = [_Pending(chain, _rows(history, chain, share, read)) for chain in history.chains]
    while True:
        while open_chains := [each for each in chains if not each.at_end]:
            slowest = min(open_chains, key=lambda each: each.open_second)
            if sum(each.count_before(slowest.open_second) for each in chains) >= _AT_ONCE:
                break
            slowest.read_on()
        until = min((each.open_second for each in open_chains), default=_NEVER)
        begin = min((each.first_second for each in chains), default=_NEVER)
        if begin == _NEVER:
            return
        if begin < cut_at < until:
            until = cut_at
        taken = [(each.chain, each.take(until)) for each in chains]
        yield begin, _together([roll_up(chain, rows, has) for chain, rows in taken if rows.size])


def decoded(bodies: list[bytes]) -> list[Counted]:
    """Bodies as the roll-up takes them. Raises `NotCanonical`."""
    try:
        return [_decode(body) for body in bodies]
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise NotCanonical(f"an entry's body is not as it must be: {error}; run `sealstream verify`") from error


_decode = msgspec.json.Decoder(Counted).decode


class _Pending:
    """Rows of one chain that were read and not rolled up yet."""

    def __init__(self, chain: str, rows: Iterator[Rows]) -> None:
        self.chain = chain
        self.at_end = False
        self._source = rows
        self._rows: list[Rows] = []

    @property
    def first_second(self) -> int:
        return self._rows[0].seconds[0] if self._rows else _NEVER

    @property
    def open_second(self) -> int:
        """All rows before it are here."""
        if self.at_end:
            return _NEVER
        return self._rows[-1].seconds[-1] if self._rows else -1

    def count_before(self, second: int) -> int:
        return sum(rows.size for rows in self._rows if rows.seconds[-1] < second)

    def read_on(self) -> None:
        rows = next(self._source, None)
        if rows is None:
            self.at_end = True
        elif rows.size:
            self._rows.append(rows)

    def take(self, until: int) -> Rows:
        """Those before this second."""
        whole = [rows for rows in self._rows if rows.seconds[-1] < until]
        rest = self._rows[len(whole) :]
        if rest and rest[0].seconds[0] < until:
            before, after = rest[0].cut(until)
            whole.append(before)
            rest[0] = after
        self._rows = rest
        return Rows.joined(whole)


def _together(parts: list[BySubject]) -> BySubject:
    """Of several chains; in the same second, those of the first chain come first."""
    if len(parts) == 1:
        return parts[0]
    actors: dict[str, list[Run]] = {}
    addresses: dict[str, list[AddressActivity]] = {}
    for part in parts:
        for actor_id, runs in part.actors:
            actors.setdefault(actor_id, []).extend(runs)
        for address, tries in part.addresses:
            addresses.setdefault(address, []).extend(tries)
    for records in addresses.values():
        records.sort(key=attrgetter("second"))
    return BySubject(actors.items(), addresses.items())


def _rows(history: History, chain: str, share: Share, read: Read) -> Iterator[Rows]:
    def told(entries: int) -> None:
        read(chain, entries)

    if history.archive is None:
        for bodies in postgres_runs(_dsn(history), chain, history.since, history.until, told):
            yield rows_of(decoded(bodies))
        return
    with closing(ArchiveStore(history.archive, chain)) as store:
        yield from archive_rows(store, history.since, history.until, share, told)


def _dsn(history: History) -> str:
    if not history.reader_dsn:
        raise Misconfigured("postgres.reader_dsn is not set: history is read with the role sealstream_reader")
    return history.reader_dsn
