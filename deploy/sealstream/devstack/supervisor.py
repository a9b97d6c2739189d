"""Programs under one supervisor: started in order, restarted with back-off, stopped in reverse, known to other shells.

Invariants: state.json names every program that runs (pid and start tick); the caller holds the data directory's lock.
Crash story: when the supervisor is killed, the kernel ends its programs (`launch.py`). Should one survive, the next
supervisor finds it in state.json and ends it before it starts anything, so no program ever runs twice.

Not a thread: the owner calls `step()` in a loop, from the thread that called `start()`.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sealstream.devstack.directory import cannot_use, why_failed, write_whole
from sealstream.devstack.faults import DiskFull
from sealstream.devstack.logs import bound_log, size_of, tail
from sealstream.devstack.running import Identity, end, identity_of, is_alive, spawn
from sealstream.devstack.specs import ProcessSpec, ProcessStatus
from sealstream.errors import SealstreamError

__all__ = ["Supervisor", "end_recorded", "read_statuses", "recorded_supervisor"]

_STATE_FILE = "state.json"
_FIRST_BACK_OFF_S, _LONGEST_BACK_OFF_S = 0.5, 30.0
_SOUND_AFTER_S = 60
"""A program that ran for this long begins its back-off anew."""
_BOUND_LOGS_EVERY_S = 5
_POLL_S = 0.05


class _Program:
    """One program and what became of it."""

    def __init__(self, spec: ProcessSpec, log: Path) -> None:
        self.spec = spec
        self.log = log
        self.log_from = 0
        self.state = "stopped"
        self.process: subprocess.Popen[bytes] | None = None
        self.identity = Identity(0, "")
        self.since = time.time()
        self.started_at = 0.0
        self.restarts = 0
        self.back_off_s = _FIRST_BACK_OFF_S
        self.next_try_at = 0.0
        self.exit_code: int | None = None

    def become(self, state: str) -> None:
        self.state = state
        self.since = time.time()

    def status(self) -> ProcessStatus:
        pid = self.identity.pid if self.state in ("starting", "running") else None
        return ProcessStatus(self.spec.name, self.state, pid, self.since, self.restarts, self.exit_code, self.log)


class Supervisor:
    """The programs of one data directory."""

    def __init__(self, data_dir: Path) -> None:
        self._data_dir = data_dir
        self._groups: list[list[_Program]] = []
        self._logs_bounded_at = 0.0

    def start(self, specs: Sequence[ProcessSpec], *, together: bool = False) -> None:
        """Start the programs and wait until each is ready: one after another, or all at once.

        Raises `ServerFailed` or `DiskFull` when one does not get there; what runs then, runs on until `stop()`.
        """
        group: list[_Program] = []
        self._groups.append(group)
        for spec in specs:
            program = _Program(spec, self._data_dir / "logs" / f"{spec.name}.log")
            group.append(program)
            self._spawn(program)
            if not together:
                self._wait_until_ready([program])
        if together:
            self._wait_until_ready(group)

    def step(self) -> bool:
        """Look after every program once; True when something changed. Returns within a readiness check or two.

        Raises `DiskFull` when a program ended because there is no room: starting it again can't help.
        """
        changed = False
        for program in self._programs():
            before = program.state
            if program.state in ("starting", "running"):
                self._look_after(program)
            elif program.state == "restarting" and time.monotonic() >= program.next_try_at:
                program.restarts += 1
                self._spawn(program)
            changed |= program.state != before
        if time.monotonic() - self._logs_bounded_at > _BOUND_LOGS_EVERY_S:
            self._logs_bounded_at = time.monotonic()
            for program in self._programs():
                bound_log(program.log)
        if changed:
            self._write_state()
        return changed

    def stop(self) -> None:
        """End all programs, the group that was started last first. Repeatable."""
        for group in reversed(self._groups):
            end([(each.identity, each.spec.stop_signal, each.spec.stop_timeout_s) for each in reversed(group)])
            for program in group:
                if program.process is not None:
                    program.exit_code = program.process.wait()
                    program.process = None
                    program.identity = Identity(0, "")
                if program.state != "stopped: alarm":
                    program.become("stopped")
            with contextlib.suppress(
                SealstreamError
            ):  # the rest must be ended all the same; readers look who really runs
                self._write_state()

    def statuses(self) -> list[ProcessStatus]:
        """How the programs are, in the order of their start."""
        return [program.status() for program in self._programs()]

    def _programs(self) -> list[_Program]:
        return [program for group in self._groups for program in group]

    def _spawn(self, program: _Program) -> None:
        program.log_from = size_of(program.log)
        try:
            program.process = spawn(program.spec, program.log)
        except OSError as error:
            raise cannot_use(self._data_dir, error) from error
        program.identity = identity_of(program.process.pid) or Identity(program.process.pid, "")
        program.started_at = time.monotonic()
        program.become("starting")
        self._write_state()

    def _look_after(self, program: _Program) -> None:
        assert program.process is not None  # so it is while starting or running
        exit_code = program.process.poll()
        if exit_code is not None:
            self._note_end(program, exit_code)
        elif program.state == "starting" and _is_ready(program):
            program.become("running")
        elif program.state == "running" and time.monotonic() - program.started_at > _SOUND_AFTER_S:
            program.back_off_s = _FIRST_BACK_OFF_S

    def _note_end(self, program: _Program, exit_code: int) -> None:
        program.exit_code = exit_code
        program.process = None
        program.identity = Identity(0, "")
        if exit_code in program.spec.alarm_exit_codes:
            program.become("stopped: alarm")
            return
        program.become("restarting")
        failure = self._why(program, f"ended with exit code {exit_code}")
        if isinstance(failure, DiskFull):
            raise failure
        program.next_try_at = time.monotonic() + program.back_off_s
        program.back_off_s = min(2 * program.back_off_s, _LONGEST_BACK_OFF_S)

    def _wait_until_ready(self, programs: Sequence[_Program]) -> None:
        waiting = list(programs)
        while waiting:
            for program in list(waiting):
                self._look_after(program)
                if program.state == "running":
                    waiting.remove(program)
                elif program.state != "starting":
                    raise self._why(program, f"ended with exit code {program.exit_code} before it was ready")
                elif time.monotonic() - program.started_at > program.spec.ready_timeout_s:
                    raise self._why(program, f"was not ready within {program.spec.ready_timeout_s:g} s")
            if waiting:
                time.sleep(_POLL_S)
        self._write_state()

    def _why(self, program: _Program, what: str) -> Exception:
        with contextlib.suppress(SealstreamError):  # that the disk is full is said below
            self._write_state()
        return why_failed(
            self._data_dir,
            f"{program.spec.name} {what}; see {program.log}",
            " / ".join(tail(program.log, since=program.log_from)),
        )

    def _write_state(self) -> None:
        supervisor = identity_of(os.getpid())
        members = {
            "supervisor": supervisor and supervisor._asdict(),
            "processes": [
                {
                    "status": {**each.status()._asdict(), "log": str(each.log)},
                    "identity": each.identity._asdict(),
                    "stop_signal": int(each.spec.stop_signal),
                    "stop_timeout_s": each.spec.stop_timeout_s,
                }
                for each in self._programs()
            ],
        }
        try:
            write_whole(self._data_dir / _STATE_FILE, members)
        except OSError as error:
            raise cannot_use(self._data_dir, error) from error


def read_statuses(data_dir: Path) -> list[ProcessStatus]:
    """How the programs are, from another shell: what the supervisor wrote, corrected by what really runs."""
    statuses = []
    for each in _read_state(data_dir).get("processes", []):
        status = ProcessStatus(**{**each["status"], "log": Path(each["status"]["log"])})
        if status.pid is not None and not is_alive(Identity(**each["identity"])):
            status = status._replace(state="stopped", pid=None)
        elif status.state == "restarting" and recorded_supervisor(data_dir) is None:
            status = status._replace(state="stopped")
        statuses.append(status)
    return statuses


def recorded_supervisor(data_dir: Path) -> Identity | None:
    """The supervisor that wrote the state, if it still runs."""
    members = _read_state(data_dir).get("supervisor")
    supervisor = Identity(**members) if members else None
    return supervisor if supervisor is not None and is_alive(supervisor) else None


def end_recorded(data_dir: Path) -> list[str]:
    """End the programs that a supervisor which is gone left running; their names, the last started first."""
    left = [
        (
            each["status"]["name"],
            Identity(**each["identity"]),
            signal.Signals(each["stop_signal"]),
            each["stop_timeout_s"],
        )
        for each in reversed(_read_state(data_dir).get("processes", []))
    ]
    alive = [each for each in left if is_alive(each[1])]
    end([each[1:] for each in alive])
    return [each[0] for each in alive]


def _read_state(data_dir: Path) -> dict[str, Any]:
    try:
        members: dict[str, Any] = json.loads((data_dir / _STATE_FILE).read_text())
    except (OSError, ValueError):
        return {}  # no stack ran here yet; write_whole leaves no half file
    return members


def _is_ready(program: _Program) -> bool:
    return program.spec.ready is None or program.spec.ready(program.identity.pid)
