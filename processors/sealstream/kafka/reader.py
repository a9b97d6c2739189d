"""Reads one partition of a topic as committed: records of open and aborted transactions are never seen.

The partition is assigned, not subscribed; no group is joined and no offset committed: where to begin is the caller's
knowledge. The invariant: records come in the order of their offsets, each once, and `position()` is the offset that
comes next; where records were passed over (markers, aborted records) it moves on as soon as the end is reached. A
position that no longer exists raises, and never jumps. A crash leaves nothing behind.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from types import TracebackType
from typing import NamedTuple

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from sealstream.errors import InputLost, SealstreamError, Unavailable
from sealstream.kafka.admin import describe
from sealstream.kafka.offsets import end_offset
from sealstream.kafka.settings import ANSWER_S, KafkaSettings, client_config, error_of, translated

__all__ = ["CommittedReader", "Record"]

_LOST = frozenset({KafkaError._AUTO_OFFSET_RESET, KafkaError.OFFSET_OUT_OF_RANGE, KafkaError._LOG_TRUNCATION})
_STILL_S = 5.0
_LOOK_S = 1.0
_LONGEST_WAIT_S = 0.5  # inside the driver no signal is heard
_MOST_AT_ONCE = 100_000
_new = tuple.__new__  # calling the NamedTuple costs as much again as all that is asked of a message


class Record(NamedTuple):
    """One record. `timestamp_ms`: the topic's kind, LogAppendTime where the broker's clock counts."""

    offset: int
    timestamp_ms: int
    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[str, bytes]] = ()


class CommittedReader:
    """Reads `topic` from `offset` on. Raises `Misconfigured` when the topic does not exist.

    `partition`: most topics have but one. `fetch_wait_s`: how long the broker holds a question when there is nothing
    new. It delays nothing that comes, only the moment at which the end is known and a `seek` from the end. `ahead_kb`:
    how much is fetched before it is asked for, roughly; little for who reads single records here and there.
    """

    def __init__(
        self,
        kafka: KafkaSettings,
        topic: str,
        offset: int,
        *,
        partition: int = 0,
        fetch_wait_s: float = 0.1,
        ahead_kb: int = 32_768,
    ) -> None:
        self._kafka = kafka
        self._topic = topic
        self._partition = partition
        self._position = offset
        self._silent = False
        self._moved_at = time.monotonic()
        self._behind_at = -1
        self._failure: SealstreamError | None = None
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
                        "fetch.queue.backoff.ms": 2,  # the default, 1 s, halves a loop that keeps up
                        "queued.max.messages.kbytes": ahead_kb,
                        "fetch.message.max.bytes": min(ahead_kb, 1_024) * 1_024,
                        "error_cb": self._on_error,
                    },
                )
            )
        except KafkaException as error:
            raise translated(error_of(error), kafka, f"reading {topic}", topic) from error
        try:
            self._check_there()
            self.seek(offset)
        except BaseException:
            self.close()
            raise

    def read(self, limit: int, timeout_s: float) -> list[Record]:
        """Up to `limit` records, as soon as there are any; none when none came in `timeout_s`.

        Raises `InputLost` when the position no longer exists, `Unavailable` when no broker answers.
        """
        limit = min(limit, _MOST_AT_ONCE)
        records = self._take(limit, 0.0)
        if records or timeout_s <= 0:
            return records
        deadline = time.monotonic() + timeout_s
        while (left_s := deadline - time.monotonic()) > 0:
            records = self._take(1, min(left_s, _LONGEST_WAIT_S))
            if records:
                return records + self._take(limit - 1, 0.0) if limit > 1 else records
        return records

    def position(self) -> int:
        """The offset that comes next."""
        return self._position

    def seek(self, offset: int) -> None:
        """Go on from `offset`."""
        self._failure = None
        self._position = offset
        self._moved_at = time.monotonic()
        try:
            # Assigning again also drops what was fetched, and unlike the driver's seek it works before the first fetch.
            self._consumer.assign([TopicPartition(self._topic, self._partition, offset)])
        except KafkaException as error:
            raise translated(error_of(error), self._kafka, f"reading {self._topic}", self._topic) from error

    def close(self) -> None:
        """Give the connections back. Can be called twice."""
        if not self._closed:
            self._closed = True
            self._consumer.close()

    def __enter__(self) -> CommittedReader:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, raised: BaseException | None, tb: TracebackType | None
    ) -> None:
        self.close()

    def _take(self, limit: int, timeout_s: float) -> list[Record]:
        """What the driver has, waiting up to `timeout_s` for all of `limit` (so wait for one, and take the rest)."""
        if self._failure is not None:
            raise self._failure
        if limit <= 0:
            return []
        try:
            messages: list[Message] = self._consumer.consume(limit, timeout_s)
        except KafkaException as error:
            raise translated(error_of(error), self._kafka, f"reading {self._topic}", self._topic) from error
        if not messages:
            if self._silent:
                self._check_there()
            if time.monotonic() - self._moved_at > _STILL_S:
                self._check_moving()
            return []
        self._silent = False
        self._moved_at = time.monotonic()
        records = [
            _new(
                Record,
                (message.offset(), message.timestamp()[1], message.key(), message.value(), message.headers() or ()),
            )
            for message in messages
            if message.error() is None
        ]
        if records:
            self._position = records[-1].offset + 1
        if len(records) < len(messages):
            self._hear([message for message in messages if message.error() is not None])
            if self._failure is not None and not records:
                raise self._failure
        return records

    def _hear(self, events: list[Message]) -> None:
        """The end of the partition, or a failure, which is raised once the records before it were given."""
        for event in events:
            error = event.error()
            if error.code() == KafkaError._PARTITION_EOF:
                self._position = max(self._position, event.offset())
            elif error.code() in _LOST:
                self._failure = self._lost(error)
            elif error.code() != KafkaError.GROUP_AUTHORIZATION_FAILED:  # no group is used
                self._failure = translated(error, self._kafka, f"reading {self._topic}", self._topic)

    def _lost(self, error: KafkaError) -> SealstreamError:
        try:
            start, end = self._consumer.get_watermark_offsets(TopicPartition(self._topic, self._partition), ANSWER_S)
        except (KafkaException, TypeError) as unanswered:  # TypeError: the driver gives None when time is up
            return Unavailable(f"reading {self._topic}: Kafka at {self._kafka.bootstrap}: {error.str()}; {unanswered}")
        return InputLost(
            f"{self._topic} no longer has the offset {self._position}, which comes next: it begins at {start} and ends "
            f"at {end} (trimmed, cut off or recreated)"
        )

    def _on_error(self, error: KafkaError) -> None:
        """The driver reconnects by itself and says nothing to who reads: ask the broker when nothing comes."""
        self._silent = True

    def _check_moving(self) -> None:
        """Nothing has come for a while: raises `Unavailable` when there is something, and not for the first time.

        The driver can stop fetching for good when leaders change (docs/decisions/0191).
        """
        self._moved_at = time.monotonic()
        try:
            _start, end = self._consumer.get_watermark_offsets(TopicPartition(self._topic, self._partition), _LOOK_S)
        except (KafkaException, TypeError):  # TypeError: the driver gives None when time is up
            # asked by others, who know where its leader is
            end = end_offset(self._kafka, self._topic, committed=True, partition=self._partition)
        if end <= self._position:
            self._behind_at = -1
        elif self._behind_at != self._position:
            self._behind_at = self._position
        elif end_offset(self._kafka, self._topic, committed=True, partition=self._partition) > self._position:
            raise Unavailable(
                f"reading {self._topic}: Kafka's driver stands still at offset {self._position}, though the topic goes "
                "on: it is opened anew"
            )

    def _check_there(self) -> None:
        describe(self._kafka, [self._topic])
        self._silent = False
