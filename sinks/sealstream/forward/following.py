"""What one target reads: records as messages in their order, and how far its positions may move. No sending here.

The invariant: a place's position never passes a message that was not done with. What filters and mutes pass over moves
it as well, but no sooner than what stands before it in the same place.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable, Sequence
from typing import NamedTuple

from sealstream.errors import NotCanonical
from sealstream.forward.messages import Message, alert_message, closing_message, entry_message, wanted
from sealstream.forward.targets import Target
from sealstream.kafka.several import Placed
from sealstream.layout.alerts import Alert
from sealstream.layout.forwarding import Place, Position

__all__ = ["IsMuted", "Item", "Queue", "never_muted"]

IsMuted = Callable[[Alert], bool]

_REMEMBERED = 10_000


def never_muted(alert: Alert) -> bool:
    """Where nobody mutes."""
    return False


class Item(NamedTuple):
    """One record. `message` None: it is passed over; `fault`: why it can't be a message at all (its bytes: `value`)."""

    place: Place
    offset: int
    came_ms: int
    value: bytes
    message: Message | None
    fault: str = ""

    @property
    def to_do(self) -> bool:
        return self.message is not None or bool(self.fault)


class Queue:
    """A target's read records that are not done with, in order, and the positions behind those that are.

    `alerts`: the alerts' topic. A repeat of an alert that this process has sent is passed over, as far as remembered.
    """

    def __init__(self, target: Target, alerts: str, positions: dict[Place, Position], is_muted: IsMuted) -> None:
        self._target = target
        self._alerts = alerts
        self._is_muted = is_muted
        self.positions = positions
        self._waiting: deque[Item] = deque()
        self._closings: deque[Item] = deque()
        self._sent: OrderedDict[str, None] = OrderedDict()
        self.moved = False

    def add(self, records: Sequence[Placed]) -> None:
        """Records as they were read."""
        for place, record in records:
            item = self._item(place, record.offset, record.timestamp_ms, record.value or b"")
            if place.topic != self._alerts and self._target.what == "alerts":
                self._closings.append(item)
            else:
                self._waiting.append(item)
        self._pass_over()

    @property
    def oldest_ms(self) -> int | None:
        """When the first message that waits came to Kafka; None: nothing waits."""
        heads = [queue[0].came_ms for queue in (self._waiting, self._closings) if queue]
        return min(heads, default=None)

    def __len__(self) -> int:
        return len(self._waiting) + len(self._closings)

    @property
    def closings_wait(self) -> bool:
        """Whether a closed alert is to be told."""
        return bool(self._closings)

    def next(self, most: int, most_bytes: int, *, closings: bool = False) -> list[Item]:
        """The first messages to be sent, of at most so many bytes together; one at least, where one waits.

        One that is at fault comes alone. `closings`: those instead; they are for when no alert waits that came before.
        """
        found: list[Item] = []
        size_bytes = 0
        for item in self._closings if closings else self._waiting:
            if not item.to_do:
                continue
            size_bytes += len(item.value)
            if found and (item.fault or len(found) >= most or size_bytes > most_bytes):
                break
            found.append(item)
            if item.fault:
                break
        return found

    def done(self, items: Sequence[Item]) -> None:
        """These, the first ones, were taken, or a letter of them was written."""
        left = {(item.place, item.offset) for item in items}
        for item in items:
            if item.message is not None:
                self._sent[item.message.id] = None
        while len(self._sent) > _REMEMBERED:
            self._sent.popitem(last=False)
        for queue in (self._waiting, self._closings):
            while queue and left and (not queue[0].to_do or (queue[0].place, queue[0].offset) in left):
                item = queue.popleft()
                left.discard((item.place, item.offset))
                self._advance(item)
        self._pass_over()

    def forget(self) -> None:
        """What waits will be read again."""
        self._waiting.clear()
        self._closings.clear()

    def skip(self, place: Place, offset: int) -> None:
        """Go on from there: what lay before is gone from the topic."""
        self.positions[place] = Position(offset, self.positions[place].topic_id, self.positions[place].seq)
        self.moved = True

    def caught_up(self, place: Place, offset: int) -> None:
        """Nothing waits, and all before `offset` there was read: behind the last record stand markers of Kafka."""
        before = self.positions[place]
        if offset > before.next:
            self.positions[place] = Position(offset, before.topic_id, before.seq)
            self.moved = True

    def _pass_over(self) -> None:
        for queue in (self._waiting, self._closings):
            while queue and not queue[0].to_do:
                self._advance(queue.popleft())

    def _advance(self, item: Item) -> None:
        before = self.positions[item.place]
        seq = before.seq
        if item.message is not None and item.message.entry is not None:
            seq = item.message.entry.written.seq
        self.positions[item.place] = Position(item.offset + 1, before.topic_id, seq)
        self.moved = True

    def _item(self, place: Place, offset: int, came_ms: int, value: bytes) -> Item:
        message, fault = None, ""
        try:
            if place.topic == self._alerts:
                message = alert_message(value, came_ms)
            elif self._target.what == "entries":
                message = entry_message(value, came_ms)
            else:
                message = closing_message(value, came_ms)
        except NotCanonical as error:
            fault = str(error)
        if message is not None and not self._passes(message):
            message = None
        return Item(place, offset, came_ms, value, message, fault)

    def _passes(self, message: Message) -> bool:
        if not wanted(self._target, message):
            return False
        if message.alert is None:
            return True
        waiting = any(item.message is not None and item.message.id == message.id for item in self._waiting)
        return not (waiting or message.id in self._sent or self._is_muted(message.alert))
