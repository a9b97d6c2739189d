"""The end of the archive: versions whose lock has ended are deleted, the oldest segments first, and the chain says so.

1. Each segment is read once more, met by the signed roots and held to what the chain has sealed of it: so it is known
   what goes. Its locks must have ended, its policy's time too, and no legal hold may stand, in the chain or the bucket.
2. The chain seals `archive.destroyed`, which lists keys, versions, SHA-256s and hashes, and the signed size up to which
   everything is gone.
3. The archive itself holds that statement, in a segment that stays.
4. Segment by segment the object is deleted, by version, then the manifest, both looked at again before.

So an archive that begins later than with entry 0 says by itself that this was meant, and by whom; what remains verifies
from the compact range in its first manifest. A crash between any two steps leaves the statement, perhaps, and some of
what it lists; the next run goes on with what is listed and still there, says nothing twice, and deletes nothing that is
not listed. The invariant: only a beginning of the archive goes, since every other segment is needed to read the rest
without a gap.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Any, NamedTuple

from sealstream.archive import ArchiveSettings, ArchiveStore, Bucket, ColumnMaker, StoredSegment
from sealstream.archive.holdings import Holding
from sealstream.errors import Forked, Held, NotCanonical
from sealstream.layout import ChainSettings, retention_members
from sealstream.layout.archive import SegmentName
from sealstream.layout.holds import Hold, covering
from sealstream.layout.manifests import MAX_MANIFEST_BYTES, parse_manifest
from sealstream.retention.archived_month import SealedStatements, look_at, statements_of

__all__ = [
    "MAX_SEGMENTS",
    "Doomed",
    "Ended",
    "destroy_listed",
    "destroyed_statement_id",
    "ended_segments",
    "listed_beginning",
    "policy_ends",
    "statement_members",
]

MAX_SEGMENTS = 50
"""In one `archive.destroyed`: it then fits an entry."""

_STILL_ONLINE = "Postgres still has entries of it, which leave first (`sealstream retention run`)"


class Doomed(NamedTuple):
    """A segment that was read and found whole, and whose time is over. `members`: as `archive.destroyed` lists it."""

    name: SegmentName
    members: dict[str, object]
    root: bytes
    last_hash: bytes


class Ended(NamedTuple):
    """The beginning of the archive that may go, and why it does not go on behind that."""

    segments: list[Doomed]
    stops: str


def destroyed_statement_id(origin: str, first: int, last: int) -> str:
    """The id of an `archive.destroyed`: UUIDv5 of `destroyed/<first>-<last>`."""
    return str(uuid.uuid5(uuid.uuid5(uuid.NAMESPACE_URL, origin), f"destroyed/{first}-{last}"))


def ended_segments(
    archive: ArchiveSettings,
    chain: ChainSettings,
    sealed: SealedStatements,
    holds: Sequence[Hold],
    *,
    listed: Iterable[Mapping[str, Any]] = (),
    online_from: int | None = None,
    margin: timedelta = timedelta(0),
    progress: Callable[[int, int | None], object] = lambda _done, _total: None,
) -> Ended:
    """The segments whose time is over, behind the beginning that the chain has said already (`listed`).

    `chain.retention`: what is in force; `holds`: those that stand; `online_from`: the first entry that must leave
    Postgres before it goes here, since it leaves there only when it can be read here; `margin`: for how long it must
    have been over, by the clocks here and of the bucket. Raises `Forked` at one that is not what was sealed.
    """
    store, bucket, maker = ArchiveStore(archive, chain.name), Bucket(archive), ColumnMaker()
    said, found = list(listed), list[Doomed]()
    try:
        bucket.check()
        moment = _moment(bucket) - margin
        beginning, segments = listed_beginning(store, store.segments(), said, replayed=archive.replayed)
        due, stops = _due(segments, chain, holds, online_from, moment)
        expected = _expected(beginning, segments, said)
        statements: dict[SegmentName, Mapping[str, object]] = {}
        for done, segment in enumerate(due, 1):
            if done % MAX_SEGMENTS == 1:
                statements = statements_of(chain, due[done - 1 : done - 1 + MAX_SEGMENTS], sealed)
            if segment.name.first_seq != expected:
                raise Forked(f"the archive lacks the entries {expected} to {segment.name.first_seq - 1}: nothing goes")
            why = _kept(bucket, segment, moment)
            if why:
                stops = why
                break
            holding = look_at(bucket, chain, segment, statements.get(segment.name), maker)
            found.append(_doomed(holding))
            expected = segment.name.last_seq + 1
            progress(done, len(due))
    finally:
        maker.close()
        bucket.close()
        store.close()
    return Ended(found, stops)


def _due(
    segments: Sequence[StoredSegment],
    chain: ChainSettings,
    holds: Sequence[Hold],
    online_from: int | None,
    now: datetime,
) -> tuple[list[StoredSegment], str]:
    """Those whose day is as old as the policy says, and that no hold of the chain covers; why not the next."""
    due: list[StoredSegment] = []
    for segment in segments:
        ends = policy_ends(segment.name, chain)
        if ends > now:
            return due, f"{segment.name.object_key} is kept by {chain.retention.policy} until {ends:%Y-%m-%d}"
        if held := covering(holds, segment.name.date):
            return due, f"{segment.name.object_key} is under the legal hold {held[0].id}"
        if online_from is not None and segment.name.last_seq >= online_from:
            return due, f"{segment.name.object_key} stays: {_STILL_ONLINE}"
        due.append(segment)
    # The newest segment stays: an empty archive could not say what was in it.
    return due[:-1], f"{due[-1].name.object_key} is the newest" if due else "the archive is empty"


def policy_ends(name: SegmentName, chain: ChainSettings) -> datetime:
    """Until when the policy keeps a segment: so many days after the end of its day."""
    day = datetime.fromisoformat(name.date).replace(tzinfo=UTC)
    return day + timedelta(days=1 + chain.retention.archive_days)


def _kept(bucket: Bucket, segment: StoredSegment, now: datetime) -> str:
    """Why the bucket keeps one of the two; empty: it does not."""
    for stored in (segment.object, segment.manifest):
        version = stored.counting()
        if version is None or version.version_id is None:
            raise Forked(f"{stored.key} is not there, and the chain has not said that it was destroyed")
        lock = bucket.lock(stored.key, version.version_id)
        if lock is not None and lock.until > now:
            return f"{stored.key} is locked until {lock.until:%Y-%m-%d %H:%M:%SZ}"
        if bucket.held(stored.key, version.version_id):
            return f"{stored.key} is under a legal hold in the bucket (`sealstream retention hold apply` releases it?)"
    return ""


def _doomed(holding: Holding) -> Doomed:
    manifest = holding.manifest
    members: dict[str, object] = {
        "object": manifest.object,
        "object_version": manifest.object_version,
        "object_sha256": manifest.object_sha256.hex(),
        "manifest": manifest.segment.manifest_key,
        "manifest_version": holding.manifest_version,
        "manifest_sha256": holding.manifest_sha256.hex(),
        "first_seq": manifest.first_seq,
        "last_seq": manifest.last_seq,
        "first_hash": manifest.first_hash.hex(),
        "last_hash": manifest.last_hash.hex(),
        "retain_until": manifest.retain_until,
    }
    return Doomed(manifest.segment, members, holding.signed.root, manifest.last_hash)


def statement_members(chain: ChainSettings, doomed: Sequence[Doomed], reason: str) -> dict[str, object]:
    """What `archive.destroyed` says of them; at most `MAX_SEGMENTS`, one behind the other."""
    return {
        "first_seq": doomed[0].name.first_seq,
        "last_seq": doomed[-1].name.last_seq,
        "last_hash": doomed[-1].last_hash.hex(),
        "root": doomed[-1].root.hex(),
        "segments": [each.members for each in doomed],
        "retention": retention_members(chain.retention),
        "reason": reason,
    }


def destroy_listed(
    archive: ArchiveSettings,
    chain: ChainSettings,
    holds: Callable[[], Sequence[Hold]],
    listed: Iterable[Mapping[str, Any]],
    *,
    online_from: Callable[[], int | None] = lambda: None,
    progress: Callable[[int, int | None], object] = lambda _done, _total: None,
) -> tuple[int, str]:
    """Deletes what is named in these sealed lists and still there: how many versions, and what the policy keeps of it.

    Whoever may write to the control topic may have such a list sealed: so what is not the archive's beginning stays,
    and so does what is not over by its policy. Raises `Held`, when all before it is gone, at a segment that a hold or a
    longer lock keeps, or that Postgres still has; `Forked` where a version is not the sealed one. `holds()`: those that
    stand, and `online_from()`: the first entry in Postgres, asked anew every `MAX_SEGMENTS`, since one may be set, and
    a month brought back, while this runs.
    """
    bucket, store = Bucket(archive), ArchiveStore(archive, chain.name)
    standing: Sequence[Hold] = ()
    online: int | None = None
    gone = 0
    try:
        bucket.check()
        beginning, rest = listed_beginning(store, store.segments(), listed, replayed=archive.replayed)
        if beginning and not rest:
            raise Held("all that is archived is listed as destroyed: the newest segment stays")
        moment = _moment(bucket)
        for done, (segment, items) in enumerate(beginning, 1):
            key = segment.name.object_key
            if (ends := policy_ends(segment.name, chain)) > moment:
                return gone, f"{key} is listed, and {chain.retention.policy} keeps it until {ends:%Y-%m-%d}"
            if done % MAX_SEGMENTS == 1:
                standing, online = holds(), online_from()
            if online is not None and segment.name.last_seq >= online:
                raise Held(f"{key} is listed, and {_STILL_ONLINE}: it stays")
            gone += _delete(bucket, segment, items, standing, moment)
            progress(done, len(beginning))
    finally:
        bucket.close()
        store.close()
    return gone, ""


def listed_beginning(
    store: ArchiveStore,
    there: Iterable[StoredSegment],
    listed: Iterable[Mapping[str, Any]],
    *,
    replayed: bool = False,
) -> tuple[list[tuple[StoredSegment, list[Mapping[str, Any]]]], list[StoredSegment]]:
    """The beginning of the archive that is listed as destroyed, each segment with what lists say of it; and the rest.

    Only a beginning may go. What is listed elsewhere, is not there, or is listed otherwise than it is, counts for
    nothing: whoever may write to the control topic could else have one list sealed that tears a hole, or that stops
    every destruction for ever.
    """
    by_keys: dict[tuple[object, object], list[Mapping[str, Any]]] = {}
    for item in listed:
        by_keys.setdefault((item["object"], item["manifest"]), []).append(item)
    beginning: list[tuple[StoredSegment, list[Mapping[str, Any]]]] = []
    segments = iter(there)
    for segment in segments:
        items = by_keys.get((segment.name.object_key, segment.name.manifest_key), [])
        true = [item for item in items if _is_true(store, segment, item, replayed)]
        if not true:
            return beginning, [segment, *segments]
        beginning.append((segment, true))
    return beginning, []


def _is_true(store: ArchiveStore, segment: StoredSegment, item: Mapping[str, Any], replayed: bool) -> bool:
    """Whether an item says of a segment what its manifest does, which goes last."""
    version = segment.manifest.counting(None if replayed else item["manifest_version"])
    if version is None:
        return False
    data = store.read(segment.manifest.key, version, MAX_MANIFEST_BYTES)
    try:
        manifest = parse_manifest(data)
    except NotCanonical:
        return False
    same_version = replayed or manifest.object_version == item["object_version"]
    digests = (sha256(data).hexdigest(), manifest.object_sha256.hex())
    return same_version and digests == (item["manifest_sha256"], item["object_sha256"])


def _expected(
    beginning: Sequence[tuple[StoredSegment, object]],
    segments: Sequence[StoredSegment],
    listed: Iterable[Mapping[str, Any]],
) -> int:
    """With which entry what is not listed should begin; 0 where nothing says otherwise."""
    if beginning:
        return beginning[-1][0].name.last_seq + 1
    behind = {int(item["last_seq"]) + 1 for item in listed}
    return segments[0].name.first_seq if segments and segments[0].name.first_seq in behind else 0


def _moment(bucket: Bucket) -> datetime:
    """What time it is: the earlier of this machine's clock and the bucket's, whose locks it is that must have ended."""
    now = datetime.now(UTC)
    return now - timedelta(seconds=max(0.0, bucket.clock_skew_s()))


class _Listed(NamedTuple):
    """A version that is there and listed: its size, and what SHA-256 lists say it has."""

    key: str
    version: str
    size: int
    sha256s: frozenset[object]


def _delete(
    bucket: Bucket, segment: StoredSegment, items: Sequence[Mapping[str, Any]], holds: Sequence[Hold], now: datetime
) -> int:
    """The listed versions of a segment that are there, when both may go: first the object. How many."""
    found = [_listed(bucket, segment, items, kind) for kind in ("object", "manifest")]
    there = [listed for listed in found if listed is not None]
    for listed in there:
        _check(bucket, segment, listed, holds, now)
    for listed in there:
        bucket.delete(listed.key, listed.version)
    return len(there)


def _listed(bucket: Bucket, segment: StoredSegment, items: Sequence[Mapping[str, Any]], kind: str) -> _Listed | None:
    """The version that one of these items lists; None: it is gone."""
    stored = bucket.stored(segment.name.object_key if kind == "object" else segment.name.manifest_key)
    oldest = [stored.versions[0].version_id] if bucket.settings.replayed and stored.versions else None
    for version in oldest or [str(item[f"{kind}_version"]) for item in items]:
        if version is not None and (found := stored.counting(version)) is not None:
            return _Listed(stored.key, version, found.size, frozenset(item[f"{kind}_sha256"] for item in items))
    return None


def _check(bucket: Bucket, segment: StoredSegment, listed: _Listed, holds: Sequence[Hold], now: datetime) -> None:
    """Raises what keeps this version: a hold, its lock, or that it is not what was listed."""
    key, version = listed.key, listed.version
    held = covering(holds, segment.name.date)
    lock = bucket.lock(key, version)
    if held or bucket.held(key, version):
        raise Held(f"{key}: a legal hold stands ({held[0].id if held else 'in the bucket'}): it stays")
    if lock is not None and lock.until > now:
        raise Held(f"{key} is locked until {lock.until:%Y-%m-%d %H:%M:%SZ}: it stays")
    if sha256(bucket.read(key, version, listed.size)).hexdigest() not in listed.sha256s:
        raise Forked(f"{key}, version {version}: has another SHA-256 than archive.destroyed lists: it stays")
