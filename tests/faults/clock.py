"""`python -m tests.faults.clock FILE COMMAND...`: the `sealstream` command with a clock that can be set while it runs.

FILE holds 8 bytes, the nanoseconds to add to the machine's time of day, read at every question, so the clock of a
running process jumps. What is shifted is what Python code is told (`time.time`, `time.time_ns`, `datetime.now`); timers
of the drivers, which the kernel runs, are not. Broker and servers keep the machine's clock.
"""

from __future__ import annotations

import datetime as datetime_module
import mmap
import struct
import sys
import time
import warnings
from pathlib import Path
from typing import Any

__all__ = ["main", "set_clock"]


def set_clock(file: Path, seconds: float) -> None:
    """Set the clock of every process that was started with `file`, from now on; made when it is missing."""
    with file.open("r+b" if file.exists() else "wb") as writing:
        writing.write(struct.pack("=q", int(seconds * 1e9)))


def main(arguments: list[str]) -> int:
    """Shift, then run the command as its own entry point would."""
    _shift(Path(arguments[0]))
    warnings.filterwarnings("ignore", "datetime.datetime size changed")
    from sealstream.cli.entry import main as entry

    sys.argv = ["sealstream", *arguments[1:]]
    return entry()


def _shift(file: Path) -> None:
    with file.open("rb") as opened:
        shared = mmap.mmap(opened.fileno(), 8, access=mmap.ACCESS_READ)
    real_ns, real = time.time_ns, datetime_module.datetime

    def time_ns() -> int:
        return real_ns() + int(struct.unpack("=q", shared[:8])[0])

    class AnyDatetime(type):
        def __instancecheck__(cls, instance: object) -> bool:
            return isinstance(instance, real)

    class Shifted(real, metaclass=AnyDatetime):  # type: ignore[valid-type, misc]
        @classmethod
        def now(cls, tz: datetime_module.tzinfo | None = None) -> Any:
            return real.fromtimestamp(time_ns() / 1e9, tz)

        @classmethod
        def utcnow(cls) -> Any:
            return cls.now(datetime_module.UTC).replace(tzinfo=None)

    time.time_ns = time_ns
    time.time = lambda: time_ns() / 1e9
    datetime_module.datetime = Shifted  # type: ignore[misc]


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
