"""Reads several partitions, of several topics, as committed, with one connection: for who follows many at once.

As `CommittedReader` does for one: partitions are assigned, no group is joined, and where to begin is the caller's
knowledge. The invariant: a partition's records come in the order of their offsets, each once; between partitions there
is no order. A position that no longer exists raises `PlaceLost`, and never jumps. A crash leaves nothing behind.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from types import TracebackType
from typing import NamedTuple

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from sealstream.errors import InputLost, SealstreamError, Unavailable
from sealstream.kafka.offsets import bounds
from sealstream.kafka.reader import Record
from sealstream.kafka.settings import ANSWER_S, KafkaSettings, client_config, error_of, translated
from sealstream.layout.forwarding import Place

__all__ = ["PlaceLost", "Placed", "SeveralReader"]

_LOST = frozenset({KafkaError._AUTO_OFFSET_RESET, KafkaError.OFFSET_OUT_OF_RANGE, KafkaError._LOG_TRUNCATION})
_STILL_S = 5.0
_LOOK_S = 2.0
_LONGEST_WAIT_S = 0.5  # inside the driver no signal is heard
_MOST_AT_ONCE = 10_000


class Placed(NamedTuple):
    """A record and where it stands."""

    place: Place
    record: Record


class PlaceLost(InputLost):
    """One partition no longer has the offset that comes next. `begins`, `ends`: what it has."""

    def __init__(self, place: Place, offset: int, begins: int, ends: int) -> None:
        super().__init__(
            f"{place} no longer has the offset {offset}, which comes next: it begins at {begins} and ends at {ends} "
            "(trimmed, cut off or recreated)"
        )
        self.place, self.offset, self.begins, self.ends = place, offset, begins, ends


class SeveralReader:
    """Reads each place from its offset on. The topics exist: whoever gives the places has asked for them.

    `fetch_wait_s`: how long the broker holds a question when there is nothing new; it delays nothing that comes.
    `ahead_kb`: how much is fetched before it is asked for, roughly.
    """

    def __init__(
        self,
        kafka: KafkaSettings,
        offsets: Mapping[Place, int],
        *,
        fetch_wait_s: float = 0.1,
        ahead_kb: int = 8_192,
    ) -> None:
        self._kafka = kafka
        self._positions = dict(offsets)
        self._doing = f"reading {', '.join(sorted({place.topic for place in offsets}))}"
        self._failure: SealstreamError | None = None
        self._moved_at = time.monotonic()
        self._behind_at: dict[Place, int] = {}
        self._closed = False
        try:
            self._consumer = Consumer(
                client_config(
                    kafka,
                    {
                        "group.id": "sealstream-reader",  # the driver wants one; it is never joined
                        "isolation.level": "read_committed",
                        "auto.offset.reset": "error",
                        "enable.auto.commit": False,
                        "enable.auto.offset.store": False,
                        "enable.partition.eof": True,
                        "fetch.wait.max.ms": max(1, int(fetch_wait_s * 1000)),
                        "socket.timeout.ms": int(ANSWER_S * 1000),
                        "fetch.queue.backoff.ms": 2,
                        "queued.max.messages.kbytes": ahead_kb,
                        "fetch.message.max.bytes": min(ahead_kb, 1_024) * 1_024,
                    },
                )
            )
            self._consumer.assign([TopicPartition(*place, offset) for place, offset in offsets.items()])
        except KafkaException as error:
            raise translated(error_of(error), kafka, self._doing) from error

    def read(self, limit: int, timeout_s: float) -> list[Placed]:
        """Up to `limit` records, as soon as there are any; none when none came in `timeout_s`.

        Raises `PlaceLost` when a position no longer exists, `Unavailable` when no broker answers.
        """
        limit = min(limit, _MOST_AT_ONCE)
        records = self._take(limit, 0.0)
        deadline = time.monotonic() + timeout_s
        while not records and (left_s := deadline - time.monotonic()) > 0:
            records = self._take(1, min(left_s, _LONGEST_WAIT_S))
            if records and limit > 1:
                records += self._take(limit - 1, 0.0)
        return records

    def position(self, place: Place) -> int:
        """The offset that comes next there."""
        return self._positions[place]

    def ends(self) -> dict[Place, int]:
        """Where each partition ends now, as far as it is committed. Raises `Unavailable` when no broker answers."""
        return {place: self._bounds(place)[1] for place in self._positions}

    def close(self) -> None:
        """Give the connections back. Can be called twice."""
        if not self._closed:
            self._closed = True
            self._consumer.close()

    def __enter__(self) -> SeveralReader:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, raised: BaseException | None, tb: TracebackType | None
    ) -> None:
        self.close()

    def _take(self, limit: int, timeout_s: float) -> list[Placed]:
        if self._failure is not None:
            raise self._failure
        try:
            messages: list[Message] = self._consumer.consume(limit, timeout_s)
        except KafkaException as error:
            raise translated(error_of(error), self._kafka, self._doing) from error
        if not messages:
            if time.monotonic() - self._moved_at > _STILL_S:
                self._check_moving()
            return []
        self._moved_at = time.monotonic()
        found = []
        for message in messages:
            place = Place(message.topic(), message.partition())
            if message.error() is not None:
                self._hear(place, message)
                continue
            offset, timestamp_ms = message.offset(), message.timestamp()[1]
            record = Record(offset, timestamp_ms, message.key(), message.value(), message.headers() or ())
            found.append(Placed(place, record))
            self._positions[place] = offset + 1
        if self._failure is not None and not found:
            raise self._failure
        return found

    def _hear(self, place: Place, event: Message) -> None:
        """The end of a partition, or a failure, which is raised once the records before it were given."""
        error = event.error()
        if error.code() == KafkaError._PARTITION_EOF:
            self._positions[place] = max(self._positions[place], event.offset())
        elif error.code() in _LOST:
            try:
                self._failure = PlaceLost(place, self._positions[place], *self._bounds(place))
            except Unavailable as unanswered:
                self._failure = unanswered
        elif error.code() != KafkaError.GROUP_AUTHORIZATION_FAILED:  # no group is used
            self._failure = translated(error, self._kafka, self._doing, place.topic)

    def _bounds(self, place: Place) -> tuple[int, int]:
        """Where the partition begins, and where it ends as far as it is committed. Raises `Unavailable`."""
        try:
            start, end = self._consumer.get_watermark_offsets(TopicPartition(*place), _LOOK_S)
        except KafkaException as error:
            raise translated(error_of(error), self._kafka, f"asking for the end of {place}", place.topic) from error
        except TypeError as error:  # the driver gives None when time is up
            raise Unavailable(f"{place}: Kafka at {self._kafka.bootstrap} did not say where it ends") from error
        return start, end

    def _check_moving(self) -> None:
        """Nothing has come for a while: raises `Unavailable` when there is something, and not for the first time.

        The driver can stop fetching for good when leaders change (docs/decisions/0191).
        """
        self._moved_at = time.monotonic()
        try:
            ends = self.ends()
        except Unavailable:
            ends = {place: end for place, (_, end) in bounds(self._kafka, list(self._positions)).items()}
        behind = {place: self._positions[place] for place, end in ends.items() if end > self._positions[place]}
        stuck = [place for place, position in behind.items() if self._behind_at.get(place) == position]
        self._behind_at = behind
        if stuck:
            raise Unavailable(
                f"{self._doing}: Kafka's driver stands still at offset {behind[stuck[0]]} of {stuck[0]}, though it "
                "goes on: it is opened anew"
            )
