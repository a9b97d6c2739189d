"""The programs' logs: one file each, bounded. A program writes to its file itself (no pipe can block or lose it).

A log that grew beyond the bound is copied to NAME.log.1 and emptied: the programs append, so they go on at the new end.
Lines written between copy and emptying are lost; so is the older copy. That is right for a local stack.
"""

from __future__ import annotations

import contextlib
import re
import shutil
from pathlib import Path

__all__ = ["MOST_LOG_BYTES", "bound_log", "size_of", "tail"]

_FRAME = re.compile(r"\s+(?:at [\w.$/]+\S*\(|\.\.\. \d+ more)")
MOST_LOG_BYTES = 16 * 1024 * 1024


def bound_log(log: Path, most_bytes: int = MOST_LOG_BYTES) -> bool:
    """Rotate the log when it is larger than that; True when it did."""
    with contextlib.suppress(OSError):  # gone, or no space for the copy: the next round tries again
        if log.stat().st_size > most_bytes:
            shutil.copyfile(log, log.with_name(log.name + ".1"))
            with log.open("r+b") as file:
                file.truncate(0)
            return True
    return False


def size_of(log: Path) -> int:
    """Bytes; 0 when there is none yet."""
    try:
        return log.stat().st_size
    except OSError:
        return 0


def tail(log: Path, lines: int = 4, *, since: int = 0, most_bytes: int = 16_384) -> list[str]:
    """The last lines that say something, which a stack's frames of Java do not: what was thrown stands before them.

    None from before the offset `since`, unless the log was emptied meanwhile.
    """
    size = size_of(log)
    try:
        with log.open("rb") as file:
            file.seek(max(size - most_bytes, since if since <= size else 0, 0))
            text = file.read().decode("utf-8", "replace")
    except OSError:
        return []
    return [line for line in text.splitlines() if line.strip() and not _FRAME.match(line)][-lines:]
