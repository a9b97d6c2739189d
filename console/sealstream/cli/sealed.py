"""Finds entries that a chain has sealed: control statements by action, entries by id. For commands; reads only.

Postgres is asked first, where an index knows, and Kafka for what Postgres does not have yet; without Postgres the
chain's topic is read through. Statements of months that have left Postgres are looked for in the archive. What is found
is not verified here: it is shown, or keeps a command from saying something twice; what must be proved is proved by
`sealstream verify`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from typing import NamedTuple

from sealstream.archive import ArchiveSettings
from sealstream.cli.settings import Settings
from sealstream.errors import SealstreamError, Unavailable
from sealstream.events import format_timestamp
from sealstream.kafka import KafkaSettings, Record, offset_reaching, read_until_end, start_offset
from sealstream.kafka.settings import TopicMissing
from sealstream.layout import ChainTopics, Entry, decode_entry
from sealstream.postgres import PostgresStore
from sealstream.sealing import Written, read_written, split_sealed

__all__ = ["News", "chain_offset_at", "sealed_news", "sealed_statements", "sealed_with_ids"]


class News(NamedTuple):
    """Statements in order, and the entry to go on from. `more`: there are more."""

    statements: list[Entry]
    next_seq: int
    more: bool = False


def sealed_statements(
    settings: Settings, chain: str, actions: Sequence[str], *, since: datetime | None = None, whole: bool = False
) -> Iterator[Entry]:
    """The `control` entries with these actions, in order; without Postgres those that were sealed from `since` on.

    `whole`: raises `Unavailable` rather than to leave one out, where Postgres does not answer, or has only what is
    online, and neither Kafka nor an archive has the rest. What was destroyed is in no store, and left out.
    """
    needles = [b'"action":"' + action.encode() + b'"' for action in actions]

    def wanted(value: bytes) -> bool:
        return any(needle in value for needle in needles)

    def ask(store: PostgresStore) -> list[bytes]:
        return store.statements(chain, actions)

    def left(below: int) -> Iterator[bytes]:
        return _archived_statements(settings, chain, actions, below, whole)

    for value in _found(settings, chain, ask, wanted, since, left if since is None else None, whole):
        entry = decode_entry(value)
        if entry.action in actions and entry.written.kind == "control":
            yield entry


def sealed_with_ids(
    settings: Settings, chain: str, ids: Sequence[str], *, since: datetime | None = None
) -> Iterator[tuple[Entry, bytes]]:
    """The entries with these ids, in order, each with its bytes (its body, or as it is sealed).

    Without Postgres those that were sealed from `since` on.
    """
    needles = [b'"id":"' + each.encode() + b'"' for each in ids]

    def wanted(value: bytes) -> bool:
        return any(needle in value for needle in needles)

    for value in _found(settings, chain, lambda store: store.with_ids(chain, ids), wanted, since):
        entry = decode_entry(value)
        if entry.id in ids:
            yield entry, value


def sealed_news(
    settings: Settings, chain: str, actions: Sequence[str], first_seq: int, *, at_most: int = 1_000
) -> News:
    """The `control` and `log` entries with these actions from `first_seq` on: for who asks again and again."""
    found: list[Entry] = []
    behind = _asked(settings, chain, lambda store: store.statements_from(chain, actions, first_seq, at_most))
    if behind is not None:
        bodies, _, stored = behind
        found = [decode_entry(body) for body in bodies]
        if len(found) == at_most:
            return News(found, found[-1].written.seq + 1, more=True)
        first_seq = max(first_seq, stored)
    needles = [b'"action":"' + action.encode() + b'"' for action in actions]
    kafka, topic = settings.kafka_settings(), ChainTopics.of(chain, settings.kafka.prefix).chain
    try:
        begin = offset_reaching(kafka, topic, lambda record: _written(record).seq >= first_seq)
    except TopicMissing:
        if behind is None or not settings.chains[chain].closed_at:
            raise
        return News(found, first_seq)  # a closed chain whose topics were lost has what its stores have
    for records in read_until_end(kafka, topic, begin):
        for record in records:
            if record.value is None:
                continue
            if any(needle in record.value for needle in needles):
                entry = decode_entry(record.value)
                if entry.action in actions and entry.written.kind != "event":
                    found.append(entry)
        if records and records[-1].value is not None:
            first_seq = _written(records[-1]).seq + 1
        if len(found) >= at_most:
            return News(found, first_seq, more=True)
    return News(found, first_seq)


def chain_offset_at(kafka: KafkaSettings, topic: str, moment: datetime) -> int:
    """The offset in the chain's topic of the first entry that was sealed at this moment or later."""
    text = format_timestamp(moment)
    return offset_reaching(kafka, topic, lambda record: _written(record).sequenced_at >= text)


