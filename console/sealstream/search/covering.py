"""Whether one entry is what the chain's key has signed: its segment's hashes, folded to the root in a signed note.

Cheap enough to do for each entry that is shown: the hashes of one segment are read, no more. It proves what a signature
says of this entry; that nothing else was changed or left out is for `sealstream verify`. Reads only.
"""

from __future__ import annotations

from typing import NamedTuple

from sealstream.archive import ArchiveSettings, ArchiveStore, leaf_hashes, read_groups
from sealstream.errors import NotCanonical
from sealstream.layout.manifests import MAX_MANIFEST_BYTES, parse_manifest
from sealstream.layout.tables import AUDIT_CHECKPOINT, AUDIT_LOG, SCHEMA
from sealstream.postgres.driver import Session
from sealstream.sealing import EMPTY_RANGE, HASH_BYTES, BadNote, checked_range, extend, open_checkpoint, root
from sealstream.search.found import Found

__all__ = ["Covered", "covered_in_archive", "covered_in_postgres"]

_BEFORE = (
    f"SELECT size, compact_range FROM {SCHEMA}.{AUDIT_CHECKPOINT} "
    "WHERE chain = $1 AND size <= $2 AND ends_segment ORDER BY size DESC LIMIT 1"
)
_BEHIND = f"SELECT size, note FROM {SCHEMA}.{AUDIT_CHECKPOINT} WHERE chain = $1 AND size > $2 ORDER BY size LIMIT 1"
_HASHES = f"SELECT hash FROM {SCHEMA}.{AUDIT_LOG} WHERE chain = $1 AND seq >= $2 AND seq < $3 ORDER BY seq"


class Covered(NamedTuple):
    """`holds` None: no signed checkpoint reaches the entry yet. `size`: of the checkpoint that covers it."""

    holds: bool | None
    size: int = 0
    problem: str = ""


def covered_in_postgres(dsn: str, vkey: str, found: Found) -> Covered:
    """By the notes and hashes that Postgres holds."""
    with Session(dsn, "sealstream show") as session:
        behind = session.fetch("reading the note behind an entry", _BEHIND, found.chain, found.seq)
        if not behind:
            return Covered(None)
        size, note = behind[0]["size"], behind[0]["note"]
        before = session.fetch("reading the note before an entry", _BEFORE, found.chain, found.seq)
        begin, joined = (before[0]["size"], before[0]["compact_range"]) if before else (0, b"")
        rows = session.fetch("reading a segment's hashes", _HASHES, found.chain, begin, size)
    parts = tuple(joined[at : at + HASH_BYTES] for at in range(0, len(joined), HASH_BYTES))
    return _folded(found, vkey, note, size, begin, parts, [row["hash"] for row in rows])


def covered_in_archive(source: ArchiveSettings, vkey: str, found: Found) -> Covered:
    """By the manifest and the object of the entry's segment."""
    store = ArchiveStore(source, found.chain)
    try:
        for segment in store.segments(since_date=found.entry["written"]["sequenced_at"][:10]):
            if not segment.name.first_seq <= found.seq <= segment.name.last_seq:
                continue
            if not segment.manifest.versions or not segment.object.versions:
                return Covered(None)
            data = store.read(segment.manifest.key, segment.manifest.versions[0], MAX_MANIFEST_BYTES)
            manifest = parse_manifest(data)
            stored = store.read(segment.object.key, segment.object.versions[0])
            hashes = [own for table in read_groups(stored, ("body", "prev_hash", "hash")) for own in leaf_hashes(table)]
            note = manifest.checkpoint.encode()
            return _folded(found, vkey, note, manifest.last_seq + 1, manifest.first_seq, manifest.start_range, hashes)
    except NotCanonical as error:
        return Covered(False, 0, str(error))
    finally:
        store.close()
    return Covered(None)


def _folded(
    found: Found, vkey: str, note: bytes, size: int, begin: int, start: tuple[bytes, ...], hashes: list[bytes]
) -> Covered:
    try:
        checkpoint = open_checkpoint(note, vkey)
        start_range = checked_range(begin, start) if begin else EMPTY_RANGE
    except (BadNote, ValueError) as error:
        return Covered(False, size, f"the note behind it does not hold: {error}")
    if len(hashes) != size - begin or hashes[found.seq - begin] != found.hash:
        return Covered(False, size, f"its segment has {len(hashes)} entries of {size - begin}, or another in its place")
    if checkpoint.size != size or root(extend(start_range, hashes)) != checkpoint.root:
        return Covered(False, size, "its segment's hashes do not give the root that the chain's key has signed")
    return Covered(True, size)
