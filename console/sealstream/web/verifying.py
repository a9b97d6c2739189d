"""Verifications that the service has run: one at a time, in a process of its own, and the last result of each chain.

A verification reads a whole store and recomputes it: minutes of work, which must not slow answers down. The result is a
file, written by rename, so that every process of the service and the next one show it. The invariant: whatever a
verification prints or however it ends, the next one can begin; a file that is not a whole result counts as none. A
service that ends stops the verification that it runs; the result before it stands.
"""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import structlog

from sealstream.errors import Misconfigured, SealstreamError
from sealstream.events import format_timestamp

__all__ = ["AlreadyRunning", "Verifications"]


class AlreadyRunning(SealstreamError):
    """A verification of some chain is under way; this service runs one at a time."""


class _KeptStore(msgspec.Struct):
    store: str
    verdict: str
    exit_code: int
    entries: int
    signed_size: int
    root: str
    assurance: list[str]
    faults: int
    fault_kinds: list[str]
    notes: list[str]
    error: str


class _Kept(msgspec.Struct):
    """The file of a chain."""

    started_at: datetime
    finished_at: datetime
    by: str
    exit_code: int
    stores: list[_KeptStore]
    trouble: str


class Verifications:
    """`command(chain)`: what prints one JSON report a store (`sealstream verify all --json`)."""

    def __init__(self, folder: Path, command: Callable[[str], Sequence[str]], *, tick_s: float = 5.0) -> None:
        self._folder = folder
        self._tick_s = tick_s
        self._command = command
        self._lock = threading.Lock()
        self._running: tuple[str, subprocess.Popen[str]] | None = None
        self._ended = threading.Event()
        self._begun: dict[str, float] = {}
        self._log = structlog.get_logger().bind(process="serve")

    def check_folder(self) -> None:
        """Raises `Misconfigured` when results can't be kept."""
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            handle, beside = tempfile.mkstemp(dir=self._folder, prefix=".verification.")
            os.close(handle)
            Path(beside).unlink()
        except OSError as error:
            raise Misconfigured(
                f"results of verifications can't be kept in {self._folder}: {error.strerror}; expected a folder that "
                "the service's user may write to"
            ) from error

    def start(self, chain: str, by: str) -> None:
        """Begin one in the background. Raises `AlreadyRunning`; `Misconfigured` when its result could not be kept."""
        with self._lock:
            if self._running is not None:
                raise AlreadyRunning(f"chain {self._running[0]} is being verified: try again when it is done")
            self.check_folder()
            process = subprocess.Popen(
                list(self._command(chain)), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, errors="replace"
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
        """The last result, of any process of the service; None: there is none, or none that is whole."""
        try:
            data = self._file(chain).read_bytes()
            msgspec.json.decode(data, type=_Kept)
            found: dict[str, Any] = json.loads(data)
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            self._log.error(
                "a verification's result can't be read", file=str(self._file(chain)), reason=str(error), chain=chain
            )
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
                try:
                    if self._age_s(chain) > every_hours * 3_600:
                        self.start(chain, "schedule")
                        self._begun[chain] = time.monotonic()
                except AlreadyRunning:
                    break
                except Exception as error:  # noqa: BLE001 - what ends this thread ends all later verifications
                    self._begun[chain] = time.monotonic()
                    self._log.error("a verification could not begin", chain=chain, reason=str(error))

    def _age_s(self, chain: str) -> float:
        """Since the last result, or since this schedule last tried: one that fails is not begun at each tick."""
        last = self.last(chain)
        finished = None if last is None else datetime.fromisoformat(last["finished_at"])
        age_s = float("inf") if finished is None else (datetime.now(UTC) - finished).total_seconds()
        return min(age_s, time.monotonic() - self._begun.get(chain, float("-inf")))

    def _wait(self, chain: str, by: str, process: subprocess.Popen[str], began: datetime) -> None:
        try:
            printed, complained = process.communicate()
            if not self._ended.is_set():
                result = {
                    "started_at": format_timestamp(began),
                    "finished_at": format_timestamp(datetime.now(UTC)),
                    "by": by,
                    "exit_code": process.returncode,
                    "stores": [_summary(report) for report in _documents(printed)],
                    "trouble": complained.strip()[-1_000:],
                }
                self._say_troubles(chain, result)
                self._keep(chain, result)
        except Exception as error:  # noqa: BLE001 - told to the operator; the next one must be able to begin
            self._log.error("a verification's result is lost", chain=chain, reason=repr(error))
        finally:
            with self._lock:
                self._running = None

    def _say_troubles(self, chain: str, result: dict[str, Any]) -> None:
        """To the operator alone: they name hosts, roles and files."""
        told = [(store["store"], store["error"]) for store in result["stores"]] + [("all", result["trouble"])]
        for store, reason in told:
            if reason:
                self._log.warning("a verification had trouble", chain=chain, store=store, reason=reason)

    def _keep(self, chain: str, result: dict[str, Any]) -> None:
        msgspec.convert(result, _Kept)
        handle, beside = tempfile.mkstemp(dir=self._folder, prefix=".verification.")
        try:
            with os.fdopen(handle, "w") as file:
                json.dump(result, file, indent=2)
            Path(beside).replace(self._file(chain))
        except BaseException:
            Path(beside).unlink(missing_ok=True)
            raise

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
