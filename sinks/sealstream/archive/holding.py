"""Legal holds on what is archived: S3 Object Lock's legal hold on every object and manifest of the days that are held.

The chain says which holds stand (`hold.set`, `hold.lifted`); each manifest carries those behind its segment's end, so a
sink that starts knows them. A segment that a standing hold covers is put under it. What is there already is held by
`apply_holds`, and what the sink put between the statement's sealing and its own coming to it by `hold_put_since`.
Setting a hold that is on, or releasing one that is off, changes nothing: a crash anywhere is mended by calling again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from itertools import islice
from typing import NamedTuple

from sealstream.archive.bucket import Bucket, Stored
from sealstream.archive.settings import ArchiveSettings
from sealstream.archive.store import ArchiveStore, StoredSegment
from sealstream.errors import InvalidEvent
from sealstream.events import check_metadata, parse_timestamp
from sealstream.layout import decode_entry
from sealstream.layout.archive import ENTRIES, MANIFESTS, archive_prefix, parse_archive_key
from sealstream.layout.holds import HOLD_LIFTED, HOLD_SET, Hold, after_statement, covering

__all__ = ["Applied", "Heard", "apply_holds", "hear_holds", "hold_put_since"]

_NEEDLE = b'"action":"hold.'
_MARGIN = timedelta(hours=1)  # between the clock that sealed and the one that dated the objects
_AT_ONCE = 8
_RUN = 256


class Heard(NamedTuple):
    """The holds that stand after some entries; `set_at`: when the first of those that they set was sealed, if any."""

    holds: tuple[Hold, ...]
    set_at: datetime | None


class Applied(NamedTuple):
    """How many segments were looked at; of how many objects and manifests the hold was set, and released."""

    segments: int
    held: int
    released: int


def hear_holds(heard: Heard, values: Iterable[bytes]) -> Heard:
    """What these sealed entries, the next in the chain, say of holds; anybody's event of such a name says nothing."""
    holds, set_at = heard
    for value in values:
        if _NEEDLE not in value:
            continue
        entry = decode_entry(value)
        if entry.action not in (HOLD_SET, HOLD_LIFTED) or entry.written.kind != "control":
            continue
        try:
            check_metadata(entry.action, entry.metadata)
        except InvalidEvent:
            continue
        holds = after_statement(holds, entry.action, entry.metadata or {})
        if entry.action == HOLD_SET and set_at is None:
            set_at = parse_timestamp(entry.written.sequenced_at)
    return Heard(holds, set_at)


def hold_put_since(bucket: Bucket, chain: str, holds: Iterable[Hold], since: datetime) -> int:
    """Holds what is covered and was put since then; how many had no hold yet."""
    standing = tuple(holds)
    changed = 0
    for kind in (ENTRIES, MANIFESTS):
        for stored in bucket.list_stored(archive_prefix(kind, chain)):
            parsed, version = parse_archive_key(stored.key), stored.counting()
            if parsed is None or version is None or not covering(standing, parsed[1].date):
                continue
            if version.last_modified is None or version.last_modified >= since - _MARGIN:
                changed += _set(bucket, stored, True)
    return changed


def apply_holds(
    settings: ArchiveSettings,
    chain: str,
    standing: Iterable[Hold],
    lifted: Iterable[Hold] = (),
    progress: Callable[[int, int | None], object] = lambda _done, _total: None,
) -> Applied:
    """Every segment that a standing hold covers is held; one that only lifted ones cover is released; others are left
    as they are, since others may hold them. `progress(segments done, all of them)`.
    """
    holds, former = tuple(standing), tuple(lifted)
    store, bucket = ArchiveStore(settings, chain), Bucket(settings)
    try:
        bucket.check()
        segments = list(store.segments())
        concerned = [s for s in segments if covering(holds, s.name.date) or covering(former, s.name.date)]
        todo: Iterator[StoredSegment] = iter(concerned)
        done = held = released = 0

        def apply(segment: StoredSegment) -> tuple[bool, int]:
            on = bool(covering(holds, segment.name.date))
            return on, sum(_set(bucket, stored, on) for stored in (segment.object, segment.manifest))

        with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="holds") as pool:
            while run := list(islice(todo, _RUN)):
                for on, changed in pool.map(apply, run):
                    done += 1
                    held += changed if on else 0
                    released += 0 if on else changed
                    progress(done, len(concerned))
    finally:
        bucket.close()
        store.close()
    return Applied(done, held, released)


def _set(bucket: Bucket, stored: Stored, on: bool) -> bool:
    """Whether the version that counts had it otherwise."""
    version = stored.counting()
    if version is None or version.version_id is None or bucket.held(stored.key, version.version_id) == on:
        return False
    bucket.hold(stored.key, version.version_id, on)
    return True
