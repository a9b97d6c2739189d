"""One chain on its way from entries to records: what is to be written of it, and from where it goes on. Pure.

The invariants: the records handed out of one subject's second count ever more entries, and the last of them is what a
roll-up of the whole chain gives; and the position handed out beside them names the first entry of the second that is
not over. So whoever begins there, and passes over what `told` says was written, hands out all that was not handed out
yet, and nothing twice.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import msgspec

from sealstream.anomaly.rolling import Counted, RollUp, Second
from sealstream.errors import ChainBroken
from sealstream.kafka import Record
from sealstream.layout.activity import ActivityPosition, encode_activity

__all__ = ["Following", "Outcome", "counted"]


class Outcome(NamedTuple):
    """What belongs into one transaction: records as key and value, in their order, and where to go on after them."""

    activity: Sequence[tuple[bytes, bytes]]
    addresses: Sequence[tuple[bytes, bytes]]
    position: ActivityPosition


class Following:
    """One chain's. `place`: what its entries are read from, for errors. `position`: where to begin; None: with whatever
    entry comes first.
    """

    def __init__(self, chain: str, place: str, position: ActivityPosition | None) -> None:
        self._place = place
        self._roll_up = RollUp(chain)
        self._activity: list[tuple[bytes, bytes]] = []
        self._addresses: list[tuple[bytes, bytes]] = []
        self._next = position.seq if position is not None else -1
        self._told = position.told if position is not None else -1
        self._first_seq = self._offset = -1
        self._handed_out = (self._next, self._told)
        self.second = position.second if position is not None else ""

    @property
    def next_seq(self) -> int:
        """The entry that must come next; below 0: whichever does."""
        return self._next

    @property
    def done_size(self) -> int:
        """So many entries are behind us for good: of seconds that are over, or told."""
        return max(self._first_seq, self._told + 1)

    @property
    def all_told(self) -> bool:
        """Whether nothing was taken that is not handed out."""
        return self._told == self._next - 1

    @property
    def goes_on_at(self) -> int:
        """The offset of the first entry of the second that is not over; below 0: none was taken yet."""
        return self._offset

    def take(self, records: Sequence[Record]) -> None:
        """Count entries, in the chain's order. Raises `ChainBroken`; what came before that one stands."""
        take, decode = self._roll_up.take, _decode
        for record in records:
            try:
                entry = decode(record.value or b"")
            except _UNDECODABLE as error:
                raise _no_entry(record, self._place, error) from error
            seq = entry.written.seq
            if seq != self._next:
                if self._next >= 0:
                    raise ChainBroken(
                        f"{self._place}, offset {record.offset}: entry {seq} stands there, expected entry {self._next}"
                    )
                self._next = seq
            done = take(entry)
            if done is not None:
                self._finish(done)
            if done is not None or self._first_seq < 0:
                self._begin_second(entry, record.offset)
            self._next += 1

    def tell(self) -> None:
        """Hand out the second that is not over, as far as it was taken, where it grew since."""
        so_far = self._roll_up.so_far()
        if so_far is not None and so_far.last_seq > self._told:
            self._hand_out(so_far)
            self._told = so_far.last_seq

    def handed_out(self) -> Outcome | None:
        """Everything since the last call; None: nothing was told, and no second is over since."""
        place = self._first_seq, max(self._told, self._first_seq - 1)
        if self._first_seq < 0 or place == self._handed_out:
            return None
        outcome = Outcome(
            self._activity, self._addresses, ActivityPosition(place[0], self._offset, self.second, place[1])
        )
        self._activity, self._addresses = [], []
        self._handed_out = place
        return outcome

    def _begin_second(self, entry: Counted, offset: int) -> None:
        second = f"{entry.written.sequenced_at[:19]}Z"
        if second < self.second:
            raise ChainBroken(
                f"{self._place}, offset {offset}: entry {entry.written.seq} was sealed in the second {second}, the one "
                f"before it in {self.second}: time ran backwards"
            )
        self._first_seq, self._offset, self.second = entry.written.seq, offset, second

    def _finish(self, done: Second) -> None:
        if done.last_seq > self._told:
            self._hand_out(done)

    def _hand_out(self, second: Second) -> None:
        actors, addresses = second.actors, second.addresses
        if (told := self._told) >= second.first_seq:
            actors = [each for each in actors if each.last_seq > told]
            addresses = [each for each in addresses if each.last_seq > told]
        self._activity += [(each.actor_id.encode(), encode_activity(each)) for each in actors]
        self._addresses += [(each.ip_address.encode(), encode_activity(each)) for each in addresses]


def counted(record: Record, place: str) -> Counted:
    """The entry, as far as it is counted. Raises `ChainBroken` when it is none."""
    try:
        return _decode(record.value or b"")
    except _UNDECODABLE as error:
        raise _no_entry(record, place, error) from error


def _no_entry(record: Record, place: str, error: Exception) -> ChainBroken:
    return ChainBroken(f"{place}, offset {record.offset}: not a sealed entry: {error}: {(record.value or b'')[:80]!r}")


_UNDECODABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
_decode = msgspec.json.Decoder(Counted).decode
