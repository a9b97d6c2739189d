"""What the stores still hold of a chain: its entries, archive first and Postgres above it, and every signed note.

The entries come in order, as sealed bytes, and are believed by nobody: whoever reads them grows the tree over them
(`Regrowth`), which checks every hash, link, number and time, the account, and every root that a note has signed. The
invariant: an entry is given once, and a gap is never jumped. Reads only; a crash leaves nothing behind.

Where the archive's beginning was destroyed at its end, Postgres may still hold it; else what is left begins later, from
the tree that the first manifest (or a stored note) names and the next signature proves. It must say itself that what
was before is gone rightly (`archive.destroyed`, `store.expired`).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from types import TracebackType
from typing import NamedTuple

from sealstream.archive import ArchiveSettings, ArchiveStore, StoredSegment, read_groups
from sealstream.checkpointing.beginning import begin_with_entry_0
from sealstream.checkpointing.growing import Growing, SignedSize
from sealstream.checkpointing.signed import Signed
from sealstream.errors import ChainBroken, NotCanonical, WrongRoot
from sealstream.kafka import Record
from sealstream.layout import ChainSettings, SegmentCutter
from sealstream.layout.archive import SegmentName
from sealstream.layout.manifests import MAX_MANIFEST_BYTES, Manifest, parse_manifest
from sealstream.postgres import PostgresStore
from sealstream.rebuild.later_beginning import check_beginning, said_gone
from sealstream.sealing import (
    EMPTY_RANGE,
    BadNote,
    Checkpoint,
    CompactRange,
    Tip,
    checked_range,
    open_checkpoint,
    root,
    tip_after,
)
from sealstream.verify.ahead import sealed_values

__all__ = ["ArchivedSegment", "PublishedNote", "Regrowth", "Remainder", "Survey", "by_size", "survey"]

Progress = Callable[[int, int | None], None]

_ROWS = 2_000


class PublishedNote(NamedTuple):
    """A checkpoint that the chain's key has signed; `place` says where it was found, for people."""

    note: bytes
    place: str
    checkpoint: Checkpoint

    @property
    def size(self) -> int:
        """How many entries it speaks of."""
        return self.checkpoint.size


class ArchivedSegment(NamedTuple):
    """A segment of the archive that has a manifest, whose oldest version counts."""

    name: SegmentName
    manifest: Manifest
    manifest_bytes: bytes
    manifest_version: str


