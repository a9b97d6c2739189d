"""What the bucket holds of one segment, looked at and found true: the object, its manifest, their versions and locks.

Nobody takes a statement's word, or a checksum's: the bytes are read and every entry is met by the signed root. The
invariant: what `look` returns was in the bucket, locked, when it was called. It only reads; a crash leaves nothing.
"""

from __future__ import annotations

from datetime import datetime
from hashlib import sha256
from typing import NamedTuple

from sealstream.archive.bucket import Bucket, Stored
from sealstream.archive.checking import check_object, largest_object
from sealstream.archive.columns import ColumnMaker
from sealstream.archive.folding import SegmentFold, Start, instant
from sealstream.errors import Forked, NotCanonical
from sealstream.events import format_timestamp, parse_timestamp
from sealstream.layout import ChainSettings
from sealstream.layout.archive import SegmentName
from sealstream.layout.holds import Hold
from sealstream.layout.manifests import MAX_MANIFEST_BYTES, Manifest, parse_manifest
from sealstream.sealing import BadNote, Checkpoint, checked_range, open_checkpoint

__all__ = ["Holding", "describe", "look", "oldest_manifest", "signed_by"]


class Holding(NamedTuple):
    """A segment that is in the archive: `manifest_version` and `manifest_bytes` are the oldest version's."""

    name: SegmentName
    manifest: Manifest
    manifest_bytes: bytes
    manifest_version: str
    signed: Checkpoint
    fold: SegmentFold
    data: bytes

    @property
    def manifest_sha256(self) -> bytes:
        """Names this manifest in the next."""
        return sha256(self.manifest_bytes).digest()


def describe(
    fold: SegmentFold,
    chain: ChainSettings,
    *,
    object_version: str,
    object_sha256: bytes,
    retain_until: datetime,
    checkpoint: bytes,
    start_range: tuple[bytes, ...],
    previous_manifest_sha256: bytes | None,
    holds: tuple[Hold, ...] = (),
) -> Manifest:
    """The manifest of a segment that was folded and found under its signed root."""
    last_seq = fold.first_seq + fold.rows - 1
    return Manifest(
        origin=chain.origin,
        chain=chain.name,
        object=SegmentName(chain.name, fold.date, fold.first_seq, last_seq).object_key,
        object_version=object_version,
        object_sha256=object_sha256,
        rows=fold.rows,
        first_seq=fold.first_seq,
        last_seq=last_seq,
        first_hash=fold.first_hash,
        last_hash=fold.last_hash,
        first_sequenced_at=format_timestamp(instant(fold.first_us)),
        last_sequenced_at=format_timestamp(instant(fold.last_us)),
        retain_until=format_timestamp(retain_until),
        start_range=start_range,
        end_range=fold.compact_range.hashes,
        checkpoint=checkpoint.decode(),
        previous_manifest_sha256=previous_manifest_sha256,
        holds=holds,
    )


def oldest_manifest(bucket: Bucket, stored: Stored) -> tuple[bytes, str]:
    """The bytes and the id of a manifest's oldest version (it has one)."""
    version = stored.versions[0].version_id or ""
    return bucket.read(stored.key, version, MAX_MANIFEST_BYTES), version


def signed_by(manifest: Manifest, chain: ChainSettings) -> Checkpoint:
    """The checkpoint in a manifest. Raises `Forked` unless the chain's key has signed it, for the manifest's end."""
    try:
        signed = open_checkpoint(manifest.checkpoint.encode(), chain.vkey)
    except BadNote as error:
        raise Forked(f"manifest of {manifest.segment.decimal}: its checkpoint is not the chain's: {error}") from error
    if signed.size != manifest.last_seq + 1 or manifest.origin != chain.origin or manifest.chain != chain.name:
        raise Forked(
            f"manifest of {manifest.segment.decimal} of {manifest.origin}: its checkpoint has size {signed.size} and "
            f"origin {signed.origin}"
        )
    return signed


def look(bucket: Bucket, chain: ChainSettings, name: SegmentName, manifest_version: str, maker: ColumnMaker) -> Holding:
    """Reads a segment's manifest (this version) and object, and checks all of both. Raises `Forked`."""
    data = bucket.read(name.manifest_key, manifest_version, MAX_MANIFEST_BYTES)
    try:
        manifest = parse_manifest(data)
    except NotCanonical as error:
        raise Forked(f"{name.manifest_key} in bucket {bucket.settings.bucket}: {error}") from error
    if manifest.segment != name:
        raise Forked(f"{name.manifest_key} in bucket {bucket.settings.bucket}: describes {manifest.object}")
    signed = signed_by(manifest, chain)
    object_version = _described_version(bucket, manifest)
    where = f"{name.object_key}, version {object_version}, in bucket {bucket.settings.bucket}"
    object_data = bucket.read(name.object_key, object_version, largest_object(chain.limits))
    if sha256(object_data).digest() != manifest.object_sha256:
        raise Forked(f"{where}: has another SHA-256 than its manifest says")
    start = Start(checked_range(manifest.first_seq, manifest.start_range), b"")
    try:
        fold = check_object(object_data, start, signed, chain.limits, maker)
    except Forked as error:
        raise Forked(f"{where}: {error}") from error
    expected = describe(
        fold,
        chain,
        object_version=manifest.object_version,
        object_sha256=manifest.object_sha256,
        retain_until=parse_timestamp(manifest.retain_until),
        checkpoint=manifest.checkpoint.encode(),
        start_range=manifest.start_range,
        previous_manifest_sha256=manifest.previous_manifest_sha256,
        holds=manifest.holds,
    )
    if expected != manifest:
        raise Forked(f"{name.manifest_key}: {_differing(manifest, expected)}")
    lock = bucket.lock(name.object_key, object_version)
    if lock is None or not lock.holds(parse_timestamp(manifest.retain_until)):
        raise Forked(f"{where}: expected a COMPLIANCE lock until {manifest.retain_until}, got {lock}")
    return Holding(name, manifest, data, manifest_version, signed, fold, object_data)


def _described_version(bucket: Bucket, manifest: Manifest) -> str:
    """The version that a manifest describes; in a bucket that was replayed into, the oldest, whose SHA-256 decides."""
    versions = bucket.stored(manifest.object).versions
    if any(version.version_id == manifest.object_version for version in versions):
        return manifest.object_version
    if bucket.settings.replayed and versions:
        return versions[0].version_id or ""
    raise Forked(
        f"{manifest.object}, version {manifest.object_version}, in bucket {bucket.settings.bucket}: its manifest "
        "describes it, but it is not there"
    )


def _differing(found: Manifest, expected: Manifest) -> str:
    """The first member in which two manifests differ."""
    for member, got, wanted in zip(Manifest._fields, found, expected, strict=True):
        if got != wanted:
            return f"its {member} is {got!r}: expected {wanted!r}"
    return "differs from what the segment is"
