"""Many whole seconds of a chain rolled up at once, by subject: columns of entries in, each subject's records out. Pure.

Where a chain is read back, all is there already. An actor's entries stay side by side (`Run`), and a record of them is
made when somebody asks for it. Whatever is more than one entry goes through the `RollUp` that the process has, so the
rules stand there alone.

The invariant: a subject's records are those that `RollUp` makes of the same entries, in the order of time.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from sealstream.anomaly.detecting import second_at
from sealstream.anomaly.rolling import BROWSER, LATE_S, NOBODY, Counted, RollUp, gives_reason
from sealstream.anomaly.runs import Columns, Kind, Run, kind_of
from sealstream.layout.activity import AddressActivity, AddressCell

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["BySubject", "Rows", "late_hour", "numbers", "roll_up", "rows_of", "texts_of"]

_DAY_S = 86_400


class Rows(NamedTuple):
    """Events of one chain in the order of their seqs. `batch`: a column for each thing that the roll-up needs of them:

    `actor_id` (a dictionary of strings), `second` (since 1970), `kind` (its place in `kinds`, 32 bits), `seq`,
    `resource_id`, `sealed_us`, `happened_us` (since 1970); numbers have 64 bits else, and nothing is null.
    """

    batch: pa.RecordBatch
    kinds: Sequence[Kind]

    @classmethod
    def of(
        cls,
        actor_ids: Any,
        kinds: Sequence[int],
        kind_table: Sequence[Kind],
        seqs: Any,
        resource_ids: Any,
        sealed_us: Any,
        happened_us: Any,
    ) -> Rows:
        """From arrays, or what arrays are made of."""
        import pyarrow as pa
        import pyarrow.compute as pc

        sealed = pa.array(sealed_us, pa.int64())
        columns = {
            "actor_id": pa.array(actor_ids, pa.dictionary(pa.int32(), pa.string())),
            "second": pc.divide(sealed, 1_000_000),
            "kind": pa.array(kinds, pa.int32()),
            "seq": pa.array(seqs, pa.int64()),
            "resource_id": pa.array(resource_ids, pa.string()),
            "sealed_us": sealed,
            "happened_us": pa.array(happened_us, pa.int64()),
        }
        return cls(pa.record_batch(columns), kind_table)

    @classmethod
    def joined(cls, parts: Sequence[Rows]) -> Rows:
        """One after another."""
        import pyarrow as pa
        import pyarrow.compute as pc

        if not parts:
            return cls.of([], [], [], [], [], [], [])
        if len(parts) == 1:
            return parts[0]
        kinds: list[Kind] = []
        batches = []
        for part in parts:
            moved = pc.add(part.batch["kind"], pa.scalar(len(kinds), pa.int32()))
            batches.append(part.batch.set_column(2, "kind", moved))
            kinds += part.kinds
        (whole,) = pa.Table.from_batches(batches).unify_dictionaries().combine_chunks().to_batches()
        return cls(whole, kinds)

    @property
    def size(self) -> int:
        """How many there are."""
        return int(self.batch.num_rows)

    @property
    def seconds(self) -> memoryview:
        """Of each."""
        return numbers(self.batch["second"], "q")

    def cut(self, second: int) -> tuple[Rows, Rows]:
        """Those before this second, and the others."""
        place = bisect_left(self.seconds, second)
        return self._replace(batch=self.batch.slice(0, place)), self._replace(batch=self.batch.slice(place))


def numbers(array: Any, code: Literal["B", "i", "q"]) -> memoryview:
    """What an array without nulls holds. `code`: its type, as the module `array` has it."""
    return memoryview(array.buffers()[1]).cast(code)[array.offset : array.offset + len(array)]


def texts_of(array: Any) -> Iterator[memoryview]:
    """The UTF-8 of each of an array's strings, none of which is copied; there are no nulls."""
    _, offsets, text = array.buffers()
    data = memoryview(b"" if text is None else text)
    ends = memoryview(offsets).cast("q" if str(array.type).startswith("large") else "i")
    return (data[begin:end] for begin, end in pairwise(ends[array.offset : array.offset + len(array) + 1]))


class BySubject(NamedTuple):
    """By actor and by address, each subject once, its runs or records in the order of time, an actor's runs those of
    one chain after those of another. To be gone through once: they are made when a subject's turn comes, and then gone.
    """

    actors: Iterable[tuple[str, list[Run]]]
    addresses: Iterable[tuple[str, list[AddressActivity]]]


def roll_up(chain: str, rows: Rows, has: Callable[[str], bool] = lambda _subject: True) -> BySubject:
    """Whole seconds; `has`: whose records are wanted. Entries that concern none of them may be left out."""
    if not rows.size:
        return BySubject((), ())
    batch = _by_actor(rows.batch)
    columns = _columns(chain, batch, rows.kinds)
    own: dict[str, tuple[int, int]] = {}
    begin = 0
    for code, end in _spans(batch["actor_id"].indices):
        own[columns.names[code]] = begin, end
        begin = end
    received: defaultdict[str, list[int]] = defaultdict(list)
    tried: defaultdict[str, list[int]] = defaultdict(list)
    for place in _special(batch["kind"], rows.kinds):
        kind = columns.kind(place)
        if kind.of_account and (account := columns.resource_id(place)) != columns.actor_id(place):
            received[account].append(place)
        if kind.is_tried:
            assert kind.address is not None
            tried[kind.address].append(place)
    for places in (*received.values(), *tried.values()):
        places.sort(key=columns.seqs.__getitem__)
    addresses = ((address, list(_tries(address, columns, places))) for address, places in tried.items() if has(address))
    return BySubject(_actors(columns, own, received, has), addresses)


