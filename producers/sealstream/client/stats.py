"""What became of the events: counted from the moment `emit` is called, so that a loss can't hide.

`Losses` knows every event that will never arrive, by reason, and how much of that an `audit.loss` event has already
said. The invariant: an event that was dropped is counted exactly once, and a count leaves the unreported only while a
report about it is on its way or after it arrived. The counts live in memory: after a crash, the gap in the producer's
numbers and the missing `producer.closed` say what they can.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from threading import RLock
from typing import NamedTuple

__all__ = ["Losses", "Stats"]


class Stats(NamedTuple):
    """As of now, for this process (a forked child counts from 0).

    `emitted`: events that were given a number and queued, the client's own `audit.loss` and `producer.closed` among
    them, which `statements` counts. `emitted == delivered + pending + failed`. `pending`: not yet acknowledged.
    `failed`: numbered and given up, so their numbers are missing in the chain. `dropped`: all losses by reason, those
    that never got a number (`invalid`, `queue full`, `closed`, ...) and those that failed. `unreported`: losses that no
    `audit.loss` event has stated yet. `spool_bytes`: what this process's files in the spool take; what is `pending`
    after `close` waits in them for the next start, or for `sealstream spool drain`.
    """

    emitted: int = 0
    delivered: int = 0
    pending: int = 0
    failed: int = 0
    statements: int = 0
    dropped: Mapping[str, int] = {}
    unreported: int = 0
    spool_bytes: int = 0

    @property
    def undelivered(self) -> int:
        """Numbered events that are not known to have arrived."""
        return self.pending + self.failed

    @property
    def refused(self) -> int:
        """Events that break the rules of an event."""
        return self.dropped.get("invalid", 0)


class Losses:
    """Losses by reason, all of them and the unreported. For all threads."""

    def __init__(self) -> None:
        self._lock = RLock()
        # Not a Counter, whose first count of a reason runs Python: a signal handler that counts could get in between.
        self._dropped: defaultdict[str, int] = defaultdict(int)
        self._unreported: defaultdict[str, int] = defaultdict(int)

    def add(self, reason: str, count: int = 1) -> bool:
        """So many more; whether they are the first for this reason."""
        with self._lock:
            self._dropped[reason] += count
            self._unreported[reason] += count
            return self._dropped[reason] == count

    def take(self) -> list[tuple[str, int]]:
        """All that is unreported, for reports that will now be made."""
        with self._lock:
            taken, self._unreported = self._unreported, defaultdict(int)
            return sorted(taken.items())

    def give_back(self, reason: str, count: int) -> None:
        """No report about these arrived."""
        with self._lock:
            self._unreported[reason] += count

    def __bool__(self) -> bool:
        return bool(self._unreported)

    @property
    def unreported(self) -> int:
        """Losses that no report is about."""
        with self._lock:
            return sum(self._unreported.values())

    def counted(self) -> tuple[dict[str, int], int]:
        """All losses by reason; the number of unreported ones."""
        with self._lock:
            return dict(self._dropped), sum(self._unreported.values())
