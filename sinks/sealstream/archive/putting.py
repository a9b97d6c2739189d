"""Puts a segment's object and manifest, or adopts those that are there: the same lines for both.

Each is looked for before and after the put, and the oldest version counts, since an answer can be lost after the write
went through, somebody else may be putting the same, and a put under a delete marker succeeds. What is there is read
back; bytes may differ, entries may not. A crash between any two lines leaves a prefix of the work, which the next call
finds. The invariant: nothing is overwritten, and no lock is shorter than the chain's retention when `put` returns.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from hashlib import sha256
from typing import NamedTuple

from sealstream.archive.bucket import Bucket
from sealstream.archive.checking import check_object, largest_object
from sealstream.archive.columns import ColumnMaker
from sealstream.archive.folding import SegmentFold, Start, instant
from sealstream.archive.holdings import describe, oldest_manifest, signed_by
from sealstream.archive.segments import Segment
from sealstream.errors import Forked, Misconfigured, NotCanonical, Unavailable
from sealstream.events import parse_timestamp
from sealstream.layout import ChainSettings
from sealstream.layout.archive import SegmentName
from sealstream.layout.holds import Hold, covering
from sealstream.layout.manifests import Manifest, parse_manifest

__all__ = ["Kept", "Putting"]


class Kept(NamedTuple):
    """A segment's manifest as the bucket keeps it."""

    manifest: Manifest
    manifest_bytes: bytes
    manifest_version: str


class Putting:
    """Puts segments of one chain into one bucket."""

    def __init__(self, bucket: Bucket, chain: ChainSettings, maker: ColumnMaker, clock: Callable[[], datetime]) -> None:
        self._bucket = bucket
        self._chain = chain
        self._maker = maker
        self._clock = clock

    def put(
        self,
        name: SegmentName,
        data: bytes,
        fold: SegmentFold,
        segment: Segment,
        start: Start,
        previous_manifest_sha256: bytes | None,
        holds: tuple[Hold, ...] = (),
    ) -> Kept:
        """Makes sure that the bucket holds the segment's object and manifest, whoever put them.

        `data` is the object as we built it, `fold` what it holds; `holds`: the legal holds that stand behind it. Raises
        `Forked` when something else is there.
        """
        held = bool(covering(holds, name.date))
        stored = self._bucket.stored(name.manifest_key)
        there, manifest_version = oldest_manifest(self._bucket, stored) if stored.versions else (b"", "")
        version, digest = self._put_object(name, data, fold, segment, start, _named_version(there), held)
        until = self._locked(name.object_key, version, fold, held)
        ours = describe(
            fold,
            self._chain,
            object_version=version,
            object_sha256=digest,
            retain_until=until,
            checkpoint=segment.note,
            start_range=start.compact_range.hashes,
            previous_manifest_sha256=previous_manifest_sha256,
            holds=holds,
        )
        if not stored.versions:
            self._bucket.put_once(name.manifest_key, ours.to_bytes(), until, held=held)
            stored = self._bucket.stored(name.manifest_key)
            if not stored.versions:
                raise Unavailable(f"{name.manifest_key}: put, but not listed yet")
            there, manifest_version = oldest_manifest(self._bucket, stored)
        manifest = self._accept(name, there, ours)
        self._locked(name.manifest_key, manifest_version, fold, held)
        return Kept(manifest, there, manifest_version)

    def _put_object(
        self,
        name: SegmentName,
        data: bytes,
        fold: SegmentFold,
        segment: Segment,
        start: Start,
        named: str | None,
        held: bool,
    ) -> tuple[str, bytes]:
        """The version of the object that counts (the manifest's, else the oldest), and its SHA-256, looked at."""
        key = name.object_key
        stored = self._bucket.stored(key)
        if not stored.versions and named is None:
            self._bucket.put_once(key, data, self._retain_until(fold, timedelta(days=1)), held=held)
            stored = self._bucket.stored(key)
            if not stored.versions:
                raise Unavailable(f"{key}: put, but not listed yet")
        where = f"{key} in bucket {self._bucket.settings.bucket}"
        counted = [version for version in stored.versions if named in (None, version.version_id)]
        if not counted:
            raise Forked(f"{where}: its manifest names version {named}, which is not there")
        version = counted[0]
        there = self._bucket.read(key, version.version_id or "", largest_object(self._chain.limits))
        if there != data:
            try:
                check_object(there, start, segment.signed, self._chain.limits, self._maker)
            except Forked as error:
                raise Forked(f"{where}, version {version.version_id}, holds other entries: {error}") from error
        return version.version_id or "", sha256(there).digest()

    def _accept(self, name: SegmentName, stored: bytes, ours: Manifest) -> Manifest:
        """The manifest that is stored, which must say what ours says; `retain_until` at most the object's lock now."""
        where = f"{name.manifest_key} in bucket {self._bucket.settings.bucket}"
        try:
            theirs = parse_manifest(stored)
        except NotCanonical as error:
            raise Forked(f"{where}: {error}") from error
        if parse_timestamp(theirs.retain_until) > parse_timestamp(ours.retain_until):
            raise Forked(f"{where}: says retain_until {theirs.retain_until}, the lock ends {ours.retain_until}")
        signed_by(theirs, self._chain)  # a note that was signed again may differ in bytes
        expected = ours._replace(retain_until=theirs.retain_until, checkpoint=theirs.checkpoint)
        if stored != expected.to_bytes():
            for member, got, wanted in zip(Manifest._fields, theirs, expected, strict=True):
                if got != wanted:
                    raise Forked(f"{where}: its {member} is {got!r}, expected {wanted!r}")
            raise Forked(f"{where}: has members that no sink writes")
        return theirs

    def _locked(self, key: str, version: str, fold: SegmentFold, held: bool) -> datetime:
        """Until when the version is locked; what was adopted from somebody who locked it for less is lengthened, and
        held if it must be.
        """
        if held and not self._bucket.held(key, version):
            self._bucket.hold(key, version, True)
        lock = self._bucket.lock(key, version)
        if lock is None or not lock.holds(self._retain_until(fold, timedelta(hours=1))):
            until = self._retain_until(fold, timedelta(days=1))
            self._bucket.lengthen(key, version, until)
            lock = self._bucket.lock(key, version)
            if lock is None or not lock.holds(until):
                raise Misconfigured(f"{key}: asked for a COMPLIANCE lock until {until}, got {lock}")
        return lock.until

    def _retain_until(self, fold: SegmentFold, at_least: timedelta) -> datetime:
        """The chain's archive retention from the last entry on, `at_least` from now on, in whole seconds."""
        kept = instant(fold.last_us) + timedelta(days=self._chain.retention.archive_days)
        until = max(kept, self._clock() + at_least)
        return (until + timedelta(microseconds=999_999)).replace(microsecond=0)


def _named_version(manifest: bytes) -> str | None:
    """The object's version that a stored manifest names; None where there is no manifest (or not one)."""
    try:
        return parse_manifest(manifest).object_version if manifest else None
    except NotCanonical:
        return None
