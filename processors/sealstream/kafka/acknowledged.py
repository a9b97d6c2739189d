"""Writes several records to several topics and waits until each is acknowledged, over a connection that is kept.

Idempotent: the driver's own retries write nothing twice. The invariant: `send` returns only when every in-sync replica
has every record; records of one partition keep their order. When it raises, any of them may be there all the same: who
sends them again gives them what a repeat is known by. A crash loses nothing that `send` has returned from.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import NamedTuple

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from sealstream.errors import Unavailable
from sealstream.kafka.admin import describe
from sealstream.kafka.settings import KafkaSettings, client_config, error_of, translated

__all__ = ["AcknowledgedProducer", "Outgoing"]

_BY_KEY = -1
_POLL_S = 0.05


class Outgoing(NamedTuple):
    """A record to be written. `partition` -1: as the driver finds it from the key."""

    topic: str
    value: bytes
    key: bytes | None = None
    partition: int = _BY_KEY
    headers: Sequence[tuple[str, bytes]] = ()


class AcknowledgedProducer:
    """One producer for one thread at a time, made when the first record comes and anew after a failure."""

    def __init__(self, kafka: KafkaSettings, timeout_s: float = 10.0) -> None:
        self._kafka = kafka
        self._timeout_s = timeout_s
        self._producer: Producer | None = None
        self._described: set[str] = set()

    def send(self, records: Sequence[Outgoing]) -> None:
        """Write all and wait. Raises `Misconfigured` when there is no such topic, `Unavailable` when not all were
        acknowledged in time.
        """
        if not records:
            return
        topics = {record.topic for record in records}
        doing = f"writing to {', '.join(sorted(topics))}"
        if unknown := topics - self._described:
            describe(self._kafka, sorted(unknown))  # before the driver asks in a way that might create it
            self._described |= unknown
        failures: list[tuple[KafkaError, str]] = []
        acknowledged = 0

        def on_delivery(error: KafkaError | None, message: Message) -> None:
            nonlocal acknowledged
            if error is None:
                acknowledged += 1
            else:
                failures.append((error, message.topic()))

        deadline = time.monotonic() + self._timeout_s
        try:
            producer = self._opened()
            for record in records:
                while True:
                    try:
                        producer.produce(
                            record.topic,
                            record.value,
                            record.key,
                            record.partition,
                            on_delivery,
                            headers=list(record.headers),
                        )
                    except BufferError as full:
                        if time.monotonic() > deadline:
                            raise Unavailable(f"{doing}: took no more in {self._timeout_s:.0f} s") from full
                        producer.poll(_POLL_S)
                    else:
                        break
            producer.flush(max(0.0, deadline - time.monotonic()))
        except KafkaException as raised:
            self.close()
            raise translated(error_of(raised), self._kafka, doing) from raised
        except Unavailable:
            self.close()
            raise
        if acknowledged < len(records):
            self.close()
            if failures:
                error, topic = failures[0]
                raise translated(error, self._kafka, doing, topic)
            raise Unavailable(
                f"{doing}: Kafka at {self._kafka.bootstrap} acknowledged {acknowledged} of {len(records)} records in "
                f"{self._timeout_s:.0f} s"
            )

    def close(self) -> None:
        """Ends the connection; what is still on its way is given up. The next `send` opens another."""
        producer, self._producer = self._producer, None
        self._described.clear()
        if producer is not None:
            producer.purge(blocking=False)

    def _opened(self) -> Producer:
        if self._producer is None:
            self._producer = Producer(
                client_config(
                    self._kafka,
                    {
                        "enable.idempotence": True,
                        "acks": "all",
                        "max.in.flight.requests.per.connection": 4,
                        "compression.type": "lz4",
                        "partitioner": "murmur2_random",  # where the roll-up puts the same key
                        "linger.ms": 2,
                        "message.timeout.ms": max(1, int(self._timeout_s * 1000)),
                        "queue.buffering.max.kbytes": 65_536,
                        "topic.metadata.propagation.max.ms": 5_000,
                    },
                )
            )
        return self._producer
