"""The tree and the open segment, grown entry by entry: the pure core of checkpointing.

The invariants: no entry joins the tree that does not continue the chain in every respect; a size that was signed before
is passed with the same root or not at all. Whatever raises, the object is not used again. Nothing is written here.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from typing import NamedTuple

from sealstream.errors import ChainBroken, Forked, NotCanonical, WrongRoot
from sealstream.kafka import Record
from sealstream.layout import SegmentCutter
from sealstream.sealing import (
    SEAL_BYTES,
    CompactRange,
    Problem,
    Tip,
    check_entries,
    entry_hash,
    extend,
    next_tip,
    read_written,
    root,
    split_sealed,
    tip_after,
)

__all__ = ["Growing", "SignedSize"]

_RUN = 500
_TOLD = 20


class SignedSize(NamedTuple):
    """What is signed: the tree of this range. `chain_offset`: where the entry after it stands or will stand;
    `first_seq`: of the segment that ends here, if one does.
    """

    compact_range: CompactRange
    chain_offset: int
    first_seq: int | None = None

    @property
    def size(self) -> int:
        """How many entries."""
        return self.compact_range.size


class Growing:
    """Begins behind `tip`. `roots` and `segments` are what was signed above it, by size; both are used up."""

    def __init__(
        self,
        chain: str,
        tip: Tip,
        compact_range: CompactRange,
        cutter: SegmentCutter,
        roots: dict[int, bytes],
        segments: dict[int, int],
    ) -> None:
        self._chain = chain
        self._tip = tip
        self._range = compact_range
        self._cutter = cutter
        self._roots = roots
        self._segments = segments
        self._expected = sorted(roots, reverse=True)
        self._offset = 0

    @property
    def size(self) -> int:
        """How many entries the tree has."""
        return self._range.size

    @property
    def sequenced_at(self) -> str:
        """When its last entry was sealed."""
        return self._tip.sequenced_at

    @property
    def now(self) -> SignedSize:
        """The tree over everything so far."""
        return SignedSize(self._range, self._offset)

    def add(self, records: Sequence[Record]) -> list[SignedSize]:
        """Add entries; the ends of segments that have no note yet, in order.

        Raises `ChainBroken` for an entry that does not continue the chain, `Forked` where another root was signed.
        """
        ends: list[SignedSize] = []
        for first in range(0, len(records), _RUN):
            self._add_run(records[first : first + _RUN], ends)
        return ends

    def add_signed(self, record: Record) -> None:
        """Add the first entry behind a signed size whose own entries are not read.

        Its number, chain and hash are checked. To what it links was checked before the next signed size was signed,
        and that size's root binds it.
        """
        value = record.value or b""
        tip, problems = _check_alone(self._tip, value, self._chain)
        self._refuse(problems, [record])
        self._tip = tip
        ends: list[SignedSize] = []
        self._join([record], [value], [tip], ends)
        if ends:
            raise Forked(
                f"a segment of {self._chain} ends with entry {ends[0].size - 1}, but its note does not say so: were "
                "the segment limits changed?"
            )

    def _add_run(self, records: Sequence[Record], ends: list[SignedSize]) -> None:
        """A run at once when no segment begins or ends in it and no root was signed in it, else entry by entry."""
        values = [record.value or b"" for record in records]
        before = self._tip
        self._tip, hashes, problems = check_entries(before, values, self._chain)
        self._refuse(problems, records)
        none_expected = not self._expected or self._expected[-1] > self._tip.size
        body_bytes = sum(map(len, values)) - (SEAL_BYTES - 1) * len(values)
        if none_expected and self._cutter.add_run(len(values), self._tip.sequenced_at, body_bytes):
            self._extend(hashes, records[-1].offset + 1)
        else:
            tips = accumulate(values, lambda tip, value: next_tip(tip, value, self._chain), initial=before)
            self._join(records, values, list(tips)[1:], ends)

    def _refuse(self, problems: list[Problem], records: Sequence[Record]) -> None:
        if problems:
            raise ChainBroken(
                f"chain {self._chain}, offsets {records[0].offset} to {records[-1].offset}: "
                + "; ".join(f"entry {problem.seq}: {problem.kind}: {problem.detail}" for problem in problems[:_TOLD])
            )

    def _join(self, records: Sequence[Record], values: list[bytes], tips: list[Tip], ends: list[SignedSize]) -> None:
        """Entry by entry, stopping wherever a segment ends and wherever a root was signed."""
        hashes: list[bytes] = []
        first_seq = self._cutter.first_seq
        offset = self._offset
        for record, value, tip in zip(records, values, tips, strict=True):
            body = split_sealed(value).body
            before, with_it = self._cutter.add(tip.size - 1, read_written(body).kind, tip.sequenced_at, len(body))
            if before:
                self._extend(hashes, offset)
                self._end_segment(first_seq, ends)
                first_seq = tip.size - 1
            hashes.append(tip.hash)
            offset = record.offset + 1
            if with_it:
                self._extend(hashes, offset)
                self._end_segment(first_seq, ends)
                first_seq = tip.size
            if self._expected and tip.size == self._expected[-1]:
                self._extend(hashes, offset)
                self._check_expected()
        self._extend(hashes, offset)

    def _extend(self, hashes: list[bytes], offset: int) -> None:
        self._range = extend(self._range, hashes)
        self._offset = offset
        hashes.clear()

    def _end_segment(self, first_seq: int, ends: list[SignedSize]) -> None:
        size = self._range.size
        if passed := [end for end in self._segments if end < size]:
            raise Forked(f"a note says that a segment of {self._chain} ends with entry {passed[0] - 1}: none does")
        signed_first = self._segments.pop(size, None)
        if signed_first is None:
            ends.append(SignedSize(self._range, self._offset, first_seq))
        elif signed_first != first_seq:
            raise Forked(
                f"a note says that the segment which ends with entry {size - 1} of {self._chain} begins with "
                f"{signed_first}: the entries say {first_seq}"
            )

    def _check_expected(self) -> None:
        """The root that was signed of this size must be ours."""
        size = self._expected.pop()
        if (signed := self._roots.pop(size)) != (found := root(self._range)):
            raise WrongRoot(
                f"chain {self._chain} has the root {found.hex()} over its first {size} entries, but {signed.hex()} was "
                "signed: the chain is not the one that was published"
            )


def _check_alone(tip: Tip, value: bytes, chain: str) -> tuple[Tip, list[Problem]]:
    """What can be said of an entry without the one before it."""
    try:
        sealed = split_sealed(value)
        written = read_written(sealed.body)
    except NotCanonical as error:
        return tip, [Problem("invalid", tip.size, str(error))]
    if entry_hash(sealed.prev_hash, sealed.body) != sealed.hash:
        return tip, [Problem("edited", tip.size, "the bytes do not have the hash of their seal")]
    if (written.seq, written.chain) != (tip.size, chain):
        return tip, [Problem("invalid", tip.size, f"is entry {written.seq} of {written.chain!r}")]
    return tip_after(sealed), []
