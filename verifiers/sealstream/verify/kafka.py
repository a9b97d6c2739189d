"""Verifies a chain in Kafka: its topic against every signed note, and its input topics against the chain's account.

What the chain says about its input (sealed as it came, refused, repeated, empty) is a claim. While the input topics
still hold the records, each is decided again (`inputs.py`). Reads only, as committed; a crash leaves nothing behind.
"""

from __future__ import annotations

from collections.abc import Iterator

from sealstream.kafka import KafkaSettings, end_offset, read_until_end, start_offset
from sealstream.layout import DEFAULT_PREFIX, ChainTopics, parse_checkpoint_headers
from sealstream.verify.inputs import InputAccount
from sealstream.verify.report import Report
from sealstream.verify.signed import SignedSize, StoredNote
from sealstream.verify.verification import ONLINE_STALE_AFTER, Examination, Verification

__all__ = ["verify_kafka"]


def verify_kafka(kafka: KafkaSettings, asked: Verification, *, prefix: str = DEFAULT_PREFIX) -> Report:
    """The report on the chain's topics. Raises `Unavailable` and `Misconfigured` when they can't be read at all."""
    topics = ChainTopics.of(asked.identity.name, prefix)
    segments = list(_notes(kafka, topics.segments))
    stored = [note for note, _, _ in segments] + [note for note, _, _ in _notes(kafka, topics.checkpoints)]
    examination = Examination(asked, "kafka", stored)
    at, first_offset = _where_to_begin(examination, segments, start_offset(kafka, topics.chain), asked)
    account = InputAccount(kafka, topics, from_the_start=at is None)
    try:
        first_seq = examination.begin(lambda offset: f"{topics.chain} offset {offset}", at=at, each=account.entry)
        end = end_offset(kafka, topics.chain, committed=True)
        for batch in read_until_end(kafka, topics.chain, first_offset):
            examination.add([record.value or b"" for record in batch], [record.offset for record in batch])
            asked.progress(examination.report.entries, max(end - first_offset, 1))
        examination.history.faults += account.finish()
    finally:
        account.close()
    if at is not None and asked.since is None:
        examination.report.notes.append(
            f"the topic begins with entry {first_seq}: what came before was trimmed; verify it in the archive"
        )
    examination.report.notes += account.notes
    return examination.finish(stale_after=ONLINE_STALE_AFTER, assurance="self-signed")


def _notes(kafka: KafkaSettings, topic: str) -> Iterator[tuple[StoredNote, int, int]]:
    """Each note with the offset of the entry behind it and the note's own time in ms."""
    for batch in read_until_end(kafka, topic):
        for record in batch:
            place = f"{topic} offset {record.offset}"
            try:
                headers = parse_checkpoint_headers(record.headers)
            except ValueError:
                yield StoredNote(record.value or b"", place), -1, record.timestamp_ms
                continue
            yield (
                StoredNote(record.value or b"", place, headers.compact_range),
                headers.chain_offset,
                record.timestamp_ms,
            )


def _where_to_begin(
    examination: Examination, segments: list[tuple[StoredNote, int, int]], start: int, asked: Verification
) -> tuple[SignedSize | None, int]:
    """The signed segment end to begin behind, and its offset; None and 0 for the chain's first entry."""
    by_note = {signed.note: signed for signed in examination.sizes if signed.compact_range is not None}
    trusted = [
        (by_note[note.note], offset, written_ms)
        for note, offset, written_ms in segments
        if note.note in by_note and offset >= 0
    ]
    chosen: tuple[SignedSize | None, int] = (None, start)
    if asked.since is not None:
        since_ms = asked.since.timestamp() * 1000
        earlier = [(signed, offset) for signed, offset, written_ms in trusted if written_ms <= since_ms]
        if earlier:
            chosen = earlier[-1]
    if start > 0 and (chosen[0] is None or chosen[1] < start):
        behind = [(signed, offset) for signed, offset, _ in trusted if offset >= start]
        if behind:
            chosen = behind[0]
    return chosen
