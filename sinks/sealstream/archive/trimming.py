"""Trims a chain's topics of what is archived: `raw` and `control` after 7 days, `chain` after its online time.

Deleting the last other copy needs more than a statement's word: each segment is looked at first, its object read
whole, every entry met by the signed root, its lock checked. Segments go in order and without a gap, from one that
begins in what is trimmed already; where the archive lacks one, trimming ends before it, unless the chain has sealed
that it was destroyed when its time there was over. The invariant: a record is deleted only when everything up to it was
seen in the bucket in this very life, or is destroyed as sealed. A crash leaves a topic trimmed less far; the next life
finds from the topic itself where to go on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from sealstream.archive.bucket import Bucket
from sealstream.archive.checking import ends
from sealstream.archive.columns import ColumnMaker
from sealstream.archive.destroyed import Destroyed
from sealstream.archive.folding import instant
from sealstream.archive.holdings import Holding, look
from sealstream.archive.segments import find_segment
from sealstream.errors import Forked, InputLost, Misconfigured, Unavailable
from sealstream.events import parse_timestamp
from sealstream.kafka import (
    CommittedReader,
    KafkaSettings,
    Record,
    last_record,
    record_before,
    start_offset,
    trim,
)
from sealstream.layout import ChainSettings, ChainTopics, decode_entry
from sealstream.layout.archive import MANIFESTS, SegmentName, archive_prefix, parse_archive_key
from sealstream.layout.holds import Hold
from sealstream.sealing import Sealed, Written, read_written, split_sealed

__all__ = ["INPUT_DAYS", "KEPT_ENTRIES", "Trimmer"]

INPUT_DAYS = 7
KEPT_ENTRIES = 200_000
"""The newest entries stay in `audit.chain.C` whatever their age: the sequencer remembers repeats from them."""
_MARGIN = timedelta(minutes=10)
_WAIT_S = 5.0
_ATTEMPTS = 3


class _Listed(NamedTuple):
    name: SegmentName
    manifest_version: str


class Trimmer:
    """`step(archived)` looks at one segment and trims what it frees; False: nothing (more) to do now.

    `archived`: the chain's size up to which segments are archived and their statements sealed. `holds()`: the legal
    holds that stand, asked anew before each segment goes: the chain's topic is not trimmed of what one covers, nor of
    what came after it. Raises `Forked` when the bucket does not hold what it should: then nothing is trimmed.
    """

    def __init__(
        self,
        kafka: KafkaSettings,
        chain: ChainSettings,
        bucket: Bucket,
        maker: ColumnMaker,
        *,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        input_days: int = INPUT_DAYS,
        kept_entries: int = KEPT_ENTRIES,
    ) -> None:
        self._kafka = kafka
        self._chain = chain
        self._topics = ChainTopics.of(chain.name, chain.prefix)
        self._bucket = bucket
        self._maker = maker
        self._clock = clock
        self._input_age = timedelta(days=input_days)
        self._kept_entries = kept_entries
        self._inputs_done: SegmentName | None = None
        self._chain_done: SegmentName | None = None
        self._holds: Callable[[], tuple[Hold, ...]] = tuple
        self._work: Iterator[None] | None = None

    def step(self, archived: int, holds: Callable[[], tuple[Hold, ...]] = tuple) -> bool:
        """One segment's worth. `archived` counts when a round begins."""
        self._holds = holds
        if self._work is None:
            self._work = self._round(archived)
        for _ in self._work:
            return True
        self._work = None
        return False

    def close(self) -> None:
        """Gives up the round that is going on."""
        self._work = None

    def _round(self, archived: int) -> Iterator[None]:
        yield from self._trim_inputs(archived)
        if self._chain.retention.online_days is not None:
            yield from self._trim_chain(archived, timedelta(days=self._chain.retention.online_days))

    # Inputs

    def _trim_inputs(self, archived: int) -> Iterator[None]:
        inputs = (self._topics.raw, self._topics.control)
        oldest = [record for topic in inputs if (record := self._first(topic)) is not None]
        before = self._clock() - self._input_age
        if not oldest or all(_received(record) > before for record in oldest):
            return
        since = min(map(_received, oldest))
        for holding in self._walk(since, archived, before, self._inputs_done, self._begins_in_trimmed_inputs):
            last = read_written(ends(holding.data).last.body)
            self._trim_input(self._topics.raw, last.raw_offset, holding)
            self._trim_input(self._topics.control, last.control_offset, holding)
            self._inputs_done = holding.name
            yield

    def _trim_input(self, topic: str, offset: int, holding: Holding) -> None:
        """Trims up to `offset`, which the segment accounts for, unless the topic is not the one that it speaks of."""
        if start_offset(self._kafka, topic) > offset:
            return
        last = record_before(self._kafka, topic, offset + 1)
        # In a topic that was recreated since, what has this offset came after the segment had ended.
        if last is not None and _received(last) <= instant(holding.fold.last_us) + _MARGIN:
            trim(self._kafka, topic, last.offset + 1)

    def _begins_in_trimmed_inputs(self, holding: Holding) -> bool:
        """Whether everything that earlier segments account for is gone from both inputs already."""
        raw, control = _offsets_before(ends(holding.data).first)
        return (
            start_offset(self._kafka, self._topics.raw) > raw
            and start_offset(self._kafka, self._topics.control) > control
        )

    # Chain

    def _trim_chain(self, archived: int, online: timedelta) -> Iterator[None]:
        topic = self._topics.chain
        newest, oldest = last_record(self._kafka, topic), self._first(topic)
        if newest is None or oldest is None:
            return
        kept_from = _written(newest).seq + 1 - self._kept_entries
        first = _written(oldest)
        since = parse_timestamp(first.sequenced_at)

        def begins(holding: Holding) -> bool:
            return holding.name.first_seq <= first.seq

        # The last archived segment stays: checkpointing starts by reading the last signed one again.
        upto = min(archived - 1, kept_from)
        destroyed = Destroyed(self._kafka, self._chain, first, self._clock)
        for holding in self._walk(since, upto, self._clock() - online, self._chain_done, begins, destroyed):
            segment = find_segment(self._kafka, self._chain, holding.name.last_seq)
            if segment is None or segment.signed != holding.signed:
                raise Forked(f"{self._topics.segments} has no segment {holding.name.decimal} as it is archived")
            if segment.chain_offset > start_offset(self._kafka, topic):
                follower = self._first(topic, segment.chain_offset)  # there is one: the newest entries are kept
                further = start_offset(self._kafka, topic) > segment.chain_offset  # another sink was quicker
                if not further and (follower is None or _written(follower).seq != holding.name.last_seq + 1):
                    raise Forked(
                        f"{topic}, offset {segment.chain_offset}: expected entry {holding.name.last_seq + 1}, as "
                        f"{self._topics.segments} says of the segment {holding.name.decimal}"
                    )
                # Last of all, since looking has taken a while; and of all that goes, also of what the archive lacks.
                if any(hold.covers_any(first.sequenced_at[:10], holding.name.date) for hold in self._holds()):
                    return
                trim(self._kafka, topic, segment.chain_offset)
            self._chain_done = holding.name
            yield

    # Both

    def _walk(
        self,
        since: datetime,
        archived: int,
        before: datetime,
        done: SegmentName | None,
        begins: Callable[[Holding], bool],
        destroyed: Destroyed | None = None,
    ) -> Iterator[Holding]:
        """Segments in order and without a gap that ended by `before`, each looked at just now.

        They follow `done`, or start with the last that `begins` in what is trimmed, or with the first behind all that
        is `destroyed`. The first of the day in which the oldest record that is held came in (`since`) does; the later
        ones are told apart by bisection.
        """
        if done is not None:
            listed = self._listed(archived, before, done.manifest_key)
            next_seq = done.last_seq + 1
            if destroyed is not None and listed and listed[0].name.first_seq != next_seq:
                listed = [item for item in listed if not destroyed.names(item.name)]
                if listed and destroyed.up_to(listed[0].name.first_seq):
                    next_seq = listed[0].name.first_seq
        else:
            day = (since - _MARGIN).astimezone(UTC).date()
            folder = archive_prefix(MANIFESTS, self._chain.name, day.isoformat())
            listed = self._listed(archived, before, folder) or []
            if listed and not self._begins(listed[0], begins, destroyed):
                listed = self._listed(archived, before)
                if destroyed is not None:
                    listed = [item for item in listed if not destroyed.names(item.name)]
                behind = bool(listed) and destroyed is not None and destroyed.up_to(listed[0].name.first_seq)
                if not listed or not (behind or begins(self._look(listed[0]))):
                    return
            low, high = 0, len(listed)
            while high - low > 1:
                middle = (low + high) // 2
                begun = self._begins(listed[middle], begins, destroyed)
                low, high = (middle, high) if begun else (low, middle)
            listed = listed[low:]
            next_seq = listed[0].name.first_seq if listed else 0
        for item in listed:
            if item.name.first_seq != next_seq:
                return
            try:
                holding = self._look(item)
            except (Forked, Misconfigured):
                if destroyed is None or not destroyed.names(item.name):
                    raise
                self._chain_done = None  # meanwhile: the next round looks anew where the archive begins
                return
            if instant(holding.fold.last_us) > before:
                return
            yield holding
            next_seq = item.name.last_seq + 1

    def _begins(self, item: _Listed, begins: Callable[[Holding], bool], destroyed: Destroyed | None) -> bool:
        try:
            return begins(self._look(item))
        except (Forked, Misconfigured):
            if destroyed is not None and destroyed.names(item.name):
                return False  # its object is gone, and its manifest goes next
            raise

    def _listed(self, archived: int, before: datetime, after: str = "") -> list[_Listed]:
        """The chain's manifests after a key and up to a day, in order, with their oldest version."""
        day = before.astimezone(UTC).date().isoformat()
        listed = []
        for stored in self._bucket.list_stored(archive_prefix(MANIFESTS, self._chain.name), after):
            parsed = parse_archive_key(stored.key)
            if parsed is None or not stored.versions:
                continue
            if parsed[1].date > day or parsed[1].last_seq >= archived:
                break
            listed.append(_Listed(parsed[1], stored.versions[0].version_id or ""))
        return listed

    def _look(self, item: _Listed) -> Holding:
        return look(self._bucket, self._chain, item.name, item.manifest_version, self._maker)

    def _first(self, topic: str, offset: int = 0) -> Record | None:
        """The first record that the topic has from `offset` on; None when there is none."""
        for attempt in range(_ATTEMPTS):
            begin = max(offset, start_offset(self._kafka, topic))
            newest = last_record(self._kafka, topic)
            if newest is None or newest.offset < begin:
                return None
            try:
                with CommittedReader(self._kafka, topic, begin) as reader:
                    records = reader.read(1, _WAIT_S)
            except InputLost as error:  # another sink has trimmed it just now
                if attempt == _ATTEMPTS - 1:
                    raise Unavailable(f"{topic} is being trimmed by another sink: {error}") from error
                continue
            if not records:
                raise Unavailable(f"{topic}: no record from offset {begin} in {_WAIT_S:.0f} s, though there are some")
            return records[0]
        raise AssertionError("unreachable")


def _written(record: Record) -> Written:
    return read_written(split_sealed(record.value or b"").body)


def _received(record: Record) -> datetime:
    return instant(record.timestamp_ms * 1000)


def _offsets_before(first: Sealed) -> tuple[int, int]:
    """The raw and control offsets up to which the entries before this one account."""
    written = read_written(first.body)
    raw, control = written.raw_offset, written.control_offset
    if written.kind == "event":
        return raw - 1, control
    if written.kind == "control":
        return raw, control - 1
    entry = decode_entry(first.body)
    if entry.action == "input.passed" and entry.metadata:
        passed = int(entry.metadata["items"][0]["first"])
        return (passed - 1, control) if entry.metadata["topic"] == "raw" else (raw, passed - 1)
    return raw, control
