"""Chains for the archive's tests: sealed, cut and signed here with the same pure functions as the real processes."""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Any

import pytest
from tests.markers import wait_for_markers

from sealstream.archive import (
    ArchiveSettings,
    ArchiveSink,
    ArchiveStore,
    Bucket,
    ColumnMaker,
    ObjectBuilder,
    Start,
    StoredSegment,
    init_bucket,
    read_rows,
)
from sealstream.events import canonical_event, format_timestamp, log_statement
from sealstream.kafka import KafkaSettings, TransactionalProducer, create_topics, read_until_end, start_offset
from sealstream.layout import (
    ChainSettings,
    ChainTopics,
    CheckpointHeaders,
    Retention,
    SegmentCutter,
    SegmentLimits,
    checkpoint_headers,
    decode_entry,
    retention_members,
)
from sealstream.layout.manifests import Manifest, parse_manifest
from sealstream.sealing import (
    EMPTY_RANGE,
    Checkpoint,
    CompactRange,
    Sealed,
    Written,
    extend,
    genesis_hash,
    new_signing_key,
    root,
    seal,
    sign_checkpoint,
    signer,
)

FIXED_KEY = "PRIVATE+KEY+audit.example.com/clinic/main+5f0c3bff+AYTSvsbYCpCg0Xw0GXS3v5N6IXwuSLUcz36g4gx3kJte"
MAKER = ColumnMaker()
TWENTY = SegmentLimits(entries=20)
A_YEAR = Retention("soc2", archive_days=366)
BEGIN = datetime(2026, 11, 24, 3, 0, tzinfo=UTC)


@dataclass
class MadeSegment:
    """A segment of a made chain: its entries, its signed note, and the ranges around it."""

    first_seq: int
    entries: list[Sealed]
    start: Start
    note: bytes
    signed: Checkpoint
    compact_range: CompactRange

    @property
    def last_seq(self) -> int:
        return self.first_seq + len(self.entries) - 1

    @property
    def values(self) -> list[bytes]:
        return [entry.to_bytes() for entry in self.entries]

    def headers(self, chain_offset: int) -> list[tuple[str, bytes]]:
        return checkpoint_headers(
            CheckpointHeaders(self.compact_range.hashes, chain_offset, self.first_seq, self.last_seq)
        )


@dataclass
class MadeChain:
    """A chain in memory, made entry by entry; everything in it follows from its name and seed."""

    name: str = "main"
    limits: SegmentLimits = TWENTY
    retention: Retention = A_YEAR
    prefix: str = "audit"
    at: datetime = BEGIN
    skey: str = ""
    entries: list[Sealed] = field(default_factory=list)
    segments: list[MadeSegment] = field(default_factory=list)
    raw_offset: int = -1
    control_offset: int = -1

    def __post_init__(self) -> None:
        self.log = "audit.example.com/clinic"
        self.signer = signer(self.skey or new_signing_key(f"{self.log}/{self.name}"))
        self.cutter = SegmentCutter(self.limits)
        self.range = EMPTY_RANGE
        self.open: list[Sealed] = []
        self.start = Start(EMPTY_RANGE, genesis_hash(self.origin))
        self.settings = ChainSettings(
            self.name, self.log, self.signer.vkey, self.retention, self.limits, prefix=self.prefix
        )
        self.log_entry(
            "chain.created",
            {
                "origin": self.origin,
                "vkey": self.signer.vkey,
                "nonce": "5e" * 32,
                "retention": retention_members(self.retention),
                "segment_entries": self.limits.entries,
                "segment_bytes": self.limits.bytes,
                "segment_seconds": self.limits.seconds,
            },
        )

    @property
    def origin(self) -> str:
        return f"{self.log}/{self.name}"

    def event(self, after_s: float = 0.01, **fields: Any) -> Sealed:
        """One more event, `after_s` after the entry before."""
        self.at += timedelta(seconds=after_s)
        seq = len(self.entries)
        made = {
            "id": f"01939e2c-0000-7000-8000-{seq:012x}",
            "timestamp": format_timestamp(self.at - timedelta(milliseconds=40)),
            "actor_id": f"user-{seq % 7}",
            "actor_type": "user",
            "action": ("read", "write", "login")[seq % 3],
            "resource_type": "patient",
            "resource_id": f"patient-{seq % 5}",
            "result": "denied" if seq % 11 == 0 else "success",
            "ip_address": f"10.0.0.{seq % 250}",
            "metadata": {"http_status": 200, "note": 'Zoë’s "chart"\n\x01'},
            **fields,
        }
        return self._seal("event", canonical_event(made))

    def events(self, number: int, after_s: float = 0.01) -> None:
        for _ in range(number):
            self.event(after_s)

    def log_entry(self, action: str, metadata: dict[str, Any] | None = None, after_s: float = 0.01) -> Sealed:
        self.at += timedelta(seconds=after_s)
        event = log_statement(
            action,
            id=f"01939e2c-0000-7000-8000-{len(self.entries):012x}",
            timestamp=format_timestamp(self.at),
            process="sequencer",
            resource_type="chain",
            resource_id=self.name,
            metadata=metadata,
        )
        return self._seal("log", event)

    def control(self, event: bytes, after_s: float = 0.01) -> Sealed:
        """Seals what a process has said in the control topic."""
        self.at += timedelta(seconds=after_s)
        return self._seal("control", event)

    def _seal(self, kind: str, event: bytes) -> Sealed:
        self.raw_offset += kind == "event"
        self.control_offset += kind == "control"
        seq, time = len(self.entries), format_timestamp(self.at)
        received = None if kind == "log" else time
        written = Written(self.name, self.control_offset, kind, self.raw_offset, received, seq, time)
        entry = seal(event, written, self.entries[-1].hash if self.entries else genesis_hash(self.origin))
        cut = self.cutter.add(seq, kind, time, len(entry.body))
        if cut.before:
            self._end_segment()
        self.entries.append(entry)
        self.open.append(entry)
        if cut.with_it:
            self._end_segment()
        return entry

    def _end_segment(self) -> None:
        self.range = extend(self.range, [entry.hash for entry in self.open])
        signed = Checkpoint(self.origin, self.range.size, root(self.range))
        first_seq = self.start.compact_range.size
        note = sign_checkpoint(signed, self.signer)
        self.segments.append(MadeSegment(first_seq, self.open, self.start, note, signed, self.range))
        last = self.open[-1]
        self.start = Start(self.range, last.hash)
        self.open = []


