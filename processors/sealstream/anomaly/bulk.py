"""Many whole seconds of a chain rolled up at once, by subject: columns of entries in, each subject's records out. Pure.

Where a chain is read back, all is there already, and most actors do one thing in a second: such a record is made in one
step. Whatever is more than that goes through the `RollUp` that the process has, so the rules stand there alone.

The invariant: a subject's records are those that `RollUp` makes of the same entries, in the order of time.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from itertools import chain as joined_up
from operator import attrgetter
from typing import NamedTuple

from sealstream.anomaly.counts import digest_of_resource
from sealstream.anomaly.rolling import BROWSER, LATE_S, Counted, RollUp, Second, WrittenCounted
from sealstream.layout.activity import ACCOUNT_TYPES, Activity, AddressActivity, AddressCell, Cell, is_login

__all__ = ["BySubject", "Rows", "roll_up", "rows_of"]

_MOST_DIGESTS = 100_000
_SECONDS = [f"{second:02d}Z" for second in range(60)]


class Rows(NamedTuple):
    """Events of one chain in the order of their seqs, a list for each thing that the roll-up needs of them.

    `seconds`, `sealed_us`, `happened_us`: since 1970, in seconds and microseconds. `hours`: as a cell has it.
    `reasons`, `browsers`, `behalf`: 1 where it is so, else 0. `alone`: 1 where an entry is nobody's but its actor's.
    """

    actor_ids: Sequence[str]
    seconds: Sequence[int]
    seqs: Sequence[int]
    actions: Sequence[str]
    resource_types: Sequence[str]
    resource_ids: Sequence[str]
    results: Sequence[str]
    actor_types: Sequence[str]
    addresses: Sequence[str | None]
    tenants: Sequence[str | None]
    hours: Sequence[str | None]
    reasons: Sequence[int]
    browsers: Sequence[int]
    behalf: Sequence[int]
    sealed_us: Sequence[int]
    happened_us: Sequence[int]
    alone: Sequence[int]

    @classmethod
    def joined(cls, parts: Sequence[Rows]) -> Rows:
        """One after another."""
        if len(parts) == 1:
            return parts[0]
        return (
            cls(*(list(joined_up.from_iterable(columns)) for columns in zip(*parts, strict=True))) if parts else _NONE
        )

    def cut(self, second: int) -> tuple[Rows, Rows]:
        """Those before this second, and the others."""
        place = bisect_left(self.seconds, second)
        return Rows._make(column[:place] for column in self), Rows._make(column[place:] for column in self)


_NONE = Rows(*([] for _ in Rows._fields))


class BySubject(NamedTuple):
    """Records by actor and by address, each subject once, its records in the order of time. To be gone through once:
    an actor's records are made when its turn comes, so that what is made and watched is still at hand, and then gone.

    `epochs`: the records' seconds since 1970.
    """

    actors: Iterable[tuple[str, list[Activity]]]
    addresses: Iterable[tuple[str, list[AddressActivity]]]
    epochs: dict[str, int]


def roll_up(chain: str, rows: Rows, has: Callable[[str], bool] = lambda _subject: True) -> BySubject:
    """Whole seconds; `has`: whose records are wanted. Entries that concern none of them may be left out."""
    of: defaultdict[str, list[_Row]] = defaultdict(list)
    together: list[_Row] = []
    for row in zip(*rows, strict=True):
        of[row[0]].append(row)
        if not row[-1]:
            together.append(row)
    texts = {second: second_text(second) for second in set(rows.seconds)}
    addresses: dict[str, list[AddressActivity]] = {}
    told: set[tuple[str, str]] = set()
    shared = _shared(together)
    for row in together:
        address = row[8]
        if address is not None and row[1] not in shared.get(row[0], ()) and has(address):
            cell = AddressCell(row[0], row[3], row[6], 1, [[row[2], row[2]]])
            addresses.setdefault(address, []).append(AddressActivity(chain, texts[row[1]], address, [cell]))
            told.add((address, texts[row[1]]))
    alone: dict[str, list[_Row]] = {}
    others: list[_Row] = []
    for actor_id, own in of.items():
        if not has(actor_id):
            others += [row for row in own if row[1] in shared.get(actor_id, ())]
        elif (crowded := _crowded(own, shared.get(actor_id))) is not None:
            alone[actor_id] = [row for row in own if row[1] not in crowded]
            others += [row for row in own if row[1] in crowded]
        else:
            alone[actor_id] = own
    more: dict[str, list[Activity]] = {}
    if others:
        _through_roll_up(chain, others, texts, has, told, more, addresses)
    epochs = {text: second for second, text in texts.items()}
    return BySubject(_actors(chain, texts, alone, more), addresses.items(), epochs)


def _actors(
    chain: str, texts: dict[int, str], alone: dict[str, list[_Row]], more: dict[str, list[Activity]]
) -> Iterator[tuple[str, list[Activity]]]:
    """The records of entries that are `alone`, and those that there are already."""
    digests = _digests
    if len(digests) > _MOST_DIGESTS:
        digests.clear()
    for actor_id, rows in alone.items():
        records = [
            Activity(
                chain,
                texts[second],
                actor_id,
                [
                    Cell(
                        action,
                        resource_type,
                        result,
                        actor_type,
                        1,
                        [[seq, seq]],
                        address,
                        hour,
                        [digests[resource_id]],
                        0,
                        reasons,
                        browsers,
                        behalf,
                    )
                ],
                [],
                tenant,
            )
            for (
                _,
                second,
                seq,
                action,
                resource_type,
                resource_id,
                result,
                actor_type,
                address,
                tenant,
                hour,
                reasons,
                browsers,
                behalf,
                _,
                _,
                _,
            ) in rows
        ]
        if (others := more.pop(actor_id, None)) is not None:
            records += others
            records.sort(key=attrgetter("second"))
        yield actor_id, records
    yield from more.items()


def rows_of(entries: Iterable[Counted]) -> Rows:
    """Decoded entries as columns; those of other kinds are left out."""
    events = [entry for entry in entries if entry.written.kind == "event"]
    sealed = [_us(entry.written.sequenced_at) for entry in events]
    happened = [_us(entry.timestamp) for entry in events]
    return Rows(
        [entry.actor_id for entry in events],
        [us // 1_000_000 for us in sealed],
        [entry.written.seq for entry in events],
        [entry.action for entry in events],
        [entry.resource_type for entry in events],
        [entry.resource_id for entry in events],
        [entry.result for entry in events],
        [entry.actor_type for entry in events],
        [entry.ip_address for entry in events],
        [entry.tenant for entry in events],
        [late_hour(at, sealed_at) for at, sealed_at in zip(happened, sealed, strict=True)],
        [int(entry.reason is not None) for entry in events],
        [int(entry.user_agent is not None and entry.user_agent.startswith(BROWSER)) for entry in events],
        [int(entry.on_behalf_of is not None) for entry in events],
        sealed,
        happened,
        [int(is_alone(entry.action, entry.resource_type, entry.result, entry.ip_address)) for entry in events],
    )


def is_alone(action: str, resource_type: str, result: str, address: str | None) -> bool:
    """Whether an entry can be part of its actor's record alone: no account's, no address's."""
    return resource_type not in ACCOUNT_TYPES and (address is None or (result == "success" and not is_login(action)))


