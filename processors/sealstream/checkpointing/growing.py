"""The tree and the open segment, grown entry by entry: the pure core of checkpointing.

The invariants: no entry joins the tree that does not continue the chain in every respect; a size that was signed before
is passed with the same root or not at all. Whatever raises, the object is not used again. Nothing is written here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from sealstream.errors import ChainBroken, Forked, NotCanonical
from sealstream.kafka import Record
from sealstream.layout import SegmentCutter
from sealstream.sealing import (
    SEAL_BYTES,
    CompactRange,
    Problem,
    Tip,
    check_next,
    entry_hash,
    extend,
    read_written,
    root,
    split_sealed,
    tip_after,
)

__all__ = ["Growing", "SignedSize"]


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
        self._has_event = False
        self._offset = 0

    @property
    def size(self) -> int:
        """How many entries the tree has."""
        return self._range.size

    @property
    def now(self) -> SignedSize:
        """The tree over everything so far."""
        return SignedSize(self._range, self._offset)

    def add(self, records: Sequence[Record]) -> list[SignedSize]:
        """Add entries; the ends of segments that have no note yet, in order.

        Raises `ChainBroken` for an entry that does not continue the chain, `Forked` where another root was signed.
        """
        return self._grow(records, check_next)

    def add_signed(self, record: Record) -> None:
        """Add the first entry behind a signed size whose own entries are not read.

        Its number, chain and hash are checked. To what it links was checked before the next signed size was signed,
        and that size's root binds it.
        """
        if ends := self._grow([record], _check_alone):
            raise Forked(
                f"a segment of {self._chain} ends with entry {ends[0].size - 1}, but its note does not say so: were "
                "the segment limits changed?"
            )

    def _grow(self, records: Sequence[Record], check: Callable[..., tuple[Tip, list[Problem]]]) -> list[SignedSize]:
        ends: list[SignedSize] = []
        hashes: list[bytes] = []
        tip, chain, cut_after = self._tip, self._chain, self._cutter.add
        size, offset = tip.size, self._offset
        expected = self._expected[-1] if self._expected else -1
        first_seq = self._cutter.first_seq
        for record in records:
            value = record.value or b""
            after, problems = check(tip, value, chain)
            if problems:
                raise ChainBroken(
                    f"entry {size} of chain {chain}, offset {record.offset}: "
                    + "; ".join(f"{problem.kind}: {problem.detail}" for problem in problems)
                )
            before, with_it = cut_after(
                size, self._kind(tip, after, value), after.sequenced_at, len(value) + 1 - SEAL_BYTES
            )
            if before:
                self._extend(hashes, offset)
                self._end_segment(first_seq, ends)
                first_seq = size
            hashes.append(after.hash)
            tip, offset = after, record.offset + 1
            size += 1
            if with_it:
                self._extend(hashes, offset)
                self._end_segment(first_seq, ends)
                first_seq = size
                self._has_event = False
            if size == expected:
                self._extend(hashes, offset)
                expected = self._check_expected()
        self._extend(hashes, offset)
        self._tip = tip
        return ends

    def _kind(self, tip: Tip, after: Tip, value: bytes) -> str:
        """The entry's kind as far as the cutter asks: it wants to know a segment's first `event`, and no other."""
        if self._has_event and after.sequenced_at[:10] == tip.sequenced_at[:10]:
            return ""
        kind = read_written(split_sealed(value).body).kind
        self._has_event = kind == "event" or (self._has_event and after.sequenced_at[:10] == tip.sequenced_at[:10])
        return kind

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

    def _check_expected(self) -> int:
        """The signed root of this size is ours; the next size to look at, -1 when there is none."""
        size = self._expected.pop()
        if (signed := self._roots.pop(size)) != (found := root(self._range)):
            raise Forked(
                f"chain {self._chain} has the root {found.hex()} over its first {size} entries, but {signed.hex()} was "
                "signed: the chain is not the one that was published"
            )
        return self._expected[-1] if self._expected else -1


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