def build(chain: MadeChain, segment: MadeSegment) -> bytes:
    """The Parquet object of a made segment."""
    builder = ObjectBuilder(segment.start, chain.limits, MAKER)
    try:
        builder.add(segment.values)
        return builder.finish()
    finally:
        builder.close()


@pytest.fixture
def make_chain():
    """MadeChain itself, for tests that need their own limits."""
    return MadeChain


@pytest.fixture
def build_object():
    return build


@pytest.fixture
def made_chain() -> MadeChain:
    """A chain of three segments of 20 entries and an open one."""
    chain = MadeChain()
    chain.events(64)
    return chain


@pytest.fixture
def fixed_chain() -> MadeChain:
    """The chain whose first segment lies in `data/`, written by other versions of pyarrow; its key is no secret."""
    chain = MadeChain(limits=SegmentLimits(entries=60), skey=FIXED_KEY)
    chain.events(70)
    return chain


class Stage:
    """A made chain in Kafka and a bucket of its own: what an archive sink finds, and what it leaves."""

    def __init__(self, kafka: KafkaSettings, archive_settings: ArchiveSettings, chain: MadeChain) -> None:
        self.kafka = kafka
        self.chain = chain
        self.bucket_settings = archive_settings
        self.topics = ChainTopics.of(chain.name, chain.prefix)
        self.published = 0
        self.listed = 0
        self.offsets: dict[int, int] = {}
        self.said: list[bytes] = []
        self.controls_read = 0
        self.controls_sealed = 0
        create_topics(kafka, self.topics.configs())
        init_bucket(archive_settings, chain.retention)
        self.bucket = Bucket(archive_settings)
        self.producer = TransactionalProducer(kafka, f"stage-{chain.prefix}")
        self.producer.open()

    def use_another_bucket(self) -> None:
        """Leaves the bucket for an empty one."""
        self.bucket.close()
        self.bucket_settings = self.bucket_settings._replace(bucket=self.bucket_settings.bucket + "-2")
        init_bucket(self.bucket_settings, self.chain.retention)
        self.bucket = Bucket(self.bucket_settings)

    def publish(self) -> None:
        """Writes what is new in the chain as the sequencer does, and its segments as checkpointing does."""
        fresh = self.chain.entries[self.published :]
        if fresh:
            self.producer.begin()
            for entry in fresh:
                self.producer.produce(self.topics.chain, entry.to_bytes())
            self.producer.commit()
            first, last = self.producer.delivered()[self.topics.chain]
            assert last - first == len(fresh) - 1
            for offset in range(first, last + 1):
                self.offsets[len(self.offsets)] = offset
            wait_for_markers(self.kafka, self.topics.chain)
            self.published = len(self.chain.entries)
        self.list_segments()

    def list_segments(self) -> None:
        for segment in self.chain.segments[self.listed :]:
            self.producer.begin()
            headers = segment.headers(self.offsets[segment.last_seq] + 1)
            self.producer.produce(self.topics.segments, segment.note, headers=headers)
            self.producer.commit()
        wait_for_markers(self.kafka, self.topics.segments)
        self.listed = len(self.chain.segments)

    def controls(self) -> list[bytes]:
        """Everything that was ever said in the control topic, also what was trimmed since."""
        start = start_offset(self.kafka, self.topics.control)
        for records in read_until_end(self.kafka, self.topics.control, max(start, self.controls_read)):
            self.said += [record.value or b"" for record in records]
            self.controls_read = records[-1].offset + 1
        return self.said

    def seal_controls(self) -> int:
        """Plays the sequencer: seals what is new in the control topic, repeats left out. How many it sealed."""
        sealed = 0
        said = self.controls()
        for index in range(self.controls_sealed, len(said)):
            if said[index] not in said[:index]:
                self.chain.control(said[index])
                sealed += 1
        self.controls_sealed = len(said)
        self.publish()
        return sealed

    def sink(self, **options: Any) -> ArchiveSink:
        options = {"poll_s": 0.1, "trim_every_s": None, **options}
        return ArchiveSink(self.kafka, self.chain.settings, self.bucket_settings, **options)

    def run(self, sink: ArchiveSink) -> None:
        """Steps until every segment that is listed is archived and sealed."""
        sink.step()
        while sink.waiting_for is not None or sink.next_seq <= self.chain.segments[-1].last_seq:
            sink.step()
            self.seal_controls()

    def archive_all(self) -> None:
        sink = self.sink()
        self.run(sink)
        sink.close()

    def stored_segments(self) -> list[StoredSegment]:
        store = ArchiveStore(self.bucket_settings, self.chain.name)
        found = list(store.segments())
        assert store.foreign == []
        store.close()
        return found

    def manifests(self) -> list[Manifest]:
        return [
            parse_manifest(self.bucket.read(s.manifest.key, s.manifest.versions[0].version_id, 2**20))
            for s in self.stored_segments()
            if s.manifest.versions
        ]

    def archived(self) -> list[dict[str, Any]]:
        """The metadata of each `segment.archived` in the chain, in order."""
        said = []
        for entry in self.chain.entries:
            decoded = decode_entry(entry.body)
            if decoded.action == "segment.archived" and decoded.written.kind == "control":
                said.append(decoded.metadata)
        return said

    def check(self, segments: list[MadeSegment] | None = None) -> None:
        """The archive is whole: one version of each, true manifests in a chain, each sealed once, all locked."""
        segments = self.chain.segments if segments is None else segments
        stored = self.stored_segments()
        assert [(s.name.first_seq, s.name.last_seq) for s in stored] == [(s.first_seq, s.last_seq) for s in segments]
        previous = None
        said = self.archived()
        assert len(said) == len(segments)
        for made, held, statement in zip(segments, stored, said, strict=True):
            assert len(held.object.versions) == len(held.manifest.versions) == 1
            assert held.object.delete_markers == held.manifest.delete_markers == ()
            version, manifest_version = held.object.versions[0].version_id, held.manifest.versions[0].version_id
            data = self.bucket.read(held.object.key, version, 2**30)
            assert list(read_rows(data)) == [tuple(entry) for entry in made.entries]
            text = self.bucket.read(held.manifest.key, manifest_version, 2**20)
            manifest = parse_manifest(text)
            until = datetime.fromisoformat(manifest.retain_until)
            assert manifest.checkpoint.encode() == made.note
            assert manifest.object_sha256 == sha256(data).digest()
            assert manifest.object_version == version
            assert manifest.start_range == made.start.compact_range.hashes
            assert manifest.end_range == made.compact_range.hashes
            assert manifest.previous_manifest_sha256 == previous
            previous = sha256(text).digest()
            assert statement == {
                "object": held.object.key,
                "object_version": version,
                "object_sha256": manifest.object_sha256.hex(),
                "manifest": held.manifest.key,
                "manifest_version": manifest_version,
                "manifest_sha256": previous.hex(),
                "retain_until": manifest.retain_until,
            }
            last = datetime.fromisoformat(decode_entry(made.entries[-1].body).written.sequenced_at)
            assert until >= last + timedelta(days=self.chain.retention.archive_days)
            for key, each in ((held.object.key, version), (held.manifest.key, manifest_version)):
                assert self.bucket.lock(key, each).holds(until)

    def close(self) -> None:
        self.producer.close()
        self.bucket.close()


@pytest.fixture
def stage(kafka, new_bucket):
    """Makes stages: `stage(limits=...)`; each with its own chain, topics and bucket."""
    stages: list[Stage] = []

    def make(**options: Any) -> Stage:
        prefix = f"t{uuid.uuid4().hex[:10]}"
        made = Stage(kafka, new_bucket, MadeChain(prefix=prefix, **options))
        stages.append(made)
        return made

    yield make
    for each in stages:
        each.close()
