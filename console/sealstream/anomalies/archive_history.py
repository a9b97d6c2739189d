"""Events out of the archive, fast: of each object the version that counts, of each row group the rows that matter.

Which rows concern a share of the subjects is told by the columns, in Arrow, before any of them becomes a Python value;
and of their bodies only what no column has is decoded. The invariant: no row that the roll-up would count for one of
the share's subjects is left out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import msgspec

from sealstream.anomaly.bulk import Rows, late_hour
from sealstream.anomaly.rolling import BROWSER, LATE_S
from sealstream.anomaly.sharing import Share
from sealstream.archive import ArchiveStore, Version, read_groups
from sealstream.errors import NotCanonical
from sealstream.layout.activity import ACCOUNT_TYPES, is_login
from sealstream.layout.archive import SegmentName
from sealstream.search.segments import following_segments

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["archive_rows", "archive_size"]

_COLUMNS = (
    "body",
    "seq",
    "kind",
    "timestamp",
    "sequenced_at",
    "actor_id",
    "actor_type",
    "action",
    "resource_type",
    "resource_id",
    "result",
    "ip_address",
    "tenant",
)


def archive_size(store: ArchiveStore, since: datetime, until: datetime) -> int:
    """How many entries the segments hold in which the span lies."""
    return sum(name.last_seq - name.first_seq + 1 for name, _key, _version in _segments(store, since, until))


def archive_rows(
    store: ArchiveStore, since: datetime, until: datetime, share: Share, read: Callable[[int], object]
) -> Iterator[Rows]:
    """In the order of the chain, some thousands at a time: events of the span that concern the share."""
    texts = _Texts()
    for _name, key, version in _segments(store, since, until):
        for table in read_groups(store.read(key, version), _COLUMNS):
            alone = _alone(table)
            wanted = _concerned(table, alone, since, until, share)
            rows = table.append_column("alone", alone).filter(wanted)
            if rows.num_rows:
                yield _rows(rows, texts)
            read(table.num_rows)


def _segments(store: ArchiveStore, since: datetime, until: datetime) -> Iterator[tuple[SegmentName, str, Version]]:
    """A segment is of one UTC day."""
    first, last = since.astimezone(UTC).date().isoformat(), until.astimezone(UTC).date().isoformat()
    for name, stored in following_segments(list(store.objects()), lambda _remark: None):
        if first <= name.date <= last:
            yield name, stored.key, stored.versions[0]


class _Texts(dict[bytes, str]):
    """Each text once, as the same object wherever it stands: what is seen again is compared and hashed at no cost."""

    def __missing__(self, encoded: bytes) -> str:
        if len(self) > 200_000:
            self.clear()
        text = self[encoded] = encoded.decode()
        return text


class _Unlisted(msgspec.Struct, gc=False):
    """What the roll-up needs of a body and no column has."""

    user_agent: str | None = None
    reason: str | None = None
    on_behalf_of: str | None = None


_decode = msgspec.json.Decoder(_Unlisted).decode


def _rows(table: pa.Table, texts: _Texts) -> Rows:
    import pyarrow as pa
    import pyarrow.compute as pc

    try:
        bodies = [_decode(body) for body in table["body"].cast(pa.binary()).to_pylist()]
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise NotCanonical(f"an entry's body is not as it must be: {error}; run `sealstream verify`") from error
    sealed, happened = _numbers(table["sequenced_at"]), _numbers(table["timestamp"])
    hours: list[str | None] = [None] * len(sealed)
    apart = pc.abs(pc.subtract(table["sequenced_at"].cast(pa.int64()), table["timestamp"].cast(pa.int64())))
    for place in pc.indices_nonzero(pc.greater(apart, LATE_S * 1_000_000)).to_pylist():
        hours[place] = late_hour(happened[place], sealed[place])
    return Rows(
        _texts_of(table["actor_id"], texts),
        _numbers(pc.divide(table["sequenced_at"].cast(pa.int64()), 1_000_000)),
        _numbers(table["seq"]),
        _texts_of(table["action"], texts),
        _texts_of(table["resource_type"], texts),
        _texts_of(table["resource_id"], texts),
        _texts_of(table["result"], texts),
        _texts_of(table["actor_type"], texts),
        _texts_of(table["ip_address"], texts),
        _texts_of(table["tenant"], texts),
        hours,
        [0 if body.reason is None else 1 for body in bodies],
        [1 if (agent := body.user_agent) is not None and agent.startswith(BROWSER) else 0 for body in bodies],
        [0 if body.on_behalf_of is None else 1 for body in bodies],
        sealed,
        happened,
        table["alone"].to_pylist(),
    )


def _texts_of(column: pa.ChunkedArray[Any], texts: _Texts) -> list[Any]:
    import pyarrow as pa

    encoded = column.combine_chunks().cast(pa.binary()).dictionary_encode()
    values: list[str | None] = [texts[each] for each in encoded.dictionary.to_pylist()]
    values.append(None)
    places = encoded.indices.fill_null(-1)
    return [values[place] for place in _ints(places, "i")]


def _numbers(column: pa.ChunkedArray[Any]) -> list[int]:
    import pyarrow as pa

    return _ints(column.cast(pa.int64()).combine_chunks(), "q")


def _ints(array: Any, code: str) -> list[int]:
    """An array without nulls."""
    buffer = array.buffers()[1]
    numbers: list[int] = memoryview(buffer).cast(code)[array.offset : array.offset + len(array)].tolist()
    return numbers


def _alone(table: pa.Table) -> Any:
    """Which rows are their actors' alone, as `sealstream.anomaly.bulk.is_alone` says it."""
    import pyarrow as pa
    import pyarrow.compute as pc

    accounts = pc.is_in(table["resource_type"], value_set=pa.array(sorted(ACCOUNT_TYPES), pa.string()))
    return pc.invert(pc.or_(accounts, pc.and_(_told(table), pc.is_valid(table["ip_address"]))))


