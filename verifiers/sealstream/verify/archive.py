"""Verifies a chain's archive: objects, manifests, versions, locks and every row, from a bucket or a copy in a folder.

The chain itself seals which version of each object counts, with its SHA-256 (`segment.archived`, in a later segment).
So the oldest version is read, every row of it hashed and held against the signed roots, and at the end what was read is
compared with what was sealed. A newer version, a delete marker or a weaker lock is a fault, and what it hides is read
all the same. Reads only; one row group is in memory at a time.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from sealstream.archive import (
    ArchiveSettings,
    ArchiveStore,
    ColumnMaker,
    Stored,
    StoredSegment,
    open_parquet,
    read_groups,
)
from sealstream.errors import InvalidEvent, NotCanonical, SealstreamError
from sealstream.events import parse_timestamp
from sealstream.layout.archive import ENTRIES, SegmentName, archive_prefix
from sealstream.layout.holds import Hold, covering
from sealstream.layout.manifests import Manifest, parse_manifest
from sealstream.layout.parquet import PARQUET_COLUMNS
from sealstream.sealing import CompactRange, checked_range, open_checkpoint, read_written, split_sealed
from sealstream.verify.ahead import SegmentWalked, sealed_values, walk_segments
from sealstream.verify.report import Fault, FaultKind, Report
from sealstream.verify.signatures import SignatureJudge
from sealstream.verify.signed import StoredNote
from sealstream.verify.verification import Examination, Verification

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["ARCHIVE_STALE_AFTER", "verify_archive"]

ARCHIVE_STALE_AFTER = timedelta(hours=25)
_STATEMENT_MAY_LAG = timedelta(hours=1)
_WORTH_WORKERS = 100_000  # entries: for fewer, starting a process takes longer than it saves
_CLOCK_GRACE = timedelta(seconds=1)  # S3 keeps whole seconds


class _Segment(NamedTuple):
    """A segment as found: its manifest when there is one that can be read, and the bytes' SHA-256."""

    stored: StoredSegment
    manifest: Manifest | None
    manifest_sha256: str
    object_sha256: str = ""

    @property
    def name(self) -> SegmentName:
        return self.stored.name


def verify_archive(source: ArchiveSettings | str | Path, asked: Verification) -> Report:
    """The report on the archive in a bucket or folder. Raises `Misconfigured`, `Unavailable` when it can't be read."""
    store = ArchiveStore(source, asked.identity.name)
    try:
        store.check()
        return _Archive(store, asked).verify()
    finally:
        store.close()


