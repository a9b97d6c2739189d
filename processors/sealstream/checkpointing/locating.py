"""Where an entry stands in the chain's topic: where a note's header says, else by bisection.

Offsets are no entry numbers (markers and aborted records lie between), but both rise together. The header is a hint
that anybody could have written; what counts is the number in the entry, and in the end the signed root over it.
"""

from __future__ import annotations

from sealstream.errors import ChainBroken, HistoryLost, NotCanonical, Unavailable
from sealstream.kafka import CommittedReader, Record
from sealstream.sealing import read_written, split_sealed

__all__ = ["entry_number", "go_to_entry"]

_ANSWER_S = 30.0


def go_to_entry(reader: CommittedReader, topic: str, seq: int, hint: int, start: int, tail: Record) -> None:
    """Set `reader` to the entry `seq`. `start`: the topic's first offset; `tail`: its last record, not before `seq`.

    Raises `InputLost` when the topic no longer has the entry.
    """
    if start <= hint <= tail.offset and _number_from(reader, topic, hint) == seq:
        reader.seek(hint)
        return
    low, high = start, tail.offset
    while low < high:
        middle = (low + high) // 2
        if _number_from(reader, topic, middle) < seq:
            low = middle + 1
        else:
            high = middle
    if (found := _number_from(reader, topic, low)) != seq:
        raise HistoryLost(
            f"{topic} no longer has entry {seq}, from which on the last signed segment must be read again: it goes on "
            f"with entry {found} (trimmed too far?)"
        )
    reader.seek(low)


def entry_number(topic: str, record: Record) -> int:
    """The entry's number as it claims. Raises `ChainBroken` when the record is no entry."""
    try:
        return read_written(split_sealed(record.value or b"").body).seq
    except NotCanonical as error:
        raise ChainBroken(f"{topic}, offset {record.offset}: not a sealed entry: {error}") from error


def _number_from(reader: CommittedReader, topic: str, offset: int) -> int:
    """The number of the first entry at or after `offset`; one is there."""
    reader.seek(offset)
    records = reader.read(1, _ANSWER_S)
    if not records:
        raise Unavailable(f"{topic}: no entry came from offset {offset} on in {_ANSWER_S:.0f} s, though there is one")
    return entry_number(topic, records[0])
