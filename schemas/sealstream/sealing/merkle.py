"""The Merkle tree over the entries' hashes (RFC 6962 section 2.1) as a compact range: what the log must remember.

A compact range over the first `size` leaves is the roots of the perfect subtrees that `size` in binary names, largest
first. It is a value: extending it gives another. It holds at most 64 hashes however long the log, so a process that
lost everything but its last range (it travels beside every signed note) goes on from there.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from hashlib import sha256
from typing import NamedTuple

__all__ = ["EMPTY_RANGE", "CompactRange", "extend", "leaf_hash", "node_hash", "root", "tree_root"]


class CompactRange(NamedTuple):
    """The first `size` leaves: `hashes` are 32 bytes each, one for each 1 bit of `size`, largest subtree first."""

    size: int
    hashes: tuple[bytes, ...]


EMPTY_RANGE = CompactRange(0, ())


def leaf_hash(leaf: bytes) -> bytes:
    """SHA-256(0x00 || leaf). For an entry this is its `hash` (its leaf is prev_hash || body)."""
    return sha256(b"\0" + leaf).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """SHA-256(0x01 || left || right): an inner node."""
    return sha256(b"\1" + left + right).digest()


def checked_range(size: int, hashes: Sequence[bytes]) -> CompactRange:
    """The range of these parts. Raises `ValueError` unless there is one 32-byte hash for each 1 bit of `size`."""
    if size < 0 or len(hashes) != size.bit_count() or any(len(item) != 32 for item in hashes):
        raise ValueError(
            f"a compact range of size {size}: expected {max(size, 0).bit_count()} hashes of 32 bytes, "
            f"got lengths {[len(item) for item in hashes]}"
        )
    return CompactRange(size, tuple(hashes))


def extend(compact_range: CompactRange, leaves: Iterable[bytes]) -> CompactRange:
    """The range over its own leaves and then `leaves` (32-byte leaf hashes).

    Amortised one hash per leaf; holds at most 64 hashes however long the log (RFC 6962 section 2.1).
    """
    size, hashes = compact_range
    stack = list(hashes)
    pop, push, digest = stack.pop, stack.append, sha256
    for leaf in leaves:
        node = leaf
        bits = size
        while bits & 1:
            node = digest(b"\1" + pop() + node).digest()
            bits >>= 1
        push(node)
        size += 1
    return CompactRange(size, tuple(stack))


def root(compact_range: CompactRange) -> bytes:
    """The tree's root hash; SHA-256 of nothing for the empty tree (RFC 6962 section 2.1)."""
    hashes = compact_range.hashes
    if not hashes:
        return sha256().digest()
    node = hashes[-1]
    for left in reversed(hashes[:-1]):
        node = sha256(b"\1" + left + node).digest()
    return node


def tree_root(leaves: Iterable[bytes]) -> bytes:
    """The root over these leaf hashes."""
    return root(extend(EMPTY_RANGE, leaves))
