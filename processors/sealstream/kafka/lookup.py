"""Single looks at a topic: where it begins and ends, its last record, everything that it holds as of now.

All as committed. Between the last record and the end lie markers, and perhaps aborted records; so the last one is
looked for from ever further back. Each look opens and closes its own connection; a crash leaves nothing behind.
"""

from __future__ import annotations

import time
from collections.abc import Iterator

from confluent_kafka import IsolationLevel, TopicPartition
from confluent_kafka.admin import OffsetSpec

from sealstream.errors import InputLost, Unavailable
from sealstream.kafka.admin import ask
from sealstream.kafka.reader import CommittedReader, Record
from sealstream.kafka.settings import ANSWER_S, KafkaSettings

__all__ = ["end_offset", "last_record", "read_until_end", "record_before", "start_offset"]

_BATCH = 10_000
_FIRST_SPAN = 64
_FETCH_WAIT_S = 0.01
_WAIT_S = 0.01  # the end is seen while waiting
_STANDSTILL_S = 30.0
_ATTEMPTS = 3
_PAUSE_S = 0.05


def start_offset(kafka: KafkaSettings, topic: str) -> int:
    """The first offset that the topic still has."""
    return _offset(kafka, topic, OffsetSpec.earliest(), IsolationLevel.READ_UNCOMMITTED)


def end_offset(kafka: KafkaSettings, topic: str, *, committed: bool) -> int:
    """The offset behind everything (high watermark), or behind everything decided (last stable offset).

    They differ exactly while a transaction is open.
    """
    level = IsolationLevel.READ_COMMITTED if committed else IsolationLevel.READ_UNCOMMITTED
    return _offset(kafka, topic, OffsetSpec.latest(), level)


def last_record(kafka: KafkaSettings, topic: str) -> Record | None:
    """The last committed record; None when there is none."""
    return record_before(kafka, topic, end_offset(kafka, topic, committed=True))


def record_before(kafka: KafkaSettings, topic: str, offset: int) -> Record | None:
    """The last committed record below `offset`; None when there is none (any more)."""
    for attempt in range(_ATTEMPTS):
        start = start_offset(kafka, topic)
        high = min(offset, end_offset(kafka, topic, committed=True))
        if start >= high:
            return None
        try:
            with CommittedReader(kafka, topic, max(start, high - _FIRST_SPAN), fetch_wait_s=_FETCH_WAIT_S) as reader:
                return _step_back(reader, start, high)
        except InputLost:  # trimmed while we looked: look again at what is left
            if attempt == _ATTEMPTS - 1:
                raise
    raise AssertionError("unreachable")


def read_until_end(kafka: KafkaSettings, topic: str, start: int | None = None) -> Iterator[list[Record]]:
    """Everything committed up to the end as of the call, from `start` (None: the topic's beginning), in batches."""
    end = end_offset(kafka, topic, committed=True)
    first = start_offset(kafka, topic) if start is None else start
    return _read_between(kafka, topic, first, end)


def _read_between(kafka: KafkaSettings, topic: str, first: int, end: int) -> Iterator[list[Record]]:
    if first >= end:
        return
    with CommittedReader(kafka, topic, first, fetch_wait_s=_FETCH_WAIT_S) as reader:
        yield from _batches_below(reader, end)


def _step_back(reader: CommittedReader, start: int, high: int) -> Record | None:
    span = _FIRST_SPAN
    while high > start:
        low = max(start, high - span)
        reader.seek(low)
        last = None
        for records in _batches_below(reader, high):
            last = records[-1]
        if last is not None:
            return last
        high, span = low, span * 8
    return None


def _batches_below(reader: CommittedReader, end: int) -> Iterator[list[Record]]:
    """Batches of the records below `end`, which is at most the end as committed. Ends when all were given."""
    deadline = time.monotonic() + _STANDSTILL_S
    while (before := reader.position()) < end:
        records = reader.read(_BATCH, _WAIT_S)
        if records and records[-1].offset >= end:
            records = [record for record in records if record.offset < end]
            if records:
                yield records
            return
        if records:
            yield records
        if reader.position() > before:
            deadline = time.monotonic() + _STANDSTILL_S
        elif time.monotonic() > deadline:
            raise Unavailable(f"no record and no end came in {_STANDSTILL_S:.0f} s from offset {before}, below {end}")


def _offset(kafka: KafkaSettings, topic: str, which: OffsetSpec, level: IsolationLevel) -> int:
    """The broker's answer, once it has one.

    A leader that has just been elected, or has just come back, does not know yet how far its followers are; the driver
    then gives an offset below zero and no error. Taken for an answer it would make a chain look empty.
    """
    deadline = time.monotonic() + ANSWER_S
    while True:
        answer = ask(
            kafka,
            f"asking for an offset of {topic}",
            topic,
            lambda client: client.list_offsets({TopicPartition(topic, 0): which}, isolation_level=level),
        )
        if answer.offset >= 0:
            return int(answer.offset)
        if time.monotonic() > deadline:
            raise Unavailable(f"{topic}: its leader at Kafka {kafka.bootstrap} gave no offset in {ANSWER_S:.0f} s")
        time.sleep(_PAUSE_S)
