"""Writes in transactions under one transactional id; whoever opens a producer with that id fences the one before.

The lessons of the protocol, in one place: `open` waits until the last transaction of the owner before us is wholly
committed or aborted, so positions and tails are read after it; a retriable error means the same call again; anything
else, and above all a commit whose answer did not come, means `Fenced`: close this object, build another, read the tail.
An error can't be waited out inside a transaction, since nobody knows what of it the broker has. Offsets of a consumer
group are no part of it: the driver's call for these can wait for ever (docs/decisions/0190).

A crash between `begin` and `commit` leaves an open transaction that no reader sees; the next `open` aborts it. A crash
inside `commit` leaves it wholly there or not at all (or torn, which only reading back can tell).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from sealstream.errors import Fenced, SealstreamError, Unavailable
from sealstream.kafka.admin import check_reachable
from sealstream.kafka.settings import KafkaSettings, client_config, error_of, translated

__all__ = ["TransactionalProducer"]

_OPEN_S = 30.0
_ABORT_S = 5.0
_PAUSE_S = 0.05
_OF_KEY = -1  # the driver's word for: choose by the key


class TransactionalProducer:
    """`open`, then `begin`, `produce`..., `commit`, again and again; after any error `close` and build another.

    `timeout_s`: how long one transaction may last; then the broker aborts it.
    """

    def __init__(self, kafka: KafkaSettings, transactional_id: str, *, timeout_s: float = 30.0) -> None:
        self._kafka = kafka
        self._id = transactional_id
        self._timeout_s = timeout_s
        self._begun = False
        self._failed = False
        # By topic: the newest record, held back so that the last one of a transaction is known as it is sent. Only the
        # first and the last need a delivery report; one for each record would cost more than sending it.
        self._held: dict[str, tuple[bytes | None, bytes | None, Sequence[tuple[str, bytes]]] | None] = {}
        self._reports: dict[str, list[tuple[int, int]]] = {}
        try:
            self._producer: Producer | None = Producer(
                client_config(
                    kafka,
                    {
                        "transactional.id": transactional_id,
                        "transaction.timeout.ms": int(timeout_s * 1000),
                        "acks": "all",
                        "max.in.flight.requests.per.connection": 4,  # with 5 the driver spins (docs/decisions/0193)
                        "compression.type": "lz4",
                        "partitioner": "murmur2_random",  # of `spread`: Java's, and so Faust's and aiokafka's
                        "linger.ms": 100,  # committing sends at once what waits; until then, fuller batches
                        "batch.num.messages": 10_000,
                        "queue.buffering.max.messages": 100_000,
                        "queue.buffering.max.kbytes": 131_072,
                        "topic.metadata.propagation.max.ms": 5_000,
                    },
                )
            )
        except KafkaException as error:
            raise translated(error_of(error), kafka, f"opening the producer {transactional_id}") from error

    def open(self) -> None:
        """Fence the owner before us and wait for its last transaction's end. Raises `Unavailable`."""
        producer = self._alive()
        doing = f"opening the producer {self._id}"
        check_reachable(self._kafka, doing)  # an absent broker is told now, not after the longer wait below
        deadline = time.monotonic() + _OPEN_S
        while True:
            try:
                producer.init_transactions(max(0.1, deadline - time.monotonic()))
            except KafkaException as raised:
                error = error_of(raised)
                if error.retriable() and time.monotonic() < deadline:
                    time.sleep(_PAUSE_S)
                    continue
                raise translated(error, self._kafka, doing) from raised
            return

    def begin(self) -> None:
        """Begin a transaction."""
        self._held.clear()
        self._reports.clear()
        self._call("beginning a transaction", lambda producer: producer.begin_transaction())
        self._begun = True

    def produce(
        self, topic: str, value: bytes | None, key: bytes | None = None, headers: Sequence[tuple[str, bytes]] = ()
    ) -> None:
        """Add a record to the transaction; records of a topic keep their order. Raises `Fenced`."""
        held = self._held
        if topic in held:
            before = held[topic]
            held[topic] = (value, key, headers)
            if before is not None:
                self._send(topic, *before)
        else:
            held[topic] = None
            self._send(topic, value, key, headers, self._on_delivery)

    def produce_all(self, topic: str, records: Sequence[tuple[bytes | None, bytes | None]]) -> None:
        """Add records, as key and value, in their order; the same as `produce` for each, at half the cost."""
        if not records:
            return
        self.produce(topic, records[0][1], records[0][0])
        if len(records) == 1:
            return
        if (before := self._held[topic]) is not None:
            self._send(topic, *before)
        send, last = self._alive().produce, len(records) - 1
        for key, value in records[1:last]:
            try:
                send(topic, value, key, 0)
            except (BufferError, KafkaException):
                self._send(topic, value, key, ())
        self._held[topic] = (records[last][1], records[last][0], ())

    def spread(self, topic: str, records: Sequence[tuple[bytes, bytes]]) -> None:
        """Add records, as key and value, to a topic of several partitions: each to its key's, by murmur2.

        So Java's producer, Faust and aiokafka choose too. Records of one key keep their order. `delivered` says nothing
        of them; that they are there is known when `commit` has returned.
        """
        send = self._alive().produce
        for key, value in records:
            try:
                send(topic, value, key)
            except (BufferError, KafkaException):
                self._send(topic, value, key, (), partition=_OF_KEY)

    def flush(self) -> None:
        """Return when every record of the transaction so far is acknowledged. Raises `Fenced` when one is not."""
        self._send_held()
        producer = self._alive()
        try:
            left = producer.flush(self._timeout_s)
        except KafkaException as raised:
            self._failed = True
            raise self._translated(error_of(raised), "waiting for records") from raised
        except SystemError as raised:
            raise self._died(raised) from raised
        if left:
            raise self._failure(f"not all records were acknowledged in {self._timeout_s:.0f} s")

    def commit(self) -> None:
        """Return when the transaction is committed. Raises `Fenced` when it is not, or nobody can say."""
        self._send_held()
        self._call("committing a transaction", lambda producer: producer.commit_transaction(self._timeout_s))
        self._begun = False

    def delivered(self) -> Mapping[str, tuple[int, int]]:
        """By topic, the offsets of the first and the last record of the transaction that was flushed or committed."""
        return {topic: (reports[0][0], reports[-1][0]) for topic, reports in self._reports.items()}

    def appended(self) -> Mapping[str, tuple[int, int]]:
        """By topic, when the broker took these two, in milliseconds by its clock where the topic has LogAppendTime."""
        return {topic: (reports[0][1], reports[-1][1]) for topic, reports in self._reports.items()}

    def abort(self) -> None:
        """Abort the transaction: no reader will see any of it."""
        self._held.clear()
        self._call("aborting a transaction", lambda producer: producer.abort_transaction(self._timeout_s))
        self._begun = False

    def close(self) -> None:
        """Abort what is open, as far as that can be done, and let go. Can be called twice.

        What is left open the next `open` aborts, or the broker when its time is up; so a failure here is none.
        """
        producer, self._producer = self._producer, None
        if producer is None:
            return
        if self._begun and not self._failed:
            try:
                producer.abort_transaction(_ABORT_S)
            except (KafkaException, SystemError):
                self._failed = True
        producer.purge(blocking=False)

    def _send(
        self,
        topic: str,
        value: bytes | None,
        key: bytes | None,
        headers: Sequence[tuple[str, bytes]],
        on_delivery: Callable[[KafkaError | None, Message], None] | None = None,
        *,
        partition: int = 0,
    ) -> None:
        producer = self._alive()
        deadline = 0.0
        while True:
            try:
                if headers:
                    producer.produce(topic, value, key, partition, on_delivery, headers=list(headers))
                else:
                    producer.produce(topic, value, key, partition, on_delivery)
            except BufferError as full:  # reports of what was sent are waiting to be taken
                now = time.monotonic()
                deadline = deadline or now + self._timeout_s
                if now > deadline:
                    raise self._failure(f"{topic} took no record in {self._timeout_s:.0f} s") from full
                self._poll(producer)
            except KafkaException as raised:
                self._failed = True
                raise self._translated(error_of(raised), f"writing to {topic}", topic) from raised
            else:
                return

    def _send_held(self) -> None:
        for topic, before in self._held.items():
            if before is not None:
                self._held[topic] = None
                self._send(topic, *before, self._on_delivery)

    def _on_delivery(self, error: KafkaError | None, message: Message) -> None:
        if error is None:  # if not, the commit says so
            self._reports.setdefault(message.topic(), []).append((message.offset(), message.timestamp()[1]))

    def _call(self, doing: str, call: Callable[[Producer], Any]) -> None:
        """Call until it is done; the same call again while the driver says that this may help."""
        producer = self._alive()
        deadline = time.monotonic() + self._timeout_s
        while True:
            try:
                call(producer)
            except KafkaException as raised:
                error = error_of(raised)
                again = error.retriable() and not error.txn_requires_abort() and not error.fatal()
                if again and error.code() != KafkaError._TIMED_OUT and time.monotonic() < deadline:
                    time.sleep(_PAUSE_S)
                    continue
                self._failed = True
                raise self._translated(error, doing) from raised
            except SystemError as raised:
                raise self._died(raised) from raised
            return

    def _translated(self, error: KafkaError, doing: str, topic: str = "") -> SealstreamError:
        """As everywhere, but what can only be waited out elsewhere ends a transaction's producer here."""
        found = translated(error, self._kafka, f"{doing} of {self._id}", topic)
        return self._failure(str(found)) if isinstance(found, Unavailable) else found

    def _poll(self, producer: Producer) -> None:
        try:
            producer.poll(_PAUSE_S)
        except SystemError as raised:
            raise self._died(raised) from raised

    def _died(self, raised: SystemError) -> Fenced:
        """So does the driver say that it has found a fatal error, such as being fenced, while it ran a callback."""
        return self._failure(f"Kafka's driver gave the producer {self._id} up: {raised.__cause__ or raised}")

    def _failure(self, sentence: str) -> Fenced:
        self._failed = True
        return Fenced(sentence)

    def _alive(self) -> Producer:
        if self._producer is None or self._failed:
            state = "is closed" if self._producer is None else "has failed before"
            raise Fenced(f"the producer {self._id} {state}: build another")
        return self._producer
