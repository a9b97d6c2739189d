"""Each partition's records one after another, from the committed offset on: none left out, none twice.

When partitions are shared out anew, Faust can give records that it had fetched before, and only then those that come
next. A state that has seen the later ones would take the earlier for repeats, for good. Markers of transactions make
gaps of one, aborted records larger ones; so at a partition's first record, and wherever more than one offset is
missing, the topic itself is asked what stands there.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Sequence
from typing import NamedTuple

from sealstream.errors import Unavailable
from sealstream.kafka import KafkaSettings, Place, committed_offsets, first_record

__all__ = ["Order", "Ordered"]

_WAIT_S = 15.0


class Ordered(NamedTuple):
    """Where a record stands."""

    place: Place
    offset: int


class _Partition:
    def __init__(self, expected: int) -> None:
        self.expected = expected
        self.gap = 0  # how many offsets may be missing without a question: nothing at first, then a marker
        self.waits_since: float | None = None


class Order:
    """What comes next in each partition: `begin` it whenever they were shared out. For one thread at a time."""

    def __init__(self, kafka: KafkaSettings, group: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._kafka = kafka
        self._group = group
        self._clock = clock
        self._partitions: dict[Place, _Partition] = {}

    def begin(self, places: Collection[Place]) -> bool:
        """These partitions were given: each begins at its committed offset, as of now. Raises `Unavailable`."""
        committed = committed_offsets(self._kafka, self._group, places)
        self._partitions = {place: _Partition(offset) for place, offset in committed.items()}
        return True

    def in_order(self, records: Sequence[Ordered]) -> list[bool]:
        """Of records in the order in which they came, which are the ones that come next in their partitions.

        The others came before, or come again. Raises `Unavailable` when what comes next stays away, and `InputLost`.
        """
        found = [self._is_next(*record) for record in records]
        for place, partition in self._partitions.items():
            if partition.waits_since is not None and self._clock() - partition.waits_since > _WAIT_S:
                raise Unavailable(
                    f"{place.topic}, partition {place.partition}: Faust has left out the record at offset "
                    f"{partition.expected}: the worker begins anew"
                )
        return found

    def _is_next(self, place: Place, offset: int) -> bool:
        partition = self._partitions.setdefault(place, _Partition(offset))
        if offset < partition.expected:
            return False
        if offset > partition.expected + partition.gap and self._is_left_out(place, partition, offset):
            return False
        partition.expected, partition.gap, partition.waits_since = offset + 1, 1, None
        return True

    def _is_left_out(self, place: Place, partition: _Partition, offset: int) -> bool:
        if partition.waits_since is not None:
            return True
        found = first_record(self._kafka, place, partition.expected)
        if found is None or found >= offset:
            return False
        partition.expected, partition.gap, partition.waits_since = found, 0, self._clock()
        return True
