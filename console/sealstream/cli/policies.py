"""A retention policy in words: what it means for Kafka, Postgres and the archive; and which is in force for a chain.

Two say it: the settings, which the processes follow, and the chain itself, in entry 0 and in each sealed
`retention.extended`, which is what an auditor goes by. Reads only.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from sealstream.archive import INPUT_DAYS, KEPT_ENTRIES
from sealstream.cli.sealed import sealed_statements
from sealstream.cli.settings import Settings
from sealstream.errors import NotCanonical, SealstreamError, Unavailable
from sealstream.kafka import read_until_end, start_offset
from sealstream.kafka.settings import TopicMissing
from sealstream.layout import (
    ChainTopics,
    Entry,
    Retention,
    decode_entry,
    longest_retention,
    read_retention,
    retention_members,
)
from sealstream.layout.archive import DESTROYED_ACTION
from sealstream.layout.chains import RETENTION_EXTENDED
from sealstream.postgres import PostgresStore
from sealstream.retention import archived_beginning

__all__ = ["Promised", "Sealed", "entry_0", "in_force", "meaning", "policy_line", "sealed_retention"]


class Promised(NamedTuple):
    """One promise in the chain: entry 0's, or an extension's."""

    seq: int
    sealed_at: str
    by: str
    retention: Retention

    def to_json(self) -> dict[str, object]:
        """For programs."""
        return {
            "seq": self.seq,
            "sealed_at": self.sealed_at,
            "by": self.by,
            "retention": retention_members(self.retention),
        }


class Sealed(NamedTuple):
    """What the chain itself promises, in order; none: entry 0 is not sealed yet."""

    promises: tuple[Promised, ...]

    @property
    def retention(self) -> Retention | None:
        """All promises together."""
        together: Retention | None = None
        for promise in self.promises:
            together = promise.retention if together is None else longest_retention(together, promise.retention)
        return together


def policy_line(retention: Retention) -> str:
    """A policy in one line."""
    if retention.online_days is None:
        online = "all of it stays online"
    else:
        online = f"{_days(retention.online_days)} online"
    return f"{retention.policy}: {online}, {_days(retention.archive_days)} locked in the archive"


def meaning(retention: Retention, topics: ChainTopics, now: datetime | None = None) -> dict[str, str]:
    """What the policy means, by store: when topics are trimmed, when months may leave, until when locks hold."""
    until = (now or datetime.now(UTC)) + timedelta(days=retention.archive_days)
    days = f"{_days(retention.archive_days)} after its last entry"
    if retention.online_days is None:
        chain, months = "never trimmed", "no month ever leaves"
    else:
        chain = (
            f"trimmed of what is archived and {_days(retention.online_days)} old, but for the newest "
            f"{KEPT_ENTRIES:,} entries"
        )
        months = (
            f"a month leaves {_days(retention.online_days)} after its end, when it is archived and "
            "`sealstream retention run` is run"
        )
    return {
        "kafka": f"{topics.chain}: {chain}; {topics.raw} and {topics.control}: trimmed of what is archived and "
        f"{INPUT_DAYS} days old, under every policy",
        "postgres": months,
        "archive": f"each object is locked (COMPLIANCE) until {days}: what is sealed today until {until:%Y-%m-%d}",
    }


def _days(count: int) -> str:
    return "1 day" if count == 1 else f"{count:,} days"


def sealed_retention(settings: Settings, chain: str) -> Sealed:
    """What the chain promises. Raises `Unavailable` when no store can show entry 0, nor what was in force when it went.

    Where entry 0 was destroyed at its end, the lists of what was destroyed (`archive.destroyed`) say what was in force.
    A statement that names no policy, or one against the rules, promises nothing.
    """
    try:
        first = entry_0(settings, chain)
    except Unavailable:
        destroyed = sealed_statements(settings, chain, [DESTROYED_ACTION], whole=True)
        promises = _promises(destroyed, "retention")
        if not promises:
            raise
    else:
        if first is None:
            return Sealed(())
        promises = _promises([first], "retention")
    promises += _promises(sealed_statements(settings, chain, [RETENTION_EXTENDED], whole=True), "to")
    return Sealed(tuple(promises))


def _promises(entries: Iterable[Entry], member: str) -> list[Promised]:
    found = []
    for entry in entries:
        # Whoever may write to the control topic can have one against the rules sealed, and 0.1.0 knew no longest time.
        with suppress(NotCanonical):
            found.append(_promise(entry, member))
    return found


def _promise(entry: Entry, member: str) -> Promised:
    said = (entry.metadata or {}).get(member)
    retention = read_retention(said if isinstance(said, Mapping) else {})
    named = (entry.metadata or {}).get("by")
    who = f"{entry.actor_id} (for {named})" if named else entry.actor_id
    return Promised(entry.written.seq, entry.written.sequenced_at, who, retention)


def entry_0(settings: Settings, chain: str) -> Entry | None:
    """Entry 0, from Kafka, or from Postgres where Kafka was trimmed, or from the archive; None: the chain is empty."""
    kafka, topic = settings.kafka_settings(), ChainTopics.of(chain, settings.kafka.prefix).chain
    gone = _gone(settings, chain, topic)
    if not gone:
        first = next(read_until_end(kafka, topic), None)
        entry = None if first is None else decode_entry(first[0].value or b"")
        if entry is None or entry.written.seq == 0:
            return entry
        gone = "trimmed"
    why = "postgres.reader_dsn is not set"
    if settings.postgres.reader_dsn:
        try:
            with PostgresStore(settings.postgres.reader_dsn) as store:
                rows = next(store.rows(chain, 0, 1), None)
            if rows:
                return decode_entry(rows[0].body)
        except SealstreamError as error:
            why = f"Postgres can't be asked: {error}"
        else:
            if settings.archive.bucket:
                return _archived_entry_0(settings, chain)
            why = "Postgres does not hold it"
    raise Unavailable(f"chain {chain}: what entry 0 promises can't be read: {topic} was {gone}, and {why}")


def _gone(settings: Settings, chain: str, topic: str) -> str:
    """Why the topic does not begin with entry 0, in a word; empty where it may."""
    try:
        return "trimmed" if start_offset(settings.kafka_settings(), topic) else ""
    except TopicMissing:
        if not settings.chains[chain].closed_at:
            raise
        return "lost"  # of a closed chain its stores may be all that is left


def _archived_entry_0(settings: Settings, chain: str) -> Entry:
    from sealstream.cli.stores import archive_settings
    from sealstream.search import ArchiveSource

    found, lacking = None, f"chain {chain}: what entry 0 promises can't be read: neither Kafka"
    try:
        beginning = archived_beginning(archive_settings(settings), chain)
        if beginning is not None and beginning.first == 0:
            source = ArchiveSource(archive_settings(settings), [chain])
            try:
                found = source.entry(f"{chain}/0")
            finally:
                source.close()
    except SealstreamError as error:
        raise Unavailable(f"{lacking} nor Postgres has it, and the archive can't be asked: {error}") from error
    if found is None:
        raise Unavailable(f"{lacking}, Postgres nor the archive has it")
    return decode_entry(found.body)


def in_force(settings: Settings, chain: str) -> Retention:
    """What the chain is kept by: the longest of what the settings and the chain itself promise."""
    promised, own = sealed_retention(settings, chain).retention, settings.chain(chain).retention
    return own if promised is None else longest_retention(promised, own)
