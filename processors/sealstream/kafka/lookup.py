"""Single looks at a topic: its last record, everything that it holds as of now.

All as committed. Between the last record and the end lie markers, and perhaps aborted records; so the last one is
looked for from ever further back. Each look opens and closes its own connection; a crash leaves nothing behind.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

from sealstream.errors import InputLost, Unavailable
from sealstream.kafka.offsets import end_offset, start_offset
from sealstream.kafka.reader import CommittedReader, Record
from sealstream.kafka.settings import KafkaSettings

__all__ = ["last_record", "offset_reaching", "read_partition", "read_until_end", "record_before"]

_BATCH = 10_000
_FIRST_SPAN = 64
_FETCH_WAIT_S = 0.01
_WAIT_S = 0.01  # the end is seen while waiting
_STANDSTILL_S = 30.0
_ATTEMPTS = 3


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
        except InputLost as error:  # trimmed while we looked: look again at what is left
            if attempt == _ATTEMPTS - 1:
                raise Unavailable(f"{topic} is trimmed again and again while it is looked at: {error}") from error
    raise AssertionError("unreachable")


def read_until_end(kafka: KafkaSettings, topic: str, start: int | None = None) -> Iterator[list[Record]]:
    """Everything committed up to the end as of the call, from `start` (None: the topic's beginning), in batches."""
    end = end_offset(kafka, topic, committed=True)
    first = start_offset(kafka, topic) if start is None else start
    return read_partition(kafka, topic, 0, first, end)


def read_partition(kafka: KafkaSettings, topic: str, partition: int, first: int, end: int) -> Iterator[list[Record]]:
    """The committed records of a partition from `first` to `end` - 1, in batches; `end` at most the committed end."""
    if first >= end:
        return
    with CommittedReader(kafka, topic, first, partition=partition, fetch_wait_s=_FETCH_WAIT_S) as reader:
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


def offset_reaching(kafka: KafkaSettings, topic: str, reached: Callable[[Record], bool]) -> int:
    """The offset of the first committed record for which `reached` holds, or the end as committed when there is none.

    By bisection: `reached` must hold for every record behind one for which it holds.
    """
    low, high = start_offset(kafka, topic), end_offset(kafka, topic, committed=True)
    if low >= high:
        return high
    with CommittedReader(kafka, topic, low, fetch_wait_s=_FETCH_WAIT_S, ahead_kb=64) as reader:
        while low < high:
            middle = (low + high) // 2
            reader.seek(middle)
            found = next(_batches_below(reader, high), None)  # None: nothing but markers from here to `high`
            if found is None or reached(found[0]):
                high = middle
            else:
                low = found[0].offset + 1
    return high
