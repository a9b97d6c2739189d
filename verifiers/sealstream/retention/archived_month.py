"""A month of a chain as the archive holds it: every segment of it really read, and met by the signed roots.

Nobody takes a listing's or a statement's word for what stays when another copy goes: objects and manifests are read
whole, every entry is hashed, locks are looked at, and each version must be the one that the chain has sealed
(`segment.archived`). Reads only; a crash leaves nothing behind.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from sealstream.archive import ArchiveSettings, ArchiveStore, Bucket, ColumnMaker, Stored, StoredSegment
from sealstream.archive.holdings import Holding, look
from sealstream.errors import Forked
from sealstream.layout import ChainSettings
from sealstream.layout.archive import SegmentName, archived_statement_id
from sealstream.rebuild.spans import Span
from sealstream.sealing import checked_range

__all__ = ["ArchivedMonth", "SealedStatements", "archived_month", "look_at", "statements_of"]

SealedStatements = Callable[[Sequence[str]], Mapping[str, Mapping[str, object]]]
"""The metadata of the `segment.archived` with these ids that the chain has sealed."""

_IDS_AT_ONCE = 200


class ArchivedMonth(NamedTuple):
    """Entries `first` to `last`; `root`: the signed root of the tree up to the last; `spans`: one for each segment."""

    month: str
    first: int
    last: int
    first_hash: bytes
    last_hash: bytes
    root: bytes
    spans: tuple[Span, ...]


def archived_month(
    archive: ArchiveSettings,
    chain: ChainSettings,
    month: str,
    sealed: SealedStatements,
    progress: Callable[[int, int | None], object] = lambda _done, _total: None,
) -> ArchivedMonth | None:
    """The month, verified; None when the archive does not hold it to its end yet. Raises `Forked`: it does not hold."""
    store, bucket, maker = ArchiveStore(archive, chain.name), Bucket(archive), ColumnMaker()
    try:
        bucket.check()
        segments = _segments(store, month)
        if segments is None:
            return None
        statements = statements_of(chain, segments, sealed)
        total = segments[-1].name.last_seq - segments[0].name.first_seq + 1
        holdings: list[Holding] = []
        done = 0
        for segment in segments:
            holding = look_at(bucket, chain, segment, statements.get(segment.name), maker)
            if holdings and holding.manifest.start_range != holdings[-1].manifest.end_range:
                raise Forked(f"{segment.name.manifest_key}: does not begin with the tree that the segment before ends")
            holdings.append(holding._replace(data=b""))
            done += holding.fold.rows
            progress(done, total)
    finally:
        maker.close()
        bucket.close()
        store.close()
    first, last = holdings[0].manifest, holdings[-1].manifest
    spans = tuple(_span(holding) for holding in holdings)
    end_root = holdings[-1].signed.root
    return ArchivedMonth(month, first.first_seq, last.last_seq, first.first_hash, last.last_hash, end_root, spans)


def _segments(store: ArchiveStore, month: str) -> list[StoredSegment] | None:
    """The segments of a month, without a gap, and followed by one of a later month; None: that is not there yet."""
    segments: list[StoredSegment] = []
    for segment in store.segments(f"{month}-01"):
        if segments and segment.name.first_seq != segments[-1].name.last_seq + 1:
            raise Forked(
                f"{segments[-1].name.object_key} is followed by {segment.name.object_key}: the archive has a gap or an "
                "overlap there"
            )
        if segment.name.date[:7] > month:
            return segments or None
        segments.append(segment)
    return None


def statements_of(
    chain: ChainSettings, segments: Sequence[StoredSegment], sealed: SealedStatements
) -> dict[SegmentName, Mapping[str, object]]:
    """The `segment.archived` of these segments, where the chain has sealed it."""
    by_id = {archived_statement_id(chain.origin, segment.name): segment.name for segment in segments}
    ids, found = list(by_id), {}
    for at in range(0, len(ids), _IDS_AT_ONCE):
        for own_id, metadata in sealed(ids[at : at + _IDS_AT_ONCE]).items():
            found[by_id[own_id]] = metadata
    return found


def look_at(
    bucket: Bucket,
    chain: ChainSettings,
    segment: StoredSegment,
    statement: Mapping[str, object] | None,
    maker: ColumnMaker,
) -> Holding:
    """One segment, read and held to what the chain has sealed of it."""
    name = segment.name
    if statement is None:
        raise Forked(f"{name.object_key}: the chain has not sealed that it was archived (segment.archived)")
    for stored in (segment.object, segment.manifest):
        _one_version(stored)
    holding = look(bucket, chain, name, segment.manifest.versions[0].version_id or "", maker)
    found: dict[str, object] = {
        "object": name.object_key,
        "object_sha256": holding.manifest.object_sha256.hex(),
        "manifest": name.manifest_key,
        "manifest_sha256": holding.manifest_sha256.hex(),
        "retain_until": holding.manifest.retain_until,
    }
    if not bucket.settings.replayed:
        found |= {"object_version": holding.manifest.object_version, "manifest_version": holding.manifest_version}
    for member, value in found.items():
        if statement.get(member) != value:
            raise Forked(f"{name.object_key}: {member} is {value}, the chain has sealed {statement.get(member)}")
    return holding


def _one_version(stored: Stored) -> None:
    """What is hidden or overwritten is no place to leave the last copy in until somebody has looked."""
    if not stored.versions:
        raise Forked(f"{stored.key} is not there")
    if stored.delete_markers or len(stored.versions) > 1:
        raise Forked(
            f"{stored.key} has {len(stored.versions)} versions and {len(stored.delete_markers)} delete markers: "
            "expected the one that was put"
        )


def _span(holding: Holding) -> Span:
    manifest = holding.manifest
    return Span(
        checked_range(manifest.first_seq, manifest.start_range),
        checked_range(manifest.last_seq + 1, manifest.end_range),
    )
