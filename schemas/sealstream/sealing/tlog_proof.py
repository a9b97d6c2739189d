"""Proof texts (C2SP tlog-proof): that one entry is in a chain, verifiable offline, with the checkpoint inside.

    c2sp.org/tlog-proof@v1
    index <decimal>
    <base64 of a 32-byte hash>            none or more lines, the leaf's sibling first
                                          an empty line, then the signed checkpoint, verbatim

Pure functions; the sealed entry travels beside the proof.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Sequence
from typing import NamedTuple

from sealstream.sealing.checkpoint import Checkpoint, open_checkpoint
from sealstream.sealing.notes import BadNote, Verifier, from_base64
from sealstream.sealing.proofs import verify_inclusion

__all__ = ["EntryProof", "format_proof", "open_proof", "parse_proof"]

_HEADER = "c2sp.org/tlog-proof@v1\n"
_index = re.compile(r"index (0|[1-9][0-9]{0,18})").fullmatch
MAX_HASHES = 63


class EntryProof(NamedTuple):
    """`seq` is the entry's index, `hashes` its inclusion proof in the tree of the signed `note` (a checkpoint).

    `extra`: bytes that travel along and prove nothing; None when absent.
    """

    seq: int
    hashes: tuple[bytes, ...]
    note: bytes
    extra: bytes | None = None


def format_proof(seq: int, hashes: Sequence[bytes], note: bytes) -> bytes:
    """The proof's text, to be kept as `<name>.tlog-proof`."""
    lines = [f"index {seq}", *(base64.b64encode(node).decode("ascii") for node in hashes)]
    return (_HEADER + "".join(f"{line}\n" for line in lines) + "\n").encode() + note


def parse_proof(text: bytes) -> EntryProof:
    """The parts of a proof's text; nothing is verified. Raises `BadNote` when it is not of this form."""
    head, separator, note = text.partition(b"\n\n")
    try:
        lines = head.decode("ascii").split("\n")
    except UnicodeDecodeError as error:
        raise BadNote("not a proof: expected ASCII before the checkpoint") from error
    if not separator or lines.pop(0) + "\n" != _HEADER:
        raise BadNote(f"not a proof: expected {_HEADER.strip()!r} as its first line, got {text[:60]!r}")
    extra = None
    if lines and lines[0].startswith("extra "):
        extra = from_base64(lines.pop(0).removeprefix("extra "))
        if extra is None:
            raise BadNote("not a proof: extra data must be base64")
    index = _index(lines.pop(0)) if lines else None
    if index is None:
        raise BadNote("not a proof: expected a line `index <decimal>`")
    hashes = tuple(map(from_base64, lines))
    if len(hashes) > MAX_HASHES or any(node is None or len(node) != 32 for node in hashes):
        raise BadNote(f"not a proof: expected at most {MAX_HASHES} lines, each base64 of a 32-byte hash")
    return EntryProof(int(index[1]), tuple(node for node in hashes if node is not None), note, extra)


def open_proof(text: bytes, entry_hash: bytes, vkey: str | Verifier) -> tuple[int, Checkpoint]:
    """The entry's seq and the checkpoint, once both signature and inclusion have verified. Raises `BadNote`."""
    proof = parse_proof(text)
    checkpoint = open_checkpoint(proof.note, vkey)
    if not verify_inclusion(entry_hash, proof.seq, checkpoint.size, proof.hashes, checkpoint.root):
        raise BadNote(f"the proof does not lead from this entry at {proof.seq} to the root of {checkpoint.size}")
    return proof.seq, checkpoint
