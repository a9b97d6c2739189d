"""Verifies a chain in Kafka: its topic against every signed note, and its input topics against the chain's account.

What the chain says about its input (sealed as it came, refused, repeated, empty) is a claim. While the input topics
still hold the records, each is decided again (`inputs.py`). Reads only, as committed; a crash leaves nothing behind.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta

from sealstream.errors import SealstreamError
from sealstream.events import parse_timestamp
from sealstream.kafka import KafkaSettings, end_offset, read_until_end, start_offset
from sealstream.layout import DEFAULT_PREFIX, ChainTopics, decode_entry, parse_checkpoint_headers, read_retention
from sealstream.layout.archive import DESTROYED_ACTION
from sealstream.layout.chains import RETENTION_EXTENDED
from sealstream.verify.inputs import InputAccount
from sealstream.verify.report import Fault, FaultKind, Report
from sealstream.verify.signed import SignedSize, StoredNote
from sealstream.verify.verification import ONLINE_STALE_AFTER, Examination, Verification

__all__ = ["formerly_online", "verify_kafka"]

_EXTENDED = b'"action":"' + RETENTION_EXTENDED.encode() + b'"'
_DESTROYED = b'"action":"' + DESTROYED_ACTION.encode() + b'"'
_TRIM_GRACE = timedelta(days=1)  # an entry that is just old enough goes with the segment that it stands in


def verify_kafka(
    kafka: KafkaSettings, asked: Verification, *, prefix: str = DEFAULT_PREFIX, online_days: int | None = None
) -> Report:
    """The report on the chain's topics. Raises `Unavailable` and `Misconfigured` when they can't be read at all.

    `online_days`: after how many days the chain's topic may be trimmed; None: never, so its head must be there, unless
    it was trimmed before an extension ended that.
    """
    topics = ChainTopics.of(asked.identity.name, prefix)
    segments = list(_notes(kafka, topics.segments))
    stored = [note for note, _, _ in segments] + [note for note, _, _ in _notes(kafka, topics.checkpoints)]
    examination = Examination(asked, "kafka", stored)
    first_offset = start_offset(kafka, topics.chain)
    at, since_offset = _behind(examination, segments, first_offset, asked)
    first_seq = 0
    if at is not None:
        first_offset = since_offset
    elif first_offset > 0:
        first_seq, online_days = _trimmed_to(kafka, topics.chain, first_offset, asked, online_days)
    destroyed = 0
    if at is None and first_offset > 0 and not first_seq:
        first_seq = destroyed = _destroyed_to(kafka, topics.chain, first_offset)
    account = InputAccount(kafka, topics, from_the_start=at is None and first_offset == 0)
    try:
        examination.begin(
            lambda offset: f"{topics.chain} offset {offset}", at=at, first_seq=first_seq, each=account.entry
        )
        end = end_offset(kafka, topics.chain, committed=True)
        for batch in read_until_end(kafka, topics.chain, first_offset):
            examination.add([record.value or b"" for record in batch], [record.offset for record in batch])
            asked.progress(examination.report.entries, max(end - first_offset, 1))
        examination.history.faults += account.finish()
    finally:
        account.close()
    if destroyed:
        gone, by = examination.history.destroyed_before(destroyed, examination.first_link)
        if by is not None:
            examination.report.notes.append(
                f"destroyed as sealed: entries up to {gone - 1} are nowhere any more (entry {by.seq} says so)"
            )
        if gone < destroyed:
            detail = f"begins with entry {destroyed}, and nothing signed says that those before it are gone"
            examination.history.faults.append(Fault(FaultKind.MISSING, topics.chain, detail, gone, destroyed - 1))
    elif first_seq:
        examination.report.notes.append(
            f"the topic begins with entry {first_seq}: older ones were trimmed, as they may be after {online_days} "
            "days; verify them in the archive"
        )
    examination.report.notes += account.notes
    return examination.finish(stale_after=ONLINE_STALE_AFTER, assurance="self-signed")


def _trimmed_to(
    kafka: KafkaSettings, topic: str, start: int, asked: Verification, online_days: int | None
) -> tuple[int, int | None]:
    """The seq that a rightly trimmed topic begins with, and after how many days; 0 where nothing may have been trimmed:
    then it is missing.
    """
    as_of = asked.now
    if online_days is None:
        online_days, as_of = formerly_online(kafka, topic, start, asked.now)
    if online_days is None:
        return 0, None
    for batch in read_until_end(kafka, topic, start):
        try:
            written = decode_entry(batch[0].value or b"").written
            youngest_trimmed = as_of - parse_timestamp(written.sequenced_at)
        except SealstreamError:
            return 0, None
        rightly = youngest_trimmed >= timedelta(days=online_days) - _TRIM_GRACE
        return (written.seq, online_days) if rightly else (0, None)
    return 0, None


def _destroyed_to(kafka: KafkaSettings, topic: str, start: int) -> int:
    """The seq that the topic begins with, if any record speaks of destruction: it was restored from an archive whose
    beginning was destroyed at its end. Whether that holds is found when everything was walked; 0: none does.
    """
    first = -1
    for batch in read_until_end(kafka, topic, start):
        try:
            first = decode_entry(batch[0].value or b"").written.seq if first < 0 else first
        except SealstreamError:
            return 0
        if any(_DESTROYED in (record.value or b"") for record in batch):
            return first
    return 0


def formerly_online(kafka: KafkaSettings, topic: str, start: int, now: datetime) -> tuple[int | None, datetime]:
    """After how many days, and until when, the topic was trimmed before that was ended by an extension. What is read
    here is verified with everything else afterwards.
    """
    for batch in read_until_end(kafka, topic, start):
        for record in batch:
            if _EXTENDED in (record.value or b""):
                try:
                    entry = decode_entry(record.value or b"")
                    before = read_retention((entry.metadata or {}).get("from") or {})
                    if entry.written.kind == "control" and before.online_days is not None:
                        return before.online_days, parse_timestamp(entry.written.sequenced_at)
                except SealstreamError:
                    continue
    return None, now


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


def _behind(
    examination: Examination, segments: list[tuple[StoredNote, int, int]], start: int, asked: Verification
) -> tuple[SignedSize | None, int]:
    """The signed segment end to begin behind for `since`, and its offset; None to begin where the topic does."""
    if asked.since is None:
        return None, start
    since_ms = asked.since.timestamp() * 1000
    by_note = {signed.note: signed for signed in examination.sizes if signed.compact_range is not None}
    earlier = [
        (by_note[note.note], offset)
        for note, offset, written_ms in segments
        if note.note in by_note and offset >= start and written_ms <= since_ms
    ]
    return earlier[-1] if earlier else (None, start)
