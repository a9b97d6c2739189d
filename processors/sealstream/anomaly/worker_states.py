"""The tables of actors and addresses: each subject's newest state, in memory, read back from its state topic.

The invariant: of two states of a subject the one that counts more is kept, in whatever order they come. A worker that
was taken for dead, and writes a state once more after another has gone on, changes nothing. Who stores a state has it
written and acknowledged first, and then calls `keep`; a crash between leaves what the next reading finds anyway.

Read here and not by Faust's own tables, which take a tenth of this speed (docs/decisions/0260). A partition that stays
is read on from where it was read to.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

from sealstream.anomaly.worker_handling import Kind
from sealstream.errors import InputLost
from sealstream.kafka import CommittedReader, KafkaSettings, Place, end_offsets, first_offsets
from sealstream.layout.workers import WorkerTopics, parse_counted

__all__ = ["States"]

_BATCH = 5_000
_WAIT_S = 0.2


class _State(NamedTuple):
    partition: int
    counted: int
    value: bytes


class States:
    """`read` counts the records that were read back, and only rises. Two threads may use it, one of them `take`."""

    def __init__(self, kafka: KafkaSettings, prefix: str) -> None:
        topics = WorkerTopics.of(prefix)
        self._kafka = kafka
        self._topics: Mapping[Kind, str] = {"actor": topics.actors, "address": topics.addresses}
        self._kept: dict[Kind, dict[bytes, _State]] = {kind: {} for kind in self._topics}
        self._read_to: dict[Place, int] = {}
        self.read = 0

    def stored(self, kind: Kind, key: bytes) -> bytes | None:
        """The state, None for a subject never seen."""
        state = self._kept[kind].get(key)
        return None if state is None else state.value

    def keep(self, kind: Kind, partition: int, key: bytes, value: bytes, counted: int) -> None:
        """It is in the topic: from now on it is the state, unless a newer one is known."""
        before = self._kept[kind].get(key)
        if before is None or counted >= before.counted:
            self._kept[kind][key] = _State(partition, counted, value)

    def take(self, partitions: Mapping[Kind, Iterable[int]], go_on: Callable[[], bool]) -> bool:
        """Hold the states of these partitions as the topics have them now, and no others.

        False when `go_on` said no in the middle: what was read stays. Raises `Unavailable`.
        """
        ours = {kind: set(partitions.get(kind, ())) for kind in self._topics}
        for kind, kept in self._kept.items():
            for key in [key for key, state in kept.items() if state.partition not in ours[kind]]:
                del kept[key]
        places = {Place(self._topics[kind], number): kind for kind, numbers in ours.items() for number in numbers}
        self._read_to = {place: offset for place, offset in self._read_to.items() if place in places}
        firsts, ends = first_offsets(self._kafka, places), end_offsets(self._kafka, places)
        return all(self._read(kind, place, firsts[place], ends[place], go_on) for place, kind in places.items())

    def _read(self, kind: Kind, place: Place, first: int, end: int, go_on: Callable[[], bool]) -> bool:
        offset = max(self._read_to.get(place, first), first)
        if offset >= end:
            return go_on()
        try:
            with CommittedReader(
                self._kafka, place.topic, offset, partition=place.partition, fetch_wait_s=0.01
            ) as reader:
                while reader.position() < end:
                    if not go_on():
                        return False
                    for record in reader.read(_BATCH, _WAIT_S):
                        self.read += 1
                        if record.key is not None and record.value is not None:
                            self.keep(kind, place.partition, record.key, record.value, parse_counted(record.headers))
                    self._read_to[place] = reader.position()
        except InputLost:  # trimmed while we read: what is newer stands behind
            self._read_to.pop(place, None)
            return self._read(kind, place, first_offsets(self._kafka, [place])[place], end, go_on)
        return True
