"""What the archive holds: all that it should, without a hole, in another place. Its locks: `archive_locked`."""

from __future__ import annotations

import socket
from collections.abc import Iterable
from contextlib import closing
from itertools import pairwise, takewhile
from urllib.parse import urlsplit

from sealstream.archive import ArchiveStore, Bucket, StoredSegment
from sealstream.doctor.asking import Asking
from sealstream.doctor.outcomes import Check, Outcome, failed, folded, passed, unknown
from sealstream.doctor.promised import let_go
from sealstream.health.judging import said_age
from sealstream.layout import ChainSettings
from sealstream.layout.archive import (
    DESTROYED_ACTION,
    ENTRIES,
    MANIFESTS,
    SegmentName,
    archive_prefix,
)

__all__ = ["CHECKS", "archived_days", "judged_hosts"]

_LATE_S = 600.0
_RECENT_DAYS = 100
_LAGGING = "docs/runbooks/lagging-sink.md"


def _complete(asking: Asking) -> Outcome:
    return folded((f"chain {chain.name}", _complete_of(asking, chain)) for chain in asking.system.chains)


def _complete_of(asking: Asking, chain: ChainSettings) -> Outcome:
    signed, held, now = asking.signed(chain), asking.archived(chain), asking.system.clock().timestamp()
    said = f"{held.size:,} entries are in the archive, of {signed.segment_size:,} in segments that have ended"
    if "reader" in asking.system.dsns:
        said += f"; Postgres holds {asking.stored(chain).size:,}, those of the open segment among them"
    behind = signed.segment_size - held.size
    if behind > 0 and now - (signed.segment_at or 0.0) > _LATE_S:
        ended = said_age(now - (signed.segment_at or now))
        return failed(f"{said}; the newest segment ended {ended} ago", to_do=f"start the archive sink: {_LAGGING}")
    if not held.size:
        to_do = "a segment ends with its number of entries, or within a day: ask again then"
        return unknown("nothing is archived yet: no segment has ended", to_do=to_do)
    if held.sequenced_at is not None and now - held.sequenced_at > 25 * 3600:
        old = said_age(now - held.sequenced_at)
        return failed(
            f"{said}; its newest entry is {old} old, and even an idle chain ends a segment each day",
            to_do=f"start checkpointing and the archive sink: {_LAGGING}",
        )
    return passed(said)


def _whole(asking: Asking) -> Outcome:
    return folded((f"chain {chain.name}", _whole_of(asking, chain)) for chain in asking.system.chains)


def _whole_of(asking: Asking, chain: ChainSettings) -> Outcome:
    days = archived_days(asking, chain)
    if not days:
        return unknown("the archive holds nothing of it yet", to_do="ask again when a segment has ended")
    since = days[-_RECENT_DAYS:][0]
    with closing(ArchiveStore(asking.archive(), chain.name)) as store:
        recent = list(store.segments(since))
        foreign = list(store.foreign)
        gone = list(takewhile(lambda segment: not segment.object.versions, store.segments()))
        first = next((each.name.first_seq for each in store.segments() if each.object.versions), None)
        bare = _without_manifest(recent[:-1])
        if bare:  # a page of manifests may be older than one of objects: what was just put is there by now
            again = set(_without_manifest(store.segments(since)))
            bare = [name for name in bare if name in again]
    listed = _destroyed(asking, chain, {each.name.object_key for each in gone}, first) if first or gone else {}
    wrong = [f"{key} names no segment" for key in foreign[:3]]
    wrong += [f"{each.object.key} is missing" for each in gone if each.object.key not in listed]
    recent = [segment for segment in recent if segment.object.versions or segment.object.key not in listed]
    for segment in recent:
        wrong += _wrong_with(segment)
    wrong += [f"{name.manifest_key} is missing" for name in bare]
    for before, after in pairwise(segment.name for segment in recent):
        if after.first_seq != before.last_seq + 1:
            wrong.append(f"entries {before.last_seq + 1:,} to {after.first_seq - 1:,} are in no segment")
    if first is None or (first and first not in listed.values()):
        wrong.insert(
            0,
            f"the archive begins with entry {first or 0:,}, and not with entry 0, and no {DESTROYED_ACTION} of the "
            "chain lists what was before",
        )
    if wrong:
        more = [f"and {len(wrong) - 5} more"] if len(wrong) > 5 else []
        return failed(*wrong[:5], *more, to_do="`sealstream verify archive` names every fault: docs/runbooks/README.md")
    but = "" if all(each.manifest.versions for each in recent[-1:]) else " (but the newest, whose is on its way)"
    return passed(
        f"{len(recent):,} segments of the newest {min(len(days), _RECENT_DAYS)} days follow each other without a hole, "
        f"each with its manifest{but}, none hidden; the first begins with entry {first:,}"
    )


