"""The clinic as the demo runs it: a real web server under the stack's supervisor, driven with real requests."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import httpx
from examples.clinic.attack import Attack, attack
from examples.clinic.load import Done, run

from sealstream.devstack import ProcessSpec, Stack
from sealstream.devstack.ports import free_port

__all__ = ["Clinic"]

_ROOT = Path(__file__).resolve().parents[2]
_STOP_TIMEOUT_S = 30.0


class Clinic:
    """`start()` it, `drive()` it, `stop()` it; what it must have emitted is known from what was asked of it."""

    def __init__(self, stack: Stack, bootstrap: str, chain: str, name: str = "clinic") -> None:
        self._name = name
        self._stack = stack
        self._port = free_port()
        self._environment = {"SEALSTREAM_BOOTSTRAP": bootstrap, "SEALSTREAM_CHAIN": chain}
        self._done = Done()

    @property
    def requests(self) -> int:
        """How many requests were sent."""
        return self._done.requests

    def start(self) -> None:
        """Start the web server and wait until it answers."""
        command = [sys.executable, "-m", "uvicorn", "--factory", "examples.clinic.app:create_app"]
        command += ["--host", "127.0.0.1", "--port", str(self._port), "--log-level", "warning"]
        command += ["--no-proxy-headers", "--timeout-keep-alive", "75"]
        spec = ProcessSpec(
            name=self._name,
            argv=command,
            env=self._environment,
            ready=lambda _: self._answers(),
            alarm_exit_codes=frozenset({0, 1, -int(signal.SIGTERM)}),  # once stopped, it is not started again
            cwd=_ROOT,
        )
        self._stack.start_processes([spec])

    def _answers(self) -> bool:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self._port}/health", timeout=1) as answer:
                return bool(answer.status == 200)
        except (urllib.error.URLError, OSError):
            return False

    def drive(self, requests: int) -> None:
        """Send the requests. Raises `RuntimeError` when the application answered otherwise than it must."""
        try:
            self._done = asyncio.run(run(f"http://127.0.0.1:{self._port}", requests))
        except httpx.HTTPError as error:
            raise RuntimeError(f"the clinic did not answer: {type(error).__name__} {error}") from error
        if self._done.unexpected:
            raise RuntimeError(f"the clinic answered otherwise than expected: {self._done.unexpected[:3]}")

    def attack(self, account: str) -> Attack:
        """Guess this account's password, and get in. Raises `RuntimeError` as `drive` does."""
        try:
            return attack(f"http://127.0.0.1:{self._port}", account)
        except httpx.HTTPError as error:
            raise RuntimeError(f"the clinic did not answer: {type(error).__name__} {error}") from error

    def stop(self) -> int:
        """Stop the web server in order; its client flushes and says goodbye. Returns how many events it emitted."""
        pid = self._pid()
        if pid is not None:
            os.kill(pid, signal.SIGTERM)
        deadline = time.monotonic() + _STOP_TIMEOUT_S
        while self._pid() is not None:
            self._stack.step()
            time.sleep(0.05)
            if time.monotonic() > deadline:
                raise TimeoutError(f"the clinic did not stop within {_STOP_TIMEOUT_S:.0f} s")
        return self._done.events + 1  # and `producer.closed`

    def _pid(self) -> int | None:
        return next((status.pid for status in self._stack.status() if status.name == self._name), None)
