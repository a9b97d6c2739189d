"""What a worker does with the records of its partitions, batch by batch, in one thread: no loop, and nothing of Faust.

A batch is handled in this order: what comes next is chosen, records become alerts and states, alerts are acknowledged,
states are acknowledged, states are in the tables; who called then commits the offsets. So a kill at any line has the
batch handled again, from the states before it, with the same alerts, byte for byte.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

import structlog

from sealstream.anomaly.watching import Watch
from sealstream.anomaly.worker_handling import Handled, Handling, Kind, Taken
from sealstream.anomaly.worker_order import Order, Ordered
from sealstream.anomaly.worker_states import States
from sealstream.anomaly.worker_writing import BatchWriter, Known, Written
from sealstream.errors import Misconfigured, Unavailable
from sealstream.kafka import KafkaSettings, Place, end_offsets
from sealstream.layout.activity import ActivityTopics
from sealstream.layout.workers import worker_group

__all__ = ["Batches", "Done"]

_Found = TypeVar("_Found")

_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.2, 5.0


class Done(NamedTuple):
    """What came of a batch. `goes_on_at`: the offsets to commit. `records`: those that came next."""

    goes_on_at: dict[Place, int]
    records: int
    handled: Handled
    written: Written


class Batches:
    """`begin` with the partitions that this worker was given, and then `do` their records as they come.

    `go_on`: whether the partitions are still this worker's, as far as it knows. `trouble`: what is waited for. `read`:
    records of states that were read back.
    """

    def __init__(
        self,
        kafka: KafkaSettings,
        prefix: str,
        watches: Mapping[Kind, Watch[Any]],
        go_on: Callable[[], bool],
        known: Known | None = None,
    ) -> None:
        topics = ActivityTopics.of(prefix)
        self.topics: Mapping[Kind, str] = {"actor": topics.activity, "address": topics.addresses}
        self.trouble = ""
        self._kafka = kafka
        self._go_on = go_on
        self._order = Order(kafka, worker_group(prefix))
        self._states = States(kafka, prefix)
        self._handling = Handling(watches, self._states.stored)
        self._writer = BatchWriter(kafka, prefix, known)
        self._places: Collection[Place] = ()
        self._ends: dict[Place, int] | None = None
        self._in_order = False  # nothing of what came was left undone since `begin`
        self._log = structlog.get_logger().bind(process="anomaly")

    @property
    def read(self) -> int:
        """Only rises."""
        return self._states.read

    def begin(self, places: Collection[Place]) -> bool:
        """Have the states of these partitions of activity, and of no others. False: they are shared out anew."""
        self._handling.forget()
        self._places, self._ends = places, None
        partitions = {
            kind: [place.partition for place in places if place.topic == topic] for kind, topic in self.topics.items()
        }
        # First where to go on, then the states: so these have seen at least what was committed.
        self._in_order = bool(self._until_done(lambda: self._order.begin(places))) and bool(
            self._until_done(lambda: self._states.take(partitions, self._go_on))
        )
        return self._in_order

    def do(self, records: Sequence[Taken]) -> Done | None:
        """None: the partitions are shared out anew, and nothing more was done than may be done again."""
        if not self._in_order:
            return None
        places = [Place(self.topics[taken.kind], taken.partition) for taken in records]
        ordered = [Ordered(place, taken.offset) for place, taken in zip(places, records, strict=True)]
        in_order = self._order.in_order(ordered)
        chosen = [taken for taken, is_next in zip(records, in_order, strict=True) if is_next]
        handled = self._handling.handle(chosen)
        written = self._until_done(lambda: self._write(handled))
        if written is None:
            self._handling.forget()
            self._in_order = False
            return None
        for state in handled.states:
            self._states.keep(state.kind, state.partition, state.key, state.value, state.counted)
        goes_on_at = {each.place: each.offset + 1 for each, is_next in zip(ordered, in_order, strict=True) if is_next}
        return Done(goes_on_at, len(chosen), handled, written)

    def at_end(self) -> dict[Place, int]:
        """The offsets to commit of quiet partitions of which everything was handled: see `Order.at_end`."""
        return (self._until_done(self._order.at_end) or {}) if self._in_order else {}

    def close(self) -> None:
        """Ends the connection."""
        self._writer.close()

    def _write(self, handled: Handled) -> Written:
        alerts = [alert for alert, _ in handled.alerts]
        return self._writer.write(alerts, self._perhaps_repeated(handled), handled.states)

    def _perhaps_repeated(self, handled: Handled) -> list[str]:
        """Alerts in records that stood there when the partitions were given: others may have found them before."""
        if not handled.alerts:
            return []
        if self._ends is None:
            self._ends = end_offsets(self._kafka, self._places)
        return [
            alert.id
            for alert, taken in handled.alerts
            if taken.offset < self._ends.get(Place(self.topics[taken.kind], taken.partition), 0)
        ]

    def _until_done(self, work: Callable[[], _Found]) -> _Found | None:
        """Again and again while Kafka does not answer; None when the partitions are shared out anew meanwhile."""
        pause_s = _FIRST_PAUSE_S
        while True:
            try:
                found = work()
            except (Unavailable, Misconfigured) as error:
                if self.trouble != str(error):
                    self._log.warning("waiting for Kafka", why=str(error))
                self.trouble = str(error)
            else:
                self.trouble = ""
                return found
            if not self._go_on():
                return None
            time.sleep(pause_s)
            pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
