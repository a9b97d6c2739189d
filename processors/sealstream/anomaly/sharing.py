"""The subjects shared out among processes, each of which rolls up and watches its own, in memory. Pure.

The invariant: what one share's processes say of a subject is what a single one would say; all shares together say the
same alerts as the workers do from the topics. Nothing is stored; who stops begins again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from typing import Any, NamedTuple
from zlib import crc32

from sealstream.anomaly.detecting import Detector
from sealstream.anomaly.rolling import Counted, RollUp, Second
from sealstream.anomaly.runs import Run
from sealstream.anomaly.watching import Subject, Watch
from sealstream.layout.activity import ACCOUNT_TYPES, Activity, AddressActivity, is_login
from sealstream.layout.alerts import Alert

__all__ = ["Share", "ShareRollUp", "ShareWatch"]


class Share(NamedTuple):
    """The subjects whose hash says `number` of `of`."""

    number: int = 0
    of: int = 1

    def has(self, subject: str) -> bool:
        """Whether an actor or an address is in it."""
        return self.of == 1 or crc32(subject.encode(errors="surrogatepass")) % self.of == self.number

    def knowing(self) -> Callable[[str], bool]:
        """The same as `has`, which remembers whom it was asked about."""
        if self.of == 1:
            return lambda _subject: True
        return lru_cache(100_000)(self.has)


class ShareRollUp:
    """One chain's seconds, with the records of a share alone. Give it all entries, in the order of their seqs."""

    def __init__(self, chain: str, share: Share) -> None:
        self._roll_up = RollUp(chain)
        self._share = share
        self._known: dict[str, bool] = {}

    def take(self, entry: Counted) -> Second | None:
        """As `RollUp.take`."""
        if self._share.of == 1 or self._concerned(entry):
            done = self._roll_up.take(entry)
            return None if done is None else self._own(done)
        return None

    def so_far(self) -> Second | None:
        """As `RollUp.so_far`."""
        last = self._roll_up.so_far()
        return None if last is None else self._own(last)

    def _concerned(self, entry: Counted) -> bool:
        if entry.written.kind != "event":
            return False
        if self._has(entry.actor_id):
            return True
        if entry.resource_type in ACCOUNT_TYPES and self._has(entry.resource_id):
            return True
        address = entry.ip_address
        return address is not None and (entry.result != "success" or is_login(entry.action)) and self._has(address)

    def _has(self, subject: str) -> bool:
        known = self._known.get(subject)
        if known is None:
            if len(self._known) > 100_000:
                self._known.clear()
            known = self._known[subject] = self._share.has(subject)
        return known

    def _own(self, second: Second) -> Second:
        if self._share.of == 1:
            return second
        actors = [record for record in second.actors if self._has(record.actor_id)]
        addresses = [record for record in second.addresses if self._has(record.ip_address)]
        return second._replace(actors=actors, addresses=addresses)


class ShareWatch:
    """What is known of a share's subjects, in memory: `actors`, `addresses`. Give it seconds in the order of time."""

    def __init__(self, detectors: Iterable[Detector[Any, Any]]) -> None:
        chosen = list(detectors)
        self.of_actors = Watch([each for each in chosen if each.subject == "actor"], Activity)
        self.of_addresses = Watch([each for each in chosen if each.subject == "address"], AddressActivity)
        self.actors: dict[str, Subject[Activity]] = {}
        self.addresses: dict[str, Subject[AddressActivity]] = {}

    def see(self, second: Second) -> list[Alert]:
        """What follows from one second of one chain."""
        alerts: list[Alert] = []
        for record in second.actors:
            subject = self.actors.get(record.actor_id)
            if subject is None:
                subject = self.actors[record.actor_id] = Subject()
            alerts += self.of_actors.see(subject, record)
        for address in second.addresses:
            place = self.addresses.get(address.ip_address)
            if place is None:
                place = self.addresses[address.ip_address] = Subject()
            alerts += self.of_addresses.see(place, address)
        return alerts

    def see_actor(self, actor_id: str, runs: Sequence[Run]) -> list[Alert]:
        """What follows from an actor's next runs, those of one chain after those of another."""
        subject = self.actors.get(actor_id)
        if subject is None:
            subject = self.actors[actor_id] = Subject()
        return self.of_actors.see_runs(subject, runs)

    def see_address(self, address: str, records: list[AddressActivity]) -> list[Alert]:
        """What follows from an address's next records."""
        place = self.addresses.get(address)
        if place is None:
            place = self.addresses[address] = Subject()
        return self.of_addresses.see_all(place, records)
