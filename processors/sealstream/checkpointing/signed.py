"""What was signed so far, as both topics still tell: where to begin, and which roots the chain must come to.

The notes are the memory: there is no other. Headers beside a note are not signed, so a compact range counts when it
hashes to the signed root, and the rest is found right or wrong by reading the chain. The invariant: every signed size
above the beginning has exactly one root in `roots`. Reading only; a crash leaves nothing behind.
"""

from __future__ import annotations

from typing import NamedTuple

from sealstream.errors import Forked
from sealstream.kafka import KafkaSettings, Record, read_until_end
from sealstream.layout import ChainSettings, ChainTopics, CheckpointHeaders, parse_checkpoint_headers
from sealstream.sealing import (
    EMPTY_RANGE,
    BadNote,
    CompactRange,
    Verifier,
    checked_range,
    open_checkpoint,
    parse_vkey,
    root,
)

__all__ = ["Beginning", "Signed", "read_signed"]


class Beginning(NamedTuple):
    """Where the tree starts to grow again: its range, and where the chain's next entry stood when it was signed."""

    compact_range: CompactRange
    chain_offset: int


class Signed(NamedTuple):
    """`roots`: signed root by size, above the beginning; `segments`: by size, the first seq of segments there;
    `newest`: the largest size that was ever signed, 0 when none was.
    """

    beginning: Beginning
    roots: dict[int, bytes]
    segments: dict[int, int]
    newest: int


class _Note(NamedTuple):
    place: str
    size: int
    root: bytes
    compact_range: CompactRange
    headers: CheckpointHeaders


def read_signed(kafka: KafkaSettings, chain: ChainSettings) -> Signed:
    """Read every note of both topics. Raises `Forked` for one that contradicts another or that we did not sign.

    The beginning is the end of the segment before the last one, so that the last segment is read once more: what its
    entries hash to is signed, so its own end, to which the next entry links, is known from a signature and not from
    whatever the chain's topic holds now. Segments count as long as each begins where the one before ended; from a gap
    on the chain is read again, and what is missing is signed again.
    """
    topics = ChainTopics.of(chain.name, chain.prefix)
    verifier = parse_vkey(chain.vkey)
    before_last: _Note | None = None
    last: _Note | None = None
    behind_gap: dict[int, _Note] = {}
    for records in read_until_end(kafka, topics.segments):
        for record in records:
            note = _open(record, topics.segments, verifier)
            first_seq = _check_segment(note)
            if last is not None and note.size <= last.size:
                _check_shared(note, last)
                continue
            same = behind_gap.setdefault(first_seq, note)
            if same.size != note.size:
                raise Forked(f"{same.place} and {note.place}: two segments begin with entry {first_seq}")
            _check_shared(note, same)
            while (following := behind_gap.pop(last.size if last else 0, None)) is not None:
                before_last, last = last, following
    begin = Beginning(EMPTY_RANGE, 0)
    if before_last is not None:
        begin = Beginning(before_last.compact_range, before_last.headers.chain_offset)
    signed = Signed(begin, {}, {}, begin.compact_range.size)
    for note in (*([last] if last else []), *behind_gap.values()):
        signed = _expect(signed, note)
        signed.segments[note.size] = _check_segment(note)
    for records in read_until_end(kafka, topics.checkpoints):
        for record in records:
            signed = _expect(signed, _open(record, topics.checkpoints, verifier, trusted=before_last))
    return signed


def _expect(signed: Signed, note: _Note) -> Signed:
    if note.size <= signed.beginning.compact_range.size:
        return signed
    if signed.roots.setdefault(note.size, note.root) != note.root:
        raise Forked(
            f"{note.place}: size {note.size} is signed with the root {note.root.hex()}, and elsewhere with "
            f"{signed.roots[note.size].hex()}: two histories"
        )
    return signed._replace(newest=max(signed.newest, note.size))


def _open(record: Record, topic: str, verifier: Verifier, *, trusted: _Note | None = None) -> _Note:
    place = f"{topic}, offset {record.offset}"
    try:
        checkpoint = open_checkpoint(record.value or b"", verifier)
        headers = parse_checkpoint_headers(record.headers)
        compact_range = checked_range(checkpoint.size, headers.compact_range)
    except (BadNote, ValueError) as error:
        raise Forked(f"{place}: not a checkpoint that {verifier.name} has signed: {error}") from error
    if root(compact_range) != checkpoint.root:
        raise Forked(f"{place}: its compact range does not hash to the signed root of size {checkpoint.size}")
    note = _Note(place, checkpoint.size, checkpoint.root, compact_range, headers)
    if trusted is not None:
        _check_shared(note, trusted)
    return note


def _check_segment(note: _Note) -> int:
    """The segment's first seq, when the headers name a segment that ends at the signed size."""
    first, last = note.headers.first_seq, note.headers.last_seq
    if first is None or last is None or not first <= last or last != note.size - 1:
        raise Forked(f"{note.place}: names no segment that ends with entry {note.size - 1}, got {first} to {last}")
    return first


def _check_shared(note: _Note, trusted: _Note) -> None:
    """Two trees over one history have the same roots wherever their ranges hold the same subtree."""
    ours, theirs = note.compact_range, trusted.compact_range
    if ours.size == theirs.size and ours.hashes != theirs.hashes:
        raise _two_roots(trusted, note.place)
    left = list(zip(_subtrees(ours.size), ours.hashes, strict=True))
    right = list(zip(_subtrees(theirs.size), theirs.hashes, strict=True))
    for (width, hash_), (other_width, other_hash) in zip(left, right, strict=False):
        if width != other_width:
            return
        if hash_ != other_hash:
            raise Forked(f"{note.place} and {trusted.place} are signed over two histories")


def _subtrees(size: int) -> list[int]:
    return [1 << bit for bit in range(size.bit_length() - 1, -1, -1) if size >> bit & 1]


def _two_roots(note: _Note, place: str) -> Forked:
    return Forked(f"{note.place} and {place}: size {note.size} is signed with two roots: two histories")
