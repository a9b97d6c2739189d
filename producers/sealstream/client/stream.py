"""One process's numbered stream of events on its way to Kafka.

A number is taken under the lock in which the event enters the driver's queue, so the order of numbers is the order in
Kafka, and a number that the queue refuses is given to the next event. The invariant: every number below `next` was
queued once, with one event; what then fails finally leaves a hole that the sequencer states as `producer.gap`.

The crash story: what waits in the queue dies with the process. Its numbers are missing and no `producer.closed` was
sent, so the chain shows that the stream ended in disorder (`producer.silent`, a day later), though not how many events
were lost after the last one that arrived. A forked child has none of this: it gets a stream, and an id, of its own.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from threading import Event, RLock, Thread
from typing import Any

from confluent_kafka import KafkaError, KafkaException, Producer

from sealstream.client import lifetimes
from sealstream.client.composing import UNNUMBERED
from sealstream.client.delivery import Delivery, OnFailure, give_up, hand_to, leak, warn
from sealstream.client.stats import Losses, Stats
from sealstream.client.tracing import Headers
from sealstream.errors import InvalidEvent, Misconfigured
from sealstream.events import MAX_EVENT_BYTES

__all__ = ["OnFailure", "Statement", "Stream", "numbered"]

_NUMBER = b'"producer_seq":'
# No text that follows `producer_seq` in a canonical event can hold an unescaped quote, so the last one is the field.
_PLACEHOLDER = b"%b%d" % (_NUMBER, UNNUMBERED)
_POLL_S = 0.1
_REPORT_INTERVAL_S = 1.0
_SAY_AGAIN_S = 3_600.0
_LOOK_AGAIN_S = 5.0

Statement = Callable[[str, dict[str, Any]], bytes]
"""Makes the canonical bytes of the client's own `audit.loss` and `producer.closed`, not yet numbered."""


class _Deferred:
    """An event that waits for its turn; `number`: the one that it was about to take."""

    __slots__ = ("head", "headers", "number", "tail")

    def __init__(self, head: bytes, tail: bytes, headers: Headers) -> None:
        self.head, self.tail, self.headers = head, tail, headers
        self.number: int | None = None


