"""Rolls a chain's entries up into seconds: entries in, records of activity out. Pure; the chain's order is its clock.

The invariant: what `take` and `so_far` give of one second depends on the entries given since that second's first alone.
"""

from __future__ import annotations

from datetime import datetime
from hashlib import sha256
from typing import NamedTuple

import msgspec

from sealstream.layout.activity import (
    ACCOUNT_TYPES,
    MAX_CELLS,
    MAX_RANGES,
    MAX_RESOURCES,
    OTHERS,
    Activity,
    AddressActivity,
    AddressCell,
    Cell,
    Received,
    is_login,
)

__all__ = ["Counted", "RollUp", "Second", "WrittenCounted"]

_LATE_S = 600
_BROWSER = "Mozilla/"


class WrittenCounted(msgspec.Struct, gc=False):
    """What the roll-up needs of `written`."""

    kind: str
    seq: int
    sequenced_at: str


class Counted(msgspec.Struct, gc=False):
    """What the roll-up needs of an entry; decoding no more is a third of its cost."""

    timestamp: str
    actor_id: str
    actor_type: str
    action: str
    resource_type: str
    resource_id: str
    result: str
    written: WrittenCounted
    ip_address: str | None = None
    user_agent: str | None = None
    on_behalf_of: str | None = None
    tenant: str | None = None
    reason: str | None = None


class Second(NamedTuple):
    """What happened in one second of a chain. `first_seq`: its first entry's, of any kind."""

    second: str
    first_seq: int
    last_seq: int
    actors: list[Activity]
    addresses: list[AddressActivity]


class RollUp:
    """One chain's seconds. Give it entries in the order of their seqs, all kinds: the others move its clock."""

    def __init__(self, chain: str) -> None:
        self._chain = chain
        self._second = ""
        self._first_seq = self._last_seq = -1
        self._actors: dict[str, _Actor] = {}
        self._addresses: dict[str, dict[tuple[str, str, str], AddressCell]] = {}

    def take(self, entry: Counted) -> Second | None:
        """Count one entry; returns the second before, whole, when this entry is of a later one."""
        written = entry.written
        second = written.sequenced_at[:19]
        done = None
        if second != self._second:
            done = self.so_far()
            self._second, self._first_seq = second, written.seq
            self._actors, self._addresses = {}, {}
        self._last_seq = written.seq
        if written.kind == "event":
            self._count(entry)
        return done

    def so_far(self) -> Second | None:
        """The second that is being counted, as far as it was given; None before the first entry."""
        if self._first_seq < 0:
            return None
        second = f"{self._second}Z"
        actors = [each.record(self._chain, second, actor_id) for actor_id, each in sorted(self._actors.items())]
        addresses = [
            AddressActivity(self._chain, second, address, list(cells.values()))
            for address, cells in sorted(self._addresses.items())
        ]
        return Second(second, self._first_seq, self._last_seq, actors, addresses)

    def _count(self, entry: Counted) -> None:
        seq = entry.written.seq
        actor = self._actors.get(entry.actor_id)
        if actor is None:
            actor = self._actors[entry.actor_id] = _Actor()
        actor.count(entry, seq)
        if entry.resource_type in ACCOUNT_TYPES and entry.resource_id != entry.actor_id:
            subject = self._actors.get(entry.resource_id)
            if subject is None:
                subject = self._actors[entry.resource_id] = _Actor()
            subject.receive(entry, seq)
        if entry.ip_address is not None and (entry.result != "success" or is_login(entry.action)):
            self._count_address(entry, entry.ip_address, seq)

    def _count_address(self, entry: Counted, address: str, seq: int) -> None:
        cells = self._addresses.setdefault(address, {})
        key = entry.actor_id, entry.action, entry.result
        cell = cells.get(key)
        if cell is None:
            if len(cells) >= MAX_CELLS:
                key = OTHERS, OTHERS, entry.result
                cell = cells.get(key)
            if cell is None:
                cells[key] = AddressCell(*key, 1, [[seq, seq]])
                return
        cell.count += 1
        _append(cell.seqs, seq)


class _Actor:
    """One actor's second while it is being counted."""

    __slots__ = ("_cells", "_received", "_resources", "_tenant")

    def __init__(self) -> None:
        self._cells: dict[tuple[str, ...], Cell] = {}
        self._resources: dict[tuple[str, ...], set[str]] = {}
        self._received: dict[tuple[str, ...], Received] = {}
        self._tenant: str | None = None

    def count(self, entry: Counted, seq: int) -> None:
        """One entry of the actor's own."""
        address, hour = entry.ip_address, _late_hour(entry)
        key = (entry.action, entry.resource_type, entry.result, entry.actor_type, address or "", hour or "")
        cell = self._cells.get(key)
        if cell is None and len(self._cells) >= MAX_CELLS:
            address = hour = None
            key = (OTHERS, OTHERS, entry.result, entry.actor_type, "", "")
            cell = self._cells.get(key)
        if cell is None:
            cell = self._cells[key] = Cell(
                key[0], key[1], entry.result, entry.actor_type, 1, [[seq, seq]], address, hour, []
            )
            self._resources[key] = set()
        else:
            cell.count += 1
            _append(cell.seqs, seq)
        self._note_resource(cell, self._resources[key], entry.resource_id)
        cell.reasons += entry.reason is not None
        cell.browsers += entry.user_agent is not None and entry.user_agent.startswith(_BROWSER)
        cell.behalf += entry.on_behalf_of is not None
        if entry.tenant is not None:
            self._tenant = entry.tenant

    def receive(self, entry: Counted, seq: int) -> None:
        """One entry that somebody else has made about this account."""
        key = (entry.actor_id, entry.action, entry.resource_type, entry.result)
        found = self._received.get(key)
        if found is None and len(self._received) >= MAX_CELLS:
            key = (OTHERS, OTHERS, OTHERS, entry.result)
            found = self._received.get(key)
        if found is None:
            self._received[key] = Received(*key, 1, [[seq, seq]])
        else:
            found.count += 1
            _append(found.seqs, seq)

    def record(self, chain: str, second: str, actor_id: str) -> Activity:
        """As it stands."""
        return Activity(
            chain, second, actor_id, list(self._cells.values()), list(self._received.values()), self._tenant
        )

    @staticmethod
    def _note_resource(cell: Cell, known: set[str], resource_id: str) -> None:
        if resource_id in known:
            return
        if len(known) >= MAX_RESOURCES:
            cell.unlisted += 1
            return
        known.add(resource_id)
        cell.resources.append(sha256(resource_id.encode()).hexdigest()[:8])


def _append(ranges: list[list[int]], seq: int) -> None:
    """`seq` is above all of them."""
    if ranges[-1][1] == seq - 1 or len(ranges) >= MAX_RANGES:
        ranges[-1][1] = seq
    else:
        ranges.append([seq, seq])


def _late_hour(entry: Counted) -> str | None:
    happened, sealed = entry.timestamp, entry.written.sequenced_at
    if happened[:15] == sealed[:15]:  # the same ten minutes, as nearly always
        return None
    apart = datetime.fromisoformat(sealed) - datetime.fromisoformat(happened)
    return happened[:13] if abs(apart.total_seconds()) > _LATE_S else None
