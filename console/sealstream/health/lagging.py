"""How far each process lags, asked in its own thread: the questions of `watching`, one for each store it needs.

Lag is what the store holds and the process has not done with: entries by numbers, seconds by when the first of them
came. Where nothing lies between the process's place and the topic's end, nothing more is asked.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from sealstream.archive import ArchiveSettings, Bucket
from sealstream.health.asking import signed, waiting_since
from sealstream.health.watching import Question
from sealstream.kafka import KafkaSettings, end_offset, last_record
from sealstream.layout import ChainSettings, ChainTopics, Figures, OutboxTables, decode_entry, figures
from sealstream.postgres.driver import Session
from sealstream.relaying import outbox_status

__all__ = [
    "archive_answers",
    "every",
    "lag_in_chain",
    "lag_in_outbox",
    "lag_in_raw",
    "newest_checkpoint",
    "postgres_answers",
]

_Clock = Callable[[], float]


def lag_in_raw(kafka: KafkaSettings, chains: Sequence[ChainSettings], tally: Figures, wall: _Clock) -> Question:
    """Of a sequencer: the records that the chains which it seals have not accounted for."""

    def ask() -> None:
        for chain in chains:
            topic = ChainTopics.of(chain.name, chain.prefix).raw
            end = end_offset(kafka, topic, committed=True)
            at = tally.value(figures.NEXT_OFFSET, chain.name)
            if tally.value(figures.CHAIN_TAKEN, chain.name) != 1 or at is None:
                tally.forget(figures.LAG_ENTRIES, chain.name)  # another process's, and for that one to say
                tally.forget(figures.LAG_SECONDS, chain.name)
                continue
            _set_lag(kafka, topic, chain.name, int(at), max(end - int(at), 0), tally, wall)

    return ask


def lag_in_chain(kafka: KafkaSettings, chain: ChainSettings, tally: Figures, wall: _Clock) -> Question:
    """Of whatever follows the chain: the entries that it has not done with; none before it has found its place."""

    def ask() -> None:
        topic = ChainTopics.of(chain.name, chain.prefix).chain
        place = tally.value(figures.NEXT_OFFSET, chain.name)
        if place is None:  # it has just started, and what waits is not the whole chain
            tally.forget(figures.LAG_ENTRIES, chain.name)
            tally.forget(figures.LAG_SECONDS, chain.name)
            return
        at = int(place)
        if end_offset(kafka, topic, committed=True) <= at:
            _set_lag(kafka, topic, chain.name, at, 0, tally, wall)
            return
        last = last_record(kafka, topic)
        size = 0 if last is None else decode_entry(last.value or b"").written.seq + 1
        done = tally.value(figures.LAST_SEQ, chain.name)
        behind = max(size - (0 if done is None else int(done) + 1), 0)
        _set_lag(kafka, topic, chain.name, at, behind, tally, wall)

    return ask


def every(questions: Sequence[Question]) -> Question:
    """All of one store's, one after another."""

    def ask() -> None:
        for question in questions:
            question()

    return ask


def _set_lag(
    kafka: KafkaSettings, topic: str, chain: str, offset: int, count: int, tally: Figures, wall: _Clock
) -> None:
    since = waiting_since(kafka, topic, offset) if count else None
    tally.set(figures.LAG_ENTRIES, count if since is not None else 0, chain)
    tally.set(figures.LAG_SECONDS, 0.0 if since is None else max(wall() - since, 0.0), chain)


def lag_in_outbox(dsn: str, tables: OutboxTables, chain: str, tally: Figures) -> Question:
    """Of a relay: the rows that wait."""

    def ask() -> None:
        status = outbox_status(dsn, tables)
        tally.set(figures.LAG_ENTRIES, status.waiting, chain)
        tally.set(figures.LAG_SECONDS, max(status.oldest_age_s or 0.0, 0.0), chain)

    return ask


def newest_checkpoint(kafka: KafkaSettings, chain: ChainSettings, tally: Figures) -> Question:
    """When the newest checkpoint was signed that stood there before this process had signed one."""

    def ask() -> None:
        if tally.value(figures.CHECKPOINT_TIME, chain.name) is None:
            found = signed(kafka, chain)
            if found.at is not None and tally.value(figures.CHECKPOINT_TIME, chain.name) is None:
                tally.set(figures.CHECKPOINT_TIME, found.at, chain.name)

    return ask


def postgres_answers(dsn: str) -> Question:
    """Whether the database takes a connection of this role."""

    def ask() -> None:
        with Session(dsn, "sealstream probe", command_timeout_s=5) as session:
            session.fetch("asking for an answer", "SELECT 1")

    return ask


def archive_answers(settings: ArchiveSettings, wall: _Clock, *, every_s: float = 60.0) -> Question:
    """Whether the bucket is there and locks; asked less often, since each question is paid for.

    In between the last answer stands.
    """
    asked: list[float] = []

    def ask() -> None:
        if not asked or not 0 <= wall() - asked[0] < every_s:
            bucket = Bucket(settings)
            try:
                bucket.check()
            finally:
                bucket.close()
            asked[:] = [wall()]

    return ask
