"""The disk under the client's spool: real files in a folder of the history's own, the world between any two calls.

Every call that changes a file goes through `World.effect` as `disk.<call>`, so a process dies before or after it, or
the disk refuses it (`before`: EIO; `during`, `after`: EIO though it was done, for a write half of it). What a process
has open is closed when it dies, which frees its locks, as the kernel does. Reads see what is there. A loss of power is
not simulated: what a write has reached stays.
"""

from __future__ import annotations

import ctypes
import errno
import os
import shutil
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path, PosixPath
from typing import Any, TypeVar

from tests.simulation.world import Process, World

__all__ = ["Disk"]

T = TypeVar("T")

_SHARED_MEMORY = Path("/dev/shm")  # quicker than a disk, where there is one
_SEGMENT_BYTES = 20 * 1024  # of which 16 KiB are the client's own: some eight events fill one


class Disk:
    """`folder`: the spool directory. `end()` removes it."""

    def __init__(self, world: World) -> None:
        self._world = world
        base = _SHARED_MEMORY if os.access(_SHARED_MEMORY, os.W_OK) else None
        self._made = Path(tempfile.mkdtemp(prefix="sealstream-simulated-", dir=base))
        self.folder = self._made / "spool"
        self._open: dict[int, Process | None] = {}
        world.on_death(self._close_all)

    def end(self) -> None:
        """Nothing is left."""
        for descriptor in list(self._open):
            os.close(descriptor)
        self._open.clear()
        shutil.rmtree(self._made, ignore_errors=True)

    def streams(self) -> list[Path]:
        """What somebody has yet to send."""
        return [each for each in self.folder.glob("*") if not each.name.startswith(".")]

    def driver(self) -> dict[Any, Any]:
        """What the product gets instead of `Path`, and of the functions of `os` that it has imported by themselves."""
        return {Path: self._path_class()}

    def functions(self) -> dict[str, Any]:
        """Of the module `os`."""
        return {
            "open": self.open,
            "close": self.close,
            "pwrite": self._pwrite,
            "ftruncate": lambda descriptor, size: self._ask("truncate", lambda: os.ftruncate(descriptor, size)),
            "posix_fallocate": lambda *given: self._ask("allocate", lambda: os.posix_fallocate(*given)),
            "fsync": lambda descriptor: self._ask("sync", lambda: os.fsync(descriptor)),
        }

    def seams(self) -> Mapping[tuple[str, str], Any]:
        """Names in the product, and sizes that a few events reach."""
        return {
            ("sealstream.client.spool_journal", "_pwrite"): self._c_pwrite,
            ("sealstream.client.spool_journal", "_sync_data"): self.functions()["fsync"],
            ("sealstream.client.spool_journal", "_SMALLEST_SEGMENT"): _SEGMENT_BYTES,
            ("sealstream.client.spool_journal", "_SMALLEST_SPOOL"): 2 * _SEGMENT_BYTES,
            ("sealstream.client.spool_stream", "_WAIT_S"): 0.05,
            ("sealstream.client.spool_stream", "_POLL_BUSY_S"): 0.05,
            ("sealstream.client.spool_stream", "_LOOK_AGAIN_S"): 2.0,
        }

    # --- calls

    def open(self, path: Any, flags: int, mode: int = 0o777) -> int:
        """`os.open`: reading fails as reading does; making a file is an effect."""
        if not flags & os.O_CREAT:
            self._world.check()
            descriptor = os.open(path, flags, mode)
        else:
            descriptor = self._ask("open", lambda: os.open(path, flags, mode), undo=os.close)
        if not flags & os.O_WRONLY:  # else it goes into a file object, which closes it, and no lock hangs on it
            self._open[descriptor] = self._world.process
        return descriptor

    def close(self, descriptor: int) -> None:
        """`os.close`, which a dead process's kernel has done for it."""
        if self._open.pop(descriptor, None) is not None or self._world.process is None:
            os.close(descriptor)
        else:
            self._world.check()
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))

    def _close_all(self, process: Process) -> None:
        for descriptor, owner in list(self._open.items()):
            if owner is process:
                del self._open[descriptor]
                os.close(descriptor)

    def _pwrite(self, descriptor: int, data: bytes, at: int) -> int:
        return self._ask(
            "write",
            lambda: os.pwrite(descriptor, data, at),
            partly=lambda: os.pwrite(descriptor, data[: len(data) // 2], at),
        )

    def _c_pwrite(self, descriptor: int, data: bytes, length: int, at: int) -> int:
        """libc's: a count, or -1 and `errno`."""
        try:
            return self._pwrite(descriptor, data[:length], at)
        except OSError as error:
            ctypes.set_errno(error.errno or errno.EIO)
            return -1

    def _ask(
        self, what: str, change: Callable[[], T], *, undo: Callable[[T], Any] | None = None, partly: Any = None
    ) -> T:
        """`undo`: what becomes of a result that nobody gets."""
        got: list[T] = []

        def changed() -> T:
            got.append(change())
            return got[0]

        try:
            return self._world.effect(f"disk.{what}", changed, _refusal, partly)
        except BaseException:
            for each in got if undo is not None else ():
                undo(each)  # type: ignore[misc]
            raise

    def _path_class(self) -> type[Path]:
        ask = self._ask

        class OnDisk(PosixPath):
            """Changes of names are effects."""

            def rename(self, target: Any) -> Any:
                return ask("rename", lambda: PosixPath.rename(self, target))

            def unlink(self, missing_ok: bool = False) -> None:
                ask("unlink", lambda: PosixPath.unlink(self, missing_ok))

            def mkdir(self, mode: int = 0o777, parents: bool = False, exist_ok: bool = False) -> None:
                ask("mkdir", lambda: os.makedirs(self, mode, exist_ok) if parents else _mkdir(self, mode, exist_ok))

            def rmdir(self) -> None:
                ask("rmdir", lambda: os.rmdir(self))

        return OnDisk


def _mkdir(path: Path, mode: int, exist_ok: bool) -> None:
    try:
        os.mkdir(path, mode)
    except FileExistsError:
        if not exist_ok:
            raise


def _refusal(_how: str) -> OSError:
    return OSError(errno.EIO, os.strerror(errno.EIO))