class Remainder:
    """One chain in the archive and in Postgres; either may be None. `close` it."""

    def __init__(self, chain: ChainSettings, archive: ArchiveSettings | None, reader_dsn: str | None) -> None:
        self._chain = chain
        self._postgres = PostgresStore(reader_dsn) if reader_dsn is not None else None
        self._archive: ArchiveStore | None = None
        try:
            if archive is not None:
                self._archive = ArchiveStore(archive, chain.name)
                self._archive.check()
        except BaseException:
            self.close()
            raise

    def notes(self) -> list[PublishedNote]:
        """Every note that the stores hold, opened. Raises `ChainBroken` for one that the chain's key did not sign."""
        found = [
            self._open(self.manifest(stored).manifest.checkpoint.encode(), stored.name.manifest_key)
            for stored in self.segments()
        ]
        if self._postgres is not None:
            found += [
                self._open(stored.note, f"audit_checkpoint of size {stored.size}")
                for stored in self._postgres.notes(self._chain.name)
            ]
        return found

    def begin(self) -> CompactRange:
        """The tree before the first entry that is left. Raises `ChainBroken` where nothing says what it was."""
        first = next(self.segments(), None)
        bounds = self._postgres.seq_bounds(self._chain.name) if self._postgres is not None else None
        begins = min(([first.name.first_seq] if first else []) + ([bounds[0]] if bounds else []), default=0)
        if begins <= 0:
            return EMPTY_RANGE
        try:
            if first is not None and first.name.first_seq == begins:
                return checked_range(begins, self.manifest(first).manifest.start_range)
            assert self._postgres is not None
            for note in self._postgres.notes(self._chain.name):
                if note.size == begins:
                    return checked_range(begins, note.compact_range)
        except ValueError as error:
            raise ChainBroken(f"the tree before entry {begins} is not what one can be: {error}") from error
        raise ChainBroken(f"Postgres begins with entry {begins}, where no segment begins: verify it first")

    def segments(self) -> Iterator[StoredSegment]:
        """The archive's segments in order, without a gap; one whose manifest is not there yet ends them. What was
        destroyed at the beginning is passed over.
        """
        expected: int | None = None
        for stored in self._archive.segments() if self._archive is not None else ():
            name = stored.name
            if expected is None and not stored.object.versions and not stored.object.delete_markers:
                continue
            expected = name.first_seq if expected is None else expected
            if not stored.manifest.versions or not stored.object.versions:
                return
            if name.first_seq != expected:
                raise ChainBroken(
                    f"the archive goes on with segment {name.decimal} where entry {expected} is expected: "
                    "verify it with `sealstream verify archive`, or do without it (--without-archive)"
                )
            yield stored
            expected = name.last_seq + 1

    def values(self) -> Iterator[list[bytes]]:
        """The sealed entries from the first that is left on, in runs."""
        reached = 0
        for stored in self.segments():
            if self._postgres is not None and stored.name.first_seq > reached == 0:
                yield from self._rows(0, stored.name.first_seq)
            yield from self._object(stored)
            reached = stored.name.last_seq + 1
        yield from self._rows(reached, None)

    def _rows(self, first: int, stop: int | None) -> Iterator[list[bytes]]:
        if self._postgres is not None:
            for rows in self._postgres.rows(self._chain.name, first, stop, at_once=_ROWS):
                yield [row.sealed_value for row in rows]

    def total(self) -> int | None:
        """About how many entries there are: what Postgres counts, if it is there."""
        return self._postgres.next_seq(self._chain.name) or None if self._postgres is not None else None

    def manifest(self, stored: StoredSegment) -> ArchivedSegment:
        """A segment with its manifest, read and parsed. Raises `ChainBroken` when that is not the segment's."""
        assert self._archive is not None
        name, version = stored.name, stored.manifest.versions[0]
        data = self._archive.read(name.manifest_key, version, MAX_MANIFEST_BYTES)
        try:
            manifest = parse_manifest(data)
        except NotCanonical as error:
            raise ChainBroken(f"{name.manifest_key}: {error}; --without-archive does without the archive") from error
        if (manifest.origin, manifest.segment) != (self._chain.origin, name):
            raise ChainBroken(
                f"{name.manifest_key} describes segment {manifest.segment.decimal} of {manifest.origin}: expected "
                f"{name.decimal} of {self._chain.origin}"
            )
        return ArchivedSegment(name, manifest, data, version.version_id or "")

    def _object(self, stored: StoredSegment) -> Iterator[list[bytes]]:
        assert self._archive is not None
        name, rows = stored.name, 0
        data = self._archive.read(name.object_key, stored.object.versions[0])
        try:
            for table in read_groups(data):
                values = list(sealed_values(table))
                rows += len(values)
                yield values
        except NotCanonical as error:
            raise ChainBroken(f"{name.object_key}: {error}; --without-archive does without the archive") from error
        if rows != name.last_seq - name.first_seq + 1:
            raise ChainBroken(f"{name.object_key} has {rows} rows: its name says {name.decimal}")

    def _open(self, note: bytes, place: str) -> PublishedNote:
        try:
            return PublishedNote(note, place, open_checkpoint(note, self._chain.vkey))
        except BadNote as error:
            raise ChainBroken(f"{place}: not a checkpoint that {self._chain.origin} has signed: {error}") from error

    def close(self) -> None:
        """Gives the connections back."""
        if self._archive is not None:
            self._archive.close()
        if self._postgres is not None:
            self._postgres.close()

    def __enter__(self) -> Remainder:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def by_size(notes: Iterable[PublishedNote]) -> dict[int, PublishedNote]:
    """One note for each size. Raises `Forked` when two of a size have two roots."""
    found: dict[int, PublishedNote] = {}
    for note in notes:
        same = found.setdefault(note.size, note)
        if same.checkpoint.root != note.checkpoint.root:
            raise WrongRoot(
                f"size {note.size} is signed with two roots: {same.checkpoint.root.hex()} ({same.place}) and "
                f"{note.checkpoint.root.hex()} ({note.place}): somebody else has used the chain's key"
            )
    return found


