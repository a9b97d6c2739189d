"""Writes single records when they come, from any thread, each acknowledged before its caller goes on.

For services: a connection is kept, so that a record takes one exchange with the broker. The invariant: `send` returns
only when every in-sync replica has the record. When it raises, the record may be there all the same; who sends it again
gives it the same id, by which a repeat is known, and so may the driver's own retries. A crash loses nothing that was
acknowledged.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from concurrent.futures import Future
from types import TracebackType

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from sealstream.errors import Unavailable
from sealstream.kafka.admin import describe
from sealstream.kafka.settings import KafkaSettings, client_config, error_of, translated

__all__ = ["StandingProducer"]

_POLL_S = 0.5


class StandingProducer:
    """One producer, made when the first record comes and made anew after a failure. `close` it."""

    def __init__(self, kafka: KafkaSettings, timeout_s: float = 10.0) -> None:
        self._kafka = kafka
        self._timeout_s = timeout_s
        self._lock = threading.Lock()
        self._line: _Line | None = None
        self._described: set[str] = set()

    def send(
        self,
        topic: str,
        value: bytes | None,
        *,
        key: bytes | None = None,
        headers: Sequence[tuple[str, bytes]] = (),
    ) -> None:
        """Write `value` and wait until it is acknowledged. Raises `Misconfigured` when there is no such topic,
        `Unavailable` when no acknowledgement came in time.
        """
        doing = f"writing to {topic}"
        if topic not in self._described:
            describe(self._kafka, [topic])  # before the driver asks in a way that might create it
            self._described.add(topic)
        answered: Future[KafkaError | None] = Future()

        def on_delivery(error: KafkaError | None, message: Message) -> None:
            answered.set_result(error)

        line = self._opened(doing, topic)
        try:
            if headers:
                line.producer.produce(topic, value, key, 0, on_delivery, headers=list(headers))
            else:
                line.producer.produce(topic, value, key, 0, on_delivery)
            error = answered.result(self._timeout_s + 2 * _POLL_S)
        except (BufferError, TimeoutError) as late:
            self._discard(line, topic)
            raise Unavailable(
                f"{doing}: Kafka at {self._kafka.bootstrap} did not acknowledge in {self._timeout_s:.0f} s"
            ) from late
        except KafkaException as raised:
            self._discard(line, topic)
            raise translated(error_of(raised), self._kafka, doing, topic) from raised
        if error is not None:
            self._discard(line, topic)
            raise translated(error, self._kafka, doing, topic)

    def close(self) -> None:
        """Ends the connection; what is still on its way is given up."""
        with self._lock:
            line, self._line = self._line, None
        if line is not None:
            line.end()

    def __enter__(self) -> StandingProducer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _opened(self, doing: str, topic: str) -> _Line:
        with self._lock:
            if self._line is None:
                try:
                    self._line = _Line(self._kafka, self._timeout_s)
                except KafkaException as raised:
                    raise translated(error_of(raised), self._kafka, doing, topic) from raised
            return self._line

    def _discard(self, line: _Line, topic: str) -> None:
        """A producer that failed once may never find a topic that was made anew: the next record gets another."""
        with self._lock:
            if self._line is line:
                self._line = None
                self._described.discard(topic)
        line.end()


class _Line:
    """A producer and the thread that hands its acknowledgements out."""

    def __init__(self, kafka: KafkaSettings, timeout_s: float) -> None:
        self.producer = Producer(
            client_config(
                kafka,
                {
                    "acks": "all",
                    "enable.idempotence": False,  # a repeat does no harm, and a producer id takes half a second
                    "max.in.flight.requests.per.connection": 1,
                    "linger.ms": 0,
                    "message.timeout.ms": max(1, int(timeout_s * 1000)),
                    "topic.metadata.propagation.max.ms": 5_000,
                },
            )
        )
        self._ended = threading.Event()
        threading.Thread(target=self._hand_out, name="kafka acknowledgements", daemon=True).start()

    def _hand_out(self) -> None:
        while not self._ended.is_set():
            self.producer.poll(_POLL_S)
        self.producer.purge()
        self.producer.poll(0)

    def end(self) -> None:
        """Stop; the thread ends by itself, so that nobody waits for a broker that is gone."""
        self._ended.set()
