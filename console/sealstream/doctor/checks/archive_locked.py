"""For how long what is archived is locked: as its manifests say, and as the chain had promised when it was sealed.

A policy that was extended since asks nothing of what was archived before: such locks are lengthened only when somebody
says so (docs/retention.md).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from datetime import datetime, timedelta
from itertools import islice, takewhile

from sealstream.archive import ArchiveStore, Bucket, Lock, StoredSegment
from sealstream.doctor.asking import Asking
from sealstream.doctor.checks.archive_held import archived_days
from sealstream.doctor.outcomes import Check, Outcome, failed, folded, passed, unknown
from sealstream.doctor.promised import in_force, promised_at
from sealstream.errors import SealstreamError
from sealstream.events import parse_timestamp
from sealstream.layout import ChainSettings, Retention
from sealstream.layout.manifests import MAX_MANIFEST_BYTES, Manifest, parse_manifest

__all__ = ["CHECKS"]

_LOCKS_READ = 12
_SECOND = timedelta(seconds=1)  # S3 keeps whole seconds


def _locks(asking: Asking) -> Outcome:
    return folded((f"chain {chain.name}", _locks_of(asking, chain)) for chain in asking.system.chains)


def _locks_of(asking: Asking, chain: ChainSettings) -> Outcome:
    days = archived_days(asking, chain)
    if not days:
        return unknown("the archive holds nothing of it yet", to_do="ask again when a segment has ended")
    longest, doubt = _longest(asking, chain), ""
    chosen = [days[round(place * (len(days) - 1) / 3)] for place in range(4)]
    looked, former, wrong = 0, 0, list[str]()
    with closing(ArchiveStore(asking.archive(), chain.name)) as store, closing(Bucket(asking.archive())) as bucket:
        for segment in _some_of(store, list(dict.fromkeys(chosen))):
            if not segment.manifest.versions or not segment.object.versions:
                continue
            manifest = parse_manifest(
                store.read(segment.name.manifest_key, segment.manifest.versions[0], MAX_MANIFEST_BYTES)
            )
            locks = [
                (stored.key, bucket.lock(stored.key, stored.versions[0].version_id or ""))
                for stored in (segment.object, segment.manifest)
            ]
            looked += len(locks)
            until = _locked_until(manifest, longest)
            if _shorter(locks, until):
                former += 1
                try:
                    until = _promised_then(asking, chain, manifest, locks)
                except SealstreamError as error:
                    doubt, until = str(error), parse_timestamp(manifest.retain_until)
            for key, lock in _shorter(locks, until):
                found = "has no lock" if lock is None else f"is locked in {lock.mode} until {lock.until:%Y-%m-%d %H:%M}"
                wrong.append(f"{key} {found}: expected COMPLIANCE until {until:%Y-%m-%d %H:%M}")
    if not looked:
        return unknown("none of the segments that were looked for is whole", to_do="`sealstream verify archive`")
    if wrong:
        return failed(
            *wrong[:5],
            to_do=f"`sealstream chain retention {chain.name} --extend-objects` lengthens locks: docs/retention.md",
        )
    if doubt:
        return unknown(
            f"{former} segments are locked until their manifests say, for less than the {longest.archive_days:,} days "
            f"of {longest.policy}; nothing is known of what was promised when they were sealed: {doubt}",
            to_do="ask where the chain's statements can be read, in Postgres and Kafka",
        )
    said = f"{looked} objects and manifests, of the oldest, the newest and days between, are locked in COMPLIANCE mode "
    if former:
        return passed(
            f"{said}until their manifests say, or longer; {former} segments for less than the "
            f"{longest.archive_days:,} days of {longest.policy}: nothing longer was promised when they were sealed"
        )
    return passed(f"{said}for {longest.archive_days:,} days after their last entry, or longer")


def _longest(asking: Asking, chain: ChainSettings) -> Retention:
    """What is in force; where the chain can't be asked, what the settings say."""
    try:
        return in_force(asking, chain)
    except SealstreamError:
        return chain.retention


def _promised_then(
    asking: Asking, chain: ChainSettings, manifest: Manifest, locks: Sequence[tuple[str, Lock | None]]
) -> datetime:
    """Until when a segment must be locked by what was promised when it was sealed; asked no further than must be."""
    for whole in (False, True):
        until = _locked_until(manifest, promised_at(asking, chain, manifest.first_seq, whole=whole))
        if not _shorter(locks, until):
            break
    return until


def _locked_until(manifest: Manifest, promise: Retention) -> datetime:
    """Until when a segment must be locked: as it was archived, and as was promised."""
    promised = parse_timestamp(manifest.last_sequenced_at) + timedelta(days=promise.archive_days)
    return max(promised, parse_timestamp(manifest.retain_until))


def _shorter(locks: Iterable[tuple[str, Lock | None]], until: datetime) -> list[tuple[str, Lock | None]]:
    at_least = until.replace(microsecond=0) - _SECOND
    return [(key, lock) for key, lock in locks if lock is None or not lock.holds(at_least)]


def _some_of(store: ArchiveStore, dates: Sequence[str]) -> list[StoredSegment]:
    """Of each of these days the first segments, and of the last the newest."""
    each = max(1, _LOCKS_READ // len(dates))

    def of_day(date: str) -> Iterator[StoredSegment]:
        return takewhile(lambda segment: segment.name.date == date, store.segments(date))

    found = [segment for date in dates for segment in islice(of_day(date), each)]
    return [*found, *(segment for segment in deque(of_day(dates[-1]), each) if segment not in found)]


CHECKS = (
    Check(
        "archive.locks",
        "what is archived is locked for as long as was promised",
        "GetObjectRetention of a sample, held against its manifests and what the chain had promised before it",
        _locks,
    ),
)
