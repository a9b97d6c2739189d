"""A server's folder is made once, and whole: a marker that is written last tells a whole one from a half-made one."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

__all__ = ["prepare_once"]

_MARKER = "prepared"


def prepare_once(folder: Path, make: Callable[[], None]) -> bool:
    """Run `make` in the new, empty `folder` unless the marker says that it was made; True when it ran.

    A folder without the marker is what an interrupted first start left; no program ever ran on it, so it is removed.
    """
    if (folder / _MARKER).exists():
        return False
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    make()
    descriptor = os.open(folder / _MARKER, os.O_WRONLY | os.O_CREAT, 0o644)
    os.fsync(descriptor)
    os.close(descriptor)
    return True
