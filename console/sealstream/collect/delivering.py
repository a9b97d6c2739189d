"""Writes events to Kafka, many requests over one idempotent producer, each told when all of its own are acknowledged.

The invariant: `send` returns only when every in-sync replica has every event of the request; what waits in the driver
is bounded. When it raises, any of them may be there all the same: whoever sends them again sends the same ids. A crash
loses nothing that `send` has returned from, since nobody was told of the rest.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from collections.abc import Sequence
from contextlib import suppress

import anyio.to_thread
from confluent_kafka import KafkaError, KafkaException, Message, Producer

from sealstream.errors import Fenced, Misconfigured, Unavailable
from sealstream.kafka import KafkaSettings, topic_ids
from sealstream.kafka.settings import client_config, error_of, translated

__all__ = ["Deliveries"]

_POLL_S = 0.002
_IDLE_POLL_S = 0.2
_GRACE_S = 1.0
_REFUSED_FOR_S = 2.0
_BYTES_BESIDE = 512  # of each record in the driver's queue


class _Full(Unavailable):
    """The driver holds as much as it may. Kafka itself may be well."""


class Deliveries:
    """For one event loop. `queue_bytes` bounds what waits in the driver. `close` it."""

    def __init__(self, kafka: KafkaSettings, *, queue_bytes: int, timeout_s: float) -> None:
        self._kafka = kafka
        self._queue_bytes = queue_bytes
        self._timeout_s = timeout_s
        self._line: _Line | None = None
        self._found: set[str] = set()
        self._finding = asyncio.Lock()
        self._refused_until = float("-inf")
        self._refusal = ""

    async def send(self, topic: str, events: Sequence[bytes]) -> None:
        """Write `events` in their order and wait. Raises `Unavailable`, or `Misconfigured` when there is no such topic.

        While Kafka is away, those who come right after one that waited in vain need not wait, too.
        """
        if not events:
            return
        self._check_not_refused()
        doing = f"writing to {topic}"
        try:
            await self._find(topic)
            line = self._opened(doing, topic)
            await self._written(line, doing, topic, events)
        except _Full:
            raise
        except Unavailable as error:
            self._refusal, self._refused_until = str(error), time.monotonic() + _REFUSED_FOR_S
            raise
        self._refused_until = float("-inf")

    def _check_not_refused(self) -> None:
        if time.monotonic() < self._refused_until:
            raise Unavailable(self._refusal)

    async def _written(self, line: _Line, doing: str, topic: str, events: Sequence[bytes]) -> None:
        batch = _Batch(len(events))
        produce = line.producer.produce
        try:
            for event in events:
                produce(topic, event, None, 0, batch.on_delivery)
        except BufferError as full:
            raise _Full(f"{doing}: more events wait for Kafka than may") from full
        except KafkaException as raised:
            self._discard(line, topic)
            raise translated(error_of(raised), self._kafka, doing, topic) from raised
        try:
            failure = await line.answer_of(batch)
        except TimeoutError as late:
            raise Unavailable(
                f"{doing}: Kafka at {self._kafka.bootstrap} did not acknowledge in {self._timeout_s:.0f} s"
            ) from late
        if failure is not None:
            error = translated(failure, self._kafka, doing, topic)
            if isinstance(error, Fenced | Misconfigured):
                self._discard(line, topic)
            raise error

    async def _find(self, topic: str) -> None:
        """The topic is there: asked before the driver asks in a way that might create it."""
        if topic not in self._found:
            async with self._finding:
                self._check_not_refused()  # by the one that was waited for
                if topic not in self._found:
                    await anyio.to_thread.run_sync(topic_ids, self._kafka, [topic])
                    self._found.add(topic)

    def _opened(self, doing: str, topic: str) -> _Line:
        if self._line is not None and self._line.fatal:
            self._discard(self._line, topic)
        if self._line is None:
            try:
                self._line = _Line(self._kafka, self._queue_bytes, self._timeout_s)
            except KafkaException as raised:
                raise translated(error_of(raised), self._kafka, doing, topic) from raised
        return self._line

    def _discard(self, line: _Line, topic: str) -> None:
        """A producer that failed like this may never work again: the next request gets another."""
        if self._line is line:
            self._line = None
            self._found.discard(topic)
        line.end()

    def close(self) -> None:
        """Ends the connection; what is still on its way is given up."""
        line, self._line = self._line, None
        if line is not None:
            line.end()

    def check(self, topics: Sequence[str]) -> None:
        """Whether Kafka answers and has these topics. Blocks. Raises `SealstreamError`."""
        topic_ids(self._kafka, list(topics))


class _Batch:
    """One request's events: counts the driver's answers, and tells who waits of the last one."""

    __slots__ = ("_error", "_left", "answered")

    def __init__(self, events: int) -> None:
        self._left = events
        self._error: KafkaError | None = None
        self.answered: asyncio.Future[KafkaError | None] = asyncio.get_running_loop().create_future()

    def on_delivery(self, error: KafkaError | None, message: Message) -> None:
        if error is not None and self._error is None:
            self._error = error
        self._left -= 1
        if not self._left and not self.answered.done():
            self.answered.set_result(self._error)


class _Line:
    """A producer whose acknowledgements are asked for by the loop's own timer: often while somebody waits.

    Handed out by a thread, each of them would contend with the loop for the interpreter.
    """

    def __init__(self, kafka: KafkaSettings, queue_bytes: int, timeout_s: float) -> None:
        self.fatal = False
        self.producer = Producer(
            client_config(
                kafka,
                {
                    "client.id": "sealstream-collect",
                    "acks": "all",
                    "enable.idempotence": True,
                    "max.in.flight.requests.per.connection": 4,
                    "compression.type": "lz4",
                    "linger.ms": 1,
                    "message.timeout.ms": max(1, int(timeout_s * 1000)),
                    "queue.buffering.max.kbytes": max(1, queue_bytes // 1024),
                    "queue.buffering.max.messages": max(10_000, queue_bytes // _BYTES_BESIDE),
                    "topic.metadata.propagation.max.ms": 5_000,
                    "error_cb": self._on_error,
                },
            )
        )
        self._loop = asyncio.get_running_loop()
        self._within_s = timeout_s + _GRACE_S
        self._waiting: deque[tuple[float, asyncio.Future[KafkaError | None]]] = deque()
        self._ended = False
        self._timer = self._loop.call_later(_IDLE_POLL_S, self._poll)

    def answer_of(self, batch: _Batch) -> asyncio.Future[KafkaError | None]:
        """What becomes of it, to be awaited; `TimeoutError` when the driver does not even say that it is late."""
        if not self._waiting and not self._ended:
            self._timer.cancel()
            self._timer = self._loop.call_later(_POLL_S, self._poll)
        self._waiting.append((self._loop.time() + self._within_s, batch.answered))
        return batch.answered

    def _on_error(self, error: KafkaError) -> None:
        if error.fatal() or error.code() == KafkaError._FATAL:
            self.fatal = True

    def _poll(self) -> None:
        if self._ended:
            return
        self._timer = self._loop.call_later(_POLL_S if self._waiting else _IDLE_POLL_S, self._poll)
        self.producer.poll(0)
        self._let_late_ones_go(self._loop.time())

    def _let_late_ones_go(self, now: float) -> None:
        while self._waiting and (self._waiting[0][1].done() or self._waiting[0][0] < now):
            _, answered = self._waiting.popleft()
            if not answered.done():
                answered.set_exception(TimeoutError())

    def end(self) -> None:
        """Give up what is on its way, whose senders are told so; the driver's own end nobody waits for."""
        if self._ended:
            return
        self._ended = True
        self._timer.cancel()
        with suppress(KafkaException):
            self.producer.purge()
            self.producer.poll(0)
        self._let_late_ones_go(float("inf"))
        threading.Thread(target=_let_go, args=([self.__dict__.pop("producer")],), name="kafka end", daemon=True).start()


def _let_go(held: list[Producer]) -> None:
    """Its destructor waits for the driver's threads, which may wait for a broker that is gone."""
    held.clear()
