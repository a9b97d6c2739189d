"""The signed statements that a store's entries are held to: checkpoints, each with its compact range where it has one.

A note counts only when its signature by the chain's key holds; a compact range only when it hashes to the note's root.
Pure: takes what a store holds, returns what it is worth, and the faults on the way.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from sealstream.errors import SealstreamError
from sealstream.sealing import Checkpoint, CompactRange, open_checkpoint, root
from sealstream.verify.report import Fault, FaultKind

__all__ = ["SignedSize", "StoredNote", "signed_sizes"]


class StoredNote(NamedTuple):
    """A note as a store holds it, with what stands beside it. `place` says where, for people.

    `must_reach`: the store holds this note itself, or has been seen to reach it, so entries below it must be there.
    A note from elsewhere is compared with when the store reaches it, and proves nothing about one that lags.
    """

    note: bytes
    place: str
    compact_range: tuple[bytes, ...] | None = None
    must_reach: bool = True


class SignedSize(NamedTuple):
    """A checkpoint whose signature holds; `compact_range` only if it hashes to the root."""

    checkpoint: Checkpoint
    note: bytes
    place: str
    compact_range: CompactRange | None
    must_reach: bool

    @property
    def size(self) -> int:
        """How many entries it speaks of."""
        return self.checkpoint.size


def signed_sizes(stored: Iterable[StoredNote], vkey: str) -> tuple[list[SignedSize], list[Fault]]:
    """By size, one each, and the faults: a note without the chain's signature, two roots for a size, a false range."""
    by_size: dict[int, SignedSize] = {}
    faults: list[Fault] = []
    for held in stored:
        try:
            checkpoint = open_checkpoint(held.note, vkey)
        except SealstreamError as error:
            faults.append(
                Fault(FaultKind.UNSIGNED, held.place, f"a checkpoint that the chain's key did not sign: {error}")
            )
            continue
        last = checkpoint.size - 1
        trusted = None
        if held.compact_range is not None:
            trusted = _range_of(checkpoint, held.compact_range)
            if trusted is None:
                detail = f"the compact range beside the checkpoint of size {checkpoint.size} does not hash to its root"
                faults.append(Fault(FaultKind.EDITED, held.place, detail, last, last))
        former = by_size.get(checkpoint.size)
        if former is not None and former.checkpoint.root != checkpoint.root:
            detail = (
                f"the chain's key signed size {checkpoint.size} with two roots: {former.checkpoint.root.hex()} "
                f"({former.place}) and {checkpoint.root.hex()}"
            )
            faults.append(Fault(FaultKind.FORKED, held.place, detail, last, last))
            continue
        if former is not None:
            trusted = trusted or former.compact_range
        by_size[checkpoint.size] = SignedSize(
            checkpoint,
            held.note,
            held.place if former is None else former.place,
            trusted,
            held.must_reach or (former is not None and former.must_reach),
        )
    return [by_size[size] for size in sorted(by_size)], faults


def _range_of(checkpoint: Checkpoint, hashes: tuple[bytes, ...]) -> CompactRange | None:
    if checkpoint.size.bit_count() != len(hashes) or any(len(h) != 32 for h in hashes):
        return None
    compact_range = CompactRange(checkpoint.size, hashes)
    return compact_range if root(compact_range) == checkpoint.root else None
