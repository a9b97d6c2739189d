"""The reading side of a spool: a stream's records in their order, past whatever is torn or damaged.

The invariant: a record is given out only when its checksum holds and its number follows, and each number that the
stream's own headers and records show to be missing is counted in `damaged`, once. Numbers that were never on disk, as
there was no room for them, are no damage. A torn tail, whose events nobody can count any more, counts as one.

Reads only. The crash story: what a process left behind at any moment is read like everything else.
"""

from __future__ import annotations

import os
from bisect import bisect_left
from pathlib import Path

from sealstream.client.spool_directory import first_of, segments
from sealstream.client.spool_format import (
    HEADER_BYTES,
    MAX_RECORD_BYTES,
    Record,
    SegmentHeader,
    decode_header,
    records_in,
    resume_at,
)

__all__ = ["Reader"]

_CHUNK_BYTES = 256 * 1024
_ANY = 1 << 62


class Reader:
    """One stream. For one thread; the stream may grow meanwhile, and lose whole segments below what is asked for.

    `damaged`: events from `judged_from` on that are known to be missing or unreadable, so far. `torn`: something
    unreadable lies at the very end. `end`: the number after the last record seen. `header`: the last one seen.
    """

    def __init__(self, folder: Path, judged_from: int = 0) -> None:
        self._folder = folder
        self._judged = judged_from
        self._path: Path | None = None
        self._descriptor = -1
        self._offset = 0
        self._ahead: list[Record] = []
        self.end = 0
        self.damaged = 0
        self.torn = False
        self.header: SegmentHeader | None = None

    def read(self, start: int, below: int = _ANY) -> list[Record]:
        """The next records from number `start` on, up to `below`; none when there are none (yet). Raises `OSError`."""
        ahead = self._ahead
        if not ahead or not ahead[0].number <= start <= ahead[-1].number:
            if self._descriptor < 0 or start < self.end:
                self._begin_at(start)
            ahead = self._chunk()
            while ahead and ahead[-1].number < start:
                ahead = self._chunk()
            self._ahead = ahead
        first = bisect_left(ahead, start, key=_number)
        return ahead[first : bisect_left(ahead, below, key=_number)]

    def close(self) -> None:
        """Leave the files."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def __enter__(self) -> Reader:
        return self

    def __exit__(self, *_raised: object) -> None:
        self.close()

    def _begin_at(self, start: int) -> None:
        self._path, self._ahead = None, []
        found = segments(self._folder)
        below = [path for path in found if first_of(path) <= start]
        if found:
            self._open(below[-1] if below else found[0])

    def _open(self, path: Path) -> None:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        self.close()
        header = decode_header(os.pread(descriptor, HEADER_BYTES, 0))
        if self._path is not None:  # what lies between this one and the one before
            self._judge(first_of(path) if header is None else header.after)
        self._path, self._descriptor, self._offset = path, descriptor, HEADER_BYTES
        self.header = header or self.header
        self.end = first_of(path)
        self.torn = False

    def _open_next(self) -> bool:
        later = [path for path in segments(self._folder) if self._path is None or path > self._path]
        if not later:
            return False
        self._open(later[0])
        return True

    def _chunk(self) -> list[Record]:
        """The next whole records, past damage and ends of segments."""
        while self._descriptor >= 0:
            data = os.pread(self._descriptor, _CHUNK_BYTES, self._offset)
            found, length = records_in(data, self.end)
            if found:
                self._offset += length
                self.end = found[-1].number + 1
                self._judged = max(self._judged, self.end)
                return found
            if not self._resume(data) and not self._open_next():
                break
        return []

    def _resume(self, data: bytes) -> bool:
        """Whether a whole record begins behind the place that is no record; the reader then stands there."""
        if len(data) == _CHUNK_BYTES or data.strip(b"\0"):
            data = b"".join(self._rest())
        if not data.strip(b"\0"):
            return False  # nothing was written here
        at = resume_at(data, self.end)
        if at is None:
            self.torn = True
            return False
        found, _length = records_in(data[at : at + MAX_RECORD_BYTES], None)
        self._judge(found[0].number)
        self.end = found[0].number
        self._offset += at
        return True

    def _judge(self, found: int) -> None:
        """After the number `end - 1` the next that is there is `found`; reading it once more counts nothing twice."""
        self.damaged += max(found - max(self.end, self._judged), 0)
        self._judged = max(self._judged, found)

    def _rest(self) -> list[bytes]:
        parts, offset = [], self._offset
        while part := os.pread(self._descriptor, 1 << 20, offset):
            parts.append(part)
            offset += len(part)
        return parts


def _number(record: Record) -> int:
    return record.number
