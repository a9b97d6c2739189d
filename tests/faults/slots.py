"""A range of ports for each bench on this machine: a broker that is dead for a moment keeps its port from others.

Without it two benches side by side can meet: while one has killed a broker, its ports look free to the other.
"""

from __future__ import annotations

import fcntl
import tempfile
from pathlib import Path
from typing import IO

from sealstream.devstack.ports import LOWEST, PORTS

__all__ = ["Slot"]

_SIZE = 200


class Slot:
    """Held while it is open, by this process alone. `others`: every port that is not in it."""

    def __init__(self) -> None:
        for at in range(0, PORTS, _SIZE):
            lock = open(Path(tempfile.gettempdir()) / f"sealstream-ports-{LOWEST + at}.lock", "w")  # noqa: SIM115
            if _held(lock):
                self._lock = lock
                self.others = {*range(LOWEST, LOWEST + PORTS)} - {*range(LOWEST + at, LOWEST + at + _SIZE)}
                return
            lock.close()
        raise RuntimeError(f"{PORTS // _SIZE} benches run already")

    def close(self) -> None:
        """Somebody else may have these ports."""
        self._lock.close()


def _held(lock: IO[str]) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
