"""The signed notes of a chain, as they come in their two topics: which are due, given how much is stored.

Every segment's note is wanted, and of the checkpoints the newest. The invariant: a note is opened with the chain's key
before anybody uses it. Nothing is stored here: a start reads on behind the last stored segment's note, or, when that
is not where it was, from the topic's beginning.
"""

from __future__ import annotations

from collections import deque
from typing import NamedTuple

from sealstream.errors import ChainBroken, InputLost, Unavailable
from sealstream.kafka import CommittedReader, KafkaSettings, Record, end_offset, last_record, start_offset
from sealstream.layout import ChainSettings, ChainTopics, parse_checkpoint_headers
from sealstream.postgres.stored import StoredNote
from sealstream.sealing import BadNote, Verifier, open_checkpoint, parse_vkey

__all__ = ["SignedNote", "SignedNotes"]

_AT_ONCE = 100
_ANSWER_S = 10.0


class SignedNote(NamedTuple):
    """A verified note: the chain's key has signed that `size` entries have this Merkle root."""

    size: int
    ends_segment: bool
    root: bytes
    note: bytes
    chain_offset: int
    note_offset: int


class SignedNotes:
    """Follows both topics. `segment`, `newest`: the newest stored note of either kind."""

    def __init__(
        self, kafka: KafkaSettings, chain: ChainSettings, segment: StoredNote | None, newest: StoredNote | None
    ) -> None:
        topics = ChainTopics.of(chain.name, chain.prefix)
        self._kafka = kafka
        self._segments_topic, self._checkpoints_topic = topics.segments, topics.checkpoints
        self._verifier = parse_vkey(chain.vkey)
        self._segment_size = segment.size if segment else 0
        self._newest_size = newest.size if newest else 0
        self._segments_waiting: deque[SignedNote] = deque()
        self._checkpoints_waiting: deque[SignedNote] = deque()
        self._segments = _open_behind(kafka, topics.segments, segment)
        try:
            last = last_record(kafka, topics.checkpoints)
            offset = last.offset if last else end_offset(kafka, topics.checkpoints, committed=True)
            self._checkpoints = CommittedReader(kafka, topics.checkpoints, offset)
        except BaseException:
            self._segments.close()
            raise

    def due(self, size: int) -> list[SignedNote]:
        """The notes over at most `size` entries that have come and were not given before, smaller ones first."""
        if not self._segments_waiting:  # one run at a time: a rebuilt store is years behind the topic
            for record in self._segments.read(_AT_ONCE, 0):
                note = _open(self._segments_topic, record, self._verifier, ends_segment=True)
                if note.size > self._segment_size:
                    self._segments_waiting.append(note)
                    self._segment_size = note.size
        for record in self._new_checkpoints():
            note = _open(self._checkpoints_topic, record, self._verifier, ends_segment=False)
            if note.size > self._newest_size:
                self._checkpoints_waiting.append(note)
                self._newest_size = note.size
        while len(self._checkpoints_waiting) > 2:  # the next to be reached, and the newest
            del self._checkpoints_waiting[1]
        segments, checkpoints = _take(self._segments_waiting, size), _take(self._checkpoints_waiting, size)
        return sorted(segments + checkpoints[-1:])

    def _new_checkpoints(self) -> list[Record]:
        """Raises `Unavailable` when retention has passed our place while this process was frozen: of checkpoints, the
        newest is all that a start needs. A topic that ends below our place was cut off, and stays an alarm.
        """
        try:
            return self._checkpoints.read(_AT_ONCE, 0)
        except InputLost as error:
            if start_offset(self._kafka, self._checkpoints_topic) <= self._checkpoints.position():
                raise
            raise Unavailable(f"{error}: older checkpoints are past their retention; starting anew") from error

    def close(self) -> None:
        """Ends both readers."""
        self._segments.close()
        self._checkpoints.close()


def _take(waiting: deque[SignedNote], size: int) -> list[SignedNote]:
    taken = []
    while waiting and waiting[0].size <= size:
        taken.append(waiting.popleft())
    return taken


def _open(topic: str, record: Record, verifier: Verifier, *, ends_segment: bool) -> SignedNote:
    note = record.value or b""
    try:
        checkpoint = open_checkpoint(note, verifier)
        chain_offset = parse_checkpoint_headers(record.headers).chain_offset
    except (BadNote, ValueError) as error:
        raise ChainBroken(
            f"{topic}, offset {record.offset}: not a checkpoint that the chain has signed: {error}"
        ) from error
    return SignedNote(checkpoint.size, ends_segment, checkpoint.root, note, chain_offset, record.offset)


def _open_behind(kafka: KafkaSettings, topic: str, stored: StoredNote | None) -> CommittedReader:
    """A reader behind the stored note, or at the beginning of the topic when the note does not stand there."""
    first, end = start_offset(kafka, topic), end_offset(kafka, topic, committed=True)
    if stored is not None and first <= stored.note_offset < end:
        reader = CommittedReader(kafka, topic, stored.note_offset)
        try:
            records = reader.read(1, _ANSWER_S)
        except (InputLost, Unavailable):
            reader.close()
            raise
        if records and records[0].value == stored.note:
            reader.seek(records[0].offset + 1)
            return reader
        reader.close()
    return CommittedReader(kafka, topic, first)