class _Archive:
    def __init__(self, store: ArchiveStore, asked: Verification) -> None:
        self._store = store
        self._asked = asked
        self._faults: list[Fault] = []
        self._locked = store.versioned
        self._columns = ColumnMaker()
        self._rows_at = ""
        self._newest: SegmentName | None = None  # an object that may still wait for its manifest

    def verify(self) -> Report:
        stored = list(self._store.segments())
        self._newest = stored[-1].name if stored and _being_written(stored[-1]) else None
        segments = [self._with_manifest(found) for found in stored]
        notes = [
            StoredNote(segment.manifest.checkpoint.encode(), segment.name.manifest_key, segment.manifest.end_range)
            for segment in segments
            if segment.manifest is not None
        ]
        examination = Examination(self._asked, "archive", notes)
        begins = next((index for index, segment in enumerate(segments) if _has_object(segment)), 0)
        gone, segments = segments[:begins], segments[begins:]
        first = self._first(segments)
        at = None
        if first:
            seq = segments[first].name.first_seq
            at = next((s for s in examination.sizes if s.size == seq and s.compact_range is not None), None)
            first = first if at is not None else 0
        behind = _start_of(segments[0]) if segments and at is None else None
        examination.begin(lambda row: f"{self._rows_at} row {row}", at=at, behind=behind)
        total = sum(segment.name.last_seq - segment.name.first_seq + 1 for segment in segments[first:])
        read = []
        try:
            for segment, data, walked in self._walked(segments[first:], total, examination.signatures):
                read.append(self._examine(segment, data, walked, examination))
                self._asked.progress(examination.report.entries, total)
        finally:
            self._columns.close()
        self._manifest_chain(segments[first:])
        if behind is not None:
            self._destroyed(segments[0].name.first_seq, gone, examination)
        self._promised(read, examination)
        self._held(read, examination)
        self._sealed_statements(read, examination)
        for key in self._store.foreign:
            self._fault(FaultKind.INSERTED, key, "names no segment of this chain")
        if not self._store.versioned:
            examination.report.notes.append("a copy: versions and locks can't be seen, the sealed SHA-256s decide")
        if self._store.replayed:
            examination.report.notes.append("replayed into this bucket: its versions are its own, the SHA-256s decide")
        examination.history.faults += self._faults
        report = examination.finish(stale_after=ARCHIVE_STALE_AFTER, assurance="self-signed")
        self._judge_newest(report)
        if self._locked and read:
            report.assurance.append("WORM-locked")
        return report

    def _judge_newest(self, report: Report) -> None:
        """The newest object may wait for its manifest, and so for its signature, while its entries are young."""
        if self._newest is None:
            return
        newest = self._newest
        young = bool(report.newest_sequenced_at) and (
            self._asked.now - parse_timestamp(report.newest_sequenced_at) < _STATEMENT_MAY_LAG
        )
        if not young:
            detail = "there is no manifest for this object, and its entries are older than an hour"
            report.faults.append(
                Fault(FaultKind.MISSING, newest.manifest_key, detail, newest.first_seq, newest.last_seq)
            )
            return
        report.faults = [
            fault
            for fault in report.faults
            if fault.kind is not FaultKind.UNSIGNED or fault.first_seq is None or fault.first_seq < newest.first_seq
        ]
        report.notes.append("the newest object has no manifest yet: its entries were read, and are not yet signed")

    def _first(self, segments: list[_Segment]) -> int:
        """Which segment to begin with: the one that holds `since`."""
        if self._asked.since is None:
            return 0
        for index, segment in enumerate(segments):
            manifest = segment.manifest
            if manifest is not None and parse_timestamp(manifest.last_sequenced_at) >= self._asked.since:
                return index
        return max(len(segments) - 1, 0)

    # --- one segment ----------------------------------------------------------------------------------------------

    def _with_manifest(self, stored: StoredSegment) -> _Segment:
        name = stored.name
        if not stored.manifest.versions:
            if name != self._newest:
                self._fault(FaultKind.MISSING, name.manifest_key, "there is no manifest for this object", name)
            return _Segment(stored, None, "")
        data = self._store.read(name.manifest_key, stored.manifest.versions[0])
        digest = sha256(data).hexdigest()
        try:
            manifest = parse_manifest(data)
        except NotCanonical as error:
            self._fault(FaultKind.EDITED, name.manifest_key, str(error), name)
            return _Segment(stored, None, digest)
        identity = self._asked.identity
        if (manifest.origin, manifest.segment) != (identity.origin, name):
            detail = f"describes segment {manifest.segment.decimal} of {manifest.origin}: not the one of its place"
            self._fault(FaultKind.EDITED, name.manifest_key, detail, name)
            return _Segment(stored, None, digest)
        return _Segment(stored, manifest, digest)

    def _walked(
        self, segments: list[_Segment], entries: int, judge: SignatureJudge
    ) -> Iterator[tuple[_Segment, bytes, SegmentWalked | None]]:
        """Each segment, its object's bytes (none: not there), and what a worker says of it, if there are workers."""
        found = ((segment, self._object(segment)) for segment in segments)
        if self._asked.workers > 1 and len(segments) > 1 and entries >= _WORTH_WORKERS:
            yield from walk_segments(self._asked.identity.name, found, self._asked.workers, judge)
        else:
            for segment, data in found:
                yield segment, data, None

    def _object(self, segment: _Segment) -> bytes:
        stored = segment.stored.object
        return self._store.read(stored.key, stored.versions[0]) if stored.versions else b""

    def _examine(
        self, segment: _Segment, data: bytes, walked: SegmentWalked | None, examination: Examination
    ) -> _Segment:
        name, manifest = segment.name, segment.manifest
        until = parse_timestamp(manifest.retain_until) if manifest is not None else None
        self._versions(segment.stored.object, name, until)
        if segment.stored.manifest.versions:
            self._versions(segment.stored.manifest, name, until)
        if not segment.stored.object.versions:
            self._fault(FaultKind.MISSING, name.object_key, "the object is not there, its manifest is", name)
            return segment
        digest = sha256(data).hexdigest()
        if manifest is not None and digest != manifest.object_sha256.hex():
            detail = f"has the SHA-256 {digest}: its manifest says {manifest.object_sha256.hex()}; it was replaced"
            self._fault(FaultKind.EDITED, name.object_key, detail, name)
        self._rows_at = name.object_key
        rows = 0
        ends: dict[str, object] = {}
        if walked is not None and examination.add_walked(walked, 0):
            rows = 1 + sum(result.entries for result in walked.results)
            ends = _ends(walked.first, b"")
            ends |= {"last_hash": walked.tip.hash, "last_sequenced_at": walked.tip.sequenced_at}
        else:
            try:
                if strange := _strange_columns(data):
                    detail = (
                        f"has columns that the format does not have: {', '.join(strange)}; nothing vouches for them"
                    )
                    self._fault(FaultKind.INVALID, name.object_key, detail, name)
                for table in read_groups(data):
                    values = self._rows(table, rows, name, examination)
                    if values:
                        ends = (ends or _ends(values[0], b"")) | _ends(b"", values[-1])
                    rows += len(table)
            except NotCanonical as error:
                self._fault(FaultKind.EDITED, name.object_key, str(error), name)
        if manifest is not None:
            self._manifest_against_rows(segment, manifest, ends)
        if rows != name.last_seq - name.first_seq + 1:
            detail = f"has {rows} rows: its name says {name.first_seq} to {name.last_seq}"
            self._fault(FaultKind.EDITED, name.object_key, detail, name)
        return segment._replace(object_sha256=digest)

    def _manifest_against_rows(self, segment: _Segment, manifest: Manifest, ends: dict[str, object]) -> None:
        """What the manifest says of its object's first and last row, of its version and of its signed size."""
        key, name = segment.name.manifest_key, segment.name
        says: dict[str, tuple[object, object]] = {
            member: (getattr(manifest, member), found) for member, found in ends.items()
        }
        if self._store.versioned and not self._store.replayed:
            says["object_version"] = manifest.object_version, segment.stored.object.versions[0].version_id
        try:
            signed = open_checkpoint(manifest.checkpoint.encode(), self._asked.identity.vkey).size
            says["the size of checkpoint"] = signed, name.last_seq + 1
        except SealstreamError:
            pass  # said already: a note that the chain's key did not sign
        for member, (said, found) in says.items():
            if said != found:
                shown = [value.hex() if isinstance(value, bytes) else value for value in (said, found)]
                self._fault(FaultKind.EDITED, key, f"{member} is {shown[0]}: the object says {shown[1]}", name)

    def _rows(self, table: pa.Table, before: int, name: SegmentName, examination: Examination) -> Sequence[bytes]:
        """A row group: each row's bytes and seal, its columns against the bytes. Gives the rows as sealed entries."""
        values = sealed_values(table)
        examination.add(values, range(before, before + len(values)))
        try:
            expected = self._columns.table(table.select(["body", "prev_hash", "hash"]))
        except NotCanonical as error:
            if not any(fault.place.startswith(name.object_key) for fault in examination.history.faults):
                self._fault(FaultKind.INVALID, name.object_key, str(error), name)
            return values
        if expected.equals(table):
            return values
        for column in table.column_names:
            if not expected[column].equals(table[column]):
                self._column(column, expected, table, before, name)
        return values

    def _column(self, column: str, expected: pa.Table, table: pa.Table, before: int, name: SegmentName) -> None:
        seqs = expected["seq"].to_pylist()
        pairs = zip(seqs, expected[column].to_pylist(), table[column].to_pylist(), strict=True)
        for row, (seq, sealed, stored) in enumerate(pairs):
            if sealed != stored:
                detail = f"column {column} says {stored!r}, the sealed bytes say {sealed!r}"
                self._faults.append(Fault(FaultKind.EDITED, f"{name.object_key} row {before + row}", detail, seq, seq))

    def _versions(self, stored: Stored, name: SegmentName, until: datetime | None) -> None:
        if stored.delete_markers:
            detail = f"hidden by {len(stored.delete_markers)} delete marker(s); the version under it was read"
            self._fault(FaultKind.MISSING, stored.key, detail, name)
        if len(stored.versions) > 1:
            newest = stored.versions[-1]
            detail = (
                f"{len(stored.versions) - 1} newer version(s), the newest {newest.version_id} of "
                f"{newest.last_modified}: whoever reads the key without a version gets that; the first version was read"
            )
            self._fault(FaultKind.EDITED, stored.key, detail, name)
        if not self._store.versioned or not stored.versions:
            return
        lock = self._store.lock(stored.key, stored.versions[0])
        if lock is None or (until is not None and not lock.holds(until - _CLOCK_GRACE)):
            self._locked = False
            have = "no lock" if lock is None else f"a {lock.mode} lock until {lock.until.astimezone(UTC).isoformat()}"
            wanted = f"COMPLIANCE until {until.isoformat()}" if until is not None else "a COMPLIANCE lock"
            self._fault(FaultKind.UNLOCKED, stored.key, f"has {have}: expected {wanted}", name)

    # --- the whole --------------------------------------------------------------------------------------------------

    def _manifest_chain(self, segments: list[_Segment]) -> None:
        for former, segment in pairwise(segments):
            manifest = segment.manifest
            if manifest is None or not former.manifest_sha256 or former.name.last_seq + 1 != segment.name.first_seq:
                continue
            named = manifest.previous_manifest_sha256
            if named is None or named.hex() != former.manifest_sha256:
                detail = (
                    f"names {named.hex() if named else 'none'} as the SHA-256 of the manifest before it, which has "
                    f"{former.manifest_sha256}"
                )
                self._fault(FaultKind.EDITED, former.name.manifest_key, detail, former.name)

    def _destroyed(self, size: int, gone: Sequence[_Segment], examination: Examination) -> None:
        """Whether the entries before the first object that is there were destroyed as the chain has sealed."""
        destroyed, by = examination.history.destroyed_before(size, examination.first_link)
        if by is not None:
            examination.report.notes.append(
                f"destroyed as sealed: entries up to {destroyed - 1} are not in the archive any more (entry {by.seq}, "
                f"{by.at}, says so: {by.metadata['reason']})"
            )
        for segment in gone:
            if segment.name.last_seq >= destroyed:
                self._fault(FaultKind.MISSING, segment.name.object_key, "the object is not there", segment.name)
        if destroyed < size:
            detail = f"begins with entry {size}, and no signed archive.destroyed says that those before it are gone"
            place = archive_prefix(ENTRIES, self._asked.identity.name)
            self._faults.append(Fault(FaultKind.MISSING, place, detail, destroyed, size - 1))

    def _promised(self, segments: list[_Segment], examination: Examination) -> None:
        """What was archived is locked for as long as the chain promised when the segment's first entry was sealed."""
        for segment in segments:
            promise = examination.history.promised(segment.name.first_seq)
            if promise is None or segment.manifest is None:
                continue
            until = parse_timestamp(segment.manifest.last_sequenced_at) + timedelta(days=promise.archive_days)
            sealed = examination.history.archived.get(segment.name.first_seq)  # a manifest that differs is said already
            said = segment.manifest.retain_until if sealed is None else str(sealed.metadata["retain_until"])
            try:
                locked = parse_timestamp(said)
            except InvalidEvent:  # as somebody has sealed it, who is no archive sink
                locked = datetime.min.replace(tzinfo=UTC)
            if locked < until - _CLOCK_GRACE:
                self._locked = False
                detail = (
                    f"was archived with retain_until {said}: the chain promises {promise.policy}, "
                    f"{promise.archive_days} days, so at least until {until.isoformat()}"
                )
                self._fault(FaultKind.UNLOCKED, segment.name.manifest_key, detail, segment.name)

    def _held(self, segments: list[_Segment], examination: Examination) -> None:
        """Manifests carry the legal holds that the chain says; what a standing one covers is under it in the bucket."""
        standing: tuple[Hold, ...] | None = () if segments and segments[0].name.first_seq == 0 else None
        behind = -1
        for segment in segments:
            if segment.manifest is None:
                continue
            carried = segment.manifest.holds
            if standing is not None:
                standing = examination.history.holds(segment.name.last_seq, standing, behind)
                if carried != standing:
                    said = ", ".join(hold.id for hold in carried) or "none"
                    detail = f"carries the legal holds {said}: the chain says {_ids(standing)}"
                    self._fault(FaultKind.EDITED, segment.name.manifest_key, detail, segment.name)
            else:
                standing = carried
            behind = segment.name.last_seq
        if not standing or not self._store.versioned:
            return
        young = {
            statement.metadata.get("hold")
            for statement in examination.history.holding
            if self._asked.now - parse_timestamp(statement.at) < _STATEMENT_MAY_LAG
        }
        due = tuple(hold for hold in standing if hold.id not in young)  # a hold takes a while to be set everywhere
        for segment in segments:
            for stored in (segment.stored.object, segment.stored.manifest):
                covered = covering(due, segment.name.date) if stored.versions else ()
                if covered and not self._store.held(stored.key, stored.versions[0]):
                    self._locked = False
                    detail = f"has no legal hold: {_ids(covered)} covers it, as the chain has sealed"
                    self._fault(FaultKind.UNLOCKED, stored.key, detail, segment.name)
        examination.report.notes.append(f"legal holds stand: {_ids(standing)}")

    def _sealed_statements(self, segments: list[_Segment], examination: Examination) -> None:
        """What was read is what the chain sealed as archived."""
        archived = examination.history.archived
        newest_end = max((_end(segment) for segment in segments), default=datetime.min.replace(tzinfo=UTC))
        for segment in segments:
            name = segment.name
            statement = archived.get(name.first_seq)
            if statement is None:
                if name != self._newest and _end(segment) < newest_end - _STATEMENT_MAY_LAG:
                    detail = "the chain never sealed that this segment was archived (segment.archived)"
                    self._fault(FaultKind.MISSING, name.object_key, detail, name)
                continue
            found: dict[str, object] = {
                "object": name.object_key,
                "object_sha256": segment.object_sha256,
                "manifest": name.manifest_key,
                "manifest_sha256": segment.manifest_sha256,
            }
            if self._store.versioned and not self._store.replayed:
                for kind, stored in (("object", segment.stored.object), ("manifest", segment.stored.manifest)):
                    found[f"{kind}_version"] = stored.versions[0].version_id if stored.versions else None
            if segment.manifest is not None:
                found["retain_until"] = segment.manifest.retain_until
            for member, value in found.items():
                if value and statement.metadata.get(member) != value:
                    sealed = statement.metadata.get(member)
                    detail = f"{member} is {value}: entry {statement.seq} of the chain sealed {sealed}; it was replaced"
                    key = name.manifest_key if member.startswith("manifest") else name.object_key
                    self._fault(FaultKind.EDITED, key, detail, name)

    def _fault(self, kind: FaultKind, place: str, detail: str, name: SegmentName | None = None) -> None:
        seqs = (None, None) if name is None else (name.first_seq, name.last_seq)
        self._faults.append(Fault(kind, place, detail, *seqs))


