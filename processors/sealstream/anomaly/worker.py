"""One worker of the watch: a Faust app whose agents read activity, and hand it on in batches.

Faust shares the partitions out among workers, fetches what was committed, and tells when partitions are about to move:
then the batch at hand is finished and committed, and nothing more is taken. It acknowledges nothing and keeps nothing
here: its `take` acknowledges what was not handled when it is cancelled, and offsets are committed once a batch is done
(`worker_batches` has the order, and what a crash leaves).
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from typing import Any, NamedTuple, TypeVar

import faust
import structlog

from sealstream.anomaly.watching import Watch
from sealstream.anomaly.worker_batches import Batches, Done
from sealstream.anomaly.worker_handling import Kind, Taken
from sealstream.anomaly.worker_reports import Report
from sealstream.anomaly.worker_transport import CommittedTransport, RawRecords, broker_urls, credentials_of
from sealstream.anomaly.worker_writing import Known
from sealstream.errors import Unavailable
from sealstream.kafka import KafkaSettings, Place
from sealstream.layout.workers import worker_group

__all__ = ["Worker"]

_Found = TypeVar("_Found")

_BATCH = 1_000
_WAITING = 4_000
_GATHER_S = 0.02  # a batch of one record costs as much as one of a hundred
_COMMIT_EVERY_S = 0.25
_AT_END_EVERY_S = 15.0
_LOOK_EVERY_S = 0.1
_REPORT_EVERY_S = 0.5
_FINISH_WITHIN_S, _STOP_WITHIN_S = 3.0, 2.0
_SESSION_S, _HEARTBEAT_S, _REBALANCE_S, _REQUEST_S = 10.0, 3.0, 20.0, 30.0


class _Read(NamedTuple):
    taken: Taken
    generation: int


class _App(faust.App):  # type: ignore[misc]
    rebalance_begins: Callable[[], None]

    def on_rebalance_start(self) -> None:
        """Said by the consumer's thread before anything is dropped."""
        self.rebalance_begins()
        super().on_rebalance_start()

    def _create_directories(self) -> None:
        """Nothing of the watch is on a disk."""


