"""Ctrl-C and SIGTERM as something to be asked for, where an exception in the middle of it would do harm."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager

__all__ = ["interrupted"]

_ENDS = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def interrupted() -> Iterator[Callable[[], bool]]:
    """Whether Ctrl-C or SIGTERM came: an exception amid the driver's callbacks would be its fault, and not ours."""
    came: list[int] = []
    before = {each: signal.signal(each, lambda number, _frame: came.append(number)) for each in _ENDS}
    try:
        yield lambda: bool(came)
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)
