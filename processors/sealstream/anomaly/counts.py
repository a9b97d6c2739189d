"""One second's counts while they grow: of actors, of accounts that something was done to, of addresses. Pure.

A count is one small object, found with one look by all that makes it one: there is a new one for nearly every entry of
a chain where many do different things, so what a record holds is made when the second is told, and not before.

The invariant: a record's cells stand in the order in which they began, and only grow; where it has room for no more,
those to come are counted together, so that whatever producers send, a record is never too large for Kafka.
"""

from __future__ import annotations

from hashlib import sha256

import msgspec

from sealstream.layout.activity import (
    MAX_CELLS,
    MAX_RANGES,
    MAX_RESOURCES,
    MAX_TEXT,
    OTHERS,
    Activity,
    AddressActivity,
    AddressCell,
    Cell,
    Received,
)

__all__ = ["Counts", "digest_of_resource"]

_ActorKey = tuple[str, str, str, str, str, str | None, str | None]
_AccountKey = tuple[str, str, str, str, str, str]
_AddressKey = tuple[str, str, str, str]


class Counts:
    """A key is the subject, then what its cell says of it."""

    def __init__(self) -> None:
        self._actors: dict[str, _Actor] = {}
        self._addresses: dict[str, _Address] = {}
        self._by_actor: dict[_ActorKey, _ActorCount] = {}
        self._by_account: dict[_AccountKey, _Count] = {}
        self._by_address: dict[_AddressKey, _Count] = {}

    def of_actor(self, key: _ActorKey, seq: int) -> _ActorCount:
        """One more of: actor, action, resource type, result, actor type, address, hour."""
        found = self._by_actor.get(key)
        if found is None:
            actor = self._actor(key[0])
            if not actor.takes(len(actor.cells), len(key[1]) + len(key[2])):
                key = (key[0], OTHERS, OTHERS, key[3], key[4], None, None)
                found = self._by_actor.get(key)
            if found is None:
                found = self._by_actor[key] = _ActorCount(key, seq, seq)
                actor.cells.append(found)
                return found
        found.count += 1
        if seq != found.last + 1:
            _leap(found, seq)
        found.last = seq
        return found

    def of_account(self, key: _AccountKey, seq: int) -> None:
        """One more of: account, by whom, action, resource type, result, address or nothing."""
        found = self._by_account.get(key)
        if found is None:
            account = self._actor(key[0])
            if account.received is None:
                account.received = []
            if not account.takes(len(account.received), len(key[1]) + len(key[2]) + len(key[3])):
                key = (key[0], OTHERS, OTHERS, OTHERS, key[4], "")
                found = self._by_account.get(key)
            if found is None:
                found = self._by_account[key] = _Count(key, seq, seq)
                account.received.append(found)
                return
        found.once_more(seq)

    def of_address(self, key: _AddressKey, seq: int) -> None:
        """One more of: address, actor, action, result."""
        found = self._by_address.get(key)
        if found is None:
            address = self._addresses.get(key[0])
            if address is None:
                address = self._addresses[key[0]] = _Address()
            if not address.takes(len(address.cells), len(key[1]) + len(key[2])):
                key = (key[0], OTHERS, OTHERS, key[3])
                found = self._by_address.get(key)
            if found is None:
                found = self._by_address[key] = _Count(key, seq, seq)
                address.cells.append(found)
                return
        found.once_more(seq)

    def records(self, chain: str, second: str) -> tuple[list[Activity], list[AddressActivity]]:
        """As it stands, by actor and by address, both in the order of their names."""
        actors = [each.record(chain, second, actor_id) for actor_id, each in sorted(self._actors.items())]
        addresses = [each.record(chain, second, address) for address, each in sorted(self._addresses.items())]
        return actors, addresses

    def _actor(self, actor_id: str) -> _Actor:
        actor = self._actors.get(actor_id)
        if actor is None:
            actor = self._actors[actor_id] = _Actor()
        return actor


# None of these is looked at by the garbage collector, which there are too many for: none knows who holds it.


