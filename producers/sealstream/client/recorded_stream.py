"""A stream that ends in memory: what `sealstream.client.testing` puts in the place of the one to Kafka.

The invariant: an event is here exactly as it would have been sent, numbered, canonical and redacted. Nothing of it
outlives the process.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from threading import RLock
from typing import Any

from sealstream.client.stats import Losses, Stats
from sealstream.client.stream import Stream, numbered
from sealstream.client.tracing import Headers

__all__ = ["RecordedStream"]


class RecordedStream(Stream):
    """Hands each event, decoded, to `record`, and each loss's reason to nobody but `losses`."""

    def __init__(self, producer_id: str, losses: Losses, record: Callable[[dict[str, Any]], None]) -> None:
        self.producer_id = producer_id
        self._losses = losses
        self._record = record
        self._lock = RLock()
        self._next = 0
        self._ended = False
        self._producer = None

    def send(self, event: bytes, headers: Headers = None) -> str | None:
        with self._lock:
            if self._ended:
                return "closed"
            number, self._next = self._next, self._next + 1
            self._record(json.loads(numbered(event, number)))
        return None

    def report_soon(self) -> None:
        """Losses are told by who records."""

    def flush(self, timeout_s: float) -> int:
        return 0

    def close(self, timeout_s: float) -> Stats:
        self._ended = True
        return self.stats()

    def stats(self) -> Stats:
        dropped, unreported = self._losses.counted()
        return Stats(emitted=self._next, delivered=self._next, dropped=dropped, unreported=unreported)
