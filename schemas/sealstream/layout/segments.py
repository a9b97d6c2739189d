"""Where segments end (docs/format.md): by the entries alone, so that everybody cuts alike.

Pure. A crash leaves nothing behind: a cutter is rebuilt by feeding it the entries of the open segment again.
"""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple

from sealstream.layout.chains import SegmentLimits

__all__ = ["Cut", "SegmentCutter"]


class Cut(NamedTuple):
    """What one entry did: `before`, the open segment ended before it; `with_it`, the segment ends with it."""

    before: bool
    with_it: bool


class SegmentCutter:
    """Feed it every entry from a segment's first on; `first_seq` is the open segment's first entry."""

    def __init__(self, limits: SegmentLimits, first_seq: int = 0) -> None:
        self._limits = limits
        self._start(first_seq)

    def _start(self, first_seq: int) -> None:
        self.first_seq = first_seq
        self._entries = 0
        self._bytes = 0
        self._date = ""
        self._first_event_at: datetime | None = None

    def add(self, seq: int, kind: str, sequenced_at: str, body_bytes: int) -> Cut:
        """Where the entry falls. `sequenced_at` in the form `YYYY-MM-DDTHH:MM:SS.ffffffZ`.

        The rules in their order: another UTC date ends the open segment before the entry; the entry joins; the
        segment ends with it by count, by bytes of `body`, or by seconds since the segment's first `event`.
        """
        before = self._entries > 0 and sequenced_at[:10] != self._date
        if before:
            self._start(seq)
        self._date = sequenced_at[:10]
        self._entries += 1
        self._bytes += body_bytes
        if self._first_event_at is None and kind == "event":
            self._first_event_at = datetime.fromisoformat(sequenced_at)
        with_it = (
            self._entries >= self._limits.entries
            or self._bytes >= self._limits.bytes
            or (
                self._first_event_at is not None
                and (datetime.fromisoformat(sequenced_at) - self._first_event_at).total_seconds()
                >= self._limits.seconds
            )
        )
        if with_it:
            self._start(seq + 1)
        return Cut(before, with_it)

    def add_run(self, entries: int, sequenced_at: str, body_bytes: int) -> bool:
        """Add so many entries at once, the last one's time and all their bytes given: only if they change no segment.

        False when one of them might begin or end a segment, or be its first `event`: then nothing was added, and they
        are added one by one. Times must rise, as a chain's do.
        """
        if (
            self._first_event_at is None
            or sequenced_at[:10] != self._date
            or self._entries + entries >= self._limits.entries
            or self._bytes + body_bytes >= self._limits.bytes
            or (datetime.fromisoformat(sequenced_at) - self._first_event_at).total_seconds() >= self._limits.seconds
        ):
            return False
        self._entries += entries
        self._bytes += body_bytes
        return True