class _Count(msgspec.Struct, gc=False):
    """`first`, `last`: of the newest run of seqs; `runs`: those before it."""

    key: tuple[str, ...]
    first: int
    last: int
    count: int = 1
    runs: list[list[int]] | None = None

    def once_more(self, seq: int) -> None:
        """`seq` is above all before it."""
        self.count += 1
        if seq != self.last + 1:
            _leap(self, seq)
        self.last = seq


class _ActorCount(msgspec.Struct, gc=False):
    """The same of an actor. `resource`: the first one's id; `digests`: each one's digest by its id, once there are
    more. `tenant`: the last that was named, by the entry `tenant_at`.
    """

    key: _ActorKey
    first: int
    last: int
    count: int = 1
    runs: list[list[int]] | None = None
    resource: str | None = None
    digests: dict[str, str] | None = None
    unlisted: int = 0
    reasons: int = 0
    browsers: int = 0
    behalf: int = 0
    tenant: str | None = None
    tenant_at: int = -1

    def note(self, resource_id: str) -> None:
        """A resource that is not the first one, or is the first of all."""
        if self.resource is None:
            self.resource = resource_id
            return
        digests = self.digests
        if digests is None:
            digests = self.digests = {self.resource: digest_of_resource(self.resource)}
        if resource_id not in digests:
            if len(digests) >= MAX_RESOURCES:
                self.unlisted += 1
            else:
                digests[resource_id] = digest_of_resource(resource_id)

    def cell(self) -> Cell:
        """As a record has it."""
        _, action, resource_type, result, actor_type, address, hour = self.key
        resources = (
            list(self.digests.values()) if self.digests is not None else [digest_of_resource(self.resource or "")]
        )
        counts = self.unlisted, self.reasons, self.browsers, self.behalf
        return Cell(
            action, resource_type, result, actor_type, self.count, _seqs(self), address, hour, resources, *counts
        )


class _Subject(msgspec.Struct, gc=False):
    """`text`: characters of all that its cells name."""

    text: int = 0

    def takes(self, cells: int, text: int) -> bool:
        """Whether there is room for one more beside so many; if so, it is taken."""
        if cells >= MAX_CELLS or self.text + text > MAX_TEXT:
            return False
        self.text += text
        return True


class _Actor(_Subject, gc=False):
    cells: list[_ActorCount] = []
    received: list[_Count] | None = None

    def record(self, chain: str, second: str, actor_id: str) -> Activity:
        tenant, tenant_at = None, -1
        for each in self.cells:
            if each.tenant_at > tenant_at:
                tenant, tenant_at = each.tenant, each.tenant_at
        received = []
        for count in self.received or ():
            _, by, action, resource_type, result, address = count.key
            received.append(Received(by, action, resource_type, result, count.count, _seqs(count), address or None))
        return Activity(chain, second, actor_id, [each.cell() for each in self.cells], received, tenant)


class _Address(_Subject, gc=False):
    cells: list[_Count] = []

    def record(self, chain: str, second: str, address: str) -> AddressActivity:
        cells = []
        for count in self.cells:
            _, actor_id, action, result = count.key
            cells.append(AddressCell(actor_id, action, result, count.count, _seqs(count)))
        return AddressActivity(chain, second, address, cells)


def _leap(count: _Count | _ActorCount, seq: int) -> None:
    """A new run begins, unless there are so many that the last one reaches over what lies between."""
    runs = count.runs
    if runs is None:
        count.runs = [[count.first, count.last]]
    elif len(runs) < MAX_RANGES - 1:
        runs.append([count.first, count.last])
    else:
        return
    count.first = seq


def _seqs(count: _Count | _ActorCount) -> list[list[int]]:
    newest = [count.first, count.last]
    return [newest] if count.runs is None else [*count.runs, newest]


def digest_of_resource(resource_id: str) -> str:
    """As a cell's `resources` have it."""
    return sha256(resource_id.encode()).hexdigest()[:8]
