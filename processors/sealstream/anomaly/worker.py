"""One worker of the watch: a Faust app that reads activity, finds alerts, raises them, and keeps its subjects' states.

A batch is handled in this order: decode and detect, alerts acknowledged, states acknowledged, states in the tables,
offsets committed. So a kill at any line has the batch handled again, from the states before it, with the same alerts.
When partitions are about to move, the batch at hand is finished and committed first; what is only half done then is
done again by who gets them. Faust shares partitions out, fetches, and recovers tables; it acknowledges nothing here
(its `take` acknowledges what was not handled when it is cancelled).
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any, NamedTuple

import faust
import structlog

from sealstream.anomaly.watching import Watch
from sealstream.anomaly.worker_handling import Handled, Handling, Kind, Taken
from sealstream.anomaly.worker_reports import Report
from sealstream.anomaly.worker_tables import SubjectTable
from sealstream.anomaly.worker_transport import CommittedTransport, RawRecords, broker_urls, credentials_of
from sealstream.anomaly.worker_writing import BatchWriter, Known, Written
from sealstream.errors import Misconfigured, Unavailable
from sealstream.kafka import KafkaSettings, Place, end_offsets
from sealstream.layout.activity import ActivityTopics
from sealstream.layout.workers import WorkerTopics, worker_group

__all__ = ["Worker"]

_BATCH = 1_000
_WAITING = 4_000
_COMMIT_EVERY_S = 0.25
_LOOK_EVERY_S = 0.1
_REPORT_EVERY_S = 0.5
_FINISH_WITHIN_S = 5.0
_STOP_WITHIN_S = 3.0
_LONGEST_PAUSE_S = 5.0
_SESSION_S, _HEARTBEAT_S, _REBALANCE_S, _REQUEST_S = 10.0, 3.0, 20.0, 30.0


class _Read(NamedTuple):
    taken: Taken
    place: Place
    generation: int


class _App(faust.App):  # type: ignore[misc]
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
        self._kafka = kafka
        self._prefix = prefix
        self._tell = report
        self._tables: dict[Kind, SubjectTable] = {}
        self._topics: dict[Kind, str] = dict(zip(("actor", "address"), ActivityTopics.of(prefix)[:2], strict=True))
        self._handling = Handling(watches, lambda kind, key: self._tables[kind].stored(key))
        self._writer = BatchWriter(kafka, prefix, known)
        self._writing = ThreadPoolExecutor(1, "writing")
        self._counts = Report()
        self._waiting: deque[_Read] = deque()
        self._some, self._room = asyncio.Event(), asyncio.Event()
        self._at_work = asyncio.Lock()
        self._next: dict[Place, int] = {}
        self._committed_at = 0.0
        self._ends: dict[Place, int] | None = None
        self._shared_out = False
        self._log = structlog.get_logger().bind(process="anomaly")
        self._app = self._build(name)

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

    def _build(self, name: str) -> faust.App:
        app = _App(
            worker_group(self._prefix),
            broker=broker_urls(self._kafka),
            broker_client_id=name,
            broker_credentials=credentials_of(self._kafka),
            broker_session_timeout=_SESSION_S,
            broker_heartbeat_interval=_HEARTBEAT_S,
            broker_rebalance_timeout=_REBALANCE_S,
            broker_request_timeout=_REQUEST_S,
            broker_max_poll_records=_WAITING,
            canonical_url=f"http://{name}",
            store="memory://",
            stream_buffer_maxsize=_WAITING,
            stream_wait_empty=False,
            table_standby_replicas=0,
            topic_allow_declare=False,
            topic_disable_leader=True,
            web_enabled=False,
            Table=SubjectTable,
        )
        app.transport = CommittedTransport(broker_urls(self._kafka), app)
        for kind, topic, states in zip(self._topics, self._topics.values(), WorkerTopics.of(self._prefix), strict=True):
            raw = app.topic(topic, schema=RawRecords(), acks=False, allow_empty=True)
            changes = app.topic(states, schema=RawRecords(), acks=False, allow_empty=True)
            self._tables[kind] = app.Table(f"{kind}s", changelog_topic=changes)
            app.agent(raw, name=f"{kind}s")(self._reader_of(kind))
        app.on_partitions_revoked.connect(self._on_revoked)
        app.on_partitions_assigned.connect(self._on_assigned)
        return app

    def _reader_of(self, kind: Kind) -> Callable[[Any], Any]:
        async def read(stream: Any) -> None:
            async for event in stream.events():
                message = event.message
                taken = Taken(kind, message.partition, message.offset, message.key, message.value)
                self._waiting.append(_Read(taken, Place(message.topic, message.partition), message.generation_id))
                self._some.set()
                while len(self._waiting) >= _WAITING:
                    self._room.clear()
                    await self._room.wait()

        return read

    async def _work(self) -> None:
        while True:
            if not self._waiting:
                self._some.clear()
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._some.wait(), _LOOK_EVERY_S)
            async with self._at_work:
                batch = [self._waiting.popleft() for _ in range(min(_BATCH, len(self._waiting)))]
                self._room.set()
                if batch:
                    await self._do(batch)
                await self._commit(after_s=_COMMIT_EVERY_S)

    async def _do(self, batch: list[_Read]) -> None:
        generation = self._app.consumer_generation_id
        batch = [each for each in batch if each.generation == generation]
        handled = self._handling.handle([each.taken for each in batch])
        written = await self._written(handled, generation)
        if written is None:
            self._handling.forget()
            return
        for state in handled.states:
            self._tables[state.kind].keep(state.partition, state.key, state.value, state.counted)
        for each in batch:
            self._next[each.place] = each.taken.offset + 1
        counts = self._counts
        counts.records += len(batch)
        counts.malformed += handled.malformed
        counts.failed += handled.failed
        counts.alerts += written.raised
        counts.known += written.known
        counts.unsealed += written.unsealed

    async def _written(self, handled: Handled, generation: int) -> Written | None:
        """What was written; None when the partitions were shared out anew before it could be."""
        if not handled.alerts and not handled.states:
            return Written(0, 0, 0)
        pause_s = 0.2
        while True:
            try:
                written = await asyncio.get_running_loop().run_in_executor(self._writing, self._write, handled)
            except (Unavailable, Misconfigured) as error:
                if self._counts.trouble != str(error):
                    self._log.warning("waiting to write", why=str(error))
                self._counts.trouble = str(error)
            else:
                self._counts.trouble = ""
                return written
            if self._app.consumer_generation_id != generation:
                return None
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)

    def _write(self, handled: Handled) -> Written:
        alerts = [alert for alert, _ in handled.alerts]
        if alerts and self._ends is None:
            self._ends = end_offsets(self._kafka, [Place(topic, n) for topic, n in self._input_places()])
        ends = self._ends or {}
        before = [
            alert.id
            for alert, taken in handled.alerts
            if taken.offset < ends.get(Place(self._topics[taken.kind], taken.partition), 0)
        ]
        return self._writer.write(alerts, before, handled.states)

    async def _commit(self, after_s: float = 0.0) -> None:
        if not self._next or self._app.rebalancing or time.monotonic() - self._committed_at < after_s:
            return
        offsets, self._next = self._next, {}
        await self._app.consumer.commit_handled(offsets)
        self._committed_at = time.monotonic()

    async def _finish(self) -> None:
        """Do what is at hand, and commit; whatever else was read is another's."""
        self._waiting.clear()
        self._room.set()
        try:
            async with asyncio.timeout(_FINISH_WITHIN_S), self._at_work:
                if self._next:
                    offsets, self._next = self._next, {}
                    await self._app.consumer.commit_handled(offsets)
        except TimeoutError:
            self._log.warning("a batch was not done in time: who gets its partitions does it again")
        self._next.clear()

    async def _on_revoked(self, app: faust.App, revoked: Any, **_: Any) -> None:
        await self._finish()
        self._handling.forget()

    async def _on_assigned(self, app: faust.App, assigned: Any, **_: Any) -> None:
        self._waiting.clear()
        self._room.set()
        self._handling.forget()
        self._next.clear()
        self._ends = None
        self._shared_out = True

    def _input_places(self) -> list[tuple[str, int]]:
        topics = set(self._topics.values())
        return sorted((tp.topic, tp.partition) for tp in self._app.consumer.assignment() if tp.topic in topics)

    async def _report(self) -> None:
        while True:
            counts = self._counts
            counts.recovered = sum(table.recovered for table in self._tables.values())
            counts.ready = self._shared_out and not self._app.rebalancing
            counts.places = [Place(*each) for each in self._input_places()] if self._shared_out else []
            self._tell(counts)
            await asyncio.sleep(_REPORT_EVERY_S)

    async def _crashed(self) -> None:
        while True:
            await asyncio.sleep(_LOOK_EVERY_S)
            if self._app.crash_reason is not None:
                raise Unavailable(f"Faust has given up: {self._app.crash_reason!r}") from self._app.crash_reason
            if self._app.should_stop:
                raise Unavailable("Faust has stopped by itself")
