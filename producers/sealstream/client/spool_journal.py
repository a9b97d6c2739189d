"""The writing side of a spool: one process's events go to disk before Kafka gets them.

`append` copies an event into the page cache, some two microseconds; from then on no end of this process loses it. What
a loss of power takes is the user's choice, `fsync`: `always` nothing that `emit` has returned (and `emit` waits for the
disk), `interval` the last seconds, `never` what the kernel had not yet written by itself, some 30 s. Segments take
their whole size from the disk when they are made, so a full disk shows there and never amid a record.

The invariant: a number is on disk once or not at all, and `end`, the number after the last one, moves together with the
place where the next record goes. The crash story: before that moment the next event overwrites the record, after it the
record counts, also when an exception of a signal handler ends `append` right there.
"""

from __future__ import annotations

import ctypes
import os
import socket
import time
from collections import deque
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from threading import RLock
from typing import Literal, NamedTuple, get_args

from sealstream.client import spool_directory
from sealstream.client.delivery import warn
from sealstream.client.spool_directory import Claim
from sealstream.client.spool_format import (
    HEADER_BYTES,
    Mark,
    SegmentHeader,
    encode_header,
    encode_record,
    segment_name,
)
from sealstream.errors import Misconfigured
from sealstream.events import format_timestamp

__all__ = ["Fsync", "Journal", "SpoolSettings", "add_segment", "new_header"]

Fsync = Literal["always", "interval", "never"]

_LARGEST_SEGMENT = 4 * 1024 * 1024
_SMALLEST_SEGMENT = 256 * 1024
_SMALLEST_SPOOL = 4 * _SMALLEST_SEGMENT
_KEPT_FREE = 16 * 1024
"""Of the last segment, for what the client itself has to say when there is no room for events."""
_TRY_AGAIN_S = 0.5
_SAY_AGAIN_S = 3_600.0

# Without giving up the interpreter's lock: with it, each write would wait for other threads' turns of 5 ms (measured).
_libc = ctypes.PyDLL(None, use_errno=True)
_pwrite = getattr(_libc, "pwrite64", None) or _libc.pwrite
_pwrite.argtypes = (ctypes.c_int, ctypes.c_char_p, ctypes.c_size_t, ctypes.c_int64)
_pwrite.restype = ctypes.c_ssize_t
_sync_data = getattr(os, "fdatasync", os.fsync)