def _without_manifest(segments: Iterable[StoredSegment]) -> list[SegmentName]:
    return [each.name for each in segments if each.object.versions and not each.manifest.versions]


def _destroyed(asking: Asking, chain: ChainSettings, gone: set[str], first: int | None) -> dict[str, int]:
    """By key of an object that is listed as destroyed, its time being over: the entry behind it.

    Of the archive, where Postgres knows of no list that explains what is gone, or where the archive begins.
    """
    found: dict[str, int] = {}
    for ask in (asking.statements, asking.archived_statements):
        for said in let_go(asking, chain, ask(chain, (DESTROYED_ACTION,))):
            found |= {str(item["object"]): int(item["last_seq"]) + 1 for item in said["segments"]}
        if gone <= found.keys() and (not first or first in found.values()):
            break
    return found


def _wrong_with(segment: StoredSegment) -> list[str]:
    wrong = []
    for stored in (segment.object, segment.manifest):
        if stored.delete_markers:
            wrong.append(f"{stored.key} is hidden by a delete marker")
        if len(stored.versions) > 1:
            wrong.append(f"{stored.key} has {len(stored.versions)} versions: expected one")
    if not segment.object.versions:
        wrong.append(f"{segment.object.key} is missing")
    return wrong


def archived_days(asking: Asking, chain: ChainSettings) -> list[str]:
    """The days of which the archive holds something, objects or manifests, in order."""

    def ask() -> list[str]:
        with closing(Bucket(asking.archive())) as bucket:
            folders = [bucket.list_folders(archive_prefix(kind, chain.name)) for kind in (ENTRIES, MANIFESTS)]
        return sorted({name.removeprefix("date=") for names in folders for name in names})

    return asking.once(f"days {chain.name}", ask)


def _separate(asking: Asking) -> Outcome:
    archive = asking.archive()
    primary = {"Kafka": [each.strip() for each in asking.system.kafka.bootstrap.split(",")]}
    if "reader" in asking.system.dsns:
        primary["Postgres"] = [asking.dsn("reader")]
    hosts = {name: set().union(*(_addresses(each) for each in places)) for name, places in primary.items()}
    return judged_hosts(archive.endpoint, _addresses(archive.endpoint_url) if archive.endpoint_url else set(), hosts)


def judged_hosts(endpoint: str, archive: set[str], primary: dict[str, set[str]]) -> Outcome:
    """Whether the archive answers at other addresses than Kafka and Postgres. No addresses: it is AWS's own S3."""
    shared = [name for name, addresses in primary.items() if addresses & archive]
    if shared:
        return failed(
            f"{endpoint} is on the same host as {' and '.join(shared)}: what takes that host takes the archive, too",
            to_do="put the archive elsewhere: S3 of another account, or a store in another building",
        )
    return passed(
        f"{endpoint} answers at another address than {' and '.join(primary)}; whether that is another machine, only "
        "who runs them knows"
    )


def _addresses(place: str) -> set[str]:
    host = urlsplit(place if "//" in place else f"//{place}").hostname or ""
    try:
        return {str(found[4][0]) for found in socket.getaddrinfo(host, None)}
    except OSError:
        return {host}


CHECKS = (
    Check(
        "archive.complete",
        "the archive holds all that has ended, soon after",
        "the newest manifest is held against the newest signed end of a segment",
        _complete,
    ),
    Check(
        "archive.whole",
        "the archive begins with entry 0, or where the chain says; the newest segments follow each other, each with "
        "its manifest, none hidden",
        "all versions of the newest hundred days are listed, and of the first; what the chain lists as destroyed",
        _whole,
    ),
    Check(
        "archive.separate",
        "the archive is not where Kafka and Postgres are",
        "the addresses of their hosts are compared",
        _separate,
    ),
)
