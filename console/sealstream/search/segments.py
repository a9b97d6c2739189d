"""Which of an archive's objects make up a chain: each entry once, of each object the version that counts. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from itertools import groupby

from sealstream.archive import Stored
from sealstream.layout.archive import SegmentName

__all__ = ["following_segments"]


def following_segments(
    listed: Sequence[tuple[SegmentName, Stored]], remark: Callable[[str], object]
) -> Iterator[tuple[SegmentName, Stored]]:
    """Segments that follow each other, each entry once: where two claim the same place, that which was there first.

    Says what is missing and what was passed over: `sealstream verify archive` says what it means.
    """
    verify = "`sealstream verify archive` says more"
    expected = 0

    def age(found: tuple[SegmentName, Stored]) -> tuple[bool, datetime | int, int]:
        put = found[1].versions[0].last_modified
        return (put is None, put or 0, -found[0].last_seq)

    ordered = sorted((found for found in listed if found[1].versions), key=lambda found: found[0].first_seq)
    for _first, claiming in groupby(ordered, key=lambda found: found[0].first_seq):
        name, stored = min(claiming, key=age)
        if name.first_seq < expected:
            remark(f"an object in the archive repeats entries from {name.first_seq} on and was passed over; {verify}")
            continue
        if name.first_seq > expected == 0:
            remark(f"the archive begins with entry {name.first_seq}: what was before it is gone; {verify}")
        elif name.first_seq > expected:
            remark(f"the archive lacks entries {expected} to {name.first_seq - 1}; {verify}")
        expected = name.last_seq + 1
        yield name, stored
