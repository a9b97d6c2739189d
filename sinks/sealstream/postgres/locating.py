"""Where in the chain's topic the next entry stands: by the stored hint when it holds, else by bisection.

Offsets are no entry numbers (transaction markers and aborted records lie between), but both rise together. The
invariant: the reader returned gives entry `next_seq` first, or nothing as long as it has not been written. Nothing is
stored here; a crash leaves nothing.
"""

from __future__ import annotations

from sealstream.errors import ChainBroken, Forked, HistoryLost, NotCanonical, RolledBack, Unavailable
from sealstream.kafka import CommittedReader, KafkaSettings, Record, last_record, start_offset
from sealstream.sealing import Tip, tip_after

__all__ = ["open_at_entry"]

_ANSWER_S = 10.0


def open_at_entry(kafka: KafkaSettings, topic: str, stored: Tip, hint: int) -> CommittedReader:
    """A reader of `topic` at the entry after `stored`.

    Raises `Forked` when the topic ends below what is stored or holds another last entry, `InputLost` when the entry
    that comes next is no longer there.
    """
    last = last_record(kafka, topic)
    first_offset = start_offset(kafka, topic)
    if last is None:
        if stored.size:
            raise HistoryLost(
                f"{topic} is empty, but {stored.size} entries are stored: it was recreated or trimmed whole"
            )
        return CommittedReader(kafka, topic, first_offset)
    tail = _tip(topic, last)
    if tail.size < stored.size:
        raise RolledBack(
            f"{topic} ends with entry {tail.size - 1}, but {stored.size} entries are stored: it was rolled back"
        )
    if tail.size == stored.size:
        if tail.hash != stored.hash:
            raise Forked(
                f"entry {tail.size - 1} has the hash {tail.hash.hex()} in {topic}, but {stored.hash.hex()} in the store"
            )
        return CommittedReader(kafka, topic, last.offset + 1)
    low, high = first_offset, last.offset
    offset = hint if low <= hint <= high else low
    reader = CommittedReader(kafka, topic, offset)
    try:
        if _seq_from(reader, topic, offset) != stored.size:
            offset = _bisect(reader, topic, low, high, stored.size)
        reader.seek(offset)
    except BaseException:
        reader.close()
        raise
    return reader


def _bisect(reader: CommittedReader, topic: str, low: int, high: int, seq: int) -> int:
    """The offset from which on `seq` comes first; a record at `high` exists and is not before `seq`."""
    while low < high:
        middle = (low + high) // 2
        if _seq_from(reader, topic, middle) < seq:
            low = middle + 1
        else:
            high = middle
    found = _seq_from(reader, topic, low)
    if found != seq:
        raise HistoryLost(
            f"entry {seq} comes next, but {topic} begins with entry {found}: it was trimmed; replay from the archive"
        )
    return low


def _seq_from(reader: CommittedReader, topic: str, offset: int) -> int:
    """The number of the first entry at or after `offset`; one is there."""
    reader.seek(offset)
    records = reader.read(1, _ANSWER_S)
    if not records:
        raise Unavailable(f"{topic}: no record from offset {offset} on within {_ANSWER_S:g} s, though it has one")
    return _tip(topic, records[0]).size - 1


def _tip(topic: str, record: Record) -> Tip:
    try:
        return tip_after(record.value or b"")
    except NotCanonical as error:
        raise ChainBroken(f"{topic}, offset {record.offset}: {error}") from error
