"""Writes a few records and waits until each is acknowledged: control statements, and what commands have to say.

Idempotent, unless it need not be: the driver's own retries write nothing twice. A crash, or `Unavailable`, may leave
any of the records written; who sends them again gives them an id by which a repeat is known.
"""

from __future__ import annotations

import time
from collections.abc import Iterable

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from sealstream.errors import Unavailable
from sealstream.kafka.admin import describe
from sealstream.kafka.settings import KafkaSettings, client_config, error_of, translated

__all__ = ["produce"]

_POLL_S = 0.05


def produce(
    kafka: KafkaSettings,
    topic: str,
    values: Iterable[bytes],
    *,
    key: bytes | None = None,
    timeout_s: float = 30.0,
    repeatable: bool = False,
) -> None:
    """Write `values` in their order; returns when every in-sync replica has them all.

    `repeatable`: a repeat does no harm, so the driver need not fetch a producer id first, which takes it half a second.
    Raises `Misconfigured` when the topic does not exist, `Unavailable` when not all were acknowledged in time.
    """
    describe(kafka, [topic])  # before the driver asks in a way that might create it
    doing = f"writing to {topic}"
    failures: list[KafkaError] = []
    acknowledged = 0

    def on_delivery(error: KafkaError | None, message: Message) -> None:
        nonlocal acknowledged
        if error is None:
            acknowledged += 1
        else:
            failures.append(error)

    deadline = time.monotonic() + timeout_s
    sent = 0
    try:
        producer = Producer(
            client_config(
                kafka,
                {
                    "enable.idempotence": not repeatable,
                    "max.in.flight.requests.per.connection": 1 if repeatable else 4,
                    "acks": "all",
                    "compression.type": "lz4",
                    "linger.ms": 5,
                    "message.timeout.ms": max(1, int(timeout_s * 1000)),
                    "queue.buffering.max.kbytes": 65_536,
                    "topic.metadata.propagation.max.ms": 5_000,
                },
            )
        )
        for value in values:
            while True:
                try:
                    producer.produce(topic, value, key, 0, on_delivery)
                except BufferError as full:
                    if time.monotonic() > deadline:
                        raise Unavailable(f"{doing}: took no more records in {timeout_s:.0f} s") from full
                    producer.poll(_POLL_S)
                else:
                    break
            sent += 1
        producer.flush(max(0.0, deadline - time.monotonic()))
    except KafkaException as error:
        raise translated(error_of(error), kafka, doing, topic) from error
    if acknowledged < sent:
        producer.purge()
        if failures:
            raise translated(failures[0], kafka, f"{doing}: {acknowledged} of {sent} records acknowledged", topic)
        raise Unavailable(
            f"{doing}: Kafka at {kafka.bootstrap} acknowledged {acknowledged} of {sent} records in {timeout_s:.0f} s"
        )