def _actors(
    columns: Columns, own: dict[str, tuple[int, int]], received: dict[str, list[int]], has: Callable[[str], bool]
) -> Iterator[tuple[str, list[Run]]]:
    for actor_id, (begin, end) in own.items():
        if has(actor_id):
            yield actor_id, list(_by_day(actor_id, columns, begin, end, received.get(actor_id, [])))
    for actor_id, others in received.items():
        if actor_id not in own and has(actor_id):
            yield actor_id, list(_by_day(actor_id, columns, 0, 0, others))


def _by_day(actor_id: str, columns: Columns, begin: int, end: int, received: list[int]) -> Iterator[Run]:
    """A run for each day that has anything."""
    seconds = columns.seconds
    firsts = [seconds[places[0]] for places in (range(begin, end), received) if places]
    lasts = [seconds[places[-1]] for places in (range(begin, end), received) if places]
    day, last = min(firsts) // _DAY_S, max(lasts) // _DAY_S
    if day == last:
        yield Run(actor_id, columns, begin, end, received)
        return
    while day <= last:
        own_end = bisect_left(seconds, (day + 1) * _DAY_S, begin, end)
        others_end = bisect_left(received, (day + 1) * _DAY_S, key=seconds.__getitem__)
        if own_end > begin or others_end:
            yield Run(actor_id, columns, begin, own_end, received[:others_end])
        begin, received, day = own_end, received[others_end:], day + 1


def _by_actor(batch: pa.RecordBatch) -> pa.RecordBatch:
    """Each actor's together, in their order."""
    import pyarrow as pa
    import pyarrow.compute as pc

    size = batch.num_rows
    places = pa.array(range(size), pa.int64())
    order = pc.add(pc.multiply(batch["actor_id"].indices.cast(pa.int64()), size), places)
    return batch.take(pc.array_sort_indices(order))


def _spans(codes: Any) -> Iterator[tuple[int, int]]:
    """Of sorted codes each one, and where it ends."""
    import pyarrow.compute as pc

    found = pc.run_end_encode(codes)
    return zip(found.values.to_pylist(), found.run_ends.to_pylist(), strict=True)


def _special(kinds: Any, table: Sequence[Kind]) -> list[int]:
    """Where there is more in an entry than what an actor did."""
    import pyarrow as pa
    import pyarrow.compute as pc

    codes = [code for code, kind in enumerate(table) if kind.of_account or kind.is_tried]
    places: list[int] = pc.indices_nonzero(pc.is_in(kinds, value_set=pa.array(codes, pa.int32()))).to_pylist()
    return places


def _columns(chain: str, batch: pa.RecordBatch, kinds: Sequence[Kind]) -> Columns:
    ids = batch["resource_id"]
    text = ids.buffers()[2]
    return Columns(
        chain,
        batch["actor_id"].dictionary.to_pylist(),
        numbers(batch["actor_id"].indices, "i"),
        numbers(batch["second"], "q"),
        kinds,
        numbers(batch["kind"], "i"),
        numbers(batch["seq"], "q"),
        memoryview(b"" if text is None else text),
        memoryview(ids.buffers()[1]).cast("i")[ids.offset : ids.offset + len(ids) + 1],
        numbers(batch["sealed_us"], "q"),
        numbers(batch["happened_us"], "q"),
    )


def _tries(address: str, columns: Columns, places: Sequence[int]) -> Iterator[AddressActivity]:
    """An address's records."""
    seconds = columns.seconds
    begin = 0
    while begin < len(places):
        place = places[begin]
        second, end = seconds[place], begin + 1
        while end < len(places) and seconds[places[end]] == second:
            end += 1
        kind = columns.kind(place)
        if end - begin == 1 and not (kind.of_account and kind.actor_type == NOBODY):
            seq = columns.seqs[place]
            cell = AddressCell(columns.actor_id(place), kind.action, kind.result, 1, [[seq, seq]])
            yield AddressActivity(columns.chain, second_at(second), address, [cell])
        else:
            one_by_one = RollUp(columns.chain)
            for each in places[begin:end]:
                one_by_one.take(columns.entry(each))
            made = one_by_one.so_far()
            assert made is not None
            yield made.addresses[0]
        begin = end


def rows_of(entries: Iterable[Counted]) -> Rows:
    """Decoded entries as columns; those of other kinds are left out."""
    events = [entry for entry in entries if entry.written.kind == "event"]
    sealed = [_us(entry.written.sequenced_at) for entry in events]
    happened = [_us(entry.timestamp) for entry in events]
    kinds = [_kind(entry, late_hour(at, until)) for entry, at, until in zip(events, happened, sealed, strict=True)]
    table = {kind: code for code, kind in enumerate(dict.fromkeys(kinds))}
    return Rows.of(
        [entry.actor_id for entry in events],
        [table[kind] for kind in kinds],
        list(table),
        [entry.written.seq for entry in events],
        [entry.resource_id for entry in events],
        sealed,
        happened,
    )


def late_hour(happened_us: int, sealed_us: int) -> str | None:
    """A cell's `hour`."""
    if abs(sealed_us - happened_us) <= LATE_S * 1_000_000:
        return None
    return second_at(happened_us // 1_000_000)[:13]


def _kind(entry: Counted, hour: str | None) -> Kind:
    return kind_of(
        entry.action,
        entry.resource_type,
        entry.result,
        entry.actor_type,
        entry.ip_address,
        entry.tenant,
        hour,
        int(gives_reason(entry.reason)),
        int(entry.user_agent is not None and entry.user_agent.startswith(BROWSER)),
        int(entry.on_behalf_of is not None),
    )


def _us(moment: str) -> int:
    since_epoch = datetime.fromisoformat(moment) - _EPOCH
    return (since_epoch.days * 86_400 + since_epoch.seconds) * 1_000_000 + since_epoch.microseconds


_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
