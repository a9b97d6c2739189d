"""Replays the archive into a new bucket: byte by byte what the chain has sealed, under locks at least as long.

From the archive itself (a bucket, or a copy in a folder), or from Kafka alone: there each object is built again from
its entries and each manifest from what `segment.archived` has sealed of it, and both must have the sealed SHA-256s. So
the new bucket is vouched for by the same sealed statements as the old one; only its version ids are its own, and
whoever reads it says so (`archive.replayed` in the settings).

Nothing is overwritten. A crash leaves a prefix of the segments, perhaps an object without its manifest; the next life
looks at what is there, byte by byte, and goes on. The invariant: a segment's manifest is put after its object.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from sealstream.archive import ArchiveSettings, ArchiveStore, Bucket, ColumnMaker, ObjectBuilder, Start
from sealstream.archive.holding import Heard, hear_holds
from sealstream.archive.holdings import describe
from sealstream.archive.segments import Segment, SegmentReader
from sealstream.errors import Forked, Misconfigured, Unavailable
from sealstream.events import parse_timestamp
from sealstream.kafka import KafkaSettings, read_until_end
from sealstream.layout import ChainSettings, ChainTopics
from sealstream.layout.archive import ARCHIVED_ACTION, SegmentName
from sealstream.layout.manifests import MAX_MANIFEST_BYTES, parse_manifest
from sealstream.rebuild.entries import FromKafka
from sealstream.sealing import EMPTY_RANGE, genesis_hash

__all__ = ["ReplayedSegment", "replay_archive", "segments_of_archive", "segments_of_kafka"]

Progress = Callable[[int, int | None], None]

_LEAST_LOCK = timedelta(days=1)
_NEEDLE = b'"action":"' + ARCHIVED_ACTION.encode() + b'"'


class ReplayedSegment(NamedTuple):
    """A segment as it is sealed: the bytes of its object and of its manifest, locked until `until` at least."""

    name: SegmentName
    data: bytes
    manifest: bytes
    until: datetime


def replay_archive(
    segments: Iterator[ReplayedSegment],
    target: ArchiveSettings,
    *,
    clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    progress: Progress = lambda _done, _total: None,
) -> int:
    """Puts each segment into the bucket, or finds it there; how many were put now. Raises `Forked` for other bytes."""
    bucket = Bucket(target)
    put = 0
    try:
        bucket.check()
        for segment in segments:
            until = max(segment.until, clock() + _LEAST_LOCK)
            new = _put(bucket, segment.name.object_key, segment.data, segment.until, until)
            new |= _put(bucket, segment.name.manifest_key, segment.manifest, segment.until, until)
            put += new
            progress(segment.name.last_seq + 1, None)
    finally:
        bucket.close()
    return put


def segments_of_archive(source: ArchiveSettings | str | Path, chain: ChainSettings) -> Iterator[ReplayedSegment]:
    """The segments of an archive that was verified, in order, their oldest versions. One of the beginning whose object
    was destroyed is passed over: its manifest goes after it.
    """
    store = ArchiveStore(source, chain.name)
    begun = False
    try:
        for found in store.segments():
            if not begun and not found.object.versions and not found.object.delete_markers:
                continue
            begun = True
            if not found.object.versions or not found.manifest.versions:
                return  # the newest, whose manifest is not there yet
            manifest = store.read(found.manifest.key, found.manifest.versions[0], MAX_MANIFEST_BYTES)
            data = store.read(found.object.key, found.object.versions[0])
            yield ReplayedSegment(found.name, data, manifest, parse_timestamp(parse_manifest(manifest).retain_until))
    finally:
        store.close()


def segments_of_kafka(kafka: KafkaSettings, chain: ChainSettings) -> Iterator[ReplayedSegment]:
    """The segments that the chain has sealed as archived, built again from its topic. Raises `Misconfigured` where
    another version of pyarrow writes other bytes.
    """
    sealed = _statements(kafka, chain)
    source, maker = FromKafka(kafka, chain), ColumnMaker()
    reader = SegmentReader(kafka, chain, None)
    start, previous = Start(EMPTY_RANGE, genesis_hash(chain.origin)), None
    heard = Heard((), None)
    try:
        while (segment := reader.next(1.0)) is not None and segment.first_seq in sealed:
            statement = sealed[segment.first_seq]
            built, start, heard = _build(source, chain, segment, start, previous, statement, maker, heard)
            previous = sha256(built.manifest).digest()
            yield built
    finally:
        reader.close()
        source.close()
        maker.close()


def _build(
    source: FromKafka,
    chain: ChainSettings,
    segment: Segment,
    start: Start,
    previous: bytes | None,
    sealed: dict[str, Any],
    maker: ColumnMaker,
    heard: Heard,
) -> tuple[ReplayedSegment, Start, Heard]:
    builder = ObjectBuilder(start, chain.limits, maker)
    try:
        for run in source.runs(segment.first_seq, start.hash, segment.last_seq + 1):
            heard = hear_holds(heard, run.values)
            builder.add(run.values)
        data, fold = builder.finish(), builder.fold
    finally:
        builder.close()
    fold.check_root(segment.signed)
    until = parse_timestamp(sealed["retain_until"])
    manifest = describe(
        fold,
        chain,
        object_version=sealed["object_version"],
        object_sha256=sha256(data).digest(),
        retain_until=until,
        checkpoint=segment.note,
        start_range=start.compact_range.hashes,
        previous_manifest_sha256=previous,
        holds=heard.holds,
    ).to_bytes()
    name = SegmentName(chain.name, fold.date, segment.first_seq, segment.last_seq)
    for what, key, own in (("object", name.object_key, data), ("manifest", name.manifest_key, manifest)):
        if sha256(own).hexdigest() != sealed[f"{what}_sha256"]:
            raise Misconfigured(
                f"{key}: built again from Kafka it has the SHA-256 {sha256(own).hexdigest()}, the chain has sealed "
                f"{sealed[f'{what}_sha256']}: the entries are the same, but another version of pyarrow (or a note that "
                "was signed again) wrote other bytes; replay from the archive or a copy of it (--from archive)"
            )
    return ReplayedSegment(name, data, manifest, until), fold.end, heard


def _statements(kafka: KafkaSettings, chain: ChainSettings) -> dict[int, dict[str, Any]]:
    """What `segment.archived` has sealed, by a segment's first entry; the first statement of a segment counts."""
    found: dict[int, dict[str, Any]] = {}
    for records in read_until_end(kafka, ChainTopics.of(chain.name, chain.prefix).chain):
        for record in records:
            if _NEEDLE not in (record.value or b""):
                continue
            entry = msgspec.json.decode(record.value or b"")
            if entry["action"] == ARCHIVED_ACTION and entry["written"]["kind"] == "control":
                found.setdefault(int(entry["resource_id"].partition("-")[0]), entry["metadata"])
    return found


def _put(bucket: Bucket, key: str, body: bytes, least: datetime, until: datetime) -> bool:
    """Whether it was put now. What is there must be these bytes, under a lock that holds as long as it must."""
    stored = bucket.stored(key)
    new = not stored.versions and bucket.put_once(key, body, until)
    stored = stored if stored.versions else bucket.stored(key)
    if not stored.versions:
        raise Unavailable(f"{key}: put, but not listed yet")
    version = stored.versions[0].version_id or ""
    if not new and bucket.read(key, version, len(body)) != body:
        raise Forked(f"{key} in bucket {bucket.settings.bucket}: other bytes are there; name an empty bucket")
    lock = bucket.lock(key, version)
    if lock is None or not lock.holds(least - timedelta(seconds=1)):
        bucket.lengthen(key, version, until)
    return new
