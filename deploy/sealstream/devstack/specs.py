"""What a program of the stack is told to be: values, no behaviour."""

from __future__ import annotations

import signal
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

__all__ = ["ALARM_EXIT_CODE", "ProcessSpec", "ProcessStatus"]

ALARM_EXIT_CODE = 1
"""A process that ends with this met a fork, a broken link or lost input (`ChainStopped`): a person must decide."""


@dataclass(frozen=True)
class ProcessSpec:
    """One program under the supervisor.

    `ready`: told the pid; True once the program does its work (None: it counts as ready when it runs).
    `env`: added to the supervisor's own environment.
    `alarm_exit_codes`: it is not started again after one of these, and is shown as "stopped: alarm".
    `user`: the account that it drops to when the supervisor is root.
    """

    name: str
    argv: Sequence[str]
    env: Mapping[str, str] = field(default_factory=dict)
    ready: Callable[[int], bool] | None = None
    ready_timeout_s: float = 60
    stop_timeout_s: float = 20
    stop_signal: signal.Signals = signal.SIGTERM
    alarm_exit_codes: frozenset[int] = frozenset({ALARM_EXIT_CODE})
    user: str = ""
    cwd: Path | None = None


class ProcessStatus(NamedTuple):
    """How one program is. `state`: starting, running, restarting (it ended and waits for its turn), stopped, or
    "stopped: alarm". `since`: seconds since the epoch. `exit_code`: of its last end; -9 means killed by signal 9."""

    name: str
    state: str
    pid: int | None
    since: float
    restarts: int
    exit_code: int | None
    log: Path
