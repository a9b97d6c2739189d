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
from functools import partial
from itertools import chain as joined_up
from typing import NamedTuple

from sealstream.anomaly.detecting import second_at
from sealstream.anomaly.rolling import BROWSER, LATE_S, Counted, RollUp, WrittenCounted, gives_reason
from sealstream.anomaly.runs import Kind, Run, kind_of
from sealstream.layout.activity import AddressActivity, AddressCell

__all__ = ["BySubject", "Rows", "late_hour", "roll_up", "rows_of"]

_DAY_S = 86_400


class Rows(NamedTuple):
    """Events of one chain in the order of their seqs, a list for each thing that the roll-up needs of them.

    `seconds`, `sealed_us`, `happened_us`: since 1970, in seconds and microseconds.
    """

    actor_ids: Sequence[str]
    seconds: Sequence[int]
    kinds: Sequence[Kind]
    seqs: Sequence[int]
    resource_ids: Sequence[str]
    sealed_us: Sequence[int]
    happened_us: Sequence[int]

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
    """By actor and by address, each subject once, its runs or records in the order of time, an actor's runs those of one
    chain after those of another. To be gone through once: an actor's are made when its turn comes, and then gone.
    """

    actors: Iterable[tuple[str, list[Run]]]
    addresses: Iterable[tuple[str, list[AddressActivity]]]


def roll_up(chain: str, rows: Rows, has: Callable[[str], bool] = lambda _subject: True) -> BySubject:
    """Whole seconds; `has`: whose records are wanted. Entries that concern none of them may be left out."""
    own: defaultdict[str, list[int]] = defaultdict(list)
    for place, actor_id in enumerate(rows.actor_ids):
        own[actor_id].append(place)
    received: defaultdict[str, list[int]] = defaultdict(list)
    tried: defaultdict[str, list[int]] = defaultdict(list)
    for place, kind in enumerate(rows.kinds):
        if kind.of_account and (account := rows.resource_ids[place]) != rows.actor_ids[place]:
            received[account].append(place)
        if kind.is_tried:
            assert kind.address is not None
            tried[kind.address].append(place)
    entry_at = partial(_entry, rows)
    addresses = (
        (address, list(_tries(chain, address, rows, places, entry_at)))
        for address, places in tried.items()
        if has(address)
    )
    return BySubject(_actors(chain, rows, own, received, has, entry_at), addresses)


def _actors(
    chain: str,
    rows: Rows,
    own: dict[str, list[int]],
    received: dict[str, list[int]],
    has: Callable[[str], bool],
    entry_at: Callable[[int], Counted],
) -> Iterator[tuple[str, list[Run]]]:
    columns = rows.seconds, rows.kinds, rows.seqs, rows.resource_ids
    for actor_id in (*own, *(account for account in received if account not in own)):
        if not has(actor_id):
            continue
        places, others = own.get(actor_id, []), received.get(actor_id, [])
        yield (
            actor_id,
            [Run(chain, actor_id, *each, columns, entry_at) for each in _by_day(rows.seconds, places, others)],
        )


def _by_day(seconds: Sequence[int], *places: list[int]) -> Iterator[tuple[list[int], ...]]:
    """The places of each day that has any."""
    day = min(seconds[each[0]] for each in places if each) // _DAY_S
    last = max(seconds[each[-1]] for each in places if each) // _DAY_S
    if day == last:
        yield places
        return
    at = [0] * len(places)
    while day <= last:
        ends = [bisect_left(each, (day + 1) * _DAY_S, key=seconds.__getitem__) for each in places]
        if ends != at:
            yield tuple(each[begin:end] for each, begin, end in zip(places, at, ends, strict=True))
        at, day = ends, day + 1


def _tries(
    chain: str, address: str, rows: Rows, places: Sequence[int], entry_at: Callable[[int], Counted]
) -> Iterator[AddressActivity]:
    """An address's records."""
    seconds = rows.seconds
    begin = 0
    while begin < len(places):
        second, end = seconds[places[begin]], begin + 1
        while end < len(places) and seconds[places[end]] == second:
            end += 1
        place, kind = places[begin], rows.kinds[places[begin]]
        if end - begin == 1 and not kind.of_account:
            seq = rows.seqs[place]
            cell = AddressCell(rows.actor_ids[place], kind.action, kind.result, 1, [[seq, seq]])
            yield AddressActivity(chain, second_at(second), address, [cell])
        else:
            one_by_one = RollUp(chain)
            for place in places[begin:end]:
                one_by_one.take(entry_at(place))
            made = one_by_one.so_far()
            assert made is not None
            yield made.addresses[0]
        begin = end


def rows_of(entries: Iterable[Counted]) -> Rows:
    """Decoded entries as columns; those of other kinds are left out."""
    events = [entry for entry in entries if entry.written.kind == "event"]
    sealed = [_us(entry.written.sequenced_at) for entry in events]
    happened = [_us(entry.timestamp) for entry in events]
    return Rows(
        [entry.actor_id for entry in events],
        [us // 1_000_000 for us in sealed],
        [_kind(entry, late_hour(at, until)) for entry, at, until in zip(events, happened, sealed, strict=True)],
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


def _entry(rows: Rows, place: int) -> Counted:
    """What the roll-up would count the same."""
    kind, second = rows.kinds[place], second_at(rows.seconds[place])
    is_late = kind.hour is not None
    return Counted(
        _text(rows.happened_us[place]) if is_late else second,
        rows.actor_ids[place],
        kind.actor_type,
        kind.action,
        kind.resource_type,
        rows.resource_ids[place],
        kind.result,
        WrittenCounted("event", rows.seqs[place], _text(rows.sealed_us[place]) if is_late else second),
        kind.address,
        BROWSER if kind.browsers else None,
        "" if kind.behalf else None,
        kind.tenant,
        "given" if kind.reasons else None,
    )


def _text(us: int) -> str:
    second, part = divmod(us, 1_000_000)
    return f"{second_at(second)[:19]}.{part:06d}Z"


def _us(moment: str) -> int:
    since_epoch = datetime.fromisoformat(moment) - _EPOCH
    return (since_epoch.days * 86_400 + since_epoch.seconds) * 1_000_000 + since_epoch.microseconds


_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
