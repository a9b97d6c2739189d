"""Events out of the archive, fast: of each object the version that counts, of each row group the rows that matter.

Which rows concern a share of the subjects is told by the columns, in Arrow, before any of them becomes a Python value;
and of their bodies only what no column has is decoded. The invariant: no row that the roll-up would count for one of
the share's subjects is left out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import msgspec

from sealstream.anomaly.bulk import Rows, late_hour, numbers, texts_of
from sealstream.anomaly.rolling import BROWSER, LATE_S, gives_reason
from sealstream.anomaly.runs import Kind, kind_of
from sealstream.anomaly.sharing import Share
from sealstream.archive import ArchiveStore, Version, read_groups
from sealstream.errors import NotCanonical
from sealstream.layout.activity import ACCOUNT_TYPES, is_login
from sealstream.layout.archive import SegmentName
from sealstream.search.segments import following_segments

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["archive_end", "archive_rows", "archive_size"]

_AT_ONCE = 20_000
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


_ENCODED = (
    "kind",
    "actor_id",
    "actor_type",
    "action",
    "resource_type",
    "result",
    "ip_address",
    "tenant",
)  # nearly every resource id is another
_SHARED = ("action", "resource_type", "resource_id", "result", "ip_address")


def archive_size(store: ArchiveStore, since: datetime, until: datetime) -> int:
    """How many entries the segments hold in which the span lies."""
    return sum(name.last_seq - name.first_seq + 1 for name, _key, _version in _segments(store, since, until))


def archive_end(store: ArchiveStore) -> datetime | None:
    """When the last entry was sealed that it holds; None: it holds none."""
    segments = [stored for _name, stored in following_segments(list(store.objects()), lambda _remark: None)]
    if not segments:
        return None
    groups = read_groups(store.read(segments[-1].key, segments[-1].versions[0]), ("sequenced_at",))
    sealed: datetime = max(table["sequenced_at"][-1].as_py() for table in groups if table.num_rows)
    return sealed


def archive_rows(
    store: ArchiveStore, since: datetime, until: datetime, share: Share, read: Callable[[int], object]
) -> Iterator[Rows]:
    """In the order of the chain, some thousands at a time: events of the span that concern the share."""
    texts, has = _Texts(), share.knowing() if share.of > 1 else None
    for _name, key, version in _segments(store, since, until):
        for table in _together(read_groups(store.read(key, version), _COLUMNS, encoded=_ENCODED)):
            batch = table.drop_columns(["body"]).combine_chunks().to_batches()[0] if table.num_rows else None
            if batch is not None:
                concerned = _concerned(batch, since, until, has)
                wanted = batch.filter(concerned)
                if wanted.num_rows:
                    yield _rows(wanted, table["body"].filter(concerned), texts)
            read(table.num_rows)


def _together(groups: Iterator[pa.Table]) -> Iterator[pa.Table]:
    """Row groups, several at a time: what is done once for each of them is much, and the groups are small."""
    import pyarrow as pa

    waiting: list[pa.Table] = []
    for table in groups:
        waiting.append(table)
        if sum(each.num_rows for each in waiting) >= _AT_ONCE:
            yield pa.concat_tables(waiting).unify_dictionaries()
            waiting = []
    if waiting:
        yield pa.concat_tables(waiting).unify_dictionaries()


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


def _rows(batch: pa.RecordBatch, bodies: pa.ChunkedArray[Any], texts: _Texts) -> Rows:
    import pyarrow as pa
    import pyarrow.compute as pc

    sealed, happened = (numbers(batch[name].cast(pa.int64()), "q") for name in ("sequenced_at", "timestamp"))
    apart = pc.abs(pc.subtract(batch["sequenced_at"].cast(pa.int64()), batch["timestamp"].cast(pa.int64())))
    late = pc.indices_nonzero(pc.greater(apart, LATE_S * 1_000_000)).to_pylist()
    kinds, table = _kinds(
        batch, _marks(bodies), texts, {place: late_hour(happened[place], sealed[place]) for place in late}
    )
    return Rows.of(
        _fewer(batch["actor_id"]),
        kinds,
        table,
        batch["seq"],
        batch["resource_id"],
        batch["sequenced_at"].cast(pa.int64()),
        batch["timestamp"].cast(pa.int64()),
    )


_LARGEST = 2**62
_KIND = ("action", "resource_type", "result", "actor_type", "ip_address", "tenant")  # as `kind_of` takes them


def _kinds(
    batch: pa.RecordBatch, marks: list[int], texts: _Texts, hours: dict[int, str | None]
) -> tuple[Any, list[Kind]]:
    """Each row's, as its place among the kinds that there are. `hours`: of those that have one. Rows of one kind are
    told by one number, made of their codes.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    number, many, codes, values = pa.array(marks, pa.int64()), _REASONS + _BROWSERS + _BEHALF + 1, [], []
    for name in _KIND:
        encoded = _fewer(batch[name])
        found: list[str | None] = [texts[each] for each in encoded.dictionary.cast(pa.binary()).to_pylist()]
        its = pc.fill_null(encoded.indices.cast(pa.int64()), len(found))
        if many * (len(found) + 1) > _LARGEST:  # numbered anew, from 0 on: only which are the same matters
            anew = number.dictionary_encode()
            number, many = anew.indices.cast(pa.int64()), len(anew.dictionary)
        number, many = pc.add_checked(pc.multiply_checked(number, len(found) + 1), its), many * (len(found) + 1)
        codes.append(numbers(its, "q"))
        values.append([*found, None])
    different = number.dictionary_encode()
    firsts = _firsts(different.indices)
    columns = [[value[code[place]] for place in firsts] for value, code in zip(values, codes, strict=True)]
    members = list(zip(*columns, (marks[place] for place in firsts), strict=True))
    kinds = [_kind(each, None) for each in members]
    places = different.indices
    if hours:
        late = places.to_pylist()
        for place, hour in hours.items():
            kinds.append(_kind(members[late[place]], hour))
            late[place] = len(kinds) - 1
        places = pa.array(late, pa.int32())
    return places, kinds