class SpoolSettings(NamedTuple):
    """Where events wait, how many bytes they may take together (all processes), and when the disk must have them."""

    directory: Path
    max_bytes: int
    fsync: Fsync
    fsync_interval_s: float

    def check(self) -> None:
        """Make the directory. Raises `Misconfigured`."""
        if self.max_bytes < _SMALLEST_SPOOL:
            raise Misconfigured(
                f"spool_max_bytes is too small: expected {_SMALLEST_SPOOL} or more, got {self.max_bytes}"
            )
        if self.fsync not in get_args(Fsync):
            raise Misconfigured(f"spool_fsync is unknown: expected always, interval or never, got {self.fsync!r}")
        if not 0.01 <= self.fsync_interval_s <= 3_600:
            raise Misconfigured(
                f"spool_fsync_interval_s is out of range: expected 0.01 to 3600, got {self.fsync_interval_s}"
            )
        spool_directory.prepare(self.directory)

    @property
    def segment_bytes(self) -> int:
        """Of each file; several processes must find room beside each other."""
        return max(_SMALLEST_SEGMENT, min(_LARGEST_SEGMENT, self.max_bytes // 32))


class _Segment(NamedTuple):
    path: Path
    descriptor: int


class _Tail(NamedTuple):
    """Where the next record goes (`segment` None: into a new one), and the number after the last one."""

    segment: _Segment | None
    at: int
    end: int


class Journal:
    """One stream's files. The caller holds one lock around `append`; everything else may come from another thread.

    Nothing here raises `OSError`: an event that finds no room is refused, and a disk that fails is said once an hour.
    """

    def __init__(self, settings: SpoolSettings, producer_id: str, topic: str) -> None:
        self._settings = settings
        self._segment_bytes = settings.segment_bytes
        self._producer_id = producer_id
        self._topic = topic
        self._claim: Claim | None = None
        self._tail = _Tail(None, 0, 0)
        self._full: deque[tuple[_Segment, int]] = deque()  # with the number after its last record
        self._unsynced: list[_Segment] = []
        self._mark = Mark()
        self._synced = 0
        self._names_synced = True
        self._sync_lock = RLock()  # a signal handler may emit while this very thread waits for the disk
        self._refused_until = 0.0
        self._said = -_SAY_AGAIN_S

    @property
    def end(self) -> int:
        """The number after the last one on disk."""
        return self._tail.end

    @property
    def folder(self) -> Path:
        """Where this stream lies, once it has begun."""
        return self._settings.directory / self._producer_id

    @property
    def held_bytes(self) -> int:
        """What this stream's files take."""
        return (len(self._full) + (self._tail.segment is not None)) * self._segment_bytes

    def append(self, number: int, value: bytes, *, own: bool = False) -> bool:
        """Whether the event is on disk now. `own`: the client's own word, which may use what is kept free for it."""
        record = encode_record(number, value)
        for _ in range(2):
            segment, at, _end = self._tail
            if segment is None or at + len(record) + (0 if own else _KEPT_FREE) > self._segment_bytes:
                if not self._begin_segment(number):
                    return False
                segment, at, _end = self._tail
            if segment is None:
                return False
            if _pwrite(segment.descriptor, record, len(record), at) == len(record):
                self._tail = _Tail(segment, at + len(record), number + 1)
                return True
            code = ctypes.get_errno()
            self._refuse(OSError(code, os.strerror(code)))
            self._retire()
        return False

    def _begin_segment(self, number: int) -> bool:
        if time.monotonic() < self._refused_until:
            return False
        settings = self._settings
        try:
            if spool_directory.used_bytes(settings.directory) + self._segment_bytes > settings.max_bytes:
                self._refuse(None)
                return False
            if self._claim is None:
                self._claim = spool_directory.create_stream(settings.directory, self._producer_id)
                self._claim.write_mark(self._mark)
            made = self._make_segment(number)
        except OSError as error:
            self._refuse(error)
            return False
        self._retire()
        self._tail = _Tail(made, HEADER_BYTES, self.end)
        self._names_synced = False
        return True

    def _make_segment(self, number: int) -> _Segment:
        header = new_header(self._topic, self._producer_id, first=number, after=self.end)
        path = self.folder / segment_name(number)
        making = path.with_suffix(".new")
        descriptor = os.open(making, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            if hasattr(os, "posix_fallocate"):
                os.posix_fallocate(descriptor, 0, self._segment_bytes)
            else:
                os.pwrite(descriptor, bytes(self._segment_bytes), 0)
            os.pwrite(descriptor, encode_header(header), 0)
            making.rename(path)
        except OSError:
            os.close(descriptor)
            with suppress(OSError):
                making.unlink()
            raise
        return _Segment(path, descriptor)

    def _retire(self) -> None:
        """The segment gets no more records."""
        segment, _at, end = self._tail
        if segment is None:
            return
        self._full.append((segment, end))
        self._unsynced.append(segment)
        self._tail = _Tail(None, 0, end)

    def _refuse(self, error: OSError | None) -> None:
        """No room (None), or a disk that fails: not asked again for a moment."""
        now = time.monotonic()
        self._refused_until = now + _TRY_AGAIN_S
        if now - self._said >= _SAY_AGAIN_S:
            self._said = now
            what = f"{error.strerror or error}" if error else f"its {self._settings.max_bytes} bytes are used up"
            warn("audit events can't be kept in the spool %s: %s", self._settings.directory, what)

    # --- the disk has it

    def sync(self, number: int | None = None) -> None:
        """What was appended before this call survives a loss of power; with a `number`, nothing is done when another
        thread's call has taken care of it meanwhile.
        """
        with self._sync_lock:
            tail, retired, names_synced = self._tail, list(self._unsynced), self._names_synced
            if number is not None and number < self._synced:
                return
            try:
                for each in retired:
                    if each in self._unsynced and self._settings.fsync != "never":
                        _sync_data(each.descriptor)
                    if each in self._unsynced:
                        self._unsynced.remove(each)
                        os.close(each.descriptor)
                if self._settings.fsync == "never":
                    return
                if tail.segment is not None and tail.segment not in retired and tail.end > self._synced:
                    _sync_data(tail.segment.descriptor)
                if not names_synced:
                    self._names_synced = True
                    spool_directory.sync_folder(self.folder)
                    spool_directory.sync_folder(self._settings.directory)
                self._synced = max(self._synced, tail.end)
            except OSError as error:
                self._names_synced = names_synced
                self._refuse(error)

    # --- Kafka has it

    def mark(self, acknowledged: int, lost: int) -> None:
        """Kafka has all numbers below `acknowledged`: the next reader begins there, and full segments below it go."""
        if (acknowledged, lost) != self._mark[:2]:
            self._write_mark(self._mark._replace(acknowledged=acknowledged, lost=lost))
        while self._full and self._full[0][1] <= acknowledged:
            segment, _end = self._full.popleft()
            with self._sync_lock:
                if segment in self._unsynced:
                    self._unsynced.remove(segment)
                    os.close(segment.descriptor)
            with suppress(OSError):
                segment.path.unlink(missing_ok=True)

    def admit_unspooled(self) -> None:
        """From now on some numbers are not on disk: nobody but this process can know which comes next."""
        if not self._mark.unspooled:
            self._write_mark(self._mark._replace(unspooled=True))

    def _write_mark(self, mark: Mark) -> None:
        self._mark = mark
        if self._claim is not None:
            try:
                self._claim.write_mark(mark)
            except OSError as error:
                self._refuse(error)

    def finish(self, acknowledged: int, lost: int) -> bool:
        """The end of this stream's writing: whether something is left on disk for somebody else to send."""
        self.mark(acknowledged, lost)
        segment, at, end = self._tail
        self._retire()
        if segment is not None and acknowledged < end:
            with suppress(OSError):
                os.ftruncate(segment.descriptor, at)  # room for others
        self.sync()
        claim, self._claim = self._claim, None
        if claim is None:
            return False
        left = acknowledged < end or lost > 0
        try:
            if left:
                claim.release()
            else:
                claim.remove()
                self._full.clear()
        except OSError as error:
            self._refuse(error)
        return left

    def abandon(self, busy: bool) -> None:
        """In a forked child: the files are the parent's. `busy`: the child may yet return into the middle of `append`,
        where it writes what the parent writes, at the same place; only that descriptor must not mean another file.
        """
        segment = self._tail.segment
        for each in [*self._unsynced, *([] if busy or segment is None else [segment])]:
            os.close(each.descriptor)
        self._tail, self._claim, self._refused_until = _Tail(None, 0, self.end), None, float("inf")


def new_header(topic: str, producer_id: str, *, first: int, after: int) -> SegmentHeader:
    """Of a segment that this process writes now."""
    return SegmentHeader(
        topic,
        producer_id,
        first,
        after,
        host=socket.gethostname()[:200],
        pid=os.getpid(),
        boot_id=spool_directory.boot_id(),
        begun=format_timestamp(datetime.now(UTC)),
    )


def add_segment(folder: Path, header: SegmentHeader, values: list[bytes]) -> None:
    """Another segment for a stream whose writer is dead: all of it or nothing, and on disk. Raises `OSError`."""
    records = b"".join(encode_record(header.first + n, value) for n, value in enumerate(values))
    path = folder / segment_name(header.first)
    making = path.with_suffix(".new")
    with open(os.open(making, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600), "wb") as file:
        file.write(encode_header(header) + records)
        file.flush()
        os.fsync(file.fileno())
    making.rename(path)
    spool_directory.sync_folder(folder)