def _told(table: pa.Table) -> Any:
    """Which rows are part of an address's record, if they name one."""
    import pyarrow as pa
    import pyarrow.compute as pc

    logins = [action for action in pc.unique(table["action"]).to_pylist() if is_login(action)]
    return pc.or_(
        pc.not_equal(table["result"], "success"), pc.is_in(table["action"], value_set=pa.array(logins, pa.string()))
    )


def _concerned(table: pa.Table, alone: Any, since: datetime, until: datetime, share: Share) -> Any:
    import pyarrow as pa
    import pyarrow.compute as pc

    at = table["sequenced_at"].cast(pa.int64())
    inside = pc.and_(pc.greater_equal(at, _us(since)), pc.less(at, _us(until)))
    wanted = pc.and_(pc.equal(table["kind"], "event"), inside)
    if share.of == 1:
        return wanted
    concerned = _of_share(table["actor_id"], share).combine_chunks()
    shared = pc.invert(alone).combine_chunks()
    together = table.filter(shared)
    if together.num_rows:
        accounts = pc.is_in(together["resource_type"], value_set=pa.array(sorted(ACCOUNT_TYPES), pa.string()))
        account = pc.and_(accounts, _of_share(together["resource_id"], share))
        address = pc.and_(_told(together), _of_share(together["ip_address"], share))
        theirs = pc.or_(pc.filter(concerned, shared), pc.or_(account, address))
        concerned = pc.replace_with_mask(concerned, shared, theirs.combine_chunks())
    return pc.and_(wanted, concerned)


def _of_share(column: Any, share: Share) -> Any:
    import pyarrow.compute as pc

    return pc.is_in(column, value_set=_own(column, share))


def _own(column: Any, share: Share) -> Any:
    """Of a column's values those that are subjects of the share."""
    import pyarrow as pa
    import pyarrow.compute as pc

    values = pc.unique(column).to_pylist()
    return pa.array([value for value in values if value is not None and share.has(value)], pa.string())


def _us(moment: datetime) -> int:
    since_epoch = moment - datetime(1970, 1, 1, tzinfo=UTC)
    return (since_epoch.days * 86_400 + since_epoch.seconds) * 1_000_000 + since_epoch.microseconds
