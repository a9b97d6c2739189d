"""Verifications that the service has run: one at a time, in a process of its own, and the last result of each chain.

A verification reads a whole store and recomputes it: minutes of work, which must not slow answers down. The result is a
file, written by rename, so that every process of the service and the next one show it. A service that ends stops the
verification that it runs; the result before it stands.
"""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
import threading
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sealstream.errors import SealstreamError
from sealstream.events import format_timestamp

__all__ = ["AlreadyRunning", "Verifications"]


class AlreadyRunning(SealstreamError):
    """A verification of some chain is under way; this service runs one at a time."""


class Verifications:
    """`command(chain)`: what prints one JSON report a store (`sealstream verify all --json`)."""

    def __init__(self, folder: Path, command: Callable[[str], Sequence[str]], *, tick_s: float = 5.0) -> None:
        self._folder = folder
        self._tick_s = tick_s
        self._command = command
        self._lock = threading.Lock()
        self._running: tuple[str, subprocess.Popen[str]] | None = None
        self._ended = threading.Event()

    def start(self, chain: str, by: str) -> None:
        """Begin one in the background. Raises `AlreadyRunning`."""
        with self._lock:
            if self._running is not None:
                raise AlreadyRunning(f"chain {self._running[0]} is being verified: try again when it is done")
            process = subprocess.Popen(
                list(self._command(chain)), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
            )
            self._running = (chain, process)
        threading.Thread(
            target=self._wait, args=(chain, by, process, datetime.now(UTC)), name="verification", daemon=True
        ).start()

    def running(self, chain: str) -> bool:
        """Whether this chain is being verified by this process."""
        with self._lock:
            return self._running is not None and self._running[0] == chain

    def last(self, chain: str) -> dict[str, Any] | None:
        """The last result, of any process of the service; None: there is none."""
        try:
            found: dict[str, Any] = json.loads(self._file(chain).read_text())
        except FileNotFoundError:
            return None
        return found

    def keep_up(self, chains: Sequence[str], every_hours: float) -> None:
        """From now on verify each chain whenever its last result is older than this."""
        threading.Thread(target=self._schedule, args=(chains, every_hours), name="schedule", daemon=True).start()

    def close(self) -> None:
        """Stop what runs."""
        self._ended.set()
        with self._lock:
            running = self._running
        if running is not None:
            running[1].terminate()
            try:
                running[1].wait(1)
            except subprocess.TimeoutExpired:  # it only reads
                running[1].kill()

    def _schedule(self, chains: Sequence[str], every_hours: float) -> None:
        while not self._ended.wait(self._tick_s):
            for chain in chains:
                last = self.last(chain)
                age_s = (
                    float("inf")
                    if last is None
                    else (datetime.now(UTC) - datetime.fromisoformat(last["finished_at"])).total_seconds()
                )
                if age_s > every_hours * 3_600:
                    try:
                        self.start(chain, "schedule")
                    except AlreadyRunning:
                        break

    def _wait(self, chain: str, by: str, process: subprocess.Popen[str], began: datetime) -> None:
        printed, complained = process.communicate()
        if not self._ended.is_set():
            self._keep(
                chain,
                {
                    "started_at": format_timestamp(began),
                    "finished_at": format_timestamp(datetime.now(UTC)),
                    "by": by,
                    "exit_code": process.returncode,
                    "stores": [_summary(report) for report in _documents(printed)],
                    "trouble": complained.strip()[-1_000:],
                },
            )
        with self._lock:
            self._running = None

    def _keep(self, chain: str, result: dict[str, Any]) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        handle, beside = tempfile.mkstemp(dir=self._folder, prefix=".verification.")
        with os.fdopen(handle, "w") as file:
            json.dump(result, file, indent=2)
        Path(beside).replace(self._file(chain))

    def _file(self, chain: str) -> Path:
        return self._folder / f"{chain}.json"


def _documents(text: str) -> list[dict[str, Any]]:
    """JSON documents one after another."""
    decoder, found, rest = json.JSONDecoder(), [], text.strip()
    while rest:
        try:
            document, end = decoder.raw_decode(rest)
        except ValueError:
            break
        found.append(document)
        rest = rest[end:].lstrip()
    return found


def _summary(report: dict[str, Any]) -> dict[str, Any]:
    """What is told of a report; faults by kind and place, without what was found there."""
    faults = report.get("faults", [])
    return {
        "store": report["store"],
        "verdict": report["verdict"],
        "exit_code": report["exit_code"],
        "entries": report.get("entries", 0),
        "signed_size": report.get("signed_size", 0),
        "root": report.get("root", ""),
        "assurance": report.get("assurance", []),
        "faults": len(faults),
        "fault_kinds": sorted({fault["kind"] for fault in faults}),
        "notes": report.get("notes", []),
        "error": report.get("error", ""),
    }
