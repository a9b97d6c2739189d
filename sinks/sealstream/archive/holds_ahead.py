"""Legal holds that the chain has sealed behind what is archived: they count for trimming at once.

A manifest carries the holds that stood at its end; a hold is in force from when it is sealed, which may be a segment's
time earlier. Only what sets a hold is heard here: one that lifts counts when the archive has it, as for its objects.
Nothing is kept elsewhere: a crash means that the next life hears the same entries again.
"""

from __future__ import annotations

from sealstream.archive.holding import Heard, hear_holds
from sealstream.kafka import KafkaSettings, end_offset, read_partition
from sealstream.layout.holds import Hold

__all__ = ["HoldsAhead"]


class HoldsAhead:
    """What `audit.chain.C` says of holds from an offset to its end; each entry is heard once."""

    def __init__(self, kafka: KafkaSettings, topic: str) -> None:
        self._kafka = kafka
        self._topic = topic
        self._heard_to = 0
        self._set: list[tuple[int, Hold]] = []

    def standing(self, archived: tuple[Hold, ...], offset: int) -> tuple[Hold, ...]:
        """Those that stand where the archive ends, at `offset` in the topic, and each that was set behind it.

        Raises `Unavailable` when Kafka can't be asked: then nobody may trim.
        """
        self._set = [(at, hold) for at, hold in self._set if at >= offset]  # the archive knows of the others
        begin, end = max(self._heard_to, offset), end_offset(self._kafka, self._topic, committed=True)
        for records in read_partition(self._kafka, self._topic, 0, begin, end):
            for record in records:
                found = hear_holds(Heard((), None), [record.value or b""]).holds
                self._set += [(record.offset, hold) for hold in found]
        self._heard_to = max(begin, end)
        known = {hold.id for hold in archived}
        return (*archived, *(hold for _, hold in self._set if hold.id not in known))
