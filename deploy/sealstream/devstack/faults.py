"""What can be wrong with a local stack, as leaves of the one tree of errors; each message is one sentence to act on."""

from __future__ import annotations

from pathlib import Path

from sealstream.errors import DiskFull, Misconfigured, Unavailable

__all__ = ["AlreadyRunning", "DiskFull", "NoJava", "NotOurs", "PortTaken", "ServerFailed"]


class AlreadyRunning(Misconfigured):
    """Another supervisor holds this data directory. `pid` is its process id, 0 when it can't be told."""

    def __init__(self, data_dir: Path, pid: int) -> None:
        super().__init__(
            f"the stack in {data_dir} is already running (process {pid or 'unknown'}): stop it with `down`"
        )
        self.pid = pid


class NotOurs(Misconfigured):
    """The data directory holds files that Sealstream did not put there; nothing was touched."""


class PortTaken(Misconfigured):
    """Somebody else listens on a port of the stack."""


class NoJava(Unavailable):
    """Kafka can't be run: no Java runtime, or its jars can't be had."""


class ServerFailed(Unavailable):
    """A program of the stack ended or did not become ready; the message quotes its log."""
