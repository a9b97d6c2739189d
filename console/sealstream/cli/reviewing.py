"""What these settings' stores know of reviews: what was said of them, since when there is a chain, what is late."""

from __future__ import annotations

from contextlib import suppress
from datetime import UTC, datetime

from sealstream.cli.policies import entry_0
from sealstream.cli.sealed import sealed_statements
from sealstream.cli.settings import Settings
from sealstream.cli.stores import archive_settings
from sealstream.errors import SealstreamError, Unavailable
from sealstream.events import parse_timestamp
from sealstream.health.asking import archived, check_listens, stored
from sealstream.kafka import read_until_end
from sealstream.layout import ChainTopics, decode_entry
from sealstream.postgres import PostgresStore
from sealstream.reports import Period
from sealstream.retention import archived_beginning
from sealstream.reviews import ACTIONS, Overdue, Reviews, fold, overdue

__all__ = ["began_at", "not_whole", "overdue_by_postgres", "read_reviews"]


def read_reviews(settings: Settings, chain: str) -> Reviews:
    """What is sealed about reviews of this chain, by Postgres and, for what it does not have yet, Kafka."""
    return fold(sealed_statements(settings, chain, ACTIONS))


def began_at(settings: Settings, chain: str) -> datetime | None:
    """When entry 0 was sealed, or, where no store has it any more, the first entry that one has.

    None: nothing is sealed yet. Raises a `SealstreamError` where nobody can say: what is late is then unknown.
    """
    online, answers = None, False
    if settings.postgres.reader_dsn:
        with suppress(SealstreamError), PostgresStore(settings.postgres.reader_dsn) as store:  # `entry_0` says why
            if (found := _first_sealed(store, chain, 0)) is not None:
                return found
            online, answers = _began(store, chain), True
    if online is not None and not settings.archive.bucket:
        return online  # what was said before it, nobody can be asked for
    try:
        first = entry_0(settings, chain)
    except Unavailable:
        if settings.postgres.reader_dsn:
            left = _first_left(settings, chain, online) if answers else None
        else:
            left = _first_in_kafka(settings, chain)
        if left is None:
            raise
        return left
    return parse_timestamp(first.written.sequenced_at) if first else online


def _first_left(settings: Settings, chain: str, online: datetime | None) -> datetime | None:
    """When the first entry was sealed that the archive or Postgres has; None: entry 0 is to be there, or nothing is."""
    if not settings.archive.bucket:
        return None
    archive = archive_settings(settings)
    beginning = archived_beginning(archive, chain)
    if beginning is None:
        return online
    if beginning.first == 0:
        return None
    from sealstream.search import ArchiveSource  # DuckDB is loaded only where it is needed

    source = ArchiveSource(archive, [chain])
    try:
        found = source.entry(f"{chain}/{beginning.first}")
    finally:
        source.close()
    if found is None:
        return None
    left = parse_timestamp(decode_entry(found.body).written.sequenced_at)
    return left if online is None else min(left, online)


def _first_in_kafka(settings: Settings, chain: str) -> datetime | None:
    """Of a pipeline without Postgres, whose statements are read from Kafka alone, too."""
    topic = ChainTopics.of(chain, settings.kafka.prefix).chain
    records = next(read_until_end(settings.kafka_settings(), topic), None)
    return parse_timestamp(decode_entry(records[0].value or b"").written.sequenced_at) if records else None


def _first_sealed(store: PostgresStore, chain: str, first_seq: int) -> datetime | None:
    for rows in store.rows(chain, first_seq, first_seq + 1):
        return parse_timestamp(decode_entry(rows[0].body).written.sequenced_at)
    return None


def _began(store: PostgresStore, chain: str) -> datetime | None:
    """When the first entry that is online was sealed: of what has left, Postgres alone can't say who reviewed it."""
    bounds = store.seq_bounds(chain)
    return None if bounds is None else _first_sealed(store, chain, bounds[0])


def not_whole(settings: Settings, chain: str, period: Period) -> str:
    """Why the store that answers does not hold all of a period that is over; empty: it does."""
    known = settings.chain(chain)
    if settings.postgres.reader_dsn:
        who, newest = "Postgres", stored(settings.postgres.reader_dsn, known).sequenced_at
    else:
        who, newest = "the archive", archived(archive_settings(settings), known).sequenced_at
    if newest is not None and newest >= period.ends.timestamp():
        return ""
    has = "nothing" if newest is None else f"entries up to {datetime.fromtimestamp(newest, UTC):%Y-%m-%d %H:%M:%S}Z"
    return (
        f"{who} has {has} of chain {chain}, and {period} ends on {period.ends:%Y-%m-%d %H:%M:%S}Z: its figures may "
        "still grow. An entry comes at least once a minute while the sequencer runs; try again then"
    )


def overdue_by_postgres(settings: Settings, chain: str, now: datetime) -> list[Overdue]:
    """What is late, the oldest first, by Postgres alone, which answers at once. Raises a `SealstreamError`, also where
    Postgres has nothing of the chain that could be late.
    """
    cadence = settings.reviews.cadence(chain, settings.open_chains())
    if cadence is None or not settings.postgres.reader_dsn:
        return []
    check_listens([settings.postgres.reader_dsn])
    with PostgresStore(settings.postgres.reader_dsn) as store:
        reviews = fold(decode_entry(body) for body in store.statements(chain, ACTIONS))
        if (began := _began(store, chain)) is None:
            raise Unavailable(f"Postgres holds no entry of chain {chain}: nobody says which reviews are late")
        return overdue(reviews, chain, cadence, now, began)
