"""Rolls a chain's entries up into seconds: entries in, records of activity out. Pure; the chain's order is its clock.

The invariant: what `take` and `so_far` give of one second depends on the entries given since that second's first alone.
"""

from __future__ import annotations

from datetime import datetime
from functools import lru_cache
from typing import NamedTuple

import msgspec

from sealstream.anomaly.counts import Counts
from sealstream.layout.activity import ACCOUNT_TYPES, Activity, AddressActivity, is_login

__all__ = ["BROWSER", "LATE_S", "NOBODY", "Counted", "RollUp", "Second", "WrittenCounted", "gives_reason"]

LATE_S = 600
"""An event that is sealed later than this is counted by its own hour."""
BROWSER = "Mozilla/"
"""How a browser's user agent begins."""
NOBODY = "anonymous"
"""The type of an actor who is not known yet."""


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
        self._counts = Counts()

    def take(self, entry: Counted) -> Second | None:
        """Count one entry; returns the second before, whole, when this entry is of a later one."""
        written = entry.written
        second = written.sequenced_at[:19]
        done = None
        if second != self._second:
            done = self.so_far()
            self._second, self._first_seq = second, written.seq
            self._counts = Counts()
        self._last_seq = written.seq
        if written.kind == "event":
            self._count(entry, written)
        return done

    def so_far(self) -> Second | None:
        """The second that is being counted, as far as it was given; None before the first entry."""
        if self._first_seq < 0:
            return None
        second = f"{self._second}Z"
        actors, addresses = self._counts.records(self._chain, second)
        return Second(second, self._first_seq, self._last_seq, actors, addresses)

    def _count(self, entry: Counted, written: WrittenCounted) -> None:
        counts, seq = self._counts, written.seq
        actor_id, action, resource_type, result = entry.actor_id, entry.action, entry.resource_type, entry.result
        resource_id, address = entry.resource_id, entry.ip_address
        # The same ten minutes, as nearly always, or looked at closely.
        on_time = entry.timestamp[:15] == written.sequenced_at[:15]
        hour = None if on_time else _late_hour(entry.timestamp, written.sequenced_at)
        cell = counts.of_actor((actor_id, action, resource_type, result, entry.actor_type, address, hour), seq)
        if resource_id != cell.resource:
            cell.note(resource_id)
        if entry.reason is not None and gives_reason(entry.reason):
            cell.reasons += 1
        if entry.user_agent is not None and entry.user_agent.startswith(BROWSER):
            cell.browsers += 1
        if entry.on_behalf_of is not None:
            cell.behalf += 1
        if entry.tenant is not None:
            cell.tenant, cell.tenant_at = entry.tenant, seq
        is_account = resource_type in ACCOUNT_TYPES
        if is_account and resource_id != actor_id:
            counts.of_account((resource_id, actor_id, action, resource_type, result, address or ""), seq)
        if address is not None:
            is_login = _is_login(action)
            if is_login or result != "success":
                tries = is_login and is_account and entry.actor_type == NOBODY
                counts.of_address((address, resource_id if tries else actor_id, action, result), seq)


def gives_reason(reason: str | None) -> bool:
    """Whether it says anything: a blank, or a lone dot, does not."""
    return reason is not None and any(map(str.isalnum, reason))


def _late_hour(happened: str, sealed: str) -> str | None:
    apart = datetime.fromisoformat(sealed) - datetime.fromisoformat(happened)
    return happened[:13] if abs(apart.total_seconds()) > LATE_S else None


_is_login = lru_cache(4_096)(is_login)
