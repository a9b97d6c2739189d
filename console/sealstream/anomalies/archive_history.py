"""Bodies out of the archive, fast: of each object the version that counts, of each row group the rows that matter.

Which rows concern a share of the subjects is told by the columns, in Arrow, before any body becomes a Python value. The
invariant: no row that the roll-up would count for one of the share's subjects is left out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from sealstream.anomaly.sharing import Share
from sealstream.archive import ArchiveStore, Version, read_groups
from sealstream.layout.activity import ACCOUNT_TYPES, is_login
from sealstream.layout.archive import SegmentName
from sealstream.search.segments import following_segments

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["archive_runs", "archive_size"]

_COLUMNS = (
    "body",
    "kind",
    "sequenced_at",
    "actor_id",
    "action",
    "resource_type",
    "resource_id",
    "result",
    "ip_address",
)


def archive_size(store: ArchiveStore, since: datetime, until: datetime) -> int:
    """How many entries the segments hold in which the span lies."""
    return sum(name.last_seq - name.first_seq + 1 for name, _key, _version in _segments(store, since, until))


def archive_runs(
    store: ArchiveStore, since: datetime, until: datetime, share: Share, read: Callable[[int], object]
) -> Iterator[list[bytes]]:
    """Bodies in the order of the chain, some thousands at a time: events of the span that concern the share."""
    for _name, key, version in _segments(store, since, until):
        for table in read_groups(store.read(key, version), _COLUMNS):
            wanted = table.filter(_concerned(table, since, until, share))
            if wanted.num_rows:
                yield _bodies(wanted)
            read(table.num_rows)


def _segments(store: ArchiveStore, since: datetime, until: datetime) -> Iterator[tuple[SegmentName, str, Version]]:
    """A segment is of one UTC day."""
    first, last = since.astimezone(UTC).date().isoformat(), until.astimezone(UTC).date().isoformat()
    for name, stored in following_segments(list(store.objects()), lambda _remark: None):
        if first <= name.date <= last:
            yield name, stored.key, stored.versions[0]


def _bodies(table: pa.Table) -> list[bytes]:
    import pyarrow as pa

    bodies: list[bytes] = table["body"].cast(pa.binary()).to_pylist()
    return bodies


def _concerned(table: pa.Table, since: datetime, until: datetime, share: Share) -> Any:
    import pyarrow as pa
    import pyarrow.compute as pc

    at = table["sequenced_at"].cast(pa.int64())
    inside = pc.and_(pc.greater_equal(at, _us(since)), pc.less(at, _us(until)))
    wanted = pc.and_(pc.equal(table["kind"], "event"), inside)
    if share.of == 1:
        return wanted
    actor = pc.is_in(table["actor_id"], value_set=_own(table["actor_id"], share))
    accounts = pc.is_in(table["resource_type"], value_set=pa.array(sorted(ACCOUNT_TYPES), pa.string()))
    named = table["resource_id"].filter(accounts)
    account = pc.and_(accounts, pc.is_in(table["resource_id"], value_set=_own(named, share)))
    logins = [action for action in pc.unique(table["action"]).to_pylist() if is_login(action)]
    told = pc.or_(
        pc.not_equal(table["result"], "success"), pc.is_in(table["action"], value_set=pa.array(logins, pa.string()))
    )
    places = table["ip_address"].filter(told)
    address = pc.and_(told, pc.is_in(table["ip_address"], value_set=_own(places, share)))
    return pc.and_(wanted, pc.or_(actor, pc.or_(account, address)))


def _own(column: Any, share: Share) -> Any:
    """Of a column's values those that are subjects of the share."""
    import pyarrow as pa
    import pyarrow.compute as pc

    values = pc.unique(column).to_pylist()
    return pa.array([value for value in values if value is not None and share.has(value)], pa.string())


def _us(moment: datetime) -> int:
    since_epoch = moment - datetime(1970, 1, 1, tzinfo=UTC)
    return (since_epoch.days * 86_400 + since_epoch.seconds) * 1_000_000 + since_epoch.microseconds
