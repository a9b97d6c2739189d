"""Mends the signed notes that Postgres holds: every segment's, and the newest checkpoint.

A note is put back only when the chain's key has signed it and its compact range hashes to the signed root, and taken
out only when that does not hold; so a crash between two of them leaves notes that hold, some of them still missing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from sealstream.layout import ChainSettings
from sealstream.layout.tables import AUDIT_CHECKPOINT
from sealstream.postgres import PostgresStore
from sealstream.rebuild.months import Keeper
from sealstream.verify.signed import SignedSize, StoredNote, signed_sizes

__all__ = ["mend_notes"]


def mend_notes(
    keeper: Keeper, reader_dsn: str, chain: ChainSettings, sizes: Sequence[SignedSize], say: Callable[[str], None]
) -> int:
    """Puts each of the signed `sizes` that is a segment's end in its place, takes out what nobody signed. How many."""
    with PostgresStore(reader_dsn) as store:
        stored = store.notes(chain.name)
        bounds = store.seq_bounds(chain.name)
    reach = 0 if bounds is None else bounds[1] + 1
    mended = 0
    segments: set[int] = set()
    newest = False
    for note in stored:
        found, _ = signed_sizes([StoredNote(note.note, "", note.compact_range)], chain.vkey)
        if found and found[0].size == note.size <= reach and found[0].compact_range is not None:
            newest = newest or not note.ends_segment
            segments |= {note.size} if note.ends_segment else set()
            continue
        keeper.rebuild_note(chain.name, note.size, note.ends_segment, None)
        mended += 1
    known = [signed for signed in sizes if signed.compact_range is not None and signed.size <= reach]
    missing = [(signed, True) for signed in known if _ends_segment(signed) and signed.size not in segments]
    missing += [(known[-1], False)] if known and not newest else []
    for signed, ends_segment in missing:
        hashes = signed.compact_range.hashes if signed.compact_range is not None else ()
        keeper.rebuild_note(chain.name, signed.size, ends_segment, signed.note, hashes)
        mended += 1
    if mended:
        say(f"{mended} notes in {AUDIT_CHECKPOINT} were mended")
    return mended


def _ends_segment(signed: SignedSize) -> bool:
    """Whether a note is a segment's: it stands in a manifest or in the topic of segments."""
    return signed.place.startswith("manifests/") or ".segments." in signed.place