def _firsts(codes: Any) -> list[int]:
    """Where each code comes first; codes are given out from 0 on in the order in which they come."""
    listed = codes.to_pylist()
    first = dict(zip(reversed(listed), range(len(listed) - 1, -1, -1), strict=True))
    return sorted(first.values())


def _kind(members: Sequence[Any], hour: str | None) -> Kind:
    action, resource_type, result, actor_type, address, tenant, marks = members
    flags = marks & _REASONS, (marks & _BROWSERS) >> 1, (marks & _BEHALF) >> 2
    return kind_of(action, resource_type, result, actor_type, address, tenant, hour, *flags)


_REASONS, _BROWSERS, _BEHALF = 1, 2, 4


def _marks(texts: pa.ChunkedArray[Any]) -> list[int]:
    """What only bodies say of each row, as bits."""
    try:
        bodies = [_decode(body) for chunk in texts.chunks for body in texts_of(chunk)]
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise NotCanonical(f"an entry's body is not as it must be: {error}; run `sealstream verify`") from error
    return [
        (_BROWSERS if (agent := body.user_agent) is not None and agent.startswith(BROWSER) else 0)
        + (0 if body.on_behalf_of is None else _BEHALF)
        + (_REASONS if body.reason is not None and gives_reason(body.reason) else 0)
        for body in bodies
    ]


def _account(batch: pa.RecordBatch) -> Any:
    """Which rows are about an account."""
    return _where(batch["resource_type"], ACCOUNT_TYPES.__contains__)


def _tried(batch: pa.RecordBatch) -> Any:
    """Which rows are part of an address's record, if they name one."""
    import pyarrow.compute as pc

    return pc.or_(_where(batch["result"], lambda result: result != "success"), _where(batch["action"], is_login))


def _concerned(batch: pa.RecordBatch, since: datetime, until: datetime, has: Callable[[str], bool] | None) -> Any:
    import pyarrow as pa
    import pyarrow.compute as pc

    at = batch["sequenced_at"].cast(pa.int64())
    inside = pc.and_(pc.greater_equal(at, _us(since)), pc.less(at, _us(until)))
    wanted = pc.and_(_where(batch["kind"], "event".__eq__), inside)
    if has is None:
        return wanted
    concerned = _where(batch["actor_id"], has)
    shared = pc.or_(_account(batch), pc.and_(_tried(batch), pc.is_valid(batch["ip_address"])))
    together = batch.select(_SHARED).filter(shared)
    if together.num_rows:
        account = pc.and_(_account(together), _where(together["resource_id"], has))
        address = pc.and_(_tried(together), _where(together["ip_address"], has))
        theirs = pc.or_(pc.filter(concerned, shared), pc.or_(account, address))
        concerned = pc.replace_with_mask(concerned, shared, theirs)
    return pc.and_(wanted, concerned)


def _where(column: pa.Array[Any], holds: Callable[[str], bool]) -> Any:
    """Of which values of an encoded column it holds, each asked once; it holds of no null."""
    import pyarrow as pa
    import pyarrow.compute as pc

    encoded = _fewer(column)
    held = pa.array([holds(value) for value in encoded.dictionary.to_pylist()], pa.bool_())
    return pc.fill_null(held.take(encoded.indices), False)


def _fewer(column: Any) -> Any:
    """A column as a dictionary, without the values of which none is left, where those are most."""
    import pyarrow as pa

    if not pa.types.is_dictionary(column.type):
        return column.dictionary_encode()
    return column if 2 * len(column) >= len(column.dictionary) else column.dictionary_decode().dictionary_encode()


def _us(moment: datetime) -> int:
    since_epoch = moment - datetime(1970, 1, 1, tzinfo=UTC)
    return (since_epoch.days * 86_400 + since_epoch.seconds) * 1_000_000 + since_epoch.microseconds
