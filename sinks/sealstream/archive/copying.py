"""A copy of the archive in a folder, for an auditor who verifies it on a machine of their own, offline.

Of each key the version that counts is copied: the oldest, which is the one that was put once; `verify archive --folder`
judges the copy by hashes, so nothing is believed here. Each file is written beside its place, synced and renamed: a
crash or Ctrl-C leaves whole files, and the same call goes on with those that are missing.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from sealstream.archive.bucket import Stored
from sealstream.archive.settings import ArchiveSettings
from sealstream.archive.store import ArchiveStore
from sealstream.errors import NotCanonical, Unavailable
from sealstream.layout.manifests import parse_manifest

__all__ = ["Copied", "copy_archive"]


class Copied(NamedTuple):
    """How many segments the copy has; how many files of them were copied now, their size in bytes, and the entries."""

    segments: int
    files: int
    size_bytes: int
    entries: int


def copy_archive(
    settings: ArchiveSettings,
    chain: str,
    folder: Path,
    progress: Callable[[int, int | None], object] = lambda _done, _total: None,
) -> Copied:
    """Copy every segment of the chain into `folder`, under the bucket's own keys. `progress(segments done, of all)`."""
    store = ArchiveStore(settings, chain)
    files = size_bytes = entries = 0
    try:
        segments = list(store.segments())
        for done, segment in enumerate(segments, 1):
            manifest = _read(store, segment.manifest)
            wanted = _object_sha256(manifest)
            path = folder / segment.object.key
            if wanted is None or not _holds(path, wanted):
                data = _read(store, segment.object)
                files, size_bytes = files + _write(path, data), size_bytes + len(data)
                entries += segment.name.last_seq - segment.name.first_seq + 1
            path = folder / segment.manifest.key
            if manifest and not _holds(path, hashlib.sha256(manifest).digest()):
                files, size_bytes = files + _write(path, manifest), size_bytes + len(manifest)
            progress(done, len(segments))
    finally:
        store.close()
    return Copied(len(segments), files, size_bytes, entries)


def _read(store: ArchiveStore, stored: Stored) -> bytes:
    version = stored.counting()
    return store.read(stored.key, version) if version is not None else b""


def _object_sha256(manifest: bytes) -> bytes | None:
    """What the manifest says of its object; None where there is none to believe, and the object is copied anyhow."""
    try:
        return parse_manifest(manifest).object_sha256 if manifest else None
    except NotCanonical:
        return None


def _holds(path: Path, sha256: bytes) -> bool:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").digest() == sha256
    except FileNotFoundError:
        return False
    except OSError as error:
        raise Unavailable(f"{path}: {error.strerror}") from error


def _write(path: Path, data: bytes) -> bool:
    """Whether there was anything to write."""
    if not data:
        return False
    beside = path.with_name(f".{path.name}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with beside.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    except BaseException as error:
        beside.unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise Unavailable(f"{path} can't be written: {error.strerror}") from error
        raise
    return True
