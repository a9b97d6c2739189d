"""A segment as it is folded together: what its rows must satisfy, and what its manifest says of them.

The invariant: a fold that ended without complaint under the signed root holds exactly the entries that the chain's key
has signed, in order, none more and none less; and the segment ends where the chain's limits end it. The account of the
input offsets was checked before the root was signed, and is checked again by every verification. Pure.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, NamedTuple

from sealstream.errors import ChainBroken, WrongRoot
from sealstream.layout import SegmentLimits
from sealstream.sealing import Checkpoint, CompactRange, extend, root

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["SegmentFold", "Start", "instant"]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Start(NamedTuple):
    """The chain before a segment's first entry: the range over what came before, and the last hash."""

    compact_range: CompactRange
    hash: bytes


class SegmentFold:
    """Feed it a segment's hashes and its rows, each in order; then ask the rest.

    The hashes and the rows may come from two threads; all of both must be in before anything is asked.
    """

    def __init__(self, start: Start, limits: SegmentLimits) -> None:
        self._limits = limits
        self.compact_range = start.compact_range
        self.first_seq = start.compact_range.size
        self.rows = 0
        self.first_hash = b""
        self.last_hash = start.hash
        self.first_us = 0
        self.last_us = 0
        self._before_last_us = 0
        self._bytes = 0
        self._bytes_before_last = 0
        self._first_event_us: int | None = None
        self._first_event_row = 0

    def add_hashes(self, hashes: Sequence[bytes]) -> None:
        """Hashes that were recomputed and found to link up."""
        self.first_hash = self.first_hash or hashes[0]
        self.last_hash = hashes[-1]
        self.compact_range = extend(self.compact_range, hashes)

    def add_rows(self, table: pa.Table) -> None:
        """Rows, at least one, as `ColumnMaker` makes them. Raises `ChainBroken` at what does not hold."""
        import pyarrow as pa
        import pyarrow.compute as pc

        seq, rows = self.first_seq + self.rows, table.num_rows
        where = f"entries {seq} to {seq + rows - 1}"
        if not table["seq"].combine_chunks().equals(pa.array(range(seq, seq + rows), pa.int64())):
            raise ChainBroken(f"{where}: their numbers are not these")
        times: list[Any] = table["sequenced_at"].cast(pa.int64()).to_pylist()
        if not self.rows:
            self.first_us = self.last_us = times[0]
        if times[0] < self.last_us or times != sorted(times):
            raise ChainBroken(f"{where}: sequenced_at goes back")
        if _day(times[-1]) != _day(self.first_us):
            raise ChainBroken(f"segment from {self.first_seq}: has entries of {self.date} and of another day")
        if self._first_event_us is None:
            index = pc.index(table["kind"], "event").as_py()
            if index >= 0:
                self._first_event_us, self._first_event_row = times[index], self.rows + index
        self._before_last_us = times[-2] if rows > 1 else self.last_us
        self.last_us = times[-1]
        lengths: list[Any] = pc.binary_length(table["body"]).to_pylist()
        self._bytes_before_last = self._bytes + sum(lengths[:-1])
        self._bytes += sum(lengths)
        self.rows += rows

    @property
    def date(self) -> str:
        """The UTC day of its entries."""
        return _day(self.first_us)

    def check_root(self, signed: Checkpoint) -> None:
        """Raises `Forked` unless the chain's key has signed exactly these entries and those before."""
        if (self.compact_range.size, root(self.compact_range)) != (signed.size, signed.root):
            raise WrongRoot(
                f"entries {self.first_seq} to {self.compact_range.size - 1}: their Merkle root of size "
                f"{self.compact_range.size} is {root(self.compact_range).hex()}, but the signed checkpoint of size "
                f"{signed.size} says {signed.root.hex()}"
            )

    @property
    def end(self) -> Start:
        """What the next segment starts from."""
        return Start(self.compact_range, self.last_hash)

    def ends_by_limits(self) -> bool:
        """Whether its last entry ends the segment; otherwise only an entry of another day can.

        Raises `ChainBroken` when the segment should have ended before.
        """
        if self._ended(self.rows - 1, self._bytes_before_last, self._before_last_us):
            raise ChainBroken(
                f"segment {self.first_seq} to {self.compact_range.size - 1} goes on where the chain's limits end it: "
                f"{self._limits}"
            )
        return self._ended(self.rows, self._bytes, self.last_us)

    def _ended(self, rows: int, size_bytes: int, last_us: int) -> bool:
        """Whether a segment of the first `rows` entries has ended with the last of them (see `SegmentCutter`)."""
        if rows < 1:
            return False
        timed = self._first_event_us is not None and self._first_event_row < rows
        return (
            rows >= self._limits.entries
            or size_bytes >= self._limits.bytes
            or (timed and last_us - (self._first_event_us or 0) >= self._limits.seconds * 1_000_000)
        )


def instant(microseconds: int) -> datetime:
    """The time that a column of the archive holds, microseconds since 1970 in UTC."""
    return _EPOCH + timedelta(microseconds=microseconds)


def _day(microseconds: int) -> str:
    return instant(microseconds).date().isoformat()
