"""Applications in the simulated world: with the product's own client, with its spool, and with the raw protocol alone.

Each is a process that can be killed and started anew; a new life goes on with the acts that no life before has begun,
under a new producer id, as a restarted application does.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from tests.simulation.kafka.producer import ModelProducer
from tests.simulation.plan import CHAIN, Act
from tests.simulation.world import World

from sealstream.client import AuditClient
from sealstream.client.spool_directory import is_held, streams
from sealstream.errors import Misconfigured, SealstreamError
from sealstream.events import canonical_event, control_statement, uuid7
from sealstream.kafka import KafkaSettings, produce
from sealstream.layout import ChainTopics

__all__ = ["Application", "RawApplication", "SpooledApplication"]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_GARBAGE = (b"", b"{}", b"\xff\xfe", b'{"id":"1","id":"2"}', b'{"id":"00000000-0000-4000-8000-000000000000"}', b"null")


class _Emitter:
    """`acts` are taken one after another; what is taken is never taken again."""

    def __init__(
        self, world: World, name: str, acts: Sequence[Act], make_producer: Callable[..., ModelProducer]
    ) -> None:
        self.world = world
        self.name = name
        self._acts = list(acts)
        self._make_producer = make_producer
        self._life = 0
        self.idle = not acts

    def _new_id(self) -> str:
        world = self.world
        return uuid7(world.wall_ns(world.process), world.rng.randbytes(8))

    def _next(self) -> Act | None:
        if not self._acts:
            return None
        act = self._acts.pop(0)
        wait_s = act.at_s - self.world.now_ns / 1e9
        if wait_s > 0:
            self.world.sleep(wait_s)
        return act

    def _time(self) -> datetime:
        return _EPOCH + timedelta(microseconds=self.world.wall_ns(self.world.process) // 1000)


class Application(_Emitter):
    """Uses `AuditClient` and closes it at the end."""

    def main(self) -> None:
        self._life += 1
        client = AuditClient(
            CHAIN,
            "simulated:9092",
            source={"service": self.name, "host": "simulated"},
            delivery_timeout_s=8.0,
            clock=self._time,
            new_id=self._new_id,
            producer_factory=self._make_producer,
        )
        while (act := self._next()) is not None:
            client.emit("read", resource_type="record", resource_id=str(act.at_s), actor_id="alice")
        client.close(20.0)
        self.idle = True


class SpooledApplication(_Emitter):
    """Uses `AuditClient` in mode `spool`, beside others in one directory; `accepted`: ids that `emit` has returned.

    When all is emitted it starts, and ends, again until nobody's events are left there: so does the real one, some day.
    """

    def __init__(
        self, world: World, name: str, acts: Sequence[Act], make_producer: Callable[..., ModelProducer]
    ) -> None:
        super().__init__(world, name, acts, make_producer)
        self.accepted: set[str] = set()
        self.directory = Path()
        self.max_bytes = 0

    def main(self) -> None:
        self._life += 1
        self.idle = False
        client = self._client()
        while (act := self._next()) is not None:
            self._emit(client, act)
        client.close(self.world.rng.choice((0.2, 5.0)))
        while any(not is_held(each) for each in streams(self.directory)):
            client = self._client()
            self._emit(client, Act(0.0, self.name, "event"))
            self.world.sleep(3.0)
            client.close(5.0)
        self.idle = True

    def _emit(self, client: AuditClient, act: Act) -> None:
        event_id = client.emit("write", resource_type="record", resource_id=str(act.at_s), actor_id="carol")
        if event_id is not None:
            self.accepted.add(event_id)

    def _client(self) -> AuditClient:
        rng = self.world.rng
        while True:
            try:
                return AuditClient(
                    CHAIN,
                    "simulated:9092",
                    source={"service": self.name, "host": "simulated"},
                    mode="spool",
                    spool_directory=self.directory,
                    spool_max_bytes=self.max_bytes,
                    spool_fsync=rng.choice(("always", "interval", "never")),
                    exit_timeout_s=rng.choice((0.5, 5.0)),
                    clock=self._time,
                    new_id=self._new_id,
                    producer_factory=self._make_producer,
                )
            except Misconfigured:  # the disk refused: a supervisor starts it again
                self.world.sleep(0.5)


class RawApplication(_Emitter):
    """Speaks to Kafka itself: numbers, repeats, garbage, gaps, and control statements."""

    def __init__(
        self, world: World, name: str, acts: Sequence[Act], make_producer: Callable[..., ModelProducer]
    ) -> None:
        super().__init__(world, name, acts, make_producer)
        self.garbage: set[bytes] = set()

    def main(self) -> None:
        self._life += 1
        producer_id, world = f"{self.name}.{self._life}", self.world
        producer = self._make_producer({"enable.idempotence": True, "delivery.timeout.ms": 8000})
        number, skipped, sent = 0, list[int](), list[bytes]()
        topic = ChainTopics.of(CHAIN).raw

        def send(value: bytes) -> None:
            producer.produce(topic, value, partition=0)
            sent.append(value)

        while (act := self._next()) is not None:
            what = act.what
            if what == "repeat" and sent:
                producer.produce(topic, world.rng.choice(sent), partition=0)
            elif what == "late" and skipped:
                send(self._event(producer_id, skipped.pop(0)))
            elif what == "garbage":
                garbage = world.rng.choice(_GARBAGE) + str(len(self.garbage)).encode() * world.rng.randint(0, 1)
                self.garbage.add(garbage)
                producer.produce(topic, garbage, partition=0)
            elif what == "control":
                self._state()
            elif what == "conflict" and sent:
                send(self._event(producer_id, number, id=json.loads(world.rng.choice(sent))["id"]))
                number += 1
            else:
                if what == "skip":
                    skipped.append(number)
                    number += 1
                for _ in range(world.rng.randint(5, 20) if what == "burst" else 1):
                    send(self._event(producer_id, number))
                    number += 1
            producer.poll(0)
        producer.flush(20)
        self.idle = True

    def _event(self, producer_id: str, number: int, **more: Any) -> bytes:
        fields = {
            "id": self._new_id(),
            "timestamp": self._time().strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
            "actor_id": "bob",
            "actor_type": "user",
            "action": "write",
            "resource_type": "record",
            "resource_id": str(number),
            "result": "success",
            "producer_id": producer_id,
            "producer_seq": number,
            **more,
        }
        return canonical_event(fields)

    def _state(self) -> None:
        statement = control_statement(
            "store.expired",
            id=self._new_id(),
            timestamp=self._time().strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
            actor_id="sealstream/test",
            resource_type="store",
            resource_id="postgres",
            metadata={"store": "postgres", "first_seq": 0, "last_seq": 1, "reason": "time is over"},
        )
        try:
            produce(KafkaSettings("simulated:9092"), ChainTopics.of(CHAIN).control, [statement], timeout_s=5)
        except SealstreamError as error:
            self.world.tell(f"control statement not acknowledged: {error}")