class Stream:
    """For all threads of one process. `producer_id` must stand in every event that `send` gets.

    Its producer and thread are made by the first `send`. Not before: a process that only makes the client and forks
    workers has no threads of Kafka's driver then, and a fork can't catch one of them holding a lock.
    """

    def __init__(self, topic: str, delivery: Delivery, producer_id: str, losses: Losses, statement: Statement) -> None:
        self.producer_id = producer_id
        self._topic = topic
        self._delivery = delivery
        self._losses = losses
        self._statement = statement
        self._lock = RLock()
        self._next = 0
        self._failed = 0
        self._statements = 0
        self._busy = False
        self._deferred: deque[_Deferred] = deque()
        self._fatal = self._timed_out = self._suspected = self._renewing = False
        self._delivered, self._delivered_at = 0, time.monotonic()
        self._last_report = 0.0
        self._settled_with_report = 0
        self._stopping = Event()
        self._errors_said: dict[str, float] = {}
        self._ended = False
        self._producer: Producer | None = None
        self._thread: Thread | None = None

    def send(self, event: bytes, headers: Headers = None) -> str | None:
        """Numbers and queues an event whose number is `UNNUMBERED`; the reason when it is dropped, else None.

        `headers`: the record's; they are no part of the event, and Kafka may get it without them.

        Never waits for Kafka. Raises `InvalidEvent` when the number makes the event too large, and `Misconfigured` when
        this process can have no producer.
        """
        head, _, tail = event.rpartition(_PLACEHOLDER)
        with self._lock:
            if self._busy:
                # A signal handler or finalizer has interrupted this very thread in the lines below: its event waits
                # until they are done, for a number must not be taken twice.
                self._deferred.append(_Deferred(head, tail, headers))
                return None
            self._busy = True
            try:
                if self._thread is None and not self._ended:
                    self._begin_for_event()
                if self._deferred:
                    self._queue_deferred()
                return self._queue(head, tail, headers)
            finally:
                try:
                    self._queue_deferred()
                finally:  # also when a signal handler raises
                    self._busy = False

    def report_soon(self) -> None:
        """There are losses: they are reported, even if nothing is ever sent."""
        with self._lock:
            if self._busy or self._ended or self._thread is not None:
                return
            self._busy = True
            try:
                with suppress(Misconfigured):
                    self._begin()
            finally:
                try:
                    self._queue_deferred()
                finally:  # also when a signal handler raises
                    self._busy = False

    def _begin_for_event(self) -> None:
        self._begin()

    def _begin(self) -> None:
        """Under the lock. Raises `Misconfigured`; the next event tries again."""
        self._open_producer()
        thread = Thread(target=self._serve, name="sealstream-client", daemon=True)
        try:
            thread.start()
        except RuntimeError as error:
            raise Misconfigured(f"no thread for the audit client: {error}") from error
        self._thread = thread
        lifetimes.register_in_worker()

    def _open_producer(self) -> None:
        if self._producer is None:
            self._producer = self._delivery.producer(self._on_failure, self._on_error)

    def _queue(
        self, head: bytes, tail: bytes, headers: Headers, on_failure: OnFailure | None = None, *, own: bool = False
    ) -> str | None:
        """Under the lock. Why it could not be queued, else None; the loss is not yet counted."""
        if self._ended:
            return "closed"
        number = self._next_number()
        value = b"%b%b%d%b" % (head, _NUMBER, number, tail)  # as `numbered`, with one copy less
        if len(value) > MAX_EVENT_BYTES:
            raise InvalidEvent(f"event is too large: expected at most {MAX_EVENT_BYTES} bytes, got {len(value)}")
        return self._carry(number, value, headers, on_failure, own)

    def _next_number(self) -> int:
        return self._next

    def _carry(
        self, number: int, value: bytes, headers: Headers, on_failure: OnFailure | None, own: bool
    ) -> str | None:
        """Takes the number together with a place in the queue. `own`: a statement of the client itself."""
        producer = self._producer
        if producer is None:
            return "no producer"
        # Taken before it is used: an interrupt between these lines loses the event, and the gap then tells the truth.
        self._next = number + 1
        try:
            hand_to(producer, self._topic, value, headers, on_failure)
        except BufferError:
            self._next = number
            return "queue full"
        except KafkaException as error:
            self._next = number
            self._fatal = self._fatal or error.args[0].fatal()
            return self._delivery.word(error.args[0])
        return None

    def _queue_deferred(self) -> None:
        """Before any other number is taken. An exception of a signal handler may end this anywhere: an event leaves the
        line when it, and nobody else, has taken the number that it was about to take.
        """
        while self._deferred:
            event = self._deferred[0]
            if event.number is None or event.number >= self._next_number():
                event.number = self._next_number()
                try:
                    reason = self._queue(event.head, event.tail, event.headers)
                except InvalidEvent:
                    reason = "invalid"
                if reason is not None:
                    self._losses.add(reason)
            self._deferred.popleft()

    # --- what the polling thread does

    def _serve(self) -> None:
        while not self._stopping.is_set() and (producer := self._producer) is not None:
            self._poll(producer)
            ends = self._stands_still(producer) or self._fatal
            del producer  # so that renewing frees it
            if ends:
                self._renew()
            self._tend()

    def _poll(self, producer: Producer) -> None:
        producer.poll(_POLL_S)

    def _tend(self) -> None:
        with self._lock:
            if not self._busy:
                self._queue_deferred()
        if self._losses and time.monotonic() - self._last_report >= _REPORT_INTERVAL_S:
            self._report_losses()

    def _on_failure(self, error: KafkaError, _record: Any) -> None:
        reason = self._delivery.word(error, renewing=self._renewing)
        with self._lock:
            self._failed += 1
            self._timed_out = self._timed_out or error.code() == KafkaError._MSG_TIMED_OUT
        if self._losses.add(reason):
            warn("an audit event was lost: %s (%s); more of these are counted", reason, error.str())

    def _on_error(self, error: KafkaError) -> None:
        self._fatal = self._fatal or error.fatal()
        now = time.monotonic()
        if now - self._errors_said.get(error.name(), -_SAY_AGAIN_S) >= _SAY_AGAIN_S:
            self._errors_said[error.name()] = now
            warn("Kafka: %s; audit events wait in memory, within their bounds", error.str())

    def _renew(self) -> None:
        """The driver has given its producer up: go on with a new one, and the numbers where they were."""
        try:
            new = self._delivery.producer(self._on_failure, self._on_error)
        except Misconfigured as error:  # these options served before: no threads or files left; the next round tries
            warn("no new Kafka producer for audit events: %s", error)
            return
        with self._lock:
            old, self._producer, self._fatal = self._producer, new, False
        if old is not None:
            self._renewing = True  # read by the callbacks, which this thread runs
            give_up(old)
            self._renewing = False
            with lifetimes.no_fork:
                del old  # frees it

    def _stands_still(self, producer: Producer) -> bool:
        """Whether it has delivered nothing for as long as it may, though Kafka answers: then it is stuck for good.

        The driver's can be, when a topic was made anew (docs/decisions/0192).
        """
        with self._lock:
            pending, now = self._pending(), time.monotonic()
            delivered = self._next - pending - self._failed
            if delivered > self._delivered or not (pending or self._timed_out):
                self._delivered, self._delivered_at, self._timed_out, self._suspected = delivered, now, False, False
        if not self._timed_out or now - self._delivered_at < self._delivery.timeout_s:
            return False
        self._delivered_at = now - self._delivery.timeout_s + _LOOK_AGAIN_S
        suspected, self._suspected = self._suspected, self._delivery.reaches(producer, self._topic)
        if not (suspected and self._suspected):
            return False
        self._delivered_at, self._timed_out, self._suspected = now, False, False
        return True

    def _report_losses(self) -> None:
        """States what was lost in `audit.loss` events, one a reason, of which at most one round is on its way.

        While Kafka is away they wait with everything else; a report that fails finally is counted and made again.
        """
        with self._lock:
            if self._busy or self._next - self._pending() < self._settled_with_report:
                return
            self._busy = True
            try:
                self._queue_deferred()
                self._queue_reports()
            finally:
                self._busy = False

    def _queue_reports(self) -> None:
        for reason, count in self._losses.take():
            self._report(reason, count)
        self._settled_with_report = self._next
        self._last_report = time.monotonic()

    def _report(self, reason: str, count: int) -> None:
        def failed(error: KafkaError, record: Any) -> None:
            self._losses.give_back(reason, count)
            self._on_failure(error, record)

        if self._state("audit.loss", {"reason": reason, "count": count}, failed) is not None:
            self._losses.give_back(reason, count)

    def _state(self, action: str, metadata: dict[str, Any], on_failure: OnFailure | None = None) -> str | None:
        """Under the lock: queues a statement of the client itself."""
        head, _, tail = self._statement(action, metadata).rpartition(_PLACEHOLDER)
        reason = self._queue(head, tail, None, on_failure, own=True)
        if reason is None:
            self._statements += 1
        return reason

    # --- the end

    def flush(self, timeout_s: float) -> int:
        """Waits until all is acknowledged or given up, or the time is over: how many events are still pending."""
        producer = self._producer
        return 0 if producer is None else int(producer.flush(max(timeout_s, 0)))

    def close(self, timeout_s: float) -> Stats:
        """Reports losses, states the next number, waits for Kafka, and gives up what is then still here."""
        deadline = time.monotonic() + timeout_s
        while not self._queue_end() and time.monotonic() < deadline:
            self.flush(0.05)
        with self._lock:
            self._ended = True
        self.flush(deadline - time.monotonic())
        self._stopping.set()
        if self._thread is not None:
            self._thread.join(2)
        with self._lock:
            producer = self._producer
        if producer is not None:
            give_up(producer)
        with lifetimes.no_fork:
            with self._lock:
                self._producer = None
            del producer  # frees it
        return self.stats()

    def _queue_end(self) -> bool:
        """Whether `producer.closed` is queued, or can't be: the thread that closes was interrupted while sending."""
        with self._lock:
            if self._thread is None:
                self._ended = True
            if self._busy or self._ended:
                return True
            self._busy = True
            try:
                self._queue_deferred()
                self._queue_reports()
                self._ended = self._state("producer.closed", {"next": self._next + 1}) is None
                return self._ended
            finally:
                self._busy = False

    def stats(self) -> Stats:
        """As of now."""
        with self._lock:
            dropped, unreported = self._losses.counted()
            pending = self._pending()
            return Stats(
                emitted=self._next,
                delivered=max(self._next - pending - self._failed, 0),
                pending=pending,
                failed=self._failed,
                statements=self._statements,
                dropped=dropped,
                unreported=unreported,
            )

    def _pending(self) -> int:
        return 0 if self._producer is None else len(self._producer)

    def abandon(self) -> None:
        """In a forked child: leave the parent's producer alone, for ever.

        The event that is in the making, when a signal handler forks and returns, is dropped here: the parent sends it.
        """
        self._lock = RLock()
        self._ended = True
        if self._producer is not None:
            leak(self._producer)


def numbered(event: bytes, number: int) -> bytes:
    """An event whose number was `UNNUMBERED`, with this one."""
    head, _, tail = event.rpartition(_PLACEHOLDER)
    return b"%b%b%d%b" % (head, _NUMBER, number, tail)
