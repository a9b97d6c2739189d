"""A worker's life hangs on its parent's: whatever ends the parent, kill -9 included, ends the worker.

The kernel sends SIGKILL when the parent's thread that started it ends (Linux PR_SET_PDEATHSIG); where it can't, the
next report finds the pipe broken. Whether the parent had ended before is looked at once the kernel knows.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from collections.abc import Callable

from sealstream.anomaly.worker_reports import Report, encode_report

__all__ = ["live_with", "reports_to"]

_PR_SET_PDEATHSIG = 1


def live_with(parent: int) -> None:
    """End when the process `parent`, which must have started this one, ends."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)
    if os.getppid() != parent:
        os._exit(0)


def reports_to(pipe: int) -> Callable[[Report], None]:
    """Writes reports into the pipe. One that does not fit, since nobody reads, is left out."""
    os.set_blocking(pipe, False)
    left = b""

    def tell(report: Report) -> None:
        nonlocal left
        line = left or encode_report(report)
        try:
            left = line[os.write(pipe, line) :]
        except BlockingIOError:
            left = line if left else b""
        except OSError:  # the parent is gone
            os._exit(0)

    return tell
