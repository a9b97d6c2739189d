"""A file that is there whole or not at all, and that its owner alone may read.

Written beside its place (mode 0600), synced, and renamed into it: a crash at any line leaves what was there before, and
at worst a hidden file beside it.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, cast

__all__ = ["whole_file", "write_whole"]


@contextmanager
def whole_file(path: Path) -> Iterator[BinaryIO]:
    """Write into what this gives; it is in its place when the block ends without an error. Raises `OSError`."""
    handle, beside = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")  # mkstemp makes it 0600
    try:
        with os.fdopen(handle, "wb") as stream:
            yield cast(BinaryIO, stream)
            stream.flush()
            os.fsync(stream.fileno())
        Path(beside).replace(path)
    except BaseException:
        Path(beside).unlink(missing_ok=True)
        raise


def write_whole(path: Path, data: bytes) -> None:
    """The same for what is at hand. Raises `OSError`."""
    with whole_file(path) as stream:
        stream.write(data)
