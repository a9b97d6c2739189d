"""From a spool to Kafka: one stream's events in their order, and how far Kafka has acknowledged them.

The invariant: whatever is handed to one producer of the driver is a run without gaps from the first event that is not
acknowledged, so the first time that each event reaches Kafka is in order. When the driver fails an event, its producer
is given up and a new one begins again there; what Kafka had already comes twice, with the same bytes and numbers.

Acknowledgements are counted, not reported one by one: the driver finishes a partition's events in order, so those that
it no longer holds are the first ones, unless one failed, which the next poll would say. So a count is believed only
when the poll after it brought no failure.

The crash story: nothing here outlives the process. What it knew is in the mark, or is found out again.
"""

from __future__ import annotations

import time
from collections import deque
from threading import RLock
from typing import Any

from confluent_kafka import KafkaError, KafkaException, Producer

from sealstream.client import lifetimes
from sealstream.client.delivery import Delivery, OnFailure, give_up, hand_to, leak, warn
from sealstream.client.tracing import Headers
from sealstream.errors import Misconfigured

__all__ = ["Feed"]

_FIRST_PAUSE_S = 0.5
_LONGEST_PAUSE_S = 30.0
_SAY_AGAIN_S = 3_600.0


class Feed:
    """`fed`: the number after the last one handed over; `acknowledged`: Kafka has all below. `lock` guards both.

    `trouble`: what the driver said last, "" once Kafka takes events again.
    """

    def __init__(self, delivery: Delivery, lock: RLock) -> None:
        self.acknowledged = self.fed = 0
        self.trouble = ""
        self.lock = lock
        self._topic = ""
        self._delivery = delivery
        self._producer: Producer | None = None
        self._runs: deque[list[int]] = deque()  # [first, count] of what the producer holds, or has finished since
        self._failure: KafkaError | None = None
        self._dropping = False
        self._pause_s = _FIRST_PAUSE_S
        self._open_at = 0.0
        self._moved_at = time.monotonic()
        self._said: dict[str, float] = {}

    def begin(self, topic: str, acknowledged: int) -> None:
        """A stream, from this number on, after the one before; a driver's producer takes half a second to make."""
        if self._runs:
            self.drop()
        with self.lock:
            self._topic = topic
            self.acknowledged = self.fed = acknowledged

    def open(self) -> None:
        """A producer, unless there is one or it is too early for the next. Raises `Misconfigured`."""
        if self._producer is None and time.monotonic() >= self._open_at:
            self._failure = None
            self._producer = self._delivery.producer(self._on_failure, self._on_error)

    def hand(self, number: int, value: bytes, on_loss: OnFailure | None = None, headers: Headers = None) -> bool:
        """Under the lock: whether the driver has taken the event. `on_loss`: it is nowhere else, and failed."""
        producer = self._producer
        if producer is None or self._failure is not None:
            return False
        try:
            hand_to(producer, self._topic, value, headers, on_loss)
        except BufferError:
            return False
        except KafkaException as error:
            self._failure = error.args[0]
            return False
        runs = self._runs
        if runs and sum(runs[-1]) == number:
            runs[-1][1] += 1
        else:
            runs.append([number, 1])
        self.fed = number + 1
        return True

    def pass_over(self, number: int) -> None:
        """Under the lock: what comes next is `number`; the numbers before it are not here."""
        self.fed = max(self.fed, number)
        if not self._runs:
            self.acknowledged = self.fed

    def step(self, timeout_s: float) -> bool:
        """Serve the driver, for at most so long: whether Kafka has acknowledged more. Never raises."""
        producer = self._producer
        if producer is None:
            time.sleep(min(timeout_s, max(self._open_at - time.monotonic(), 0.001)))
            try:
                self.open()
            except Misconfigured as error:  # these options served before: no threads or files left
                self._pause(str(error))
            return False
        with self.lock:
            finished = sum(count for _first, count in self._runs) - len(producer)
        try:
            producer.poll(timeout_s)
        except KafkaException as error:  # so does the driver say that it has given itself up
            self._failure = self._failure or error.args[0]
        if self._failure is not None:
            self._begin_again(self._failure)
            return False
        if finished <= 0:
            self._look_for_standstill()
            return False
        self._moved_at = time.monotonic()
        self.trouble, self._pause_s = "", _FIRST_PAUSE_S
        with self.lock:
            self._finish(finished)
        return True

    def _look_for_standstill(self) -> None:
        """The driver's producer can be stuck for good, when a topic was made anew (docs/decisions/0192)."""
        now = time.monotonic()
        if not self._runs:
            self._moved_at = now
        elif now - self._moved_at >= self._delivery.timeout_s:
            self._moved_at = now
            self.drop()
            self.trouble = f"nothing acknowledged for {self._delivery.timeout_s:.0f} s: trying with a new connection"

    def _finish(self, count: int) -> None:
        """Kafka has so many more of the runs."""
        runs = self._runs
        while count:
            first, length = runs[0]
            done = min(length, count)
            count -= done
            if done == length:
                runs.popleft()
            else:
                runs[0] = [first + done, length - done]
        self.acknowledged = runs[0][0] if runs else self.fed

    def _on_failure(self, error: KafkaError, _record: Any) -> None:
        self._failure = self._failure or error

    def _on_error(self, error: KafkaError) -> None:
        if self._dropping:  # what the driver holds is given up, and it says so
            return
        if error.fatal():
            self._failure = self._failure or error
        self._say(error.name(), error.str())

    def _begin_again(self, error: KafkaError) -> None:
        """With what is not acknowledged, after a pause, with a new producer."""
        self.drop()
        self._say(error.name(), error.str())
        self._pause(error.str())

    def drop(self) -> None:
        """Give up what the driver holds; it is handed over again, or is on disk for somebody else."""
        with self.lock:
            old, self._producer = self._producer, None
            self._runs.clear()
            self.fed = self.acknowledged
        if old is not None:
            self._dropping = True
            give_up(old)
            with lifetimes.no_fork:
                del old  # frees it
            self._dropping = False

    def _pause(self, trouble: str) -> None:
        self.trouble = trouble
        self._open_at = time.monotonic() + self._pause_s
        self._pause_s = min(self._pause_s * 2, _LONGEST_PAUSE_S)

    def _say(self, name: str, text: str) -> None:
        self.trouble, now = text, time.monotonic()
        if now - self._said.get(name, -_SAY_AGAIN_S) >= _SAY_AGAIN_S:
            self._said[name] = now
            warn("Kafka: %s; audit events wait in the spool", text)

    def close(self) -> None:
        """`drop`, for good."""
        self._open_at = float("inf")
        self.drop()

    def abandon(self) -> None:
        """In a forked child: leave the parent's producer alone, for ever."""
        if self._producer is not None:
            leak(self._producer)