def _ids(holds: Sequence[Hold]) -> str:
    return ", ".join(f"{hold.id} ({hold.days})" for hold in holds) or "none"


def _ends(first: bytes, last: bytes) -> dict[str, object]:
    """What an object's first and last row (as sealed entries) say of the members of its manifest that speak of them."""
    found: dict[str, object] = {}
    for side, value in (("first", first), ("last", last)):
        try:
            sealed = split_sealed(value)
            found[f"{side}_hash"] = sealed.hash
            found[f"{side}_sequenced_at"] = read_written(sealed.body).sequenced_at
        except NotCanonical:
            continue  # a row that is no entry: the walk says so
    return found


def _strange_columns(data: bytes) -> list[str]:
    """Columns that the format does not have: nothing vouches for what they say."""
    known = {column.name for column in PARQUET_COLUMNS}
    return [name for name in open_parquet(data).schema_arrow.names if name not in known]


def _has_object(segment: _Segment) -> bool:
    """Whether the object is there, or was hidden, which is no destruction."""
    stored = segment.stored.object
    return bool(stored.versions or stored.delete_markers)


def _start_of(segment: _Segment) -> CompactRange | None:
    """The tree before a segment that is not the first, as its manifest says: its own signed root proves it."""
    if segment.manifest is None or not segment.name.first_seq:
        return None
    try:
        return checked_range(segment.name.first_seq, segment.manifest.start_range)
    except ValueError:
        return None


def _being_written(newest: StoredSegment) -> bool:
    """Whether the sink may stand between this object and its manifest; a copy may have been taken just then."""
    without = not newest.manifest.versions and not newest.manifest.delete_markers
    return without and len(newest.object.versions) == 1


def _end(segment: _Segment) -> datetime:
    if segment.manifest is not None:
        return parse_timestamp(segment.manifest.last_sequenced_at)
    return datetime.fromisoformat(segment.name.date).replace(tzinfo=UTC)
