"""What the archive holds of a span: its objects, oldest version, every body hashed again and every column compared.

An object that was read through once and folded to its signed root need not be hashed entry by entry again: the SHA-256
of its bytes says that they are the same bytes. `Verified` remembers those digests in this verifier's own state
directory, which is trusted as its kept checkpoints are: whoever can write there can blind this one verifier, and
`--afresh` does without it. The invariant: bytes are always read; a digest counts only for the fold that it stood for.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from sealstream.archive import (
    ArchiveSettings,
    ArchiveStore,
    ColumnMaker,
    StoredSegment,
    leaf_hashes,
    raw_hashes,
    read_groups,
)
from sealstream.errors import NotCanonical
from sealstream.layout import decode_entry
from sealstream.layout.archive import DESTROYED_ACTION
from sealstream.layout.manifests import MAX_MANIFEST_BYTES, Manifest, parse_manifest
from sealstream.rebuild.spans import Leaf, Span
from sealstream.sealing import EMPTY_RANGE, SEAL_BYTES, CompactRange, checked_range, entry_hash, read_written, root
from sealstream.verify.ahead import sealed_values
from sealstream.verify.report import Fault, FaultKind
from sealstream.verify.signed import StoredNote

__all__ = ["ArchiveView", "Verified"]

_SEALED = ("body", "prev_hash", "hash")
_NEEDLE = b'"action":"' + DESTROYED_ACTION.encode() + b'"'


class Verified:
    """Digests of objects that were read through and held: one file, written by rename; None: nothing is remembered."""

    def __init__(self, file: Path | None) -> None:
        self._file = file
        self._known: dict[str, str] = {}
        if file is not None and file.exists():
            try:
                self._known = msgspec.json.decode(file.read_bytes(), type=dict[str, str])
            except (OSError, msgspec.DecodeError):
                self._known = {}  # looked at afresh, and written anew

    def holds(self, digest: bytes, span: Span) -> bool:
        """Whether bytes with this SHA-256 were found to be this span."""
        return self._known.get(digest.hex()) == _name(span)

    def remember(self, digest: bytes, span: Span) -> None:
        """Bytes with this SHA-256 are this span."""
        self._known[digest.hex()] = _name(span)

    def save(self) -> None:
        """Written beside and renamed; losing it loses time and nothing else."""
        if self._file is None:
            return
        self._file.parent.mkdir(parents=True, exist_ok=True)
        beside = self._file.with_name(f".{self._file.name}.{os.getpid()}")
        beside.write_bytes(msgspec.json.encode(self._known))
        beside.replace(self._file)


def _seq(body: bytes, otherwise: int) -> int:
    try:
        return read_written(body).seq
    except NotCanonical:
        return otherwise


def _name(span: Span) -> str:
    return f"{span.first} {root(span.start).hex()} {span.stop} {root(span.end).hex()}"


class _Archived(NamedTuple):
    stored: StoredSegment
    manifest: Manifest | None

    @property
    def first(self) -> int:
        return self.stored.name.first_seq

    @property
    def stop(self) -> int:
        return self.stored.name.last_seq + 1


class ArchiveView:
    """One chain's archive as of now. `faults`: what its keys and versions show. `close` it."""

    def __init__(self, source: ArchiveSettings | str | Path, chain: str, verified: Verified | None = None) -> None:
        self._store = ArchiveStore(source, chain)
        self._maker = ColumnMaker()
        self._verified = verified or Verified(None)
        self.faults: list[Fault] = []
        try:
            self._store.check()
            stored = list(self._store.segments())
            while stored and not stored[0].object.versions:  # destroyed, or gone: `bounds` says where it begins
                stored.pop(0)
            self._segments = [self._archived(each) for each in stored]
        except BaseException:
            self.close()
            raise

    def notes(self) -> list[StoredNote]:
        """The signed note of every manifest, with its range."""
        return [
            StoredNote(item.manifest.checkpoint.encode(), item.stored.name.manifest_key, item.manifest.end_range)
            for item in self._segments
            if item.manifest is not None
        ]

    def bounds(self) -> tuple[int, int]:
        """The first archived seq and the one behind the last; equal when there are none."""
        return (self._segments[0].first, self._segments[-1].stop) if self._segments else (0, 0)

    def start(self) -> CompactRange:
        """The tree before the first archived entry, as its manifest says; nothing has proved it."""
        manifest = self._segments[0].manifest if self._segments else None
        try:
            return EMPTY_RANGE if manifest is None else checked_range(manifest.first_seq, manifest.start_range)
        except ValueError:
            return EMPTY_RANGE

    def destroyed_up_to(self, first: int) -> int:
        """How many of the entries below `first` were destroyed, as the archive's own entries say (if those hold)."""
        gone = 0
        for value in self.values(first, self.bounds()[1]):
            if _NEEDLE not in value:
                continue
            entry = decode_entry(value)
            if entry.action == DESTROYED_ACTION and entry.written.kind == "control":
                for item in (entry.metadata or {}).get("segments", []):
                    end = int(item["last_seq"]) + 1
                    gone = end if gone < end <= first else gone
        return gone

    def check(self, spans: Sequence[Span]) -> Iterator[tuple[Span, bool]]:
        """Each span, in order, and whether the objects' rows fold to it."""
        for span in spans:
            yield span, self._holds(span)
        self._verified.save()

    def leaves(self, first: int, stop: int) -> Iterator[Leaf]:
        """Entry by entry, in the objects' order."""
        for item in self._within(first, stop):
            key = item.stored.name.object_key
            row = 0
            for values in self._values(item):
                for body, prev_hash, claimed in values:
                    own = entry_hash(prev_hash, body)
                    seq = _seq(body, item.first + row)
                    if first <= seq < stop:
                        yield Leaf(seq, own, prev_hash, own == claimed, f"{key} row {row}")
                    row += 1

    def values(self, first: int, stop: int) -> Iterator[bytes]:
        """The sealed entries, in the objects' order."""
        for item in self._within(first, stop):
            row = item.first
            for table in read_groups(self._bytes(item)):
                for value in sealed_values(table):
                    if first <= _seq(value[:-SEAL_BYTES] + b"}", row) < stop:
                        yield value
                    row += 1

    def close(self) -> None:
        """Gives the connections back."""
        self._store.close()
        self._maker.close()

    def _archived(self, stored: StoredSegment) -> _Archived:
        name = stored.name
        for kept in (stored.object, stored.manifest):
            if kept.delete_markers:
                detail = "hidden by a delete marker; the version under it was read"
                self.faults.append(Fault(FaultKind.MISSING, kept.key, detail, name.first_seq, name.last_seq))
            if len(kept.versions) > 1:
                detail = f"{len(kept.versions) - 1} newer version(s) hide the first, which was read"
                self.faults.append(Fault(FaultKind.EDITED, kept.key, detail, name.first_seq, name.last_seq))
        if not stored.manifest.versions:
            return _Archived(stored, None)
        try:
            data = self._store.read(name.manifest_key, stored.manifest.versions[0], MAX_MANIFEST_BYTES)
            manifest = parse_manifest(data)
        except NotCanonical as error:
            self.faults.append(Fault(FaultKind.EDITED, name.manifest_key, str(error), name.first_seq, name.last_seq))
            return _Archived(stored, None)
        return _Archived(stored, manifest if manifest.segment == name else None)

    def _within(self, first: int, stop: int) -> list[_Archived]:
        return [item for item in self._segments if item.stop > first and item.first < stop]

    def _bytes(self, item: _Archived) -> bytes:
        kept = item.stored.object
        return self._store.read(kept.key, kept.versions[0]) if kept.versions else b""

    def _holds(self, span: Span) -> bool:
        found = self._within(span.first, span.stop)
        leaves: list[bytes] = []
        digests = []
        for item in found:
            data = self._bytes(item)
            digest = sha256(data).digest()
            if len(found) == 1 and (item.first, item.stop) == (span.first, span.stop):
                if self._verified.holds(digest, span):
                    return True
                digests.append(digest)
            try:
                hashes, true = self._hashes(data)
            except NotCanonical:
                return False
            if not true:
                return False
            leaves += hashes[max(span.first - item.first, 0) : max(span.stop - item.first, 0)]
        holds = len(leaves) == span.stop - span.first and span.folds(leaves)
        if holds and digests:
            self._verified.remember(digests[0], span)
        return holds

    def _hashes(self, data: bytes) -> tuple[list[bytes], bool]:
        """Every row's recomputed hash, and whether stored hashes and columns say what the bodies say."""
        hashes: list[bytes] = []
        for table in read_groups(data):
            own = leaf_hashes(table)
            if b"".join(own) != raw_hashes(table, "hash"):
                return [], False
            if not self._maker.table(table.select(list(_SEALED))).equals(table):
                return [], False
            hashes += own
        return hashes, True

    def _values(self, item: _Archived) -> Iterator[list[tuple[bytes, bytes, bytes]]]:
        import pyarrow as pa

        data = self._bytes(item)
        if not data:
            return
        try:
            for table in read_groups(data, _SEALED):
                columns: list[list[Any]] = [table[name].cast(pa.binary()).to_pylist() for name in _SEALED]
                yield list(zip(*columns, strict=True))
        except NotCanonical:
            return
