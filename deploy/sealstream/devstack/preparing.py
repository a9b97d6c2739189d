"""A server's folder is made once, and whole: under another name, and renamed when it is finished.

Invariant: `<data>/<server>` is whole or not there. Crash story: an interrupted first start leaves `.making-<server>-*`,
which the next start removes. A program that still writes there (initdb ends a moment after a killed supervisor, and
clears up behind itself) hits only its own folder.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

__all__ = ["make_whole"]


def make_whole(folder: Path, make: Callable[[Path], None]) -> bool:
    """Have `make` fill a new folder that becomes `folder`, unless there is one; True when it was made."""
    if folder.exists():
        return False
    for left in folder.parent.glob(f".making-{folder.name}-*"):
        shutil.rmtree(left, ignore_errors=True)
    making = Path(tempfile.mkdtemp(prefix=f".making-{folder.name}-", dir=folder.parent))
    try:
        make(making)
        making.chmod(0o755)
        making.rename(folder)
    except BaseException:
        shutil.rmtree(making, ignore_errors=True)
        raise
    descriptor = os.open(folder.parent, os.O_RDONLY)
    os.fsync(descriptor)
    os.close(descriptor)
    return True
