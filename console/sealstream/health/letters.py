"""How many records of a chain were refused of late, and how many of these nobody has worked off. Reads only.

A letter is worked off when the chain says that its record was sent again, or that it was dismissed. What was said of
the last day's letters was said within the last day, so a few rows of Postgres tell.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import NamedTuple

from sealstream.errors import SealstreamError
from sealstream.health.asking import CONNECT_S, check_listens
from sealstream.kafka import KafkaSettings, Record, end_offset, read_partition, start_offset
from sealstream.layout import ChainSettings, ChainTopics, decode_entry
from sealstream.layout.tables import AUDIT_LOG, SCHEMA
from sealstream.postgres.driver import Session
from sealstream.sequencer.judging import REPEATED

__all__ = ["DeadLetters", "dead_letters"]

_REPEATED = REPEATED.encode()
_LETTERS_READ = 500
_BEHIND_REPEATS = 10_000
_DAY_S = 86_400
_CLOCKS_DIFFER_S = 60
_STATEMENTS = (
    f"SELECT body FROM {SCHEMA}.{AUDIT_LOG} WHERE chain = $1 AND kind = 'control' "
    "AND action IN ('deadletter.retried', 'deadletter.dismissed') AND sequenced_at >= $2 ORDER BY seq DESC LIMIT $3"
)

_RecordKey = tuple[str, str, str]


class DeadLetters(NamedTuple):
    """Kept in the topic (`more`: at least so many), of the last day (but for repeats of what was sealed), and of these
    sent again since (`retried`), or put aside by a person and not sent again (`dismissed`).
    """

    kept: int
    more: bool
    last_day: int
    retried: int = 0
    dismissed: int = 0

    @property
    def waiting(self) -> int:
        """Of the last day those that nobody has worked off."""
        return self.last_day - self.retried - self.dismissed


def dead_letters(kafka: KafkaSettings, chain: ChainSettings, now: float, reader_dsn: str = "") -> DeadLetters:
    """Counted among the last so many offsets: a letter can be large. Where there are repeats among them, some more are
    read, since a producer can send repeats until no other letter is among the last. Without Postgres none counts as
    worked off.
    """
    topics = ChainTopics.of(chain.name, chain.prefix)
    first, end = start_offset(kafka, topics.deadletter), end_offset(kafka, topics.deadletter, committed=True)
    begin, kept = end, 0
    last_day: list[_RecordKey] = []
    while begin > max(first, end - _BEHIND_REPEATS):
        stop, begin = begin, max(first, begin - _LETTERS_READ)
        letters = [
            (now - record.timestamp_ms / 1000 < _DAY_S, _refused(record))
            for records in read_partition(kafka, topics.deadletter, 0, begin, stop)
            for record in records
        ]
        kept += len(letters)
        young = [refused for is_young, refused in letters if is_young]
        last_day += [refused for refused in young if refused is not None]
        if None not in young or len(young) < len(letters) or len(last_day) >= _LETTERS_READ:
            break
    retried, dismissed = _worked_off(reader_dsn, topics, chain.name, now) if last_day and reader_dsn else (set(), set())
    sent_again = sum(each in retried for each in last_day)
    put_aside = sum(each in dismissed - retried for each in last_day)
    return DeadLetters(kept, begin > first, len(last_day), sent_again, put_aside)


def _refused(record: Record) -> _RecordKey | None:
    """Topic, offset and SHA-256 of the record that a letter is about; None: it repeats what was sealed long ago."""
    headers = dict(record.headers)
    if headers.get("reason") == _REPEATED:
        return None
    topic, offset, digest = (headers.get(name, b"").decode(errors="replace") for name in ("topic", "offset", "sha256"))
    return topic, offset, digest


def _worked_off(dsn: str, topics: ChainTopics, chain: str, now: float) -> tuple[set[_RecordKey], set[_RecordKey]]:
    """The same of the records of the last day that were sent again, and of those that were dismissed.

    Empty when Postgres does not say so at once.
    """
    since = datetime.fromtimestamp(now - _DAY_S - _CLOCKS_DIFFER_S, UTC)
    found: dict[str, set[_RecordKey]] = {"deadletter.retried": set(), "deadletter.dismissed": set()}
    try:
        check_listens([dsn])
        with Session(dsn, "sealstream status", command_timeout_s=CONNECT_S, connect_timeout_s=CONNECT_S) as session:
            rows = session.fetch("looking for statements", _STATEMENTS, chain, since, _LETTERS_READ)
        for entry in (decode_entry(row["body"]) for row in rows):
            said = entry.metadata or {}
            for item in said.get("letters", [said]):
                topic = {"raw": topics.raw, "control": topics.control}.get(item.get("topic"), "")
                found[entry.action].add((topic, str(item.get("offset")), str(item.get("sha256"))))
    except SealstreamError:  # the question about Postgres itself says why
        return set(), set()
    return found["deadletter.retried"], found["deadletter.dismissed"]
