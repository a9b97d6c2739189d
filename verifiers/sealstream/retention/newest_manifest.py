"""What the archive's first and newest manifest say: where it begins and ends, and which legal holds stand there.

Reads only, and believes what it reads: for plans and commands, and never in place of a verification.
"""

from __future__ import annotations

from typing import NamedTuple

from sealstream.archive import ArchiveSettings, ArchiveStore
from sealstream.archive.bucket import Bucket
from sealstream.errors import NotCanonical
from sealstream.layout.archive import MANIFESTS, archive_prefix
from sealstream.layout.holds import Hold
from sealstream.layout.manifests import MAX_MANIFEST_BYTES, Manifest, parse_manifest

__all__ = ["Beginning", "archived_beginning", "archived_end", "archived_holds"]


class Beginning(NamedTuple):
    """The first segment that is there, whole: entries `first` to `last`; `holds`: those that stand behind it."""

    first: int
    last: int
    holds: tuple[Hold, ...]


def archived_beginning(archive: ArchiveSettings, chain: str) -> Beginning | None:
    """Where the archive begins; None: it is empty. Raises `NotCanonical` for a manifest that can't be read."""
    store = ArchiveStore(archive, chain)
    try:
        for segment in store.segments():
            if segment.object.versions and segment.manifest.versions:
                data = store.read(segment.manifest.key, segment.manifest.versions[0], MAX_MANIFEST_BYTES)
                manifest = parse_manifest(data)
                return Beginning(manifest.first_seq, manifest.last_seq, manifest.holds)
    finally:
        store.close()
    return None


def archived_holds(archive: ArchiveSettings, chain: str) -> tuple[Hold, ...]:
    """Those behind the newest archived segment; none in an empty archive. A manifest that can't be read is no word."""
    newest = _newest(archive, chain)
    return newest.holds if newest is not None else ()


def archived_end(archive: ArchiveSettings, chain: str) -> int:
    """How many entries are archived, by the newest manifest."""
    newest = _newest(archive, chain)
    return newest.last_seq + 1 if newest is not None else 0


def _newest(archive: ArchiveSettings, chain: str) -> Manifest | None:
    bucket, store = Bucket(archive), ArchiveStore(archive, chain)
    try:
        for folder in reversed(bucket.list_folders(archive_prefix(MANIFESTS, chain))):
            day = folder.removeprefix("date=")
            for segment in reversed(list(store.segments(day))):
                if not segment.manifest.versions:
                    continue
                data = store.read(segment.manifest.key, segment.manifest.versions[0], MAX_MANIFEST_BYTES)
                try:
                    return parse_manifest(data)
                except NotCanonical:
                    continue
    finally:
        store.close()
        bucket.close()
    return None
