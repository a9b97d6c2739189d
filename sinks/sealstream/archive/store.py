"""The archive as a reader finds it: a bucket with versions and locks, or a plain copy of it in a folder.

It shows what is there and judges nothing: every segment that a key names, in the chain's order, with all versions, so
that what a newer version or a delete marker hides is still read. In a copy there are no versions and no locks, and the
SHA-256s decide. Reading only.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from sealstream.archive.bucket import Bucket, Lock, Stored, Version
from sealstream.archive.settings import ArchiveSettings
from sealstream.errors import Misconfigured, Unavailable
from sealstream.layout.archive import ENTRIES, MANIFESTS, SegmentName, archive_prefix, parse_archive_key

__all__ = ["ArchiveStore", "StoredSegment"]

_NO_LIMIT = 2**40


class StoredSegment(NamedTuple):
    """A segment that some key names. One of the two may have no versions: then it is missing."""

    name: SegmentName
    object: Stored
    manifest: Stored


class ArchiveStore:
    """The archive of one chain in a bucket (settings) or a folder (path). `close` it.

    `foreign`: keys under the chain's prefixes that name no segment, as far as `segments` has come.
    """

    def __init__(self, source: ArchiveSettings | str | Path, chain: str) -> None:
        self._chain = chain
        self._bucket = Bucket(source) if isinstance(source, ArchiveSettings) else None
        self._folder = None if isinstance(source, ArchiveSettings) else Path(source)
        if self._folder is not None and not (self._folder / archive_prefix(ENTRIES, chain)).is_dir():
            raise Misconfigured(
                f"folder {self._folder} holds no archive of {chain}: expected {archive_prefix(ENTRIES, chain)} in it"
            )
        self.foreign: list[str] = []

    @property
    def versioned(self) -> bool:
        """Whether versions, delete markers and locks can be seen; in a copy they can't."""
        return self._bucket is not None

    @property
    def replayed(self) -> bool:
        """Whether the version ids are the bucket's own, and not those that the chain has sealed."""
        return self._bucket is not None and self._bucket.settings.replayed

    def check(self) -> None:
        """Raises `Misconfigured` when the bucket has no Object Lock; a folder is taken as it is."""
        if self._bucket is not None:
            self._bucket.check()

    def segments(self, since_date: str = "") -> Iterator[StoredSegment]:
        """Every segment that a key of an object or of a manifest names, in order, from that UTC day on."""
        self.foreign = []
        objects, manifests = self._named(ENTRIES, since_date), self._named(MANIFESTS, since_date)
        one, other = next(objects, None), next(manifests, None)
        while one is not None or other is not None:
            name = min(found[0] for found in (one, other) if found is not None)
            stored_object, stored_manifest = Stored(name.object_key, ()), Stored(name.manifest_key, ())
            if one is not None and one[0] == name:
                stored_object, one = one[1], next(objects, None)
            if other is not None and other[0] == name:
                stored_manifest, other = other[1], next(manifests, None)
                if not stored_object.versions and not stored_object.delete_markers:
                    stored_object = self._looked_at_again(stored_object)
            yield StoredSegment(name, stored_object, stored_manifest)

    def read(self, key: str, version: Version, at_most: int = _NO_LIMIT) -> bytes:
        """The bytes of one version (of a copy: of the file)."""
        if self._bucket is not None:
            return self._bucket.read(key, version.version_id or "", at_most)
        path = self.path(key)
        try:
            return b"" if path is None else path.read_bytes()
        except OSError as error:
            raise Unavailable(f"{path}: {error}") from error

    def objects(self, since_date: str = "") -> Iterator[tuple[SegmentName, Stored]]:
        """Every segment that a key of an object names, in order, from that UTC day on; manifests are not looked at."""
        self.foreign = []
        return self._named(ENTRIES, since_date)

    def read_range(self, key: str, version: Version, start: int, stop: int) -> bytes:
        """The bytes from `start` to `stop` - 1 of one version (of a copy: of the file). Threads may do so at once."""
        if self._bucket is not None:
            return self._bucket.read_range(key, version.version_id or "", start, stop)
        path = self.path(key)
        try:
            assert path is not None
            with path.open("rb") as file:
                file.seek(start)
                return file.read(stop - start)
        except OSError as error:
            raise Unavailable(f"{path}: {error}") from error

    def lock(self, key: str, version: Version) -> Lock | None:
        """The version's lock as it is now; None: it has none, or this is a copy."""
        return None if self._bucket is None else self._bucket.lock(key, version.version_id or "")

    def held(self, key: str, version: Version) -> bool:
        """Whether the version is under a legal hold now; in a copy nothing is."""
        return self._bucket is not None and self._bucket.held(key, version.version_id or "")

    def path(self, key: str) -> Path | None:
        """Where a key's file is in a copy; None for a bucket."""
        return None if self._folder is None else self._folder / key

    def close(self) -> None:
        """Gives the connections back."""
        if self._bucket is not None:
            self._bucket.close()

    def _looked_at_again(self, missing: Stored) -> Stored:
        """An object that a manifest describes may have been put after objects were listed: it is put before that."""
        return missing if self._bucket is None else self._bucket.stored(missing.key)

    def _named(self, kind: str, since_date: str) -> Iterator[tuple[SegmentName, Stored]]:
        """What is stored under one prefix, by segment; other keys are noted as foreign."""
        prefix = archive_prefix(kind, self._chain)
        after = f"{prefix}date={since_date}" if since_date else ""
        listed = self._listed_files(prefix) if self._bucket is None else self._bucket.list_stored(prefix, after)
        for stored in listed:
            if stored.key < after:
                continue
            parsed = parse_archive_key(stored.key)
            if parsed is None or parsed[0] != kind:
                self.foreign.append(stored.key)
            else:
                yield parsed[1], stored

    def _listed_files(self, prefix: str) -> Iterator[Stored]:
        """The files below a prefix of the folder, in the order of their keys, one day's names in memory at a time."""
        assert self._folder is not None
        try:
            top = self._folder / prefix
            for day in sorted(os.listdir(top)) if top.is_dir() else ():
                if not (top / day).is_dir():
                    self.foreign.append(f"{prefix}{day}")
                    continue
                for name in sorted(os.listdir(top / day)):
                    size = (top / day / name).stat().st_size
                    yield Stored(f"{prefix}{day}/{name}", (Version(None, size, True),))
        except OSError as error:
            raise Unavailable(f"{self._folder}: {error}") from error