def late_hour(happened_us: int, sealed_us: int) -> str | None:
    """A cell's `hour`."""
    if abs(sealed_us - happened_us) <= LATE_S * 1_000_000:
        return None
    return second_text(happened_us // 1_000_000)[:13]


def second_text(second: int) -> str:
    """`YYYY-MM-DDTHH:MM:SSZ`."""
    return _minute(second // 60) + _SECONDS[second % 60]


@lru_cache(maxsize=4_096)
def _minute(minute: int) -> str:
    return (_EPOCH + timedelta(minutes=minute)).isoformat()[:17]


_Row = tuple[str, int, int, str, str, str, str, str, str | None, str | None, str | None, int, int, int, int, int, int]


class _Digests(dict[str, str]):
    def __missing__(self, resource_id: str) -> str:
        digest = self[resource_id] = digest_of_resource(resource_id)
        return digest


_digests = _Digests()


def _shared(rows: Sequence[_Row]) -> dict[str, set[int]]:
    """Of rows that are not alone: whose seconds hold more than one entry of an actor and, perhaps, of an address."""
    shared: defaultdict[str, set[int]] = defaultdict(set)
    of_address: dict[tuple[str, int], _Row] = {}
    for row in rows:
        actor_id, second, address = row[0], row[1], row[8]
        if row[4] in ACCOUNT_TYPES:
            shared[actor_id].add(second)
            shared[row[5]].add(second)
        if address is not None:
            other = of_address.setdefault((address, second), row)
            if other is not row:
                shared[actor_id].add(second)
                shared[other[0]].add(second)
    return shared


def _crowded(rows: Sequence[_Row], shared: set[int] | None) -> set[int] | None:
    """The seconds in which there is more of an actor than one entry that is its own alone; None: there are none."""
    seen = {row[1] for row in rows}
    if len(seen) == len(rows):
        return shared
    found = set(shared or ())
    before = -1
    for row in rows:
        second = row[1]
        if second == before:
            found.add(second)
        before = second
    return found


def _through_roll_up(
    chain: str,
    rows: list[_Row],
    texts: dict[int, str],
    has: Callable[[str], bool],
    told: set[tuple[str, str]],
    actors: dict[str, list[Activity]],
    addresses: dict[str, list[AddressActivity]],
) -> None:
    """Roll these up one by one, and put the records to those that there are."""
    rows.sort(key=lambda row: row[2])
    one_by_one = RollUp(chain)
    seconds: list[Second | None] = [one_by_one.take(_entry(row, texts[row[1]])) for row in rows]
    seconds.append(one_by_one.so_far())
    tried: set[str] = set()
    for second in seconds:
        if second is None:
            continue
        for record in second.actors:
            if has(record.actor_id):
                actors.setdefault(record.actor_id, []).append(record)
        for address in second.addresses:
            if has(address.ip_address) and (address.ip_address, address.second) not in told:
                addresses.setdefault(address.ip_address, []).append(address)
                tried.add(address.ip_address)
    for name in tried:
        addresses[name].sort(key=attrgetter("second"))


def _entry(row: _Row, second: str) -> Counted:
    (
        actor_id,
        _,
        seq,
        action,
        resource_type,
        resource_id,
        result,
        actor_type,
        address,
        tenant,
        hour,
        reasons,
        browsers,
        behalf,
        sealed_us,
        happened_us,
        _,
    ) = row
    return Counted(
        second if hour is None else _text(happened_us),
        actor_id,
        actor_type,
        action,
        resource_type,
        resource_id,
        result,
        WrittenCounted("event", seq, second if hour is None else _text(sealed_us)),
        address,
        BROWSER if browsers else None,
        "" if behalf else None,
        tenant,
        "" if reasons else None,
    )


def _text(us: int) -> str:
    second, part = divmod(us, 1_000_000)
    return f"{second_text(second)[:19]}.{part:06d}Z"


def _us(moment: str) -> int:
    since_epoch = datetime.fromisoformat(moment) - _EPOCH
    return (since_epoch.days * 86_400 + since_epoch.seconds) * 1_000_000 + since_epoch.microseconds


_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
