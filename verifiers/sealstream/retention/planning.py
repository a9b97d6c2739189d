"""What would leave which store, when, and why: before it goes. Reads only, and believes names, policies and locks.

Grouped by month of sealing. A day counts as a whole: what goes on some day goes by its end. Whether a month or a
segment really may go is decided when it does (`expiring.py`, `destroying.py`), by reading it in the archive.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from itertools import groupby
from typing import Any, NamedTuple

from sealstream.archive import INPUT_DAYS, KEPT_ENTRIES, ArchiveSettings, ArchiveStore, StoredSegment
from sealstream.kafka import CommittedReader, KafkaSettings, last_record, start_offset
from sealstream.layout import ChainSettings, ChainTopics, month_leaves
from sealstream.layout.archive import SegmentName
from sealstream.layout.holds import Hold
from sealstream.postgres.driver import Session
from sealstream.retention.destroying import listed_beginning, policy_ends
from sealstream.retention.stored_months import StoredMonth, stored_months
from sealstream.sealing import read_written, split_sealed

__all__ = ["Going", "inputs_line", "plan"]

_WAIT_S = 5.0
_AT_ONCE = 8
_DESTROY = "sealstream retention destroy --really"

Progress = Callable[[int, int | None], object]


class Going(NamedTuple):
    """Entries `first` to `last`, sealed in `month`, that leave `store` from `begins` on, the last of them by `ends`.

    `segments`: how many objects they are in the archive. `how`: what lets them go; `stays`: why they don't, although
    their time is over by then; empty: they do.
    """

    store: str
    month: str
    first: int
    last: int
    begins: datetime
    ends: datetime
    segments: int
    how: str
    stays: str = ""

    def to_json(self) -> dict[str, Any]:
        """For programs."""
        times = {"begins": self.begins.isoformat(), "ends": self.ends.isoformat()}
        return {**self._asdict(), **times, "stays": self.stays or None}


def plan(
    chain: ChainSettings,
    kafka: KafkaSettings | None,
    reader_dsn: str,
    archive: ArchiveSettings | None,
    until: datetime,
    holds: Sequence[Hold] = (),
    listed: Iterable[Mapping[str, Any]] = (),
    progress: Progress = lambda _done, _total: None,
) -> list[Going]:
    """What leaves each store until then; a store that is not there (None, "") has nothing.

    `chain.retention`: what is in force; `holds`: the legal holds that stand. What one covers stays, and so does what
    was sealed after it, since all stores go in order. `listed`: what the chain has sealed as destroyed of the archive.
    """
    segments = _segments(archive, chain.name) if archive is not None else []
    found: list[Going] = []
    online_from: int | None = None
    if chain.retention.online_days is not None:
        if kafka is not None:
            found += _kafka(chain, kafka, segments, until, chain.retention.online_days)
        if reader_dsn:
            with Session(reader_dsn, "sealstream retention plan") as session:
                months = stored_months(session, chain.name)
            found += _postgres(months, segments, until, chain.retention.online_days)
            online_from = months[0].first if months else None
    if archive is not None:
        found += _archive(chain, archive, segments, until, listed, online_from, progress)
    return list(_with_holds(found, holds))


def _with_holds(found: Iterable[Going], holds: Sequence[Hold]) -> Iterator[Going]:
    kept: dict[str, str] = {}
    for going in found:
        covering = [hold for hold in holds if hold.covers_any(f"{going.month}-01", f"{going.month}-31")]
        if covering:
            kept.setdefault(going.store, f"legal hold {', '.join(hold.id for hold in covering)}")
        yield going._replace(stays=kept[going.store]) if going.store in kept else going


def inputs_line(topics: ChainTopics) -> str:
    """What goes under every policy, and needs no plan."""
    return f"{topics.raw} and {topics.control} are trimmed of what is archived and {INPUT_DAYS} days old, all the time"


def _segments(archive: ArchiveSettings, chain: str) -> list[StoredSegment]:
    store = ArchiveStore(archive, chain)
    try:
        return list(store.segments())
    finally:
        store.close()


def _by_month(names: Iterable[SegmentName]) -> Iterator[tuple[str, list[SegmentName]]]:
    for month, together in groupby(names, key=lambda name: name.date[:7]):
        yield month, list(together)


def _day_ends(date: str) -> datetime:
    return datetime.fromisoformat(date).replace(tzinfo=UTC) + timedelta(days=1)


def _kafka(
    chain: ChainSettings, kafka: KafkaSettings, segments: list[StoredSegment], until: datetime, online_days: int
) -> Iterator[Going]:
    topic = ChainTopics.of(chain.name, chain.prefix).chain
    newest = last_record(kafka, topic)
    if newest is None:
        return
    with CommittedReader(kafka, topic, start_offset(kafka, topic)) as reader:
        records = reader.read(1, _WAIT_S)
    if not records:
        return
    first, last = (read_written(split_sealed(record.value or b"").body).seq for record in (records[0], newest))
    online = timedelta(days=online_days)
    names = [
        segment.name
        for segment in segments[:-1]  # the last archived segment stays
        if first <= segment.name.last_seq <= last - KEPT_ENTRIES and _day_ends(segment.name.date) + online <= until
    ]
    for month, together in _by_month(names):
        begin, end = together[0], together[-1]
        yield Going(
            "kafka",
            month,
            max(begin.first_seq, first),
            end.last_seq,
            _day_ends(begin.date) - timedelta(days=1) + online,
            _day_ends(end.date) + online,
            len(together),
            f"the archive sink trims {topic}",
        )


def _postgres(
    months: list[StoredMonth], segments: list[StoredSegment], until: datetime, online_days: int
) -> Iterator[Going]:
    for month in months:
        leaves = month_leaves(month.month, online_days)
        if leaves > until:
            return
        yield Going(
            "postgres",
            month.month,
            month.first,
            month.last,
            leaves,
            leaves,
            0,
            "sealstream retention run",
            _not_archived(month, segments),
        )


def _not_archived(month: StoredMonth, segments: list[StoredSegment]) -> str:
    """As `retention run` would find at once: it goes when a segment of a later month follows it."""
    if not segments or segments[-1].name.date[:7] <= month.month or segments[-1].name.last_seq < month.last:
        return "the archive does not hold it to its end yet"
    return ""


def _archive(
    chain: ChainSettings,
    archive: ArchiveSettings,
    segments: list[StoredSegment],
    until: datetime,
    listed: Iterable[Mapping[str, Any]],
    online_from: int | None,
    progress: Progress,
) -> Iterator[Going]:
    """What may be destroyed: the policy's time and the locks, as the bucket has them now, are over, of it and of all
    before it. Only where the policy's time is over is a lock asked for. The newest segment stays.
    """
    asked = [segment for segment in segments[:-1] if policy_ends(segment.name, chain) <= until]
    ends: dict[SegmentName, datetime] = {}
    store = ArchiveStore(archive, chain.name)
    try:
        with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="locks") as pool:
            latest = datetime.min.replace(tzinfo=UTC)
            for done, (segment, lock) in enumerate(
                zip(asked, pool.map(lambda segment: _lock_ends(store, segment), asked), strict=True), 1
            ):
                progress(done, len(asked))
                latest = max(latest, policy_ends(segment.name, chain), lock or latest)
                if latest > until:
                    break
                ends[segment.name] = latest
        beginning, _ = listed_beginning(store, segments, listed, replayed=archive.replayed)
    finally:
        store.close()
    said = {segment.name for segment, _ in beginning}
    for is_listed, names in groupby(ends, key=lambda name: name in said):
        for month, together in _by_month(names):
            over = [ends[name] for name in together]
            first, last = together[0].first_seq, together[-1].last_seq
            how = f"{_DESTROY}: listed in the chain already" if is_listed else _DESTROY
            online = online_from is not None and last >= online_from and max(over) <= datetime.now(UTC)
            stays = "Postgres still has entries of it (sealstream retention run)" if online else ""
            yield Going("archive", month, first, last, min(over), max(over), len(together), how, stays)


def _lock_ends(store: ArchiveStore, segment: StoredSegment) -> datetime | None:
    """When the later of object's and manifest's lock ends; None where there is nothing to lock."""
    locks = [
        store.lock(stored.key, version)
        for stored in (segment.object, segment.manifest)
        if (version := stored.counting()) is not None
    ]
    return max((lock.until for lock in locks if lock is not None), default=None)
