"""An actor's entries of a stretch of time side by side: detectors look at them before any record is made. Pure.

Most of what happens is known: nothing that was not seen today, far below any limit. A detector that can tell so from
all entries at once (`Detector.ahead`) needs no record of each second. Where it can't, the record is made, and it is the
one that `RollUp` makes.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from hashlib import sha256
from typing import Any, NamedTuple

import msgspec

from sealstream.anomaly.actions import ALL, DENIED, LATE, RECEIVED, traits
from sealstream.anomaly.detecting import second_at
from sealstream.anomaly.habits import short
from sealstream.anomaly.rolling import BROWSER, Counted, RollUp, WrittenCounted
from sealstream.layout.activity import (
    ACCOUNT_TYPES,
    MAX_CELLS,
    MAX_RESOURCES,
    MAX_TEXT,
    Activity,
    Cell,
    is_login,
)

__all__ = ["Columns", "Kind", "Run", "kind_of"]

_DAY_S = 86_400
_MOST_KINDS = 200_000
_MOST_TOGETHER = min(MAX_CELLS, MAX_RESOURCES)


class Kind(msgspec.Struct, eq=False, gc=False):
    """All that entries of one kind have in common, whoever's they are; it is the same object for all (`kind_of`).

    `reasons`, `browsers`, `behalf`: 1 where it is so, else 0; `hour`: as a cell has it. `traits`: as `traits_of` a
    record of it alone. `action_name`, `type_name`: as habits keep them. `is_tried`: whether it is part of its address's
    record. `of_account`: whether its resource is an account. `text`: how many characters it adds to a record.
    """

    action: str
    resource_type: str
    result: str
    actor_type: str
    address: str | None
    tenant: str | None
    hour: str | None
    reasons: int
    browsers: int
    behalf: int
    traits: int
    action_name: str
    type_name: str
    is_success: bool
    is_tried: bool
    of_account: bool
    text: int


def kind_of(
    action: str,
    resource_type: str,
    result: str,
    actor_type: str,
    address: str | None,
    tenant: str | None,
    hour: str | None,
    reasons: int,
    browsers: int,
    behalf: int,
) -> Kind:
    """The kind with these members; the rest follows."""
    key = (action, resource_type, result, actor_type, address, tenant, hour, reasons, browsers, behalf)
    known = _kinds.get(key)
    if known is None:
        if len(_kinds) > _MOST_KINDS:
            _kinds.clear()
        is_success = result == "success"
        known = _kinds[key] = Kind(
            *key,
            traits(action) | (DENIED if result == "denied" else 0) | (0 if hour is None else LATE),
            short(action),
            short(resource_type),
            is_success,
            address is not None and (not is_success or is_login(action)),
            resource_type in ACCOUNT_TYPES,
            len(action) + len(resource_type),
        )
    return known


_kinds: dict[tuple[Any, ...], Kind] = {}


class Columns(NamedTuple):
    """A stretch of a chain's entries, each actor's together and in the order of time; a place in each is an entry.

    `actors`: places in `names`. `seconds`, `sealed_us`, `happened_us`: since 1970. `kinds`: places in `kind_table`.
    `ids`: the resources' ids, UTF-8, each from `id_offsets` at its place to the next.
    """

    chain: str
    names: Sequence[str]
    actors: memoryview
    seconds: memoryview
    kind_table: Sequence[Kind]
    kinds: memoryview
    seqs: memoryview
    ids: memoryview
    id_offsets: memoryview
    sealed_us: memoryview
    happened_us: memoryview

    def actor_id(self, place: int) -> str:
        """Whose entry it is."""
        return self.names[self.actors[place]]

    def kind(self, place: int) -> Kind:
        """The entry's."""
        return self.kind_table[self.kinds[place]]

    def resource_id(self, place: int) -> str:
        """The entry's."""
        return str(self.ids[self.id_offsets[place] : self.id_offsets[place + 1]], "utf-8")

    def entry(self, place: int) -> Counted:
        """What the roll-up counts as it would count the entry itself."""
        kind, second = self.kind(place), second_at(self.seconds[place])
        is_late = kind.hour is not None
        return Counted(
            _text(self.happened_us[place]) if is_late else second,
            self.actor_id(place),
            kind.actor_type,
            kind.action,
            kind.resource_type,
            self.resource_id(place),
            kind.result,
            WrittenCounted("event", self.seqs[place], _text(self.sealed_us[place]) if is_late else second),
            kind.address,
            BROWSER if kind.browsers else None,
            "" if kind.behalf else None,
            kind.tenant,
            "given" if kind.reasons else None,
        )


