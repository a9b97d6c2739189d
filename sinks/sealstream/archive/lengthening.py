"""Lengthens the locks of what is archived already, when a chain's retention was extended.

The versions that count, object and manifest of each segment, are locked until the end of their UTC day (the keys name
it) plus the new time: at most a day longer than the policy asks for, and nothing need be read for it. A lock that is
long enough is left alone, and none is ever shortened; so a crash anywhere leaves some lengthened, and the same call
goes on with the others. What the chain has sealed of a lock stays true: it says until when at least.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import NamedTuple

from sealstream.archive.bucket import Bucket, Stored
from sealstream.archive.settings import ArchiveSettings
from sealstream.archive.store import ArchiveStore, StoredSegment

__all__ = ["Lengthened", "lengthen_locks"]

_AT_ONCE = 8
_RUN = 256


class Lengthened(NamedTuple):
    """How many segments were looked at, and how many of their objects and manifests have a longer lock now."""

    segments: int
    lengthened: int


def lengthen_locks(
    settings: ArchiveSettings,
    chain: str,
    archive_days: int,
    progress: Callable[[int, int | None], object] = lambda _done, _total: None,
) -> Lengthened:
    """Make every lock of the chain's archive at least `archive_days` long. `progress(segments done, all of them)`."""
    store, bucket = ArchiveStore(settings, chain), Bucket(settings)
    try:
        bucket.check()
        segments = list(store.segments())
        todo: Iterator[StoredSegment] = iter(segments)
        done = lengthened = 0
        with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="lengthen") as pool:
            while run := list(islice(todo, _RUN)):
                for changed in pool.map(lambda segment: _lengthen(bucket, segment, archive_days), run):
                    done += 1
                    lengthened += changed
                    progress(done, len(segments))
    finally:
        bucket.close()
        store.close()
    return Lengthened(done, lengthened)


def _lengthen(bucket: Bucket, segment: StoredSegment, archive_days: int) -> int:
    day = datetime.fromisoformat(segment.name.date).replace(tzinfo=UTC)
    until = day + timedelta(days=1 + archive_days)
    return sum(_lengthen_one(bucket, stored, until) for stored in (segment.object, segment.manifest))


def _lengthen_one(bucket: Bucket, stored: Stored, until: datetime) -> bool:
    """Whether the lock of the version that counts was lengthened."""
    version = stored.counting()
    if version is None or version.version_id is None:
        return False
    lock = bucket.lock(stored.key, version.version_id)
    # A lock of this many days ends within the day that follows its own by so many; one of fewer days ends before it.
    if lock is not None and lock.holds(until - timedelta(days=1)):
        return False
    bucket.lengthen(stored.key, version.version_id, until)
    return True
