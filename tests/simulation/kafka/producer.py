"""`confluent_kafka.Producer` against the model: a queue, a sender beside the application, reports served by polling.

Kept: batches in flight when a process dies arrive all the same; an idempotent batch that is sent again is written once;
one whose answers never come is given up when its time is over, though it was written; records of a topic keep their
order, topics do not wait for each other; a transaction's calls are repeated by the driver until their time is over,
since a request or its answer can be lost; what was fenced stays so.

Aimed at `kafka.produce`, beside the general faults: `lost` (sent again), `unreported` (written, and every answer
lost). At `kafka.end_txn`: `lost`, `unanswered` (then asked again), `timed_out_before`, `timed_out_after`, `doubled`
(a copy arrives `seconds` later), `absent`, `torn`, `hidden` (markers are `seconds` late).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from types import SimpleNamespace
from typing import Any

from confluent_kafka import KafkaError, KafkaException
from tests.simulation.kafka.broker import Broker
from tests.simulation.kafka.message import ModelMessage
from tests.simulation.world import Signal

__all__ = ["ModelProducer"]

_LOST = frozenset(("lost", "unreported"))
_END = frozenset(("lost", "unanswered", "timed_out_before", "timed_out_after", "doubled", "absent", "torn", "hidden"))
_AGAIN_S = 0.4
_BATCH = 200


class _Queued:
    __slots__ = ("key", "message", "on_delivery", "until_ns")

    def __init__(self, message: ModelMessage, on_delivery: Any, until_ns: int) -> None:
        self.message = message
        self.on_delivery = on_delivery
        self.until_ns = until_ns


class _Batch:
    """`written`: where, once the broker has it."""

    __slots__ = ("messages", "topic", "unreported", "written")

    def __init__(self, topic: str, messages: list[_Queued]) -> None:
        self.topic = topic
        self.messages = messages
        self.written: tuple[int, int] | None = None
        self.unreported = False


class ModelProducer:
    """See the module. `broker` is given by `functools.partial`, the rest is the driver's."""

    def __init__(self, broker: Broker, config: Mapping[str, Any], logger: Any = None) -> None:
        self._broker = broker
        self._world = world = broker.world
        assert world.process is not None
        self._process = world.process
        self._on_delivery = config.get("on_delivery")
        self._error_cb = config.get("error_cb")
        self._only_errors = bool(config.get("delivery.report.only.error"))
        self._transactional: str = config.get("transactional.id", "")
        self._idempotent = bool(self._transactional) or bool(config.get("enable.idempotence"))
        self._transaction_timeout_s = config.get("transaction.timeout.ms", 60_000) / 1000
        wait_ms = config.get("delivery.timeout.ms", config.get("message.timeout.ms", 300_000))
        wait_ms = wait_ms or 1e9  # 0: for ever
        self._message_timeout_ns = int((self._transaction_timeout_s * 1000 if self._transactional else wait_ms) * 1e6)
        self._most = config.get("queue.buffering.max.messages", 100_000)
        self._queue: dict[str, deque[_Queued]] = {}
        self._in_flight: dict[str, _Batch] = {}
        self._reports: deque[tuple[Any, KafkaError | None, ModelMessage]] = deque()
        self._changed = Signal(world)
        self._size = 0
        self._pumping: set[str] = set()
        self._identity: tuple[int, int] | None = None
        self._registered: set[str] = set()
        self._in_transaction = False
        self._failed: KafkaError | None = None

    # --- records

    def produce(
        self,
        topic: str,
        value: bytes | None = None,
        key: bytes | None = None,
        partition: int = -1,
        on_delivery: Any = None,
        timestamp: int = 0,
        headers: Sequence[tuple[str, bytes]] | None = None,
        callback: Any = None,
    ) -> None:
        self._world.check()
        if self._failed is not None:
            raise KafkaException(self._failed)
        if self._size >= self._most:
            raise BufferError("Local: Queue full")
        if self._transactional and not self._in_transaction:
            raise KafkaException(KafkaError(KafkaError._STATE, "no transaction was begun"))
        created_ms = self._world.wall_ns(self._process) // 1_000_000
        message = ModelMessage(topic, -1, created_ms, key, value, tuple(headers or ()))
        queued = _Queued(message, on_delivery or callback, self._world.now_ns + self._message_timeout_ns)
        self._queue.setdefault(topic, deque()).append(queued)
        self._size += 1
        self._broker.observer(self._process, topic, value, "sent")
        self._pump_soon(topic, 0.0005 + 0.004 * self._world.rng.random())

    def __len__(self) -> int:
        return self._size + len(self._reports)

    def _pump_soon(self, topic: str, delay_s: float) -> None:
        if topic not in self._pumping:
            self._pumping.add(topic)
            self._world.after(delay_s, lambda: self._pump(topic))

    def _pump(self, topic: str) -> None:
        """The driver's own thread: send the next batch of a topic, or the last one again."""
        self._pumping.discard(topic)
        world, process = self._world, self._process
        if not process.alive:
            return
        if process.paused_until_ns > world.now_ns:
            self._pump_soon(topic, (process.paused_until_ns - world.now_ns) / 1e9)
            return
        batch = self._in_flight.get(topic)
        if batch is None:
            queue = self._queue.get(topic)
            if not queue:
                return
            size = min(len(queue), _BATCH)
            size = size if world.rng.random() < 0.7 else world.rng.randint(1, size)
            batch = self._in_flight[topic] = _Batch(topic, [queue.popleft() for _ in range(size)])
        if batch.messages[0].until_ns <= world.now_ns:
            self._answered(batch, KafkaError(KafkaError._MSG_TIMED_OUT, "Local: Message timed out"))
            return
        if not self._broker.is_up:
            self._pump_soon(topic, _AGAIN_S)
            return
        how = ""
        if world.armed:
            fault = world.take_fault(f"kafka.produce.{topic}", _LOST, process.name)
            how = fault.how if fault is not None else ""
            batch.unreported = batch.unreported or how == "unreported"
        if how == "lost":
            self._pump_soon(topic, _AGAIN_S)
            return
        delay_s = 0.0003 + 0.004 * world.rng.random() ** 4
        world.after(delay_s, lambda: self._arrive(batch))

    def _arrive(self, batch: _Batch) -> None:
        """At the broker, whether or not the process still lives."""
        world, broker = self._world, self._broker
        if not broker.is_up:
            self._pump_soon(batch.topic, _AGAIN_S)
            return
        if self._in_flight.get(batch.topic) is not batch and self._process.alive:
            return  # purged
        if self._transactional and batch.topic not in self._registered:
            assert self._identity is not None
            refused = broker.add_to_transaction(self._transactional, self._identity[1], batch.topic)
            if refused is not None:
                if refused.code() == KafkaError.CONCURRENT_TRANSACTIONS:
                    self._pump_soon(batch.topic, 0.02)
                else:
                    self._fail(refused)
                    self._answered(batch, refused)
                return
            self._registered.add(batch.topic)
        if batch.written is None or not self._idempotent:
            records = [
                (q.message.key(), q.message.value(), q.message.headers() or (), q.message.created_ms)
                for q in batch.messages
            ]
            outcome = broker.append(batch.topic, records, self._identity, self._transactional)
            if isinstance(outcome, KafkaError):
                if self._transactional:
                    self._fail(outcome)
                self._answered(batch, outcome)
                return
            batch.written = outcome
        if batch.unreported:
            self._pump_soon(batch.topic, max(_AGAIN_S, (batch.messages[0].until_ns - world.now_ns) / 1e9))
            return
        world.after(0.0002 + 0.003 * world.rng.random() ** 4, lambda: self._answered(batch, None))

    def _answered(self, batch: _Batch, error: KafkaError | None) -> None:
        if not self._process.alive or self._in_flight.get(batch.topic) is not batch:
            return
        if self._process.paused_until_ns > self._world.now_ns:
            wait_s = (self._process.paused_until_ns - self._world.now_ns) / 1e9
            self._world.after(wait_s, lambda: self._answered(batch, error))
            return
        del self._in_flight[batch.topic]
        self._report(batch.messages, error, batch.written)
        self._pump_soon(batch.topic, 0.0002)

    def _report(self, messages: Sequence[_Queued], error: KafkaError | None, written: tuple[int, int] | None) -> None:
        topic = self._broker.topics.get(messages[0].message.topic()) if messages else None
        for index, queued in enumerate(messages):
            message = queued.message
            if error is None and written is not None:
                message.place(written[0] + index, written[1] if topic and topic.by_broker_clock else message.created_ms)
            self._broker.observer(
                self._process, message.topic(), message.value(), "acknowledged" if error is None else "failed"
            )
            call = queued.on_delivery or self._on_delivery
            if call is not None and (error is not None or not self._only_errors):
                self._reports.append((call, error, message))
        self._size -= len(messages)
        self._changed.notify()

    def poll(self, timeout: float | None = None) -> int:
        world = self._world
        world.check()
        deadline = None if timeout is None else world.now_ns + int(timeout * 1e9)
        while not self._reports:
            left_s = None if deadline is None else (deadline - world.now_ns) / 1e9
            if left_s is not None and left_s <= 0:
                break
            if not world.wait(self._changed, left_s):
                break
        return self._serve()

    def _serve(self) -> int:
        served = 0
        while self._reports:
            call, error, message = self._reports.popleft()
            message.failed(error)
            call(error, message)
            served += 1
        return served

    def flush(self, timeout: float | None = None) -> int:
        world = self._world
        world.check()
        deadline = None if timeout is None else world.now_ns + int(timeout * 1e9)
        while True:
            self._serve()
            if not self._size:
                return 0
            left_s = None if deadline is None else (deadline - world.now_ns) / 1e9
            if left_s is not None and left_s <= 0:
                return len(self)
            world.wait(self._changed, left_s)

    def list_topics(self, topic: str, timeout: float) -> Any:
        def answer() -> Any:
            found = self._broker.topics.get(topic)
            parts = {} if found is None else {0: SimpleNamespace(leader=0)}
            return SimpleNamespace(topics={topic: SimpleNamespace(error=None, partitions=parts)})

        if not self._broker.is_up:
            self._world.sleep(timeout)
            raise KafkaException(KafkaError(KafkaError._TRANSPORT, "Local: Broker transport failure"))
        return self._world.effect(
            "kafka.admin.list_topics",
            answer,
            lambda how: KafkaException(KafkaError(KafkaError._TRANSPORT, f"Local: Broker transport failure ({how})")),
        )

    def purge(self, in_queue: bool = True, in_flight: bool = True, blocking: bool = True) -> None:
        if not self._process.alive:
            return
        waiting = [queued for queue in self._queue.values() for queued in queue] if in_queue else []
        if in_queue:
            self._queue.clear()
        self._report(waiting, KafkaError(KafkaError._PURGE_QUEUE, "Local: Purged in queue"), None)
        if in_flight:
            for batch in list(self._in_flight.values()):
                del self._in_flight[batch.topic]
                self._report(batch.messages, KafkaError(KafkaError._PURGE_INFLIGHT, "Local: Purged in flight"), None)

    # --- transactions

    def _fail(self, error: KafkaError) -> None:
        if self._failed is None or error.fatal():
            self._failed = error

    def _ask(
        self,
        operation: str,
        timeout_s: float,
        ask: Callable[[], Any],
        *,
        waits_for_end: bool = True,
    ) -> Any:
        """Ask until there is an answer or the time is over, as the driver does."""
        world = self._world
        deadline = world.now_ns + int(timeout_s * 1e9)
        while True:
            if world.now_ns >= deadline:
                raise KafkaException(KafkaError(KafkaError._TIMED_OUT, f"{operation} timed out", retriable=True))
            if not self._broker.is_up:
                world.sleep(min(_AGAIN_S, (deadline - world.now_ns) / 1e9))
                continue
            try:
                answer = world.effect(operation, ask, lambda how: ConnectionError(how))
            except ConnectionError:
                world.sleep(_AGAIN_S * (0.5 + world.rng.random()))
                continue
            if isinstance(answer, KafkaError):
                if answer.code() == KafkaError.CONCURRENT_TRANSACTIONS and waits_for_end:
                    world.sleep(0.02)
                    continue
                self._fail(answer)
                raise KafkaException(answer)
            return answer

    def init_transactions(self, timeout: float = 60.0) -> None:
        self._world.check()
        self._identity = self._ask(
            "kafka.init_txn",
            timeout,
            lambda: self._broker.init_producer(self._transactional, self._transaction_timeout_s),
        )

    def begin_transaction(self) -> None:
        self._world.check()
        if self._failed is not None:
            raise KafkaException(self._failed)
        self._in_transaction = True
        self._registered.clear()

    def commit_transaction(self, timeout: float = 60.0) -> None:
        self._world.check()
        deadline = self._world.now_ns + int(timeout * 1e9)
        if self.flush(timeout):
            raise KafkaException(KafkaError(KafkaError._TIMED_OUT, "not all records were sent", retriable=True))
        if self._failed is not None:
            raise KafkaException(self._failed)
        if self._registered:
            self._end(True, (deadline - self._world.now_ns) / 1e9)
        self._in_transaction = False

    def abort_transaction(self, timeout: float = 60.0) -> None:
        self._world.check()
        self.purge()
        self._serve()
        if self._failed is not None and self._failed.fatal():
            raise KafkaException(self._failed)
        self._failed = None
        if self._registered:
            self._end(False, timeout)
        self._in_transaction = False

    def _end(self, commit: bool, timeout_s: float) -> None:
        world, broker, transactional = self._world, self._broker, self._transactional
        assert self._identity is not None
        epoch = self._identity[1]
        fault = world.take_fault("kafka.end_txn", _END) if world.armed and commit else None
        how = fault.how if fault is not None else ""
        seconds = fault.seconds if fault is not None else 0.0
        if how == "doubled":
            copy_s = max(0.001, seconds)
            world.after(copy_s, lambda: self._late_copy(epoch, commit))
        elif how in ("lost", "timed_out_before"):
            world.sleep(_AGAIN_S if how == "lost" else timeout_s)
            if how == "timed_out_before":
                raise KafkaException(KafkaError(KafkaError._TIMED_OUT, "EndTxn timed out", retriable=True))

        def ask() -> KafkaError | None:
            return broker.end_transaction(
                transactional,
                epoch,
                commit,
                how=how if how in ("absent", "torn") else "",
                slow_s=seconds if how == "hidden" else 0.0,
            )

        self._ask("kafka.end_txn", timeout_s, ask)
        if how == "timed_out_after":
            world.sleep(timeout_s)
            raise KafkaException(KafkaError(KafkaError._TIMED_OUT, "EndTxn timed out", retriable=True))
        if how == "unanswered":
            world.sleep(_AGAIN_S)
            self._ask("kafka.end_txn", timeout_s, lambda: broker.end_transaction(transactional, epoch, commit))

    def _late_copy(self, epoch: int, commit: bool) -> None:
        state = self._broker.transactions[self._transactional].state
        answer = self._broker.end_transaction(self._transactional, epoch, commit)
        if answer is None and state == "ongoing":
            self._world.tell(f"a late copy of EndTxn ends the next transaction of {self._transactional}")
            self._world.count("kafka.end_txn: a late copy ended another transaction")
