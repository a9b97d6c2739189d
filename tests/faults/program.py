"""One program of the bench, a server or a process of ours: started, killed, paused, and started again when it ends.

Programs end with the bench, whatever kills it (the kernel sees to it), so they must be started by the bench's own
thread.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from pathlib import Path

from sealstream.devstack import ALARM_EXIT_CODE, ProcessSpec
from sealstream.devstack.running import spawn

__all__ = ["Program"]

_FIRST_BACK_OFF_S, _LONGEST_BACK_OFF_S, _SOUND_AFTER_S = 0.5, 30.0, 60.0
"""As the local stack's supervisor."""


class Program:
    """`wanted`: whether `look_after` starts it again when it ended; not after an alarm, which is for a person."""

    def __init__(self, spec: ProcessSpec, log: Path) -> None:
        self.spec = spec
        self.log = log
        self.wanted = False
        self.alarm = False
        self.restarts = 0
        self._process: subprocess.Popen[bytes] | None = None
        self._started_at = self._next_try_at = 0.0
        self._back_off_s = _FIRST_BACK_OFF_S

    @property
    def name(self) -> str:
        return self.spec.name

    @property
    def pid(self) -> int | None:
        """None while it does not run."""
        return self._process.pid if self._process is not None and self._process.poll() is None else None

    def start(self, *more: str) -> None:
        """Start it, with `more` arguments this once."""
        assert self.pid is None, f"{self.name} runs already"
        spec = ProcessSpec(**{**vars(self.spec), "argv": [*self.spec.argv, *more]})
        self._process = spawn(spec, self.log)
        self._started_at = time.monotonic()
        self.wanted, self.alarm = True, False

    def kill(self) -> None:
        """kill -9, with everything that it has started; nothing when it does not run."""
        self.wanted = False
        self._signal(signal.SIGKILL)
        if self._process is not None:
            self._process.wait()

    def end(self, signal_number: signal.Signals, timeout_s: float = 40) -> int | None:
        """Ask it to end; the exit code."""
        self.wanted = False
        if self._process is None:
            return None
        self._signal(signal_number)
        try:
            return self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self.kill()
            return self._process.returncode

    def pause(self) -> None:
        """SIGSTOP."""
        self._signal(signal.SIGSTOP, group=True)

    def resume(self) -> None:
        """SIGCONT."""
        self._signal(signal.SIGCONT, group=True)

    def look_after(self) -> None:
        """Start it again when it has ended and should run: with a back-off, and not after an alarm."""
        if not self.wanted or self.alarm or self._process is None or (code := self._process.poll()) is None:
            return
        now = time.monotonic()
        if not self._next_try_at:
            if code == ALARM_EXIT_CODE and self.spec.alarm_exit_codes:
                self.alarm = True
                return
            if now - self._started_at > _SOUND_AFTER_S:
                self._back_off_s = _FIRST_BACK_OFF_S
            self._next_try_at = now + self._back_off_s
            self._back_off_s = min(2 * self._back_off_s, _LONGEST_BACK_OFF_S)
        elif now >= self._next_try_at:
            self._next_try_at = 0.0
            self.restarts += 1
            self.start()

    def last_words(self, lines: int = 8) -> str:
        """The end of its log."""
        try:
            return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])
        except OSError:
            return ""

    def _signal(self, number: signal.Signals, *, group: bool = True) -> None:
        if self._process is None or self._process.poll() is not None:
            return
        with contextlib.suppress(ProcessLookupError):
            if group and number in (signal.SIGKILL, signal.SIGSTOP, signal.SIGCONT):
                os.killpg(self._process.pid, number)
            else:
                os.kill(self._process.pid, number)
