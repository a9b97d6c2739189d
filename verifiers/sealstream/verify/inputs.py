"""Decides again, from the input topics themselves, what the chain says about each of their records.

The chain accounts for every offset of its inputs: sealed, refused, repeated, empty. From the chain alone that is a
claim of whoever ran the sequencer. While the topics still hold the records, this module judges each with the same rules
and its own memory of what was sealed before: an event that had to be sealed and was not is **unaccounted**, an entry
that no record stands behind is **inserted**. Records that were trimmed (once archived) can't be judged any more; a note
says so.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from hashlib import sha256
from typing import Any

from sealstream.errors import ChainBroken, InvalidEvent, Unavailable
from sealstream.events import ValidEvent, validate_control, validate_event
from sealstream.kafka import CommittedReader, KafkaSettings, Record, end_offset, start_offset, topic_ids
from sealstream.layout import ChainTopics, Entry
from sealstream.sealing import Sealed
from sealstream.sequencer.deduplication import Deduplication
from sealstream.sequencer.producers import AsOf
from sealstream.sequencer.replay import Memory
from sealstream.verify.report import Fault, FaultKind

__all__ = ["InputAccount"]

_BATCH = 10_000
_WAIT_S = 0.1
_STANDSTILL_S = 30.0
_ASK_AGAIN_S = 1.0
_WRITTEN = b',"written":{'


class _Topic:
    """An input topic, read forward along with the chain. `at(offset)` gives the record there, or None for none."""

    def __init__(self, kafka: KafkaSettings, topic: str, validate: Callable[[bytes | None], ValidEvent]) -> None:
        self.name = topic
        self.validate = validate
        self.start = start_offset(kafka, topic)
        self.end = end_offset(kafka, topic, committed=True)
        self.judged = -1
        self._end_asked_at = float("-inf")
        self._kafka = kafka
        self._reader: CommittedReader | None = None
        self._buffer: deque[Record] = deque()

    def holds(self, offset: int) -> bool:
        """Whether the topic can still say what was at this offset."""
        if offset >= self.end and time.monotonic() - self._end_asked_at > _ASK_AGAIN_S:
            self.end = end_offset(self._kafka, self.name, committed=True)  # the chain was read on after we had asked
            self._end_asked_at = time.monotonic()
        return self.start <= offset < self.end

    def at(self, offset: int) -> Record | None:
        if self._reader is None:
            self._reader = CommittedReader(self._kafka, self.name, offset)
        elif offset <= self.judged:  # a recreated topic counts anew
            self._reader.seek(offset)
            self._buffer.clear()
        self.judged = offset
        deadline = time.monotonic() + _STANDSTILL_S
        while True:
            while self._buffer and self._buffer[0].offset < offset:
                self._buffer.popleft()
            if self._buffer:
                return self._buffer[0] if self._buffer[0].offset == offset else None
            if self._reader.position() > offset:  # nothing but markers from here to where the reader stands
                return None
            self._buffer.extend(self._reader.read(_BATCH, _WAIT_S))
            if not self._buffer and time.monotonic() > deadline:
                raise Unavailable(f"{self.name}: neither a record nor the end came from offset {offset} on")

    def close(self) -> None:
        if self._reader is not None:
            self._reader.close()


class InputAccount:
    """Hangs at a walk (`entry`); `finish()` gives the faults. `from_the_start`: the walk began with entry 0."""

    def __init__(self, kafka: KafkaSettings, topics: ChainTopics, *, from_the_start: bool) -> None:
        self.notes: list[str] = []
        self._from_the_start = from_the_start
        self._topics = {
            "raw": _Topic(kafka, topics.raw, validate_event),
            "control": _Topic(kafka, topics.control, validate_control),
        }
        self._ids = topic_ids(kafka, [topics.raw, topics.control])
        self._memory = Memory(AsOf(0, "", ""))
        self._faults: dict[str, list[Fault]] = {"raw": [], "control": []}
        self._trimmed = {"raw": 0, "control": 0}
        self._last = {"raw": -1, "control": -1}

    def entry(self, place: int, seq: int, entry: Entry, sealed: Sealed) -> None:
        """The next entry of the chain, its bytes proven to be what was sealed."""
        written = entry.written
        if written.kind == "event":
            self._sealed("raw", written.raw_offset, seq, sealed.body)
        elif written.kind == "control":
            self._sealed("control", written.control_offset, seq, sealed.body)
        elif entry.action == "input.passed":
            self._passed(seq, entry.metadata or {})
        elif entry.action == "input.lost":
            self._lost(seq, entry.metadata or {})
        self._last = {"raw": written.raw_offset, "control": written.control_offset}
        try:
            self._memory.replay(sealed.to_bytes())
        except ChainBroken:  # entries are missing before this one, which is reported: go on with what is known
            self._memory = Memory(AsOf(0, "", ""))
            self._from_the_start = False

    def _sealed(self, topic: str, offset: int, seq: int, body: bytes) -> None:
        source = self._topics[topic]
        if not source.holds(offset):
            self._beyond(topic, offset, seq, "an event that was sealed as")
            return
        record = source.at(offset)
        event = body[: body.rfind(_WRITTEN)] + b"}"
        if record is None:
            self._fault(
                topic, FaultKind.INSERTED, offset, seq, "the chain sealed an event from here, but there is no record"
            )
        elif record.value != event:
            try:
                same = source.validate(record.value).canonical == event
            except InvalidEvent:
                same = False
            if not same:
                detail = "the record here is not the event that the chain sealed from here"
                self._fault(topic, FaultKind.INSERTED, offset, seq, detail)

    def _passed(self, seq: int, metadata: dict[str, Any]) -> None:
        topic = metadata.get("topic")
        if topic not in self._topics:
            return  # against the rules, and reported as that
        for item in metadata.get("items", []):
            try:
                what, first, last = item["what"], int(item["first"]), int(item["last"])
            except (KeyError, TypeError, ValueError):
                continue
            self._item(topic, seq, what, first, last, item)

    def _item(self, topic: str, seq: int, what: str, first: int, last: int, item: dict[str, Any]) -> None:
        source = self._topics[topic]
        memory = self._memory.events if topic == "raw" else self._memory.controls
        digests = sha256()
        whole = True
        for offset in range(first, min(last + 1, max(source.end, first + 1))):
            if not source.holds(offset):
                self._beyond(topic, offset, seq, f"{what} records that are accounted for by")
                whole = False
                continue
            record = source.at(offset)
            if (record is None) != (what == "empty"):
                there = "there is none" if record is None else "there is a record"
                detail = f"the chain says {what}, but {there}"
                self._fault(topic, FaultKind.UNACCOUNTED, offset, seq, detail)
                whole = False
                continue
            if record is None:
                continue
            digests.update(sha256(record.value or b"").digest())
            self._judge(topic, offset, seq, what, item, record, memory)
        if whole and what != "empty" and digests.hexdigest() != item.get("sha256"):
            detail = f"the records {first} to {last} are not those whose SHA-256 the chain has sealed"
            self._fault(topic, FaultKind.UNACCOUNTED, first, seq, detail)

    def _judge(
        self, topic: str, offset: int, seq: int, what: str, item: dict[str, Any], record: Record, memory: Deduplication
    ) -> None:
        try:
            valid = self._topics[topic].validate(record.value)
        except InvalidEvent as error:
            if what == "repeated":
                detail = (
                    f"the chain says that this record repeats another, but it is none that could be sealed: {error}"
                )
                self._fault(topic, FaultKind.UNACCOUNTED, offset, seq, detail)
            return
        about = f"{valid.action} with id {valid.id}"
        if what == "refused":
            detail = (
                f"a valid event was left out of the chain ({about}): the chain says refused, {item.get('reason')!r}, "
                "but nothing is wrong with it"
            )
            self._fault(topic, FaultKind.UNACCOUNTED, offset, seq, detail)
            return
        verdict = memory.judge(valid, sha256(valid.canonical).digest())
        if (verdict is None or verdict.what != "repeat") and self._from_the_start:
            detail = (
                f"an event was left out of the chain ({about}): the chain says repeated, but it was not sealed before"
            )
            self._fault(topic, FaultKind.UNACCOUNTED, offset, seq, detail)

    def _beyond(self, topic: str, offset: int, seq: int, what: str) -> None:
        source = self._topics[topic]
        if offset < source.start:
            self._trimmed[topic] += 1
        else:
            detail = f"the topic ends at {source.end - 1}, before {what} entry {seq}"
            self._fault(topic, FaultKind.ROLLED_BACK, offset, seq, detail)

    def _lost(self, seq: int, metadata: dict[str, Any]) -> None:
        topic = metadata.get("topic")
        if topic in self._faults and metadata.get("old_topic_id") != metadata.get("new_topic_id"):
            self._faults[topic].clear()  # what was judged so far was judged by another topic of the same name
            self.notes.append(
                f"{self._topics[topic].name} was recreated and entry {seq} says so: what was sealed before can't be "
                "decided again"
            )

    def _fault(self, topic: str, kind: FaultKind, offset: int, seq: int, detail: str) -> None:
        place = f"{self._topics[topic].name} offset {offset}"
        self._faults[topic].append(Fault(kind, place, detail, seq, seq))

    def finish(self) -> list[Fault]:
        """The faults, once the chain's end is reached; the notes then say what could not be judged."""
        for topic, source in self._topics.items():
            if self._trimmed[topic]:
                self.notes.append(
                    f"{source.name} begins at offset {source.start}: {self._trimmed[topic]:,} older records were "
                    "trimmed and can't be decided again"
                )
            waiting = source.end - 1 - max(self._last[topic], source.start - 1)
            if waiting > 0:
                self.notes.append(f"{source.name}: {waiting:,} offsets at the end are not yet sealed")
            recorded, actual = self._memory.topic_ids[topic], self._ids.get(source.name, "")
            if recorded and actual and recorded != actual:
                self.notes.append(
                    f"{source.name} is not the topic that the chain has recorded (id {recorded}, now {actual}): "
                    "a copy, or recreated"
                )
        return self._faults["raw"] + self._faults["control"]

    def close(self) -> None:
        """Let go of the readers."""
        for source in self._topics.values():
            source.close()