def _found(
    settings: Settings,
    chain: str,
    ask: Callable[[PostgresStore], list[bytes]],
    wanted: Callable[[bytes], bool],
    since: datetime | None,
    left: Callable[[int], Iterator[bytes]] | None = None,
    whole: bool = False,
) -> Iterator[bytes]:
    kafka, topic = settings.kafka_settings(), ChainTopics.of(chain, settings.kafka.prefix).chain
    stored = _asked(settings, chain, ask)
    behind: int | None
    if stored is not None:
        bodies, first_seq, next_seq = stored
        if left is not None and first_seq > 0:
            yield from left(first_seq)
        yield from bodies
        behind = next_seq
        try:
            begin: int | None = offset_reaching(kafka, topic, lambda record: _written(record).seq >= next_seq)
        except TopicMissing:
            if not settings.chains[chain].closed_at:
                raise
            return  # a closed chain whose topics were lost has what its stores have
    else:
        behind = None
        begin = None if since is None else chain_offset_at(kafka, topic, since)
        if whole and start_offset(kafka, topic) > 0:
            raise Unavailable(f"chain {chain}: {topic} was trimmed, and Postgres does not answer for what it held")
    for records in read_until_end(kafka, topic, begin):
        if whole and records and behind is not None and (follows := _written(records[0]).seq) > behind:
            raise Unavailable(f"chain {chain}: Postgres has {behind} entries, and {topic} begins with entry {follows}")
        behind = None
        for record in records:
            if record.value is not None and wanted(record.value):
                yield record.value


def _archived_statements(
    settings: Settings, chain: str, actions: Sequence[str], below: int, whole: bool
) -> Iterator[bytes]:
    """The bodies of those below this seq, which have left Postgres; without an archive none, or (`whole`) an error."""
    if not settings.archive.bucket:
        if whole:
            raise Unavailable(
                f"chain {chain}: Postgres begins with entry {below}, and archive.bucket is not set: what was said "
                "before that can't be read"
            )
        return
    from sealstream.cli.stores import archive_settings

    yield from _archived_bodies(archive_settings(settings), chain, tuple(actions), below)


@lru_cache(maxsize=32)
def _archived_bodies(archive: ArchiveSettings, chain: str, actions: tuple[str, ...], below: int) -> tuple[bytes, ...]:
    """The same as long as this process lives: what is archived does not change, and a command asks again and again."""
    from sealstream.search import ArchiveSource, parse  # DuckDB is loaded only where it is needed

    query = parse(" ".join(["kind:control", *(f"action:{action}" for action in actions)]), now=datetime.now(UTC))
    source = ArchiveSource(archive, [chain], below={chain: below})
    try:
        return tuple(found.body for batch in source.stream(query, sort="seq") for found in batch)
    finally:
        source.close()


def _asked(
    settings: Settings, chain: str, ask: Callable[[PostgresStore], list[bytes]]
) -> tuple[list[bytes], int, int] | None:
    """What Postgres says, its first entry, and the one behind its last; None when it can't be asked: then Kafka is read
    through.
    """
    if not settings.postgres.reader_dsn:
        return None
    try:
        with PostgresStore(settings.postgres.reader_dsn) as store:
            bounds = store.seq_bounds(chain)
            return ask(store), 0 if bounds is None else bounds[0], store.next_seq(chain)
    except SealstreamError:
        return None


def _written(record: Record) -> Written:
    return read_written(split_sealed(record.value or b"").body)
