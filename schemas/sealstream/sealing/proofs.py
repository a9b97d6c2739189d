"""Inclusion and consistency proofs (RFC 6962 sections 2.1.1 and 2.1.2), made from leaf hashes and verified.

A proof is a list of 32-byte hashes whose length follows from index and sizes alone; one of any other length is refused.
Verification takes only the proof, the sizes and the roots, and gives a plain yes or no. Sizes start at 1: the empty
tree is consistent with every tree and proves nothing, so no proof speaks of it. Pure functions.
"""

from __future__ import annotations

from collections.abc import Sequence

from sealstream.sealing.merkle import node_hash, tree_root

__all__ = ["consistency_proof", "inclusion_proof", "verify_consistency", "verify_inclusion"]


def inclusion_proof(leaves: Sequence[bytes], index: int) -> list[bytes]:
    """That `leaves[index]` is in the tree over `leaves` (leaf hashes): siblings from the leaf up to the root.

    Takes one hash per leaf. Raises `ValueError` for an index that is not there.
    """
    size = len(leaves)
    if not 0 <= index < size:
        raise ValueError(f"no leaf {index} in a tree of {size}")
    path: list[bytes] = []
    start, end = 0, size
    while end - start > 1:
        middle = start + _split(end - start)
        if index < middle:
            path.append(tree_root(leaves[middle:end]))
            end = middle
        else:
            path.append(tree_root(leaves[start:middle]))
            start = middle
    return path[::-1]


def verify_inclusion(leaf: bytes, index: int, size: int, proof: Sequence[bytes], root: bytes) -> bool:
    """Whether `proof` shows that the leaf hash `leaf` stands at `index` in the tree of `size` with this `root`."""
    if not 0 <= index < size or any(len(node) != 32 for node in (leaf, root, *proof)):
        return False
    # RFC 9162 section 2.1.3.2: `place` and `last` are the path's and the right border's numbers on each level.
    place, last, node = index, size - 1, leaf
    for sibling in proof:
        if last == 0:
            return False
        if place & 1 or place == last:
            node = node_hash(sibling, node)
            while not place & 1 and place:
                place >>= 1
                last >>= 1
        else:
            node = node_hash(node, sibling)
        place >>= 1
        last >>= 1
    return last == 0 and node == root


def consistency_proof(leaves: Sequence[bytes], size: int) -> list[bytes]:
    """That the tree over `leaves` (leaf hashes) begins with the tree over its first `size`; empty when they are equal.

    Raises `ValueError` unless 0 < size <= len(leaves).
    """
    if not 0 < size <= len(leaves):
        raise ValueError(f"no tree of {size} leaves within one of {len(leaves)}")
    path: list[bytes] = []
    start, end = 0, len(leaves)
    known = True  # whether the verifier holds the root of leaves[start:size], being the old root itself
    while size != end:
        middle = start + _split(end - start)
        if size <= middle:
            path.append(tree_root(leaves[middle:end]))
            end = middle
        else:
            path.append(tree_root(leaves[start:middle]))
            start = middle
            known = False
    if not known:
        path.append(tree_root(leaves[start:end]))
    return path[::-1]


def verify_consistency(size1: int, size2: int, proof: Sequence[bytes], root1: bytes, root2: bytes) -> bool:
    """Whether `proof` shows that the tree of `size2` with `root2` begins with the tree of `size1` with `root1`."""
    if not 0 < size1 <= size2 or any(len(node) != 32 for node in (root1, root2, *proof)):
        return False
    if size1 == size2:
        return not proof and root1 == root2
    # RFC 9162 section 2.1.4.2. A power of two's old root is a node of the new tree and is not repeated in the proof.
    nodes = [root1, *proof] if size1.bit_count() == 1 else list(proof)
    if not nodes:
        return False
    place, last = size1 - 1, size2 - 1
    while place & 1:
        place >>= 1
        last >>= 1
    old = new = nodes[0]
    for sibling in nodes[1:]:
        if last == 0:
            return False
        if place & 1 or place == last:
            old = node_hash(sibling, old)
            new = node_hash(sibling, new)
            while not place & 1 and place:
                place >>= 1
                last >>= 1
        else:
            new = node_hash(new, sibling)
        place >>= 1
        last >>= 1
    return last == 0 and old == root1 and new == root2


def _split(size: int) -> int:
    """The largest power of two below `size` (RFC 6962 section 2.1)."""
    return 1 << (size - 1).bit_length() - 1
