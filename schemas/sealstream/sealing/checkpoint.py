"""Checkpoints (C2SP tlog-checkpoint): a signed statement that a chain has `size` entries and this Merkle root.

Three lines, origin, size, base64 root; no extension lines, and none of size 0: an empty chain states nothing. One
size is never signed with two roots; that is checkpointing's promise, these are its pure parts.
"""

from __future__ import annotations

import base64
import binascii
import re
from typing import NamedTuple

from sealstream.sealing.notes import BadNote, Signer, Verifier, open_note, parse_vkey, sign_note

__all__ = ["Checkpoint", "format_checkpoint", "open_checkpoint", "parse_checkpoint", "sign_checkpoint"]

_text = re.compile(r"([^\n]+)\n([1-9][0-9]{0,18})\n([A-Za-z0-9+/]{43}=)\n").fullmatch


class Checkpoint(NamedTuple):
    """`origin` of the chain, its `size` in entries, and the 32-byte `root` over their hashes."""

    origin: str
    size: int
    root: bytes


def format_checkpoint(checkpoint: Checkpoint) -> str:
    """The note's text. Raises `BadNote` for what could not be read back."""
    text = f"{checkpoint.origin}\n{checkpoint.size}\n{base64.b64encode(checkpoint.root).decode('ascii')}\n"
    if parse_checkpoint(text) != checkpoint:
        raise BadNote(f"not a checkpoint: {checkpoint!r}")
    return text


def parse_checkpoint(text: str) -> Checkpoint:
    """What a note's text states. Raises `BadNote` unless it is three lines in their one canonical spelling."""
    lines = _text(text)
    if lines is None:
        raise BadNote(
            f"not a checkpoint: expected three lines, origin, size above 0 without leading zeros, base64 of "
            f"32 bytes, got {text[:200]!r}"
        )
    origin, size, encoded = lines.groups()
    try:
        root = base64.b64decode(encoded, validate=True)
    except binascii.Error as error:
        raise BadNote(f"not a checkpoint: root {encoded!r} is not base64") from error
    if base64.b64encode(root).decode("ascii") != encoded:
        raise BadNote(f"not a checkpoint: root {encoded!r} is not base64 in canonical form")
    return Checkpoint(origin, int(size), root)


def sign_checkpoint(checkpoint: Checkpoint, signer: Signer) -> bytes:
    """The checkpoint as a signed note. Raises `BadNote` unless the key's name is the origin."""
    if signer.name != checkpoint.origin:
        raise BadNote(f"a key named {signer.name} must not sign a checkpoint of {checkpoint.origin}")
    return sign_note(format_checkpoint(checkpoint), signer)


def open_checkpoint(note: bytes, vkey: str | Verifier) -> Checkpoint:
    """The checkpoint that this key has signed. Raises `BadNote`, also when its origin is not the key's name."""
    verifier = parse_vkey(vkey) if isinstance(vkey, str) else vkey
    checkpoint = parse_checkpoint(open_note(note, verifier))
    if checkpoint.origin != verifier.name:
        raise BadNote(f"a checkpoint of {checkpoint.origin}: expected the origin {verifier.name}, the key's name")
    return checkpoint
