"""Writes events to the raw topic, each batch acknowledged whole before the next.

The invariant: whatever fails, what one sender has written is a beginning of what it was given, in that order, without
a hole. The driver's producer is idempotent and gapless, and an event never times out alone: when acknowledgements stop,
everything is given up at once and the sender with it. So a crash, or `Unavailable`, leaves a beginning of the batch in
the topic; sending it again adds repeats, never disorder.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from sealstream.errors import Unavailable
from sealstream.kafka.settings import KafkaSettings, client_config, error_of, translated

__all__ = ["BatchSender"]

_POLL_S = 0.05


class BatchSender:
    """For one topic, which must exist. `stalled_s`: how long no acknowledgement may come while some are awaited."""

    def __init__(
        self, kafka: KafkaSettings, topic: str, stalled_s: float = 30.0, client_id: str = "sealstream-outbox"
    ) -> None:
        self._kafka = kafka
        self._topic = topic
        self._doing = f"writing to {topic}"
        self._stalled_s = stalled_s
        self._acknowledged = 0
        self._last_offset = -1
        self._failure: KafkaError | None = None
        try:
            self._producer: Producer | None = Producer(
                client_config(
                    kafka,
                    {
                        "client.id": client_id,
                        "enable.idempotence": True,
                        "max.in.flight.requests.per.connection": 4,  # with 5 the driver spins (docs/decisions/0193)
                        "enable.gapless.guarantee": True,
                        "acks": "all",
                        "message.timeout.ms": 0,
                        "compression.type": "lz4",
                        "linger.ms": 1,
                        "batch.num.messages": 10_000,
                        "queue.buffering.max.kbytes": 65_536,
                        "reconnect.backoff.max.ms": 2_000,
                        "allow.auto.create.topics": False,
                    },
                )
            )
        except KafkaException as error:
            raise translated(error_of(error), kafka, self._doing, topic) from error

    def send(self, events: Sequence[bytes]) -> int:
        """Returns when every in-sync replica has them all: the last one's offset. After an error it can't go on."""
        producer = self._producer
        if producer is None:
            raise Unavailable(f"{self._doing}: this sender has failed before")
        self._acknowledged = 0
        try:
            for event in events:
                producer.produce(self._topic, event, partition=0, on_delivery=self._on_delivery)
            self._await(producer, len(events))
        except (KafkaException, BufferError) as error:
            self.close()
            if isinstance(error, BufferError):
                raise Unavailable(f"{self._doing}: the driver's queue is full: {error}") from error
            raise translated(error_of(error), self._kafka, self._doing, self._topic) from error
        except BaseException:
            self.close()
            raise
        return self._last_offset

    def close(self) -> None:
        """Gives up what was not acknowledged. Can be called twice."""
        producer, self._producer = self._producer, None
        if producer is not None and len(producer):
            producer.purge()
            producer.flush(1)

    def _await(self, producer: Producer, expected: int) -> None:
        seen, deadline = 0, time.monotonic() + self._stalled_s
        while self._acknowledged < expected:
            producer.poll(_POLL_S)
            if self._failure is not None:
                raise translated(self._failure, self._kafka, self._doing, self._topic)
            now = time.monotonic()
            if self._acknowledged > seen:
                seen, deadline = self._acknowledged, now + self._stalled_s
            elif now > deadline:
                raise Unavailable(
                    f"{self._doing}: Kafka at {self._kafka.bootstrap} acknowledged {seen} of {expected} events, and "
                    f"then none in {self._stalled_s:.0f} s"
                )

    def _on_delivery(self, error: KafkaError | None, message: Message) -> None:
        if error is not None:
            self._failure = self._failure or error
            return
        self._acknowledged += 1
        self._last_offset = message.offset() or 0
