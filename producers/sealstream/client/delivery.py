"""How events reach Kafka: the options of the driver, which of them an application may set, and words for its errors.

The invariant: whatever options are given, a record counts as delivered only when all in-sync replicas have it, retries
neither repeat nor reorder it, and what waits in memory is bounded in bytes and in number. Where a spool keeps what
waits, the driver gives nothing up by itself, and stops at the first record that it can't deliver.
"""

from __future__ import annotations

import ctypes
import logging
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

from confluent_kafka import KafkaError, KafkaException, Producer

from sealstream.client.authorities import with_authorities
from sealstream.client.lifetimes import no_fork
from sealstream.client.tracing import Headers
from sealstream.errors import Misconfigured

__all__ = ["Delivery", "OnFailure", "give_up", "hand_to", "leak", "warn"]

OnFailure = Callable[[KafkaError, Any], None]

_LOG = logging.getLogger("sealstream.client")

_FIXED = {
    "enable.idempotence": True,  # retries neither repeat nor reorder
    "acks": "all",
    "delivery.report.only.error": True,  # what arrives costs the application no callback
}
_OURS = frozenset(_FIXED) | {
    "bootstrap.servers",
    "transactional.id",
    "queue.buffering.max.kbytes",
    "queue.buffering.max.messages",
    "delivery.timeout.ms",
    "enable.gapless.guarantee",
    "message.timeout.ms",
    "on_delivery",
    "error_cb",
    "logger",
}
_DEFAULTS = {
    "client.id": "sealstream-client",
    "linger.ms": 2,
    # With 5, the default, the driver's thread spins while that many requests wait for an answer (docs/decisions/0193).
    "max.in.flight.requests.per.connection": 4,
    "reconnect.backoff.max.ms": 2_000,  # a broker that is back is noticed soon
    "log_level": 2,  # failures come through error_cb, once each
}
# For events that are on disk: none is given up, and none may pass one that failed. Giving all up by ourselves is then
# fatal to the driver, which would tell the application of it at any log level; what is news comes through error_cb.
_FOR_SPOOL = {"delivery.timeout.ms": 0, "enable.gapless.guarantee": True}
_UNHEARD = logging.Logger("sealstream.client.driver", logging.CRITICAL + 1)
_SPOOL_STANDSTILL_S = 60.0
# Bounds the number of records too: each costs memory beside its bytes (measured: a queue of 64 MiB, full, is 64 to 84).
_BYTES_BESIDE = 512

_WORDS = {
    KafkaError._MSG_TIMED_OUT: "timed out",
    KafkaError._PURGE_QUEUE: "not delivered at close",
    KafkaError._PURGE_INFLIGHT: "not acknowledged at close",
}


class Delivery:
    """Makes producers. `delivery_timeout_s` None: for a spool. Raises `Misconfigured` for an option that it sets.

    `timeout_s`: how long a producer of a spool may hold events without an acknowledgement, and any other at all.
    """

    def __init__(
        self,
        bootstrap: str,
        options: Mapping[str, Any],
        *,
        max_pending_bytes: int,
        delivery_timeout_s: float | None,
        factory: Callable[..., Producer] = Producer,
    ) -> None:
        taken = sorted(_OURS & options.keys())
        if taken:
            raise Misconfigured(
                f"kafka_options has {taken[0]}: the client sets it itself; expected options such as "
                "security.protocol, sasl.mechanisms, ssl.ca.location, compression.type"
            )
        if max_pending_bytes < 65_536:
            raise Misconfigured(f"max_pending_bytes is too small: expected 65536 or more, got {max_pending_bytes}")
        if delivery_timeout_s is not None and not 1 <= delivery_timeout_s <= 86_400:
            raise Misconfigured(f"delivery_timeout_s is out of range: expected 1 to 86400, got {delivery_timeout_s}")
        self.timeout_s = _SPOOL_STANDSTILL_S if delivery_timeout_s is None else delivery_timeout_s
        self._factory = factory
        self._logger = _LOG if delivery_timeout_s is not None else _UNHEARD
        self._options: dict[str, Any] = {
            **_DEFAULTS,
            **with_authorities(options),
            **_FIXED,
            "bootstrap.servers": bootstrap,
            "queue.buffering.max.kbytes": max_pending_bytes // 1024,
            "queue.buffering.max.messages": max(64, max_pending_bytes // _BYTES_BESIDE),
            **(_FOR_SPOOL if delivery_timeout_s is None else {"delivery.timeout.ms": int(delivery_timeout_s * 1000)}),
        }

    def check(self) -> None:
        """Whether the driver takes these options. Leaves no thread behind. Raises `Misconfigured`."""
        with no_fork:
            self.producer(lambda _error, _record: None, lambda _error: None)

    def producer(
        self, on_failure: Callable[[KafkaError, Any], None], on_error: Callable[[KafkaError], None]
    ) -> Producer:
        """A new producer. Its callbacks run in whatever thread polls it. Raises `Misconfigured`."""
        try:
            with no_fork:
                callbacks = {"on_delivery": on_failure, "error_cb": on_error}
                return self._factory({**self._options, **callbacks}, logger=self._logger)
        except (KafkaException, ValueError, TypeError) as error:
            raise Misconfigured(f"Kafka's driver refuses the options of the audit client: {error}") from error

    @staticmethod
    def reaches(producer: Producer, topic: str) -> bool:
        """Whether Kafka answers this producer, and the topic has a leader. Waits for two seconds at most."""
        try:
            found = producer.list_topics(topic, timeout=2).topics.get(topic)
        except KafkaException:
            return False
        return found is not None and found.error is None and any(each.leader >= 0 for each in found.partitions.values())

    @staticmethod
    def word(error: KafkaError, *, renewing: bool = False) -> str:
        """Why an event was lost, as `stats()` and `audit.loss` say it. `renewing`: its producer was given up."""
        if renewing and error.code() in (KafkaError._PURGE_QUEUE, KafkaError._PURGE_INFLIGHT):
            return "given up with its producer"
        return _WORDS.get(error.code()) or error.name().lower().strip("_").replace("_", " ")


def hand_to(producer: Producer, topic: str, value: bytes, headers: Headers, on_failure: OnFailure | None) -> None:
    """Into the driver's queue. Raises `BufferError` when it is full, and `KafkaException`."""
    if on_failure is None and headers is None:
        producer.produce(topic, value, partition=0)
    elif on_failure is None:
        producer.produce(topic, value, partition=0, headers=headers)
    else:
        producer.produce(topic, value, partition=0, on_delivery=on_failure, headers=headers)


def leak(producer: Producer) -> None:
    """Never free this producer: in a forked child its threads don't exist, and freeing it would wait for them."""
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(producer))


def give_up(producer: Producer) -> None:
    """What this producer still holds is reported as failed."""
    for attempt in range(3):
        # A fatal error that the driver finds meanwhile surfaces here as an exception, out of whatever callback runs.
        with suppress(KafkaException, SystemError):
            if attempt == 0 and len(producer):
                producer.purge()
            if len(producer):
                producer.flush(1)
            return


def warn(message: str, *args: object) -> None:
    """Into the application's log; a handler that fails must not harm who warns."""
    with suppress(Exception):
        _LOG.warning(message, *args)
