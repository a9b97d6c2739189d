"""One program that runs: start it, tell it from another that got its pid, end it.

A pid alone names nobody: it is used again. A process is known by its pid and the tick at which it started since the
machine's boot, so that a state file that outlived a reboot or a kill -9 of the supervisor never hits a stranger.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

from sealstream.devstack import launch
from sealstream.devstack.directory import why_failed
from sealstream.devstack.faults import ServerFailed
from sealstream.devstack.specs import ProcessSpec

__all__ = ["Identity", "end", "identity_of", "is_alive", "run_once", "spawn"]

_CORPSE_S = 10
"""How long a killed process may take to go; one that hangs in the kernel takes longer, and nobody can help it."""
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


class Identity(NamedTuple):
    """`started`: boot id and start tick; "" matches no process."""

    pid: int
    started: str


def identity_of(pid: int) -> Identity | None:
    """The identity of the process that has this pid now; None when there is none, or only its corpse."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
        after_name = stat[stat.rindex(")") + 2 :].split()  # the name may hold spaces and parentheses
        if after_name[0] in "ZX":
            return None
        return Identity(pid, f"{_BOOT_ID.read_text().strip()}:{after_name[19]}")
    except (OSError, ValueError, IndexError):
        return None


def is_alive(identity: Identity) -> bool:
    """Whether this very process still runs."""
    return identity.pid > 0 and identity_of(identity.pid) == identity


def _launch_argv(spec: ProcessSpec) -> list[str]:
    command = [sys.executable, "-I", "-S", launch.__file__]
    command += ["--parent", str(os.getpid()), "--death-signal", str(int(spec.stop_signal))]
    if spec.user:
        command += ["--user", spec.user]
    return [*command, "--", *spec.argv]


def spawn(spec: ProcessSpec, log: Path) -> subprocess.Popen[bytes]:
    """Start the program in a session of its own (Ctrl-C in the terminal reaches only the supervisor)."""
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as output:
        return subprocess.Popen(
            _launch_argv(spec),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd=spec.cwd,
            env={**os.environ, **spec.env},
            start_new_session=True,
        )


def run_once(spec: ProcessSpec, folder: Path, timeout_s: float = 120) -> None:
    """Run a program to its end. Raises `ServerFailed` with its last words, or `DiskFull` when `folder` has no room."""
    try:
        done = subprocess.run(
            _launch_argv(spec), capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=timeout_s, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise ServerFailed(f"{spec.name} did not end within {timeout_s:g} s") from error
    if done.returncode != 0:
        raise why_failed(folder, f"{spec.name} failed", (done.stderr + done.stdout).strip())


def end(processes: list[tuple[Identity, signal.Signals, float]], poll_s: float = 0.02) -> None:
    """Ask each with its signal, wait for as long as each may take, then kill what is left, children included."""
    waiting = []
    for identity, stop_signal, timeout_s in processes:
        if is_alive(identity):
            with contextlib.suppress(ProcessLookupError):
                os.kill(identity.pid, stop_signal)
            waiting.append((identity, time.monotonic() + timeout_s))
    while waiting:
        left = []
        for identity, deadline in waiting:
            if not is_alive(identity):
                continue
            if time.monotonic() >= deadline:
                _kill(identity)
            else:
                left.append((identity, deadline))
        waiting = left
        if waiting:
            time.sleep(poll_s)


def _kill(identity: Identity) -> None:
    with contextlib.suppress(ProcessLookupError):
        if os.getpgid(identity.pid) == identity.pid:  # what `spawn` started leads its own session: its children go too
            os.killpg(identity.pid, signal.SIGKILL)
        else:
            os.kill(identity.pid, signal.SIGKILL)
    deadline = time.monotonic() + _CORPSE_S
    while is_alive(identity) and time.monotonic() < deadline:
        time.sleep(0.02)