class Regrowth:
    """The tree over entries that are read again, held to every note; `add` gives the ends of segments in them.

    `begin`: the tree before the first of them. Raises `WrongRoot` where a note of that very size says otherwise.
    """

    def __init__(
        self, chain: ChainSettings, notes: dict[int, PublishedNote], begin: CompactRange = EMPTY_RANGE
    ) -> None:
        self._chain = chain
        self._roots = {size: note.checkpoint.root for size, note in notes.items() if size > begin.size}
        self._begin = begin
        self._growing: Growing | None = None
        if (note := notes.get(begin.size)) is not None and note.checkpoint.root != root(begin):
            raise WrongRoot(f"{note.place}: signs another tree of {begin.size} entries than the stores begin with")

    @property
    def size(self) -> int:
        """How many entries so far."""
        return self._begin.size if self._growing is None else self._growing.size

    @property
    def compact_range(self) -> CompactRange:
        """The tree over them."""
        return self._begin if self._growing is None else self._growing.now.compact_range

    def add(self, values: Sequence[bytes], first_offset: int) -> list[SignedSize]:
        """The next entries, which stand or will stand from `first_offset` on without a gap.

        Raises `ChainBroken` for one that does not continue the chain, `Forked` where a note has signed another root.
        """
        records = [Record(first_offset + index, 0, None, value) for index, value in enumerate(values)]
        if not records:
            return []
        if self._growing is not None:
            return self._growing.add(records)
        if not self._begin.size:
            signed = Signed(EMPTY_RANGE, 0, self._roots, {}, 0)
            self._growing = begin_with_entry_0(records[0], self._chain, signed)
            return self._growing.add(records)
        size, limits = self._begin.size, self._chain.limits  # entry 0, which has sealed them, is gone
        self._growing = Growing(
            self._chain.name, Tip(size, b"", -1, -1, ""), self._begin, SegmentCutter(limits, size), self._roots, {}
        )
        self._growing.add_signed(records[0])
        return self._growing.add(records[1:])


class Survey(NamedTuple):
    """What is left, all of it checked, from behind `begin` on: `size` entries with those before, `tip` after them;
    `newest`: the largest note of at most `size`, with its tree. `hashes`: of the entries that were asked for, by seq.
    `contradicting`: doubted notes whose root is not the entries'.
    """

    begin: CompactRange
    size: int
    tip: Tip | None
    newest: PublishedNote | None
    newest_range: CompactRange
    hashes: dict[int, bytes]
    contradicting: list[PublishedNote]


def survey(
    remainder: Remainder,
    chain: ChainSettings,
    notes: dict[int, PublishedNote],
    *,
    doubted: Iterable[PublishedNote] = (),
    look_at: Iterable[int] = (),
    progress: Progress = lambda _done, _total: None,
) -> Survey:
    """Read and check all that is left, against `notes`; `doubted` ones are compared, and no alarm.

    Raises `ChainBroken`, `Forked`; `ChainStopped` where too little is left to go on behind; `Misconfigured` where the
    settings cut segments otherwise than entry 0, which is gone, did.
    """
    begin = remainder.begin()
    regrowth = Regrowth(chain, notes, begin)
    ends: set[int] = set()
    gone = 0
    waiting: dict[int, list[PublishedNote]] = {size: [note] for size, note in notes.items()}
    for note in doubted:
        waiting.setdefault(note.size, []).append(note)
    marks = deque(sorted(waiting))
    wanted = set(look_at)
    newest: PublishedNote | None = None
    newest_range, last, hashes, contradicting = EMPTY_RANGE, b"", dict[int, bytes](), list[PublishedNote]()
    total = remainder.total()
    for values in remainder.values():
        done = 0
        while done < len(values):
            first = regrowth.size
            while marks and marks[0] <= first:
                marks.popleft()
            run = values[done : done + marks[0] - first] if marks else values[done:]
            done += len(run)
            ends |= {end.size for end in regrowth.add(run, first)}
            gone = max(gone, said_gone(run)) if begin.size else 0
            for note in waiting.get(regrowth.size, ()):
                if note.checkpoint.root == root(regrowth.compact_range):
                    newest, newest_range = note, regrowth.compact_range
                else:
                    contradicting.append(note)
            for seq in [seq for seq in wanted if first <= seq < regrowth.size]:
                hashes[seq] = tip_after(run[seq - first]).hash
                wanted.discard(seq)
            last = run[-1]
        progress(regrowth.size, total)
    tip = tip_after(last) if last else None
    if begin.size and last:
        check_beginning(chain, begin.size, gone, ends, [stored.name.last_seq + 1 for stored in remainder.segments()])
    return Survey(begin, regrowth.size, tip, newest, newest_range, hashes, contradicting)
