"""The archive sink: each segment of a chain becomes one locked object, one manifest, one sealed statement.

One `step` takes the next segment from `audit.segments.C`, reads its entries from `audit.chain.C`, checks every hash,
every link and the signed root, and then, in this order:

0. where it sets a legal hold, holds what was put since that was sealed;
1. puts the object, if the bucket has none of that name;
2. puts the manifest, the same way;
3. says `segment.archived` in `audit.control.C`, and goes on once the chain has sealed it.

A crash between any two of them, or an answer that is lost, leaves the earlier ones. The next life finds them: it looks
before and after each put, the oldest version counts, and what it finds is adopted only when its entries are the signed
ones. Two sinks at once do the same to each other. Starting is recovering: the newest manifest that the bucket holds is
looked at, with its object; its statement is said unless the chain has it; the next segment follows. Nothing is kept
elsewhere. The invariant: no manifest before the statement of the segment before is sealed, so the newest manifest is
the only one whose statement may be missing.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import NamedTuple

from sealstream.archive.bucket import Bucket
from sealstream.archive.building import ObjectBuilder, unseal
from sealstream.archive.columns import ColumnMaker
from sealstream.archive.folding import SegmentFold, Start
from sealstream.archive.holding import Heard, hear_holds, hold_put_since
from sealstream.archive.holds_ahead import HoldsAhead
from sealstream.archive.promises import check_newest_holding, check_promises, refuse_shorter
from sealstream.archive.putting import Putting
from sealstream.archive.resuming import newest_holding
from sealstream.archive.segments import Segment, SegmentReader
from sealstream.archive.settings import ArchiveSettings
from sealstream.archive.statements import ArchivedStatement, SealWatch, sealed_already
from sealstream.archive.trimming import Trimmer
from sealstream.errors import ChainBroken, HistoryLost, Misconfigured, NotCanonical, Unavailable
from sealstream.kafka import (
    CommittedReader,
    KafkaSettings,
    Record,
    check_topics,
    end_offset,
    produce,
    start_offset,
)
from sealstream.layout import ChainSettings, ChainTopics, Figures, decode_entry, figures, read_retention
from sealstream.layout.archive import SegmentName
from sealstream.layout.holds import Hold
from sealstream.sealing import (
    EMPTY_RANGE,
    genesis_hash,
    read_written,
    split_sealed,
)

__all__ = ["ArchiveSink"]

_BATCH = 10_000
_AHEAD_KB = 16_384
_ENTRY_WAIT_S = 30.0
_LOOK_S = 0.05  # for a segment that waits, between one that is trimmed and the next
_REMEMBERED_ENTRIES = 250_000
"""Somewhat more than the sequencer remembers repeats for: how far a restart looks for a sealed statement."""


def _now() -> datetime:
    return datetime.now(UTC)


class _Position(NamedTuple):
    """Where the sink stands: behind its last segment."""

    start: Start
    chain_offset: int | None
    manifest_sha256: bytes | None
    holds: tuple[Hold, ...] = ()


class ArchiveSink:
    """Archives one chain. `step()` handles one segment, or one wait of up to `poll_s`; True: it did work.

    `seal_timeout_s`: how long a statement may take to be sealed before the process is built anew and looks again.
    `tally`: counts. `trim_every_s`: how often the topics are trimmed of what is archived and old enough (None: never).
    Raises `Unavailable` (build it anew, later), `Misconfigured`, `ChainStopped` (an alarm: a person must look).
    """

    def __init__(
        self,
        kafka: KafkaSettings,
        chain: ChainSettings,
        settings: ArchiveSettings,
        *,
        clock: Callable[[], datetime] = _now,
        poll_s: float = 0.5,
        seal_timeout_s: float = 600.0,
        trim_every_s: float | None = 3600.0,
        bucket: Bucket | None = None,
        tally: Figures | None = None,
    ) -> None:
        self._kafka = kafka
        self._chain = chain
        self._topics = ChainTopics.of(chain.name, chain.prefix)
        self._bucket = bucket or Bucket(settings)
        self._clock = clock
        self._tally = tally or Figures()
        self._kept: SegmentFold | None = None  # counted when its statement is sealed
        self._poll_s = poll_s
        self._seal_timeout = timedelta(seconds=seal_timeout_s)
        self._trim_every = None if trim_every_s is None else timedelta(seconds=trim_every_s)
        self._trim_at: datetime | None = None
        self._maker = ColumnMaker()
        self._putting = Putting(self._bucket, chain, self._maker, clock)
        self._trimmer = Trimmer(kafka, chain, self._bucket, self._maker, clock=clock)
        self._holds_ahead = HoldsAhead(kafka, self._topics.chain)
        self._position: _Position | None = None
        self._segments: SegmentReader | None = None
        self._entries: CommittedReader | None = None
        self._ahead: deque[Record] = deque()
        self._watch: SealWatch | None = None
        self._said_at = clock()

    @property
    def next_seq(self) -> int:
        """The first entry that is not known to be archived; 0 before the first step."""
        return 0 if self._position is None else self._position.start.compact_range.size

    @property
    def waiting_for(self) -> SegmentName | None:
        """The segment whose statement was said and is not yet seen sealed."""
        return None if self._watch is None else self._watch.statement.segment

    def step(self) -> bool:
        """One segment, one look for a sealed statement, or one segment's trimming, for which there is time when no
        segment waits.
        """
        if self._position is None or self._segments is None:
            self._recover()
            return True
        if self._watch is not None:
            return self._await_seal(self._watch)
        segment = self._segments.next(_LOOK_S if self._trim_is_due() else self._poll_s)
        if segment is None:
            return self._trim_is_due() and self._trim()
        self._archive(segment, self._position)
        return True

    def close(self) -> None:
        """Ends every connection. What was put stays put."""
        for part in (self._segments, self._entries, self._watch):
            if part is not None:
                part.close()
        self._segments = self._entries = self._watch = None
        self._trimmer.close()
        self._maker.close()
        self._bucket.close()

    # Starting

    def _recover(self) -> None:
        """Finds the newest segment that the bucket holds, and everything's place behind it."""
        topics = self._topics
        used = (topics.raw, topics.control, topics.chain, topics.segments)  # its user need not see the others
        check_topics(self._kafka, [each for each in topics.configs() if each.name in used])
        self._bucket.check()
        found = newest_holding(self._kafka, self._chain, self._bucket, self._maker)
        if found is None:
            self._segments = self._segments or SegmentReader(self._kafka, self._chain, None)
            self._position = _Position(Start(EMPTY_RANGE, genesis_hash(self._chain.origin)), None, None)
            self._tally.set(figures.NEXT_OFFSET, 0, self._chain.name)
            return
        segment, holding = found
        check_newest_holding(self._kafka, self._chain, holding)
        statement = ArchivedStatement(
            self._chain,
            holding.manifest,
            holding.manifest_bytes,
            holding.manifest_version,
            replayed=self._bucket.settings.replayed,
        )
        if not sealed_already(self._kafka, self._chain, statement, segment.chain_offset, _REMEMBERED_ENTRIES):
            self._say(statement)
        self._segments = SegmentReader(self._kafka, self._chain, segment)
        self._position = _Position(
            holding.fold.end, segment.chain_offset, holding.manifest_sha256, holding.manifest.holds
        )
        self._reached(holding.fold, segment.chain_offset)

    # One segment

    def _archive(self, segment: Segment, position: _Position) -> None:
        """Object, manifest, statement. Every line can be the last one of this life."""
        builder = ObjectBuilder(position.start, self._chain.limits, self._maker)
        heard = Heard(position.holds, None)
        try:
            for values in self._read_entries(segment, position):
                check_promises(self._chain, values)
                heard = hear_holds(heard, values)
                builder.add(values)
            data = builder.finish()
            fold = builder.fold
        finally:
            builder.close()
        fold.check_root(segment.signed)
        self._check_end(segment, fold)
        name = SegmentName(self._chain.name, fold.date, segment.first_seq, segment.last_seq)
        if heard.set_at is not None:  # before the manifest, which a next life goes on behind
            hold_put_since(self._bucket, self._chain.name, heard.holds, heard.set_at)
        kept = self._putting.put(name, data, fold, segment, position.start, position.manifest_sha256, heard.holds)
        self._say(ArchivedStatement(self._chain, kept.manifest, kept.manifest_bytes, kept.manifest_version))
        self._position = _Position(fold.end, segment.chain_offset, sha256(kept.manifest_bytes).digest(), heard.holds)
        self._kept = fold

    def _read_entries(self, segment: Segment, position: _Position) -> Iterator[list[bytes]]:
        """The segment's sealed entries, from where the segment before ended."""
        if self._entries is None:
            begin = start_offset(self._kafka, self._topics.chain)
            offset = begin if position.chain_offset is None else position.chain_offset
            self._entries = CommittedReader(self._kafka, self._topics.chain, offset, ahead_kb=_AHEAD_KB)
        missing = segment.last_seq - segment.first_seq + 1
        if not self._ahead:
            self._ahead.extend(self._more_entries(segment))
        self._check_first(segment, self._ahead[0].value or b"")
        while missing:
            if not self._ahead:
                self._ahead.extend(self._more_entries(segment))
            taken = [self._ahead.popleft().value or b"" for _ in range(min(missing, len(self._ahead)))]
            missing -= len(taken)
            yield taken

    def _more_entries(self, segment: Segment) -> list[Record]:
        assert self._entries is not None
        records = self._entries.read(_BATCH, _ENTRY_WAIT_S)
        if not records:
            raise Unavailable(
                f"{self._topics.chain}: the entries up to {segment.last_seq} are signed, but none came in "
                f"{_ENTRY_WAIT_S:.0f} s from offset {self._entries.position()}"
            )
        return records

    def _check_end(self, segment: Segment, fold: SegmentFold) -> None:
        """Raises `ChainBroken` unless the segment ends here by the chain's limits, or the next entry is of another day.

        The headers that say where segments end are not signed: any signed size could be passed off as a segment's.
        """
        if fold.ends_by_limits():
            return
        if not self._ahead:
            self._ahead.extend(self._more_entries(segment))
        follower = self._ahead[0].value or b""
        (body,), _ = unseal([follower], fold.last_hash, segment.last_seq + 1)
        if read_written(body).sequenced_at[:10] == fold.date:
            raise ChainBroken(
                f"{self._topics.segments}, offset {segment.offset}: entry {segment.last_seq} does not end a segment"
            )

    def _check_first(self, segment: Segment, value: bytes) -> None:
        """Says in words what the seals would only deny: a trimmed chain, a chain made with other settings."""
        try:
            sealed = split_sealed(value)
            seq = read_written(sealed.body).seq
        except NotCanonical:
            return
        if seq > segment.first_seq:
            raise HistoryLost(
                f"{self._topics.chain} goes on with entry {seq}, but {segment.first_seq} comes next for the archive: "
                "the topic was trimmed or recreated before its entries were archived"
            )
        if seq == 0:
            created = decode_entry(sealed.body).metadata or {}
            limits = self._chain.limits
            for member, ours in (
                ("origin", self._chain.origin),
                ("vkey", self._chain.vkey),
                ("segment_entries", limits.entries),
                ("segment_bytes", limits.bytes),
                ("segment_seconds", limits.seconds),
            ):
                if created.get(member) != ours:
                    raise Misconfigured(
                        f"chain {self._chain.name} was created with {member} {created.get(member)!r}, but the settings "
                        f"say {ours!r}; set them to what entry 0 says"
                    )
            with suppress(NotCanonical):  # more than 100 years: no promise
                refuse_shorter(self._chain, read_retention(created.get("retention") or {}), "entry 0")

    # The statement

    def _say(self, statement: ArchivedStatement) -> None:
        """Sends it, and watches the chain from before it was sent."""
        offset = end_offset(self._kafka, self._topics.chain, committed=True)
        produce(self._kafka, self._topics.control, [statement.event], repeatable=True)
        self._watch = SealWatch(self._kafka, self._chain, statement, offset)
        self._said_at = self._clock()

    def _await_seal(self, watch: SealWatch) -> bool:
        if watch.sealed(self._poll_s):
            watch.close()
            self._watch = None
            self._count_kept()
            return True
        if self._clock() - self._said_at > self._seal_timeout:
            raise Unavailable(
                f"segment.archived of {watch.statement.segment.decimal} was not sealed in "
                f"{self._seal_timeout.total_seconds():.0f} s: is the sequencer of {self._chain.name} running?"
            )
        return False

    def _count_kept(self) -> None:
        kept, self._kept = self._kept, None
        if kept is not None and self._position is not None:
            self._tally.add(figures.BATCHES, 1, self._chain.name)
            self._tally.add(figures.ARCHIVED_SEGMENTS, 1, self._chain.name)
            self._tally.add(figures.ENTRIES, kept.rows, self._chain.name)
            self._reached(kept, self._position.chain_offset or 0)

    def _reached(self, fold: SegmentFold, next_offset: int) -> None:
        self._tally.set(figures.NEXT_OFFSET, next_offset, self._chain.name)
        self._tally.set(figures.LAST_SEQ, fold.compact_range.size - 1, self._chain.name)
        self._tally.set(figures.LAST_TIME, fold.last_us / 1e6, self._chain.name)

    # Trimming

    def _trim_is_due(self) -> bool:
        return self._trim_every is not None and (self._trim_at is None or self._clock() >= self._trim_at)

    def _trim(self) -> bool:
        """Trims one segment's worth of topics. True: there may be more to trim."""
        assert self._position is not None
        assert self._trim_every is not None
        if self._trimmer.step(self._position.start.compact_range.size, self._standing_holds):
            return True
        self._trim_at = self._clock() + self._trim_every
        return False

    def _standing_holds(self) -> tuple[Hold, ...]:
        """Every hold that the chain has sealed up to now, and that the archive does not hold the lifting of."""
        assert self._position is not None
        return self._holds_ahead.standing(self._position.holds, self._position.chain_offset or 0)