class Worker:
    """`watches`: the detectors of each kind. `known`: see `BatchWriter`. `report`: told how it goes, often.

    `name`: what Kafka calls this client.
    """

    def __init__(
        self,
        kafka: KafkaSettings,
        prefix: str,
        watches: Mapping[Kind, Watch[Any]],
        *,
        report: Callable[[Report], None],
        known: Known | None = None,
        name: str = "sealstream-anomaly",
    ) -> None:
        self._tell = report
        self._closed = True
        self._batches = Batches(kafka, prefix, watches, lambda: not self._closed, known)
        self._thread = ThreadPoolExecutor(1, "batches")
        self._counts = Report()
        self._waiting: deque[_Read] = deque()
        self._some, self._room = asyncio.Event(), asyncio.Event()
        self._at_work = asyncio.Lock()
        self._goes_on_at: dict[Place, int] = {}
        self._committed_at = 0.0
        self._at_end_at = time.monotonic()
        self._begun = -1
        self._log = structlog.get_logger().bind(process="anomaly")
        self._app = self._build(kafka, worker_group(prefix), name)

    async def run(self, stop: asyncio.Event) -> None:
        """Until told to stop. Raises what ended it otherwise: start another then."""
        working = asyncio.create_task(self._work())
        reporting = asyncio.create_task(self._report())
        starting = asyncio.create_task(self._app.start())
        stopping = asyncio.create_task(stop.wait())
        ended = asyncio.create_task(self._crashed())
        done, _ = await asyncio.wait({working, reporting, stopping, ended}, return_when=asyncio.FIRST_COMPLETED)
        if stopping not in done:
            for task in done:
                task.result()
            raise Unavailable("the worker's loop has ended")
        starting.cancel()
        await self._finish()
        try:
            await asyncio.wait_for(self._app.stop(), _STOP_WITHIN_S)
        except TimeoutError:
            self._log.warning("Faust did not stop in time: the group misses this worker after some seconds")

    def _build(self, kafka: KafkaSettings, group: str, name: str) -> faust.App:
        app = _App(
            group,
            broker=broker_urls(kafka),
            broker_client_id=name,
            broker_credentials=credentials_of(kafka),
            broker_session_timeout=_SESSION_S,
            broker_heartbeat_interval=_HEARTBEAT_S,
            broker_rebalance_timeout=_REBALANCE_S,
            broker_request_timeout=_REQUEST_S,
            broker_max_poll_records=_WAITING,
            canonical_url=f"http://{name}",
            stream_buffer_maxsize=_WAITING,
            stream_wait_empty=False,
            table_standby_replicas=1,  # no table has any; with 0, partitions are dealt out afresh at each change
            topic_allow_declare=False,
            topic_disable_leader=True,
            web_enabled=False,
        )
        app.transport = CommittedTransport(broker_urls(kafka), app)
        app.rebalance_begins = self._close
        for kind, topic in self._batches.topics.items():
            raw = app.topic(topic, schema=RawRecords(), acks=False, allow_empty=True)
            app.agent(raw, name=kind)(self._reader_of(kind))
        app.on_partitions_revoked.connect(self._on_revoked)
        app.on_partitions_assigned.connect(self._on_assigned)
        return app

    def _reader_of(self, kind: Kind) -> Callable[[Any], Any]:
        async def read(stream: Any) -> None:
            async for event in stream.events():
                if self._closed:
                    continue
                message = event.message
                taken = Taken(kind, message.partition, message.offset, message.key, message.value)
                self._waiting.append(_Read(taken, message.generation_id))
                self._some.set()
                while len(self._waiting) >= _WAITING:
                    self._room.clear()
                    await self._room.wait()

        return read

    async def _work(self) -> None:
        while True:
            await self._await_records()
            async with self._at_work:
                generation = self._app.consumer_generation_id
                if not self._closed and self._begun != generation:
                    if await self._in_thread(partial(self._batches.begin, self._places())):
                        self._begun = generation
                elif self._waiting and self._begun == generation:
                    batch = [self._waiting.popleft() for _ in range(min(_BATCH, len(self._waiting)))]
                    self._room.set()
                    records = [each.taken for each in batch if each.generation == generation]
                    done = await self._in_thread(partial(self._batches.do, records))
                    if generation == self._app.consumer_generation_id:
                        self._count(done)
                await self._look_for_ends()
                if not self._app.rebalancing and time.monotonic() - self._committed_at > _COMMIT_EVERY_S:
                    await self._commit()

    async def _look_for_ends(self) -> None:
        """Have quiet partitions go on behind the markers of their last records."""
        generation = self._app.consumer_generation_id
        due = time.monotonic() - self._at_end_at > _AT_END_EVERY_S
        if self._closed or self._begun != generation or not due:
            return
        ends = await self._in_thread(self._batches.at_end)
        self._at_end_at = time.monotonic()
        if generation == self._app.consumer_generation_id:
            self._goes_on_at |= ends

    async def _await_records(self) -> None:
        if self._waiting and self._begun == self._app.consumer_generation_id:
            return
        self._some.clear()
        with suppress(TimeoutError):
            await asyncio.wait_for(self._some.wait(), _LOOK_EVERY_S)
            await asyncio.sleep(_GATHER_S)

    def _count(self, done: Done | None) -> None:
        if done is None:
            return
        self._goes_on_at |= done.goes_on_at
        counts = self._counts
        counts.records += done.records
        counts.malformed += done.handled.malformed
        counts.failed += done.handled.failed
        counts.alerts += done.written.raised
        counts.known += done.written.known
        counts.unsealed += done.written.unsealed

    async def _commit(self) -> None:
        if self._goes_on_at:
            offsets, self._goes_on_at = self._goes_on_at, {}
            await self._app.consumer.commit_handled(offsets)
        self._committed_at = time.monotonic()

    async def _in_thread(self, call: Callable[[], _Found]) -> _Found:
        return await asyncio.get_running_loop().run_in_executor(self._thread, call)

    # --- partitions come and go

    def _close(self) -> None:
        """From now on Faust drops records that it has read, and gives those behind them: nothing more is taken."""
        self._closed = True

    async def _finish(self) -> None:
        """Do what is at hand, and commit; whatever else was read is another's."""
        self._close()
        self._waiting.clear()
        self._room.set()
        try:
            async with asyncio.timeout(_FINISH_WITHIN_S), self._at_work:
                await self._commit()
        except TimeoutError:
            self._log.warning("a batch was not done in time: who gets its partitions does it again")
        self._goes_on_at.clear()

    async def _on_revoked(self, app: faust.App, revoked: Any, **_: Any) -> None:
        await self._finish()

    async def _on_assigned(self, app: faust.App, assigned: Any, **_: Any) -> None:
        self._waiting.clear()
        self._room.set()
        self._goes_on_at.clear()
        self._begun = -1
        self._closed = False

    def _places(self) -> list[Place]:
        topics = set(self._batches.topics.values())
        return sorted(Place(tp.topic, tp.partition) for tp in self._app.consumer.assignment() if tp.topic in topics)

    # --- how it goes

    async def _report(self) -> None:
        while True:
            counts = self._counts
            counts.recovered = self._batches.read
            counts.trouble = self._batches.trouble
            counts.ready = not self._closed and self._begun == self._app.consumer_generation_id
            counts.places = [] if self._closed else self._places()
            self._tell(counts)
            await asyncio.sleep(_REPORT_EVERY_S)

    async def _crashed(self) -> None:
        while True:
            await asyncio.sleep(_LOOK_EVERY_S)
            if self._app.crash_reason is not None:
                raise Unavailable(f"Faust has given up: {self._app.crash_reason!r}") from self._app.crash_reason
            if self._app.should_stop:
                raise Unavailable("Faust has stopped by itself")
