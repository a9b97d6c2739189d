"""Looks at an object that is there: does it hold exactly a segment's entries? Whoever wrote it, with whatever pyarrow.

Bytes are not compared: row groups, encodings and Arrow types may differ. Every body is hashed, every link and the
signed root are met, and every hot column must say what the bodies say. The invariant: what passes may be adopted as
if we had written it. Pure; hostile bytes end in `Forked`.
"""

from __future__ import annotations

from typing import NamedTuple

from sealstream.archive.columns import (
    SEALED_COLUMNS,
    ColumnMaker,
    leaf_hashes,
    open_parquet,
    raw_hashes,
    read_groups,
    read_rows,
)
from sealstream.archive.folding import SegmentFold, Start
from sealstream.errors import ChainBroken, Forked, NotCanonical
from sealstream.layout import SegmentLimits
from sealstream.layout.parquet import PARQUET_COLUMNS
from sealstream.sealing import Checkpoint, Sealed

__all__ = ["Ends", "check_object", "ends", "largest_object"]


def largest_object(limits: SegmentLimits) -> int:
    """More bytes than any honest object of a chain with these limits has."""
    return 3 * (limits.bytes + 65_535) + 512 * limits.entries + 1_048_576


def check_object(
    data: bytes, start: Start, signed: Checkpoint, limits: SegmentLimits, maker: ColumnMaker
) -> SegmentFold:
    """The fold over an object's rows, which are exactly the entries from `start` to what `signed` has signed.

    With an empty `start.hash`, the first row's link is taken as it says; the signed root covers it. Raises `Forked`
    with the first thing that is otherwise.
    """
    expected = signed.size - start.compact_range.size
    try:
        file = open_parquet(data)
        if file.metadata.num_rows != expected:
            raise Forked(f"it has {file.metadata.num_rows} rows: expected {expected}")
        fold: SegmentFold | None = None
        prev_hash = start.hash
        for table in read_groups(file):
            if not table.num_rows:
                continue
            prev_hash = prev_hash or raw_hashes(table, "prev_hash")[:32]
            fold = fold or SegmentFold(start._replace(hash=prev_hash), limits)
            hashes = leaf_hashes(table)
            joined = b"".join(hashes)
            seq = fold.first_seq + fold.rows
            _same(raw_hashes(table, "hash"), joined, seq, "its bytes do not have its hash")
            _same(raw_hashes(table, "prev_hash"), prev_hash + joined[:-32], seq, "does not follow the entry before")
            truth = maker.table(table.select(SEALED_COLUMNS))
            for column in PARQUET_COLUMNS:
                if not truth[column.name].equals(table[column.name]):
                    raise Forked(f"entries {seq} to {seq + len(hashes) - 1}: {column.name} says other than the entries")
            prev_hash = hashes[-1]
            fold.add_hashes(hashes)
            fold.add_rows(table)
        if fold is None:
            raise Forked("it has no rows")
        fold.check_root(signed)
        return fold
    except (NotCanonical, ChainBroken) as error:
        raise Forked(str(error)) from error


class Ends(NamedTuple):
    """The first and the last entry of an object."""

    first: Sealed
    last: Sealed


def ends(data: bytes) -> Ends:
    """The first and last entry of an object that has been checked."""
    first: Sealed | None = None
    last: Sealed | None = None
    for row in read_rows(data):
        last = Sealed(*row)
        first = first or last
    if first is None or last is None:
        raise Forked("an object without rows")
    return Ends(first, last)


def _same(claimed: bytes, true: bytes, seq: int, otherwise: str) -> None:
    """Raises `Forked`, naming the first row at which two runs of 32-byte hashes differ."""
    if claimed != true:
        row = next(i for i in range(0, len(true), 32) if claimed[i : i + 32] != true[i : i + 32]) // 32
        raise Forked(f"entry {seq + row}: {otherwise}")
