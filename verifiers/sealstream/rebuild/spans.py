"""The ranges by which stores are compared: the entries between two signed sizes, and what they must fold to. Pure.

A span begins at a size whose compact range is known to be the signed one, and ends at the next. Extended by a store's
own leaf hashes, `start` is `end` or it is not: so the subtree roots of a span decide over all its entries at once, and
only a span that does not fold is looked into entry by entry. The invariant: a range is used only when it hashes to a
root that the chain's key has signed, so no store is taken for the truth about another.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from sealstream.sealing import EMPTY_RANGE, CompactRange, extend
from sealstream.verify.signed import SignedSize

__all__ = ["Leaf", "Span", "fold_spans", "spans_between"]


class Span(NamedTuple):
    """The entries `start.size` to `end.size` - 1."""

    start: CompactRange
    end: CompactRange

    @property
    def first(self) -> int:
        """The first entry."""
        return self.start.size

    @property
    def stop(self) -> int:
        """The entry behind the last."""
        return self.end.size

    def folds(self, leaves: Iterable[bytes]) -> bool:
        """Whether these leaf hashes, one for each entry, are the ones that were signed."""
        return extend(self.start, leaves) == self.end


class Leaf(NamedTuple):
    """An entry as a store holds it: the hash recomputed from its bytes, and whether the hash beside them says so.

    `prev_hash` is the hash of the entry before, as its bytes say.
    """

    seq: int
    hash: bytes
    prev_hash: bytes
    intact: bool
    place: str


def spans_between(sizes: Sequence[SignedSize], begins: CompactRange = EMPTY_RANGE) -> list[Span]:
    """The spans of a chain, in order, from the signed sizes that have their compact range.

    `begins`: the tree before the first entry of an archive whose beginning was destroyed, as its first manifest says.
    It counts where nothing smaller is signed: the first span then proves it, since no other tree grows into the signed
    one.
    """
    spans = []
    ranged = [signed.size for signed in sizes if signed.compact_range is not None]
    start = begins if begins.size < min(ranged, default=0) else EMPTY_RANGE
    for signed in sorted(sizes, key=lambda signed: signed.size):
        if signed.compact_range is not None and signed.size > start.size:
            spans.append(Span(start, signed.compact_range))
            start = signed.compact_range
    return spans


def fold_spans(spans: Sequence[Span], first: int, stop: int) -> list[Span]:
    """Those of the spans that lie whole between two sizes."""
    return [span for span in spans if span.first >= first and span.stop <= stop]
