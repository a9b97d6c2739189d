"""The archive's objects as files for DuckDB: of each object the version that counts, read by ranges of bytes.

DuckDB asks for a file by the path that stands in a query, `sealstream://<object key>`; here that is one version of that
key, whatever other versions or delete markers lie above it. The invariant: only what was listed can be opened, and only
that version of it. Reads only.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, NamedTuple

from fsspec import AbstractFileSystem

from sealstream.archive import ArchiveStore, Version
from sealstream.errors import SealstreamError

__all__ = ["PROTOCOL", "ObjectFiles", "OneVersion", "path_of"]

PROTOCOL = "sealstream"
_WHOLE_BYTES = 262_144
_MOST_KEPT = 64


class OneVersion(NamedTuple):
    """An object's version that counts, and the store that has it."""

    store: ArchiveStore
    key: str
    version: Version


def path_of(key: str) -> str:
    """How an object is called in a query."""
    return f"{PROTOCOL}://{key}"


class ObjectFiles(AbstractFileSystem):  # type: ignore[misc]
    """A file system of these objects. `opened`: called with how many were opened. `failure`: what DuckDB was told."""

    protocol = PROTOCOL
    cachable = False

    def __init__(self, objects: dict[str, OneVersion], opened: Callable[[int], object] = lambda _: None) -> None:
        super().__init__()
        self.failure: SealstreamError | None = None
        self.bytes_read = 0
        self._objects = objects
        self._told = opened
        self._seen: set[str] = set()
        self._kept: OrderedDict[str, bytes] = OrderedDict()
        self._lock = threading.Lock()

    def open(self, path: str, mode: str = "rb", **_: Any) -> _ObjectFile:
        """One object, to be read."""
        found = self._objects[path]
        with self._lock:
            if path not in self._seen:
                self._seen.add(path)
                self._told(len(self._seen))
        return _ObjectFile(self, path, found.version.size)

    def fail(self, error: SealstreamError) -> None:
        """From now on nothing is read."""
        self.failure = error

    def read_range(self, path: str, start: int, stop: int) -> bytes:
        """Bytes of an object; a small one is read whole, since DuckDB opens it more than once."""
        store, key, version = self._objects[path]
        if self.failure is not None:
            raise self.failure
        try:
            if version.size > _WHOLE_BYTES:
                data = store.read_range(key, version, start, stop)
                self.bytes_read += len(data)
                return data
            whole = self._kept.get(path)
            if whole is None:
                whole = store.read(key, version)
                self.bytes_read += len(whole)
                with self._lock:
                    self._kept[path] = whole
                    if len(self._kept) > _MOST_KEPT:
                        self._kept.popitem(last=False)
            return whole[start:stop]
        except SealstreamError as error:
            self.failure = error
            raise

    def exists(self, path: str, **_: Any) -> bool:
        """Whether it was listed."""
        return path in self._objects

    def glob(self, path: str, **_: Any) -> list[str]:
        """A path names itself."""
        return [path] if path in self._objects else []

    def info(self, path: str, **_: Any) -> dict[str, Any]:
        """Its size in bytes."""
        return {"name": path, "size": self._objects[path].version.size, "type": "file"}

    def modified(self, path: str) -> datetime:
        """When it was put; a version never changes."""
        return self._objects[path].version.last_modified or datetime(1970, 1, 1, tzinfo=UTC)


class _ObjectFile:
    """One opening of an object: a place in it."""

    def __init__(self, files: ObjectFiles, path: str, size: int) -> None:
        self._files = files
        self._path = path
        self.size = size
        self._place = 0

    def seek(self, offset: int, whence: int = 0) -> int:
        """Go to a place."""
        self._place = offset + (0, self._place, self.size)[whence]
        return self._place

    def tell(self) -> int:
        """Where it is."""
        return self._place

    def seekable(self) -> bool:
        """It is."""
        return True

    def read(self, size: int = -1) -> bytes:
        """The next bytes."""
        stop = self.size if size < 0 else min(self._place + size, self.size)
        if stop <= self._place:
            return b""
        data = self._files.read_range(self._path, self._place, stop)
        self._place += len(data)
        return data

    def close(self) -> None:
        """Nothing is held."""
