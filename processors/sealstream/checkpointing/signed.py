"""What was signed so far, as both topics still tell: where to begin, and which roots the chain must come to.

The notes are the memory: there is no other. Headers beside a note are not signed, so a compact range counts when it
hashes to the signed root, and the rest is found right or wrong by reading the chain. The invariant: every signed size
above the beginning has exactly one root in `roots`. Reading only; a crash leaves nothing behind.
"""

from __future__ import annotations

from collections import deque
from typing import NamedTuple

from sealstream.errors import Forked, WrongRoot
from sealstream.kafka import KafkaSettings, Record, read_until_end
from sealstream.layout import ChainSettings, ChainTopics, CheckpointHeaders, parse_checkpoint_headers
from sealstream.sealing import (
    EMPTY_RANGE,
    BadNote,
    CompactRange,
    Verifier,
    checked_range,
    open_checkpoint,
    parse_checkpoint,
    parse_vkey,
    root,
)

__all__ = ["Signed", "read_signed"]

_MOST_ENDS = 10_000


class Signed(NamedTuple):
    """`beginning`: the signed range behind which the tree grows again, `chain_offset`: where the next entry stood then;
    `roots`: signed root by size, above the beginning; `segments`: by size, the first seq of the segments that have a
    note; `newest`: the largest size that was ever signed, 0 when none was.
    """

    beginning: CompactRange
    chain_offset: int
    roots: dict[int, bytes]
    segments: dict[int, int]
    newest: int


class _Note(NamedTuple):
    place: str
    size: int
    root: bytes
    compact_range: CompactRange
    headers: CheckpointHeaders


def read_signed(kafka: KafkaSettings, chain: ChainSettings, *, from_seq: int, read_again: int) -> Signed:
    """Read every note of both topics. Raises `Forked` for one that contradicts another or that we did not sign.

    The tree begins behind a segment's end, as far back as `read_again` entries and the chain (which still has entries
    from `from_seq` on) allow, so that what was signed since is held against the entries; and at least behind the end
    of the segment before the last one. So the last one is read once more: its own end, to which the next entry links,
    is known from a signature, and not from whatever the chain's topic holds now.

    Segments count as long as each begins where the one before ended; from a gap on, what is missing is signed again.
    Where the chain's beginning is gone, and the notes over it too (it was restored from an archive that begins later),
    they count from the first on that is there.
    """
    topics = ChainTopics.of(chain.name, chain.prefix)
    verifier = parse_vkey(chain.vkey)
    ends: deque[_Note] = deque([_NOTHING], _MOST_ENDS)
    behind_gap: dict[int, _Note] = {}
    for records in read_until_end(kafka, topics.segments):
        for record in records:
            note = _open(record, topics.segments, verifier)
            if ends[-1] is _NOTHING and 0 < _first_seq(note) <= from_seq:
                ends = deque([note], _MOST_ENDS)
                continue
            if note.size <= ends[-1].size:
                _check_shared(note, ends[-1])
                continue
            same = behind_gap.setdefault(_first_seq(note), note)
            if same.size != note.size:
                raise Forked(f"{same.place} and {note.place}: two segments begin with entry {_first_seq(note)}")
            _check_shared(note, same)
            while (following := behind_gap.pop(ends[-1].size, None)) is not None:
                ends.append(following)
            while len(ends) > 2 and (ends[0].size < from_seq or ends[0].size < ends[-1].size - read_again):
                ends.popleft()
    if len(ends) == 1 and ends[0] is not _NOTHING:
        ends.appendleft(_NOTHING)  # nothing signed behind it says that the chain still holds the same
    begin = ends.popleft()
    signed = Signed(begin.compact_range, begin.headers.chain_offset, {}, {}, begin.size)
    for note in (*ends, *behind_gap.values()):
        signed = _expect(signed, note)
        signed.segments[note.size] = _first_seq(note)
    for records in read_until_end(kafka, topics.checkpoints):
        for record in records:
            if not _is_settled(record, begin, verifier.name):
                note = _open(record, topics.checkpoints, verifier)
                _check_shared(note, begin)
                signed = _expect(signed, note)
    return signed


def _is_settled(record: Record, begin: _Note, origin: str) -> bool:
    """Whether a note is of a size below the beginning and agrees with it, so that its signature makes no difference.

    A week has 600,000 checkpoints: to verify every signature at each start would leave a chain unsigned for a minute.
    """
    try:
        text = (record.value or b"").rpartition(b"\n\n")[0].decode() + "\n"
        stated, size, signed_root = parse_checkpoint(text)
        if stated != origin or size > begin.size:
            return False
        headers = parse_checkpoint_headers(record.headers)
        note = _Note("", size, signed_root, checked_range(size, headers.compact_range), headers)
        _check_shared(note, begin)
    except (BadNote, ValueError, Forked):  # whatever it is, it is looked at closely
        return False
    return root(note.compact_range) == signed_root


def _expect(signed: Signed, note: _Note) -> Signed:
    if note.size <= signed.beginning.size:
        return signed
    if signed.roots.setdefault(note.size, note.root) != note.root:
        raise WrongRoot(
            f"{note.place}: size {note.size} is signed with the root {note.root.hex()}, and elsewhere with "
            f"{signed.roots[note.size].hex()}: two histories"
        )
    return signed._replace(newest=max(signed.newest, note.size))


def _open(record: Record, topic: str, verifier: Verifier) -> _Note:
    place = f"{topic}, offset {record.offset}"
    try:
        checkpoint = open_checkpoint(record.value or b"", verifier)
        headers = parse_checkpoint_headers(record.headers)
        compact_range = checked_range(checkpoint.size, headers.compact_range)
    except (BadNote, ValueError) as error:
        raise Forked(f"{place}: not a checkpoint that {verifier.name} has signed: {error}") from error
    if root(compact_range) != checkpoint.root:
        raise Forked(f"{place}: its compact range does not hash to the signed root of size {checkpoint.size}")
    return _Note(place, checkpoint.size, checkpoint.root, compact_range, headers)


def _first_seq(note: _Note) -> int:
    """Of the segment, when the headers name one that ends at the signed size."""
    first, last = note.headers.first_seq, note.headers.last_seq
    if first is None or last is None or not first <= last or last != note.size - 1:
        raise Forked(f"{note.place}: names no segment that ends with entry {note.size - 1}, got {first} to {last}")
    return first


def _check_shared(note: _Note, other: _Note) -> None:
    """Two trees over one history have the same roots wherever their ranges hold the same subtree."""
    ours, theirs = note.compact_range, other.compact_range
    for width, other_width, hash_, other_hash in zip(
        _subtrees(ours.size), _subtrees(theirs.size), ours.hashes, theirs.hashes, strict=False
    ):
        if width != other_width:
            return
        if hash_ != other_hash:
            raise WrongRoot(
                f"{note.place} (size {note.size}) and {other.place} (size {other.size}) are signed over two histories"
            )


def _subtrees(size: int) -> list[int]:
    return [1 << bit for bit in range(size.bit_length() - 1, -1, -1) if size >> bit & 1]


_NOTHING = _Note("", 0, root(EMPTY_RANGE), EMPTY_RANGE, CheckpointHeaders((), 0))
