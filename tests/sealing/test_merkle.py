"""The Merkle tree against RFC 6962's known answers, a tree written from its definition, and mutation."""

from hashlib import sha256

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sealstream.sealing import (
    EMPTY_RANGE,
    CompactRange,
    checked_range,
    consistency_proof,
    extend,
    inclusion_proof,
    leaf_hash,
    root,
    tree_root,
    verify_consistency,
    verify_inclusion,
)

# The eight leaves, roots and inner nodes of the reference tests of RFC 6962 (Certificate Transparency).
LEAVES = [
    leaf_hash(bytes.fromhex(data))
    for data in ["", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f"]
]
ROOTS = [
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]
NODES = {
    (0, 2): "0298d122906dcfc10892cb53a73992fc5b9f493ea4c9badb27b791b4127a7fe7",
    (0, 4): "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
    (0, 6): "b08693ec2e721597130641e8211e7eedccb4c26413963eee6c1e2ed16ffb1a5f",
    (1, 0): "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    (1, 1): "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
    (1, 2): "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a",
    (1, 3): "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
    (2, 0): "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
}
MANY = [sha256(b"leaf %d" % number).digest() for number in range(40)]


def reference_root(leaves: list[bytes]) -> bytes:
    """MTH of RFC 6962 section 2.1, word for word."""
    if not leaves:
        return sha256(b"").digest()
    if len(leaves) == 1:
        return leaves[0]
    k = 1
    while k * 2 < len(leaves):
        k *= 2
    return sha256(b"\x01" + reference_root(leaves[:k]) + reference_root(leaves[k:])).digest()


def reference_path(index: int, leaves: list[bytes]) -> list[bytes]:
    """PATH of RFC 6962 section 2.1.1, word for word."""
    if len(leaves) == 1:
        return []
    k = 1
    while k * 2 < len(leaves):
        k *= 2
    if index < k:
        return [*reference_path(index, leaves[:k]), reference_root(leaves[k:])]
    return [*reference_path(index - k, leaves[k:]), reference_root(leaves[:k])]


def reference_proof(size: int, leaves: list[bytes], whole: bool = True) -> list[bytes]:
    """PROOF and SUBPROOF of RFC 6962 section 2.1.2, word for word."""
    if size == len(leaves):
        return [] if whole else [reference_root(leaves)]
    k = 1
    while k * 2 < len(leaves):
        k *= 2
    if size <= k:
        return [*reference_proof(size, leaves[:k], whole), reference_root(leaves[k:])]
    return [*reference_proof(size - k, leaves[k:], False), reference_root(leaves[:k])]


@pytest.mark.parametrize("size", range(9))
def test_known_roots_and_ranges(size: int) -> None:
    tree = extend(EMPTY_RANGE, LEAVES[:size])
    assert root(tree).hex() == ROOTS[size]
    ranges = {3: [(1, 0), (0, 2)], 5: [(2, 0), (0, 4)], 6: [(2, 0), (1, 2)], 7: [(2, 0), (1, 2), (0, 6)]}
    if size in ranges:
        assert [node.hex() for node in tree.hashes] == [NODES[place] for place in ranges[size]]


def test_known_proofs() -> None:
    assert [node.hex() for node in consistency_proof(LEAVES, 6)] == [NODES[1, 2], NODES[1, 3], NODES[2, 0]]
    assert [node.hex() for node in consistency_proof(LEAVES[:5], 2)] == [NODES[1, 1], NODES[0, 4]]
    assert [node.hex() for node in inclusion_proof(LEAVES[:3], 2)] == [NODES[1, 0]]


@given(st.lists(st.integers(0, 9), max_size=8))
def test_any_split_gives_the_same_range(lengths: list[int]) -> None:
    leaves = (MANY * 3)[: sum(lengths)]
    tree, start = EMPTY_RANGE, 0
    for length in lengths:
        tree = extend(tree, iter(leaves[start : start + length]))
        start += length
    assert tree == extend(EMPTY_RANGE, leaves)
    assert len(tree.hashes) == tree.size.bit_count()
    assert root(tree) == reference_root(leaves) == tree_root(leaves)


def test_every_proof_up_to_40_is_that_of_the_definition_and_verifies() -> None:
    for size in range(1, 41):
        leaves, top = MANY[:size], tree_root(MANY[:size])
        for index in range(size):
            path = inclusion_proof(leaves, index)
            assert path == reference_path(index, leaves)
            assert verify_inclusion(leaves[index], index, size, path, top)
        for old in range(1, size + 1):
            proof = consistency_proof(leaves, old)
            assert proof == reference_proof(old, leaves)
            assert verify_consistency(old, size, proof, tree_root(MANY[:old]), top)


def mutations(proof: list[bytes]) -> list[list[bytes]]:
    other = sha256(b"other").digest()
    flipped = [[*proof[:i], bytes([node[0] ^ 1]) + node[1:], *proof[i + 1 :]] for i, node in enumerate(proof)]
    swapped = [[*proof[:i], proof[i + 1], proof[i], *proof[i + 2 :]] for i in range(len(proof) - 1)]
    shorter = [proof[:-1], proof[1:]] if proof else []
    cut = [[*proof[:-1], proof[-1][:31]], [*proof[:-1], proof[-1] + b"\0"]] if proof else []
    return [
        *flipped,
        *swapped,
        *shorter,
        *cut,
        [*proof, other],
        [other, *proof],
        [*proof, b""],
        [*proof, *proof[-1:], other],
    ]


def test_no_mutation_of_an_inclusion_proof_verifies() -> None:
    for size in range(1, 18):
        top = tree_root(MANY[:size])
        for index in range(size):
            path, leaf = inclusion_proof(MANY[:size], index), MANY[index]
            for wrong in mutations(path):
                assert not verify_inclusion(leaf, index, size, wrong, top)
            for other in range(-1, 20):
                if other != index:
                    assert not verify_inclusion(leaf, other, size, path, top)
            assert not verify_inclusion(MANY[39], index, size, path, top)
            assert not verify_inclusion(leaf, index, size, path, MANY[39])
            assert not verify_inclusion(leaf[:31], index, size, path, top)


def test_no_mutation_of_a_consistency_proof_verifies() -> None:
    for size in range(1, 18):
        top = tree_root(MANY[:size])
        for old in range(1, size + 1):
            proof, old_top = consistency_proof(MANY[:size], old), tree_root(MANY[:old])
            for wrong in mutations(proof):
                assert not verify_consistency(old, size, wrong, old_top, top)
            assert not verify_consistency(old, size, proof, MANY[39], top)
            assert not verify_consistency(old, size, proof, old_top, MANY[39])
            assert not verify_consistency(0, size, proof, old_top, top)
            assert not verify_consistency(size, old - 1, proof, old_top, top)


@settings(max_examples=200)
@given(st.integers(1, 2**62), st.integers(0, 2**62), st.lists(st.binary(min_size=32, max_size=32), max_size=70))
def test_made_up_proofs_of_large_trees_fail(size: int, index: int, proof: list[bytes]) -> None:
    assert not verify_inclusion(MANY[0], index, size, proof, MANY[1])
    assert not verify_consistency(max(index, 1), size, proof, MANY[0], MANY[1])


def test_ranges_and_proofs_that_can_not_be_are_refused() -> None:
    assert checked_range(5, MANY[:2]) == CompactRange(5, tuple(MANY[:2]))
    for size, hashes in [(5, MANY[:1]), (4, MANY[:2]), (-1, []), (1, [b"short"]), (0, MANY[:1])]:
        with pytest.raises(ValueError, match="compact range"):
            checked_range(size, hashes)
    for index in (-1, 3):
        with pytest.raises(ValueError, match="no leaf"):
            inclusion_proof(MANY[:3], index)
    for old in (0, 4):
        with pytest.raises(ValueError, match="no tree"):
            consistency_proof(MANY[:3], old)
