"""A whole chain in all three stores, made in seconds: sealed here, with any times, archived by the sink's own putting.

No sequencer runs: entries are sealed and notes signed as the processes do it, so a chain may span months and reach a
million entries. What is made holds under `sealstream verify` in every store.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from hashlib import sha256
from typing import NamedTuple

from confluent_kafka import Producer

from sealstream.archive import ArchiveSettings, Bucket, ColumnMaker, ObjectBuilder, Start
from sealstream.archive.putting import Putting
from sealstream.archive.segments import Segment
from sealstream.archive.statements import ArchivedStatement
from sealstream.events import format_timestamp, log_statement
from sealstream.kafka import KafkaSettings
from sealstream.layout import (
    ChainSettings,
    ChainTopics,
    CheckpointHeaders,
    checkpoint_headers,
    retention_members,
)
from sealstream.layout.archive import SegmentName
from sealstream.layout.segments import SegmentCutter
from sealstream.postgres import PostgresSink
from sealstream.sealing import (
    EMPTY_RANGE,
    Checkpoint,
    Sealed,
    Signer,
    Written,
    canonical_json,
    extend,
    genesis_hash,
    read_written,
    root,
    seal,
    sign_checkpoint,
)

__all__ = ["MadeChain", "fill_postgres"]


class _Ended(NamedTuple):
    first: int
    end: int


class MadeChain:
    """`events` of them, event n at `when(n)`, cut into segments; archived into `bucket` where one is given.

    The last segment stays open, with a checkpoint over everything.
    """

    def __init__(
        self,
        settings: ChainSettings,
        signer: Signer,
        *,
        events: int,
        when: Callable[[int], datetime],
        bucket: ArchiveSettings | None = None,
        filler: str = "",
    ) -> None:
        self.settings = settings
        self._signer = signer
        self._filler = filler
        self.values: list[bytes] = []
        self.hashes: list[bytes] = []
        self.segments: list[_Ended] = []
        self.notes: list[tuple[bytes, CheckpointHeaders]] = []
        self._raw = self._control = -1
        self._received = -1
        self._prev = genesis_hash(settings.origin)
        self._cutter = SegmentCutter(settings.limits)
        self._segment_first = 0
        self._range = EMPTY_RANGE
        self._previous_manifest: bytes | None = None
        self._statement = b""
        self._bucket = Bucket(bucket) if bucket is not None else None
        self._maker = ColumnMaker()
        self._now = format_timestamp(when(0))
        self._created()
        for n in range(events):
            self._now = format_timestamp(when(n))
            self._seal("event", canonical_json(self._event(n)))
        self._note(len(self.values), ends_segment=False)
        self._maker.close()
        if self._bucket is not None:
            self._bucket.close()

    def _created(self) -> None:
        limits = self.settings.limits
        event = log_statement(
            "chain.created",
            id=str(uuid.uuid5(uuid.NAMESPACE_URL, self.settings.origin)),
            timestamp=self._now,
            process="sequencer",
            resource_type="chain",
            resource_id=self.settings.name,
            metadata={
                "origin": self.settings.origin,
                "vkey": self.settings.vkey,
                "nonce": "00" * 32,
                "retention": retention_members(self.settings.retention),
                "segment_entries": limits.entries,
                "segment_bytes": limits.bytes,
                "segment_seconds": limits.seconds,
            },
        )
        self._seal("log", event)

    def _event(self, n: int) -> dict[str, object]:
        return {
            "id": str(uuid.UUID(int=n + 1)),
            "timestamp": self._now,
            "actor_id": f"user-{n % 97}",
            "actor_type": "user",
            "action": "read",
            "resource_type": "patient_record",
            "resource_id": f"patient-{n % 1009}",
            "result": ("success", "success", "denied", "failure")[n % 4],
            "ip_address": "10.0.0.7" if n % 3 else "2001:db8::7",
            "reason": "treatment \u00fc" + self._filler,
        }

    def _seal(self, kind: str, event: bytes) -> None:
        self._raw += kind == "event"
        self._control += kind == "control"
        seq = len(self.values)
        received = None if kind == "log" else self._now
        written = Written(self.settings.name, self._control, kind, self._raw, received, seq, self._now)
        entry = seal(event, written, self._prev)
        cut = self._cutter.add(seq, kind, self._now, len(entry.body))
        if cut.before:
            self._end_segment(seq)
        self._take(entry)
        if cut.with_it:
            self._end_segment(seq + 1)
        if cut.before or cut.with_it:
            self._say()

    def _take(self, entry: Sealed) -> None:
        self._prev = entry.hash
        self.values.append(entry.to_bytes())
        self.hashes.append(entry.hash)

    def _end_segment(self, end: int) -> None:
        first, start = self._segment_first, Start(self._range, self._hash_before(self._segment_first))
        self._range = extend(self._range, self.hashes[first:end])
        self.segments.append(_Ended(first, end))
        self._segment_first = end
        note = self._note(end, ends_segment=True, first=first)
        if self._bucket is None:
            return
        builder = ObjectBuilder(start, self.settings.limits, self._maker)
        try:
            for at in range(first, end, 10_000):
                builder.add(self.values[at : min(at + 10_000, end)])
            data, fold = builder.finish(), builder.fold
        finally:
            builder.close()
        signed = Checkpoint(self.settings.origin, end, root(self._range))
        segment = Segment(0, note, signed, self._range, end, first, end - 1)
        putting = Putting(self._bucket, self.settings, self._maker, lambda: datetime.now(UTC))
        name = SegmentName(self.settings.name, fold.date, first, end - 1)
        kept = putting.put(name, data, fold, segment, start, self._previous_manifest)
        statement = ArchivedStatement(self.settings, kept.manifest, kept.manifest_bytes, kept.manifest_version)
        self._previous_manifest = sha256(kept.manifest_bytes).digest()
        self._statement = statement.event

    def _say(self) -> None:
        if self._statement:
            statement, self._statement = self._statement, b""
            self._seal("control", statement)

    def _hash_before(self, seq: int) -> bytes:
        return self.hashes[seq - 1] if seq else genesis_hash(self.settings.origin)

    def _note(self, size: int, *, ends_segment: bool, first: int | None = None) -> bytes:
        compact_range = self._range if ends_segment else extend(self._range, self.hashes[self._segment_first : size])
        note = sign_checkpoint(Checkpoint(self.settings.origin, size, root(compact_range)), self._signer)
        last = None if first is None else size - 1
        self.notes.append((note, CheckpointHeaders(compact_range.hashes, size, first, last)))
        return note

    @property
    def size(self) -> int:
        """How many entries there are."""
        return len(self.values)

    def archived_size(self) -> int:
        """How many of them are in the archive."""
        return self.segments[-1].end if self.segments else 0

    def month_bounds(self, month: str) -> tuple[int, int]:
        """The first seq of a month (`YYYY-MM`) and the one behind its last."""
        seqs = [
            seq for seq, value in enumerate(self.values) if read_written(value[:-154] + b"}").sequenced_at[:7] == month
        ]
        return seqs[0], seqs[-1] + 1

    def publish(self, kafka: KafkaSettings, prefix: str | None = None) -> ChainTopics:
        """Write the chain and its notes to the topics, in transactions; offsets of entries are their seqs, and more."""
        topics = ChainTopics.of(self.settings.name, prefix or self.settings.prefix)
        producer = Producer(
            {
                "bootstrap.servers": kafka.bootstrap,
                "transactional.id": f"test-{topics.chain}",
                "linger.ms": 5,
                "compression.type": "lz4",
                "queue.buffering.max.messages": 1_000_000,
            }
        )
        producer.init_transactions(30)
        for chunk in _chunks(self.values, 20_000):
            producer.begin_transaction()
            for value in chunk:
                while True:
                    try:
                        producer.produce(topics.chain, value, partition=0)
                        break
                    except BufferError:
                        producer.poll(0.1)
                producer.poll(0)
            producer.commit_transaction(60)
        markers = 20_000
        producer.begin_transaction()
        for note, headers in self.notes:
            shifted = headers._replace(chain_offset=headers.chain_offset + (headers.chain_offset - 1) // markers)
            named = checkpoint_headers(shifted)
            producer.produce(topics.checkpoints, note, headers=named, partition=0)
            if headers.first_seq is not None:
                producer.produce(topics.segments, note, headers=named, partition=0)
        producer.commit_transaction(60)
        return topics


def fill_postgres(kafka: KafkaSettings, settings: ChainSettings, sink_dsn: str) -> None:
    """Store what the topics hold, by the real sink."""
    with PostgresSink(kafka, settings, sink_dsn, wait_s=1.0) as sink:
        while sink.step():
            pass


def _chunks(values: list[bytes], size: int) -> Iterator[list[bytes]]:
    for start in range(0, len(values), size):
        yield values[start : start + size]