def _text(us: int) -> str:
    second, part = divmod(us, 1_000_000)
    return f"{second_at(second)[:19]}.{part:06d}Z"


class Run:
    """One actor's entries in one chain and stretch of time, none of them of another UTC day.

    `seconds` (since 1970, ascending), `kinds`: of its own entries, both of one length. What others did to its account
    comes with `received_seconds`, ascending, and `received_kinds`.
    """

    def __init__(self, actor_id: str, columns: Columns, begin: int, end: int, received: Sequence[int]) -> None:
        self.actor_id = actor_id
        self.chain = columns.chain
        self._columns = columns
        self._begin = begin
        self._end = end
        self._received = received
        self._made: dict[int, Activity] = {}
        self.seconds: list[int] = columns.seconds[begin:end].tolist()
        self.kinds = list(map(columns.kind_table.__getitem__, columns.kinds[begin:end]))
        self.received_seconds = [columns.seconds[place] for place in received]
        self.received_kinds = [columns.kind(place) for place in received]
        length = end - begin
        self.firsts: dict[Kind, int] = dict(zip(reversed(self.kinds), range(length - 1, -1, -1), strict=True))
        """Each kind and where in the run it comes first; in no order."""
        found = RECEIVED if received else 0
        for kind in self.firsts:
            found |= kind.traits
        self.traits = found
        """What holds of any of its records, added up."""

    @property
    def day(self) -> int:
        """Since 1970."""
        return self.first_second // _DAY_S

    @property
    def first_second(self) -> int:
        return min((*self.seconds[:1], *self.received_seconds[:1]))

    @property
    def last_second(self) -> int:
        return max((*self.seconds[-1:], *self.received_seconds[-1:]))

    @property
    def moments(self) -> list[int]:
        """Its seconds, each once, ascending."""
        return sorted({*self.seconds, *self.received_seconds})

    @property
    def is_plain(self) -> bool:
        """Whether in each second there is room for all of it in one record, so that nothing is counted together."""
        seconds, width = self.seconds, _MOST_TOGETHER - 1
        if any(map(int.__eq__, seconds, seconds[width:])):
            return False
        return all(kind.text * _MOST_TOGETHER <= MAX_TEXT for kind in self.firsts)

    def concerned(self, concerns: int) -> Sequence[int]:
        """The seconds whose record has any of these traits, each once, ascending."""
        if concerns == ALL:
            return self.moments
        if not self.traits & concerns:
            return ()
        found = {second for second, kind in zip(self.seconds, self.kinds, strict=True) if kind.traits & concerns}
        if concerns & RECEIVED:
            found.update(self.received_seconds)
        return sorted(found)

    def digests(self, places: Iterable[int]) -> list[int]:
        """Of these entries' resources, as a cell has them, as numbers."""
        columns, begin = self._columns, self._begin
        ids, offsets, number = columns.ids, columns.id_offsets, int.from_bytes
        return [
            number(sha256(ids[offsets[begin + place] : offsets[begin + place + 1]]).digest()[:4]) for place in places
        ]

    def record(self, second: int) -> Activity:
        """The record of one of its seconds."""
        made = self._made.get(second)
        if made is None:
            made = self._made[second] = self._record(second)
        return made

    def records(self) -> list[Activity]:
        """All of them, in the order of time."""
        return [self.record(second) for second in self.moments]

    def _record(self, second: int) -> Activity:
        first = bisect_left(self.seconds, second)
        end = bisect_right(self.seconds, second, first)
        received = [place for place, at in zip(self._received, self.received_seconds, strict=True) if at == second]
        if end - first == 1 and not received:
            return self._of_one(first, second)
        columns, roll_up = self._columns, RollUp(self.chain)
        places = [*range(self._begin + first, self._begin + end), *received]
        for place in sorted(places, key=columns.seqs.__getitem__):
            roll_up.take(columns.entry(place))
        made = roll_up.so_far()
        assert made is not None
        return next(record for record in made.actors if record.actor_id == self.actor_id)

    def _of_one(self, place: int, second: int) -> Activity:
        kind, seq = self.kinds[place], self._columns.seqs[self._begin + place]
        cell = Cell(
            kind.action,
            kind.resource_type,
            kind.result,
            kind.actor_type,
            1,
            [[seq, seq]],
            kind.address,
            kind.hour,
            [f"{self.digests((place,))[0]:08x}"],
            0,
            kind.reasons,
            kind.browsers,
            kind.behalf,
        )
        return Activity(self.chain, second_at(second), self.actor_id, [cell], [], kind.tenant)
