"""A spool directory: which streams lie in it, who may touch one, and how many bytes they all take.

A stream belongs to whoever holds the lock on its `mark` file: the process that writes it, and when that one is dead,
the first that claims it. The kernel frees the lock when its holder ends, however it ends; a forked child closes what it
inherits. The invariant: nobody writes, sends or removes anything of a stream without its lock.

The crash story: a stream appears by rename, with its lock already taken, and a segment by rename, with its header. A
stream is removed segments first. What is left of one that was being made or removed has no segments, and is swept away.
"""

from __future__ import annotations

import fcntl
import os
import time
from contextlib import suppress
from pathlib import Path

from sealstream.client import lifetimes
from sealstream.client.spool_format import HEADER_BYTES, Mark, SegmentHeader, decode_header, decode_mark, encode_mark
from sealstream.errors import Misconfigured

__all__ = [
    "Claim",
    "boot_id",
    "claim",
    "create_stream",
    "first_of",
    "header_of",
    "is_held",
    "prepare",
    "read_mark",
    "segments",
    "streams",
    "sync_folder",
    "used_bytes",
]

_MARK_FILE = "mark"
_ENDING = ".events"
_BEGUN = ".new-"
_STALE_S = 3_600


class Claim:
    """The lock on one stream. `folder` is its directory, named for its producer_id."""

    def __init__(self, folder: Path, descriptor: int) -> None:
        self.folder = folder
        self._descriptor = descriptor

    @property
    def producer_id(self) -> str:
        """Whose events these are."""
        return self.folder.name

    def read_mark(self) -> Mark:
        """As it stands on disk."""
        return decode_mark(os.pread(self._descriptor, 64, 0))

    def write_mark(self, mark: Mark) -> None:
        """In place. Not synced: an older mark only sends more again. Raises `OSError`."""
        os.pwrite(self._descriptor, encode_mark(mark), 0)

    def remove(self) -> None:
        """Kafka has all of it. Raises `OSError`; what is left then is anybody's who looks here."""
        try:
            for path in [*segments(self.folder), *self.folder.glob("*.new")]:
                path.unlink(missing_ok=True)
            (self.folder / _MARK_FILE).unlink(missing_ok=True)
            with suppress(OSError):  # somebody has just tried to claim it, finds nothing in it, and removes it
                self.folder.rmdir()
        finally:
            self.release()

    def release(self) -> None:
        """Somebody else may claim what is left."""
        if self._descriptor >= 0:
            descriptor, self._descriptor = self._descriptor, -1
            _close(descriptor)


def prepare(directory: Path) -> None:
    """Make the directory, readable for its owner only. Raises `Misconfigured` when it can't be used."""
    try:
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        trial = directory / f"{_BEGUN}{os.getpid()}-{time.monotonic_ns()}"
        trial.mkdir(mode=0o700)
        descriptor = _open(trial / _MARK_FILE, os.O_RDWR | os.O_CREAT)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        finally:
            _close(descriptor)
        (trial / _MARK_FILE).unlink()
        trial.rmdir()
    except OSError as error:
        raise Misconfigured(
            f"spool_directory {str(directory)!r} can't be used: {error.strerror or error}; expected a directory on a "
            "local disk that this process may write to"
        ) from error


def create_stream(directory: Path, producer_id: str) -> Claim:
    """A new, empty stream, already claimed. Raises `OSError`."""
    making = directory / f"{_BEGUN}{producer_id}"
    making.mkdir(mode=0o700, exist_ok=True)
    descriptor = _open(making / _MARK_FILE, os.O_RDWR | os.O_CREAT)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.pwrite(descriptor, encode_mark(Mark()), 0)
        making.rename(directory / producer_id)
    except OSError:
        _close(descriptor)
        raise
    return Claim(directory / producer_id, descriptor)


def claim(folder: Path, patience_s: float = 0.0) -> Claim | None:
    """The stream's lock, or None when a living process holds it, or when it is gone. Raises `OSError`."""
    deadline = time.monotonic() + patience_s
    while True:
        try:
            descriptor = _open(folder / _MARK_FILE, os.O_RDWR | os.O_CREAT)
        except FileNotFoundError:
            return None
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.fstat(descriptor).st_ino == (folder / _MARK_FILE).stat().st_ino:
                return Claim(folder, descriptor)
            _close(descriptor)  # the one before has just removed it
            return None
        except FileNotFoundError:
            _close(descriptor)
            return None
        except BlockingIOError:
            _close(descriptor)
            if time.monotonic() >= deadline:
                return None
            time.sleep(0.02)
        except BaseException:
            _close(descriptor)
            raise


def is_held(folder: Path) -> bool:
    """Whether a living process holds the stream. It stays unclaimed. Raises `OSError`."""
    try:
        descriptor = _open(folder / _MARK_FILE, os.O_RDONLY)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        _close(descriptor)
    return False


def read_mark(folder: Path) -> Mark:
    """Without the lock: how far a stream is, for people. Raises `OSError`."""
    with suppress(FileNotFoundError):
        return decode_mark((folder / _MARK_FILE).read_bytes())
    return Mark()


def streams(directory: Path) -> list[Path]:
    """The streams' folders, the oldest first (their names are UUIDv7). Raises `OSError`."""
    found = []
    with os.scandir(directory) as entries:
        for entry in entries:
            if not entry.is_dir(follow_symlinks=False):
                continue
            if not entry.name.startswith("."):
                found.append(Path(entry.path))
            elif entry.name.startswith(_BEGUN):
                with suppress(OSError):  # its maker has just renamed it, or died an hour ago
                    if time.time() - entry.stat().st_mtime > _STALE_S:
                        Path(entry.path, _MARK_FILE).unlink(missing_ok=True)
                        Path(entry.path).rmdir()
    return sorted(found)


def segments(folder: Path) -> list[Path]:
    """A stream's segments, in order. Raises `OSError`."""
    try:
        names = os.listdir(folder)
    except FileNotFoundError:
        return []
    return [folder / name for name in sorted(names) if name.endswith(_ENDING) and name[: -len(_ENDING)].isdigit()]


def first_of(segment: Path) -> int:
    """The number of its first record."""
    return int(segment.name[: -len(_ENDING)])


def header_of(segment: Path) -> SegmentHeader | None:
    """None: it is damaged. Raises `OSError`."""
    with segment.open("rb") as file:
        return decode_header(file.read(HEADER_BYTES))


def used_bytes(directory: Path) -> int:
    """What all segments of all streams take, those in use at their full size. Raises `OSError`."""
    used = 0
    for folder in streams(directory):
        for segment in segments(folder):
            with suppress(FileNotFoundError):
                used += segment.stat().st_size
    return used


def boot_id() -> str:
    """Of this start of the machine; "" where the kernel does not say."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""


def sync_folder(folder: Path) -> None:
    """Names survive a loss of power, too. Raises `OSError`."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _open(path: Path, flags: int) -> int:
    with lifetimes.no_fork:
        descriptor = os.open(path, flags | os.O_CLOEXEC, 0o600)
        lifetimes.inherited.add(descriptor)
        return descriptor


def _close(descriptor: int) -> None:
    with lifetimes.no_fork:
        lifetimes.inherited.discard(descriptor)
        os.close(descriptor)
