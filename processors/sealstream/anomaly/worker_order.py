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

from sealstream.anomaly.worker_beginning import lost_places
from sealstream.errors import Unavailable
from sealstream.kafka import KafkaSettings, Place, committed_offsets, end_offsets, first_offsets, first_record

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
        self.looked_at = -1  # what was expected when it was last asked for its end


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

    def at_end(self) -> dict[Place, int]:
        """The ends of partitions that hold no record which has not come: of those where none came since the last call.

        Behind the last record stand its marker and perhaps aborted records. An offset that is committed before these
        is gone with them when their time is over, and then nobody can say whether a record was. Raises `Unavailable`.
        """
        quiet = [place for place, each in self._partitions.items() if each.looked_at == each.expected]
        for each in self._partitions.values():
            each.looked_at = each.expected
        if not quiet:
            return {}
        expected = {place: self._partitions[place].expected for place in quiet}
        firsts, ends = first_offsets(self._kafka, quiet), end_offsets(self._kafka, quiet)
        lost = lost_places(expected, firsts, ends)  # for the watchdog to tell
        found = {
            place: ends[place]
            for place in quiet
            if place not in lost
            and expected[place] < ends[place]
            and first_record(self._kafka, place, max(expected[place], firsts[place])) is None
        }
        self._partitions |= {place: _Partition(end) for place, end in found.items()}
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
