"""Finds entries that a chain has sealed: control statements by action, entries by id. For commands; reads only.

Postgres is asked first, where an index knows, and Kafka for what Postgres does not have yet; without Postgres the
chain's topic is read through. What is found is not verified here: it is shown, or keeps a command from saying something
twice; what must be proved is proved by `sealstream verify`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from typing import NamedTuple

from sealstream.cli.settings import Settings
from sealstream.errors import SealstreamError
from sealstream.events import format_timestamp
from sealstream.kafka import KafkaSettings, Record, offset_reaching, read_until_end
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
    settings: Settings, chain: str, actions: Sequence[str], *, since: datetime | None = None
) -> Iterator[Entry]:
    """The `control` entries with these actions, in order; without Postgres those that were sealed from `since` on."""
    needles = [b'"action":"' + action.encode() + b'"' for action in actions]

    def wanted(value: bytes) -> bool:
        return any(needle in value for needle in needles)

    def ask(store: PostgresStore) -> list[bytes]:
        return store.statements(chain, actions)

    for value in _found(settings, chain, ask, wanted, since):
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
        bodies, stored = behind
        found = [decode_entry(body) for body in bodies]
        if len(found) == at_most:
            return News(found, found[-1].written.seq + 1, more=True)
        first_seq = max(first_seq, stored)
    needles = [b'"action":"' + action.encode() + b'"' for action in actions]
    kafka, topic = settings.kafka_settings(), ChainTopics.of(chain, settings.kafka.prefix).chain
    begin = offset_reaching(kafka, topic, lambda record: _written(record).seq >= first_seq)
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
) -> Iterator[bytes]:
    kafka, topic = settings.kafka_settings(), ChainTopics.of(chain, settings.kafka.prefix).chain
    stored = _asked(settings, chain, ask)
    if stored is not None:
        bodies, next_seq = stored
        yield from bodies
        begin: int | None = offset_reaching(kafka, topic, lambda record: _written(record).seq >= next_seq)
    else:
        begin = None if since is None else chain_offset_at(kafka, topic, since)
    for records in read_until_end(kafka, topic, begin):
        for record in records:
            if record.value is not None and wanted(record.value):
                yield record.value


def _asked(
    settings: Settings, chain: str, ask: Callable[[PostgresStore], list[bytes]]
) -> tuple[list[bytes], int] | None:
    """What Postgres says, and how many entries it has; None when it can't be asked: then Kafka is read through."""
    if not settings.postgres.reader_dsn:
        return None
    try:
        with PostgresStore(settings.postgres.reader_dsn) as store:
            return ask(store), store.next_seq(chain)
    except SealstreamError:
        return None


def _written(record: Record) -> Written:
    return read_written(split_sealed(record.value or b"").body)
