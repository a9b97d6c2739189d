"""Nothing is left out: each partition's records come one after another, from the committed offset on.

When partitions are shared out anew, Faust can drop records that it has read and go on with those behind them. A state
that had seen the later ones would take the earlier for repeats, for good. Markers of transactions make small gaps, and
aborted records larger ones; so where a gap is larger than one marker, the topic itself is asked what stands there.
"""

from __future__ import annotations

from collections.abc import Sequence

from sealstream.errors import Unavailable
from sealstream.kafka import KafkaSettings, Place, committed_offsets, first_record

__all__ = ["Order"]

_MARKER = 1


class Order:
    """What comes next in each partition that this worker has."""

    def __init__(self, kafka: KafkaSettings, group: str) -> None:
        self._kafka = kafka
        self._group = group
        self._next: dict[Place, int] | None = None

    def begin(self) -> None:
        """Partitions were shared out: each begins at its committed offset."""
        self._next = None

    def check(self, records: Sequence[tuple[Place, int]]) -> None:
        """Each record's place and offset, in the order in which they came. Some may come again.

        Raises `Unavailable` when a record was left out: begin anew then, at the committed offsets. `InputLost`.
        """
        if self._next is None:
            self._next = committed_offsets(self._kafka, self._group)
        for place, offset in records:
            expected = self._next.get(place, offset)
            if offset > expected + _MARKER:
                self._ask(place, expected, offset)
            self._next[place] = max(expected, offset + 1)

    def _ask(self, place: Place, expected: int, offset: int) -> None:
        found = first_record(self._kafka, place, expected)
        if found is not None and found < offset:
            raise Unavailable(
                f"{place.topic}, partition {place.partition}: Faust has left out the records from offset {found} to "
                f"{offset - 1}: they are read again"
            )
