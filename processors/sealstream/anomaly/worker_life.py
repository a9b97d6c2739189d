"""A worker's life hangs on its parent's: whatever ends the parent, kill -9 included, ends the worker.

The kernel sends SIGKILL when the parent's thread that started it ends (Linux PR_SET_PDEATHSIG); elsewhere the next
report finds the pipe broken. Whether the parent had ended before is looked at once the kernel knows.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

__all__ = ["live_with"]

_PR_SET_PDEATHSIG = 1


def live_with(parent: int) -> None:
    """End when the process `parent`, which must have started this one, ends."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)
    if os.getppid() != parent:
        os._exit(0)
