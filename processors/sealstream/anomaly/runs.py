"""An actor's entries of a stretch of time side by side, which detectors look at before any record of them is made. Pure.

Most of what happens is known: nothing that was not seen today, far below any limit. A detector that can tell so from
all entries at once (`Detector.ahead`) needs no record of each second. Where it can't, the record is made, and it is the
one that `RollUp` makes.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Sequence
from functools import cached_property
from operator import itemgetter
from typing import Any

import msgspec

from sealstream.anomaly.actions import ALL, DENIED, LATE, RECEIVED, traits
from sealstream.anomaly.counts import digest_of_resource
from sealstream.anomaly.detecting import second_at
from sealstream.anomaly.rolling import Counted, RollUp
from sealstream.layout.activity import (
    ACCOUNT_TYPES,
    MAX_CELLS,
    MAX_RESOURCES,
    MAX_TEXT,
    Activity,
    Cell,
    is_login,
)

__all__ = ["Kind", "Run", "kind_of"]

_DAY_S = 86_400
_MOST_KINDS = 200_000
_MOST_TOGETHER = min(MAX_CELLS, MAX_RESOURCES)


class Kind(msgspec.Struct, eq=False, gc=False):
    """All that entries of one kind have in common, whoever's they are; it is the same object for all (`kind_of`).

    `reasons`, `browsers`, `behalf`: 1 where it is so, else 0; `hour`: as a cell has it. `traits`: as `traits_of` a
    record of it alone. `is_tried`: whether it is part of its address's record. `of_account`: whether its resource is an
    account. `text`: how many characters it adds to a record.
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
            is_success,
            address is not None and (not is_success or is_login(action)),
            resource_type in ACCOUNT_TYPES,
            len(action) + len(resource_type),
        )
    return known


_kinds: dict[tuple[Any, ...], Kind] = {}


class Run:
    """One actor's entries in one chain and stretch of time, none of them of another UTC day.

    `seconds` (since 1970, ascending), `kinds`, `seqs`, `resource_ids`: of its own entries, all of one length; what
    others did to its account comes with `received_seconds`, ascending. `day`: since 1970.
    """

    def __init__(
        self,
        chain: str,
        actor_id: str,
        places: Sequence[int],
        received: Sequence[int],
        columns: tuple[Sequence[int], Sequence[Kind], Sequence[int], Sequence[str]],
        entry_at: Callable[[int], Counted],
    ) -> None:
        self.chain = chain
        self.actor_id = actor_id
        self._places = places
        self._received = received
        self._columns = columns
        self._entry_at = entry_at
        self._made: dict[int, Activity] = {}
        self.seconds = self._picked(columns[0])
        self.kinds: Sequence[Kind] = self._picked(columns[1])
        self.received_seconds: Sequence[int] = [columns[0][place] for place in received] if received else ()

    @cached_property
    def firsts(self) -> dict[Kind, int]:
        """Each kind and where in the run it comes first; in no order."""
        kinds = self.kinds
        return dict(zip(reversed(kinds), range(len(kinds) - 1, -1, -1), strict=True))

    @cached_property
    def traits(self) -> int:
        """What holds of any of its records, added up."""
        found = RECEIVED if self._received else 0
        for kind in self.firsts:
            found |= kind.traits
        return found

    @cached_property
    def resource_ids(self) -> Sequence[str]:
        return self._picked(self._columns[3])

    @cached_property
    def seqs(self) -> Sequence[int]:
        return self._picked(self._columns[2])

    @property
    def day(self) -> int:
        return self.first_second // _DAY_S

    @property
    def first_second(self) -> int:
        return min(
            self.seconds[0] if self.seconds else self.received_seconds[0], *self.received_seconds[:1] or (2**62,)
        )

    @property
    def last_second(self) -> int:
        return max(self.seconds[-1] if self.seconds else 0, self.received_seconds[-1] if self.received_seconds else 0)

    @cached_property
    def moments(self) -> list[int]:
        """Its seconds, each once, ascending."""
        return sorted({*self.seconds, *self.received_seconds})

    @cached_property
    def is_plain(self) -> bool:
        """Whether in each second there is room for all of it in one record, so that nothing is counted together."""
        seconds, width = self.seconds, _MOST_TOGETHER - 1
        if any(map(int.__eq__, seconds, seconds[width:])):
            return False
        return max((kind.text for kind in self.firsts), default=0) * _MOST_TOGETHER <= MAX_TEXT

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
        roll_up = RollUp(self.chain)
        for place in sorted((*self._places[first:end], *received)):
            roll_up.take(self._entry_at(place))
        made = roll_up.so_far()
        assert made is not None
        return next(record for record in made.actors if record.actor_id == self.actor_id)

    def _of_one(self, place: int, second: int) -> Activity:
        kind, at = self.kinds[place], self._places[place]
        seq = self._columns[2][at]
        cell = Cell(
            kind.action,
            kind.resource_type,
            kind.result,
            kind.actor_type,
            1,
            [[seq, seq]],
            kind.address,
            kind.hour,
            [digest_of_resource(self._columns[3][at])],
            0,
            kind.reasons,
            kind.browsers,
            kind.behalf,
        )
        return Activity(self.chain, second_at(second), self.actor_id, [cell], [], kind.tenant)

    def _picked(self, column: Sequence[Any]) -> Sequence[Any]:
        places = self._places
        if len(places) > 1:
            return itemgetter(*places)(column)  # type: ignore[no-any-return]
        return [column[place] for place in places]
