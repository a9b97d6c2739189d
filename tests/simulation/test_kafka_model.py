"""The model of Kafka is held to the real broker: the same scripts, by the driver's own classes, must see the same.

A script gets a `Stage`, which is the real driver or the model, and returns what it observed. It must not depend on
time but for what the protocol promises.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any

import confluent_kafka
import confluent_kafka.admin
import pytest
from confluent_kafka import IsolationLevel, KafkaError, KafkaException, TopicCollection, TopicPartition
from confluent_kafka.admin import NewTopic, OffsetSpec
from tests.simulation import shims
from tests.simulation.kafka.admin import ModelAdmin
from tests.simulation.kafka.broker import Broker
from tests.simulation.kafka.consumer import ModelConsumer
from tests.simulation.kafka.producer import ModelProducer
from tests.simulation.world import World

from sealstream.kafka import KafkaSettings
from sealstream.kafka.settings import error_of, translated

_GROUP = {"partition.assignment.strategy": "cooperative-sticky", "enable.partition.eof": False}


class Stage:
    """Where a script is played."""

    def __init__(
        self, producer: Any, consumer: Any, admin: Any, bootstrap: str, sleep: Callable[[float], None]
    ) -> None:
        self._producer, self._consumer, self._sleep = producer, consumer, sleep
        self._bootstrap = bootstrap
        self.admin = admin({"bootstrap.servers": bootstrap})
        self.name = f"c{uuid.uuid4().hex[:10]}"
        self._open: list[Any] = []

    def topic(self, kind: str = "t", **config: str) -> str:
        name = f"{self.name}.{kind}"
        settings = {"message.timestamp.type": "LogAppendTime", **config}
        self.admin.create_topics([NewTopic(name, 1, 1, config=settings)])[name].result(10)
        for _ in range(100):  # made, but the broker that is asked may not have heard of it yet
            with suppress(KafkaException):
                self.admin.describe_topics(TopicCollection([name]))[name].result(10)
                return name
            self._sleep(0.05)
        raise AssertionError(f"{name} was made and is not there")

    def producer(self, transactional: str = "", **config: Any) -> Any:
        own = {"enable.idempotence": True, "linger.ms": 1, **config}
        if transactional:
            own["transactional.id"] = f"{self.name}.{transactional}"
        return self._producer({"bootstrap.servers": self._bootstrap, "log_level": 0, **own})

    def consumer(self, **config: Any) -> Any:
        own = {
            "group.id": f"{self.name}.group",
            "isolation.level": "read_committed",
            "auto.offset.reset": "error",
            "enable.auto.commit": False,
            "enable.partition.eof": True,
            "fetch.wait.max.ms": 20,
            "heartbeat.interval.ms": 200,
            "session.timeout.ms": 6_000,
            "log_level": 0,
            **config,
        }
        made = self._consumer({"bootstrap.servers": self._bootstrap, **own})
        self._open.append(made)
        return made

    def read(self, topic: str, offset: int = 0, **config: Any) -> list[Any]:
        """Offset and value of each record from `offset` on, then the end (or the error) that is told."""
        consumer = self.consumer(**config)
        consumer.assign([TopicPartition(topic, 0, offset)])
        seen: list[Any] = []
        for _ in range(50):
            for message in consumer.consume(100, 0.2):
                error = message.error()
                if error is None:
                    seen.append((message.offset(), message.value()))
                elif error.code() == KafkaError._PARTITION_EOF:
                    return [*seen, ("end", message.offset())]
                else:
                    return [*seen, ("error", error.code())]
        return [*seen, "nothing more"]

    def ends(self, topic: str) -> list[int]:
        """The first offset, the last stable one, the high watermark."""
        found = []
        for spec, level in (
            (OffsetSpec.earliest(), IsolationLevel.READ_UNCOMMITTED),
            (OffsetSpec.latest(), IsolationLevel.READ_COMMITTED),
            (OffsetSpec.latest(), IsolationLevel.READ_UNCOMMITTED),
        ):
            asked = self.admin.list_offsets({TopicPartition(topic, 0): spec}, isolation_level=level)
            found += [answer.result(10).offset for answer in asked.values()]
        return found

    def settled(self, topic: str, size: int) -> list[int]:
        """`ends`, once that many offsets are decided: markers come a moment after the answer to a commit."""
        for _ in range(100):
            if self.ends(topic)[1] >= size:
                break
            self._sleep(0.02)
        return self.ends(topic)

    def close(self) -> None:
        for each in self._open:
            each.close()


def send(producer: Any, topic: str, *values: bytes) -> list[Any]:
    """What the reports say: offsets, or codes of errors."""
    told: list[Any] = []

    def on_delivery(error: Any, message: Any) -> None:
        told.append(message.offset() if error is None else ("error", error.code()))

    for value in values:
        producer.produce(topic, value, partition=0, on_delivery=on_delivery)
    producer.flush(20)
    return told


def ours(call: Callable[[], Any]) -> str:
    """What the product makes of the error that `call` raises."""
    try:
        call()
    except KafkaException as raised:
        return type(translated(error_of(raised), KafkaSettings("x"), "trying")).__name__
    return "done"


def transactions_take_offsets(stage: Stage) -> Any:
    topic, producer = stage.topic(), stage.producer("a")
    producer.init_transactions(20)
    seen: list[Any] = []
    for values, commit in (((b"1", b"2", b"3"), True), ((b"4", b"5"), False), ((b"6",), True)):
        producer.begin_transaction()
        seen.append(send(producer, topic, *values))
        producer.commit_transaction(20) if commit else producer.abort_transaction(20)
    producer.begin_transaction()
    producer.commit_transaction(20)  # of nothing: no marker
    producer.begin_transaction()
    producer.abort_transaction(20)
    seen.append(stage.settled(topic, 9))
    seen.append(stage.read(topic))
    seen.append(stage.read(topic, 4))
    seen.append(stage.read(topic, 9))
    return [*seen, stage.read(topic, **{"isolation.level": "read_uncommitted"})]


def an_open_transaction_holds_readers_back(stage: Stage) -> Any:
    topic, first, second = stage.topic(), stage.producer("a"), stage.producer("b")
    seen = []
    for producer in (first, second):
        producer.init_transactions(20)
        producer.begin_transaction()
    send(first, topic, b"1")
    send(second, topic, b"2")
    seen += [stage.ends(topic), stage.read(topic)]
    second.commit_transaction(20)
    stage.settled(topic, 0)
    seen.append(stage.read(topic))
    first.commit_transaction(20)
    return [*seen, stage.settled(topic, 4), stage.read(topic)]


def a_new_producer_fences_the_one_before(stage: Stage) -> Any:
    topic, old = stage.topic(), stage.producer("same")
    old.init_transactions(20)
    old.begin_transaction()
    seen: list[Any] = [send(old, topic, b"of the old")]
    new = stage.producer("same")
    new.init_transactions(20)
    seen += [stage.settled(topic, 2), stage.read(topic)]
    seen.append(ours(lambda: old.commit_transaction(10)))
    seen.append(ours(old.begin_transaction))
    new.begin_transaction()
    seen.append(send(new, topic, b"of the new"))
    new.commit_transaction(20)
    return [*seen, stage.settled(topic, 4), stage.read(topic)]


def a_member_commits_offsets_of_topics_that_it_does_not_own(stage: Stage) -> Any:
    topic, other, owned = stage.topic(), stage.topic("other"), list[str]()
    member = stage.consumer(**_GROUP)

    def assigned(consumer: Any, given: list[TopicPartition]) -> None:
        owned.extend(each.topic for each in given)
        consumer.incremental_assign(given)
        consumer.pause(given)

    member.subscribe([topic], on_assign=assigned, on_revoke=lambda each, given: each.incremental_unassign(given))
    for _ in range(500):
        if owned:
            break
        member.poll(0.1)
    member.commit(offsets=[TopicPartition(topic, 0, 5), TopicPartition(other, 0, 7)], asynchronous=True)
    asked, found = [TopicPartition(topic, 0), TopicPartition(other, 0)], list[int]()
    for _ in range(100):
        member.poll(0.02)
        found = [each.offset for each in member.committed(asked, 10)]
        if found == [5, 7]:
            break
    return found


def trimming_moves_the_start(stage: Stage) -> Any:
    topic = stage.topic()
    send(stage.producer(), topic, b"0", b"1", b"2", b"3")
    trimmed = stage.admin.delete_records([TopicPartition(topic, 0, 2)])
    seen: list[Any] = [answer.result(10).low_watermark for answer in trimmed.values()]
    seen += [stage.ends(topic), stage.read(topic, 2), stage.read(topic, 0), stage.read(topic, 9)]
    for answer in stage.admin.delete_records([TopicPartition(topic, 0, 99)]).values():
        seen.append(ours(partial(answer.result, 10)))
    consumer = stage.consumer()
    return [*seen, consumer.get_watermark_offsets(TopicPartition(topic, 0), 10)]


def topics_are_told_by_their_ids(stage: Stage) -> Any:
    topic = stage.topic()

    def described(name: str) -> Any:
        return stage.admin.describe_topics(TopicCollection([name]))[name].result(10)

    seen: list[Any] = [len(described(topic).partitions), bool(str(described(topic).topic_id))]
    seen.append(str(described(topic).topic_id) == str(described(topic).topic_id))
    try:
        described(f"{topic}.missing")
    except KafkaException as raised:
        seen.append(error_of(raised).code() == KafkaError.UNKNOWN_TOPIC_OR_PART)
    try:
        stage.topic()
    except KafkaException as raised:
        seen.append(error_of(raised).code() == KafkaError.TOPIC_ALREADY_EXISTS)
    return seen


def the_broker_gives_the_time(stage: Stage) -> Any:
    topic, producer = stage.topic(), stage.producer()
    told: list[Any] = []
    producer.produce(topic, b"x", partition=0, on_delivery=lambda _error, message: told.append(message.timestamp()[1]))
    producer.flush(20)
    consumer = stage.consumer()
    consumer.assign([TopicPartition(topic, 0, 0)])
    (message,) = consumer.consume(1, 10)
    return [len(told), message.timestamp()[1] == told[0], message.key(), message.headers()]


def a_group_gives_a_topic_to_one_and_then_to_the_other(stage: Stage) -> Any:
    topic = stage.topic()
    heard: list[tuple[str, str]] = []

    def join(name: str) -> Any:
        def on(what: str) -> Callable[[Any, list[TopicPartition]], None]:
            def call(consumer: Any, partitions: list[TopicPartition]) -> None:
                heard.extend((name, what) for _ in partitions)
                if what == "assign":
                    consumer.incremental_assign(partitions)
                    consumer.pause(partitions)
                else:
                    consumer.incremental_unassign(partitions)

            return call

        consumer = stage.consumer(**_GROUP)
        consumer.subscribe([topic], on_assign=on("assign"), on_revoke=on("revoke"), on_lost=on("lost"))
        return consumer

    def poll_until(length: int, *consumers: Any) -> None:
        for _ in range(300):
            for consumer in consumers:
                consumer.poll(0.05)
            if len(heard) >= length:
                return

    first = join("first")
    poll_until(1, first)
    second = join("second")
    for _ in range(20):
        first.poll(0.02)
        second.poll(0.02)
    first.close()
    poll_until(3, second)
    return heard


SCRIPTS = [
    transactions_take_offsets,
    an_open_transaction_holds_readers_back,
    a_new_producer_fences_the_one_before,
    a_member_commits_offsets_of_topics_that_it_does_not_own,
    trimming_moves_the_start,
    topics_are_told_by_their_ids,
    the_broker_gives_the_time,
    a_group_gives_a_topic_to_one_and_then_to_the_other,
]


def _played_by_the_model(script: Callable[[Stage], Any], seed: int) -> Any:
    world = World(seed)
    broker = Broker(world)
    observed: list[Any] = []

    def play() -> None:
        stage = Stage(
            partial(ModelProducer, broker),
            partial(ModelConsumer, broker),
            partial(ModelAdmin, broker),
            "x",
            world.sleep,
        )
        observed.append(script(stage))
        stage.close()

    with shims.installed(world, {}):
        process = world.start("script", play)
        world.run(lambda: bool(observed) or bool(world.crashes), 600)
        world.end([process])
    assert not world.crashes, world.crashes
    return observed[0]


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.__name__)
def test_the_model_and_the_broker_agree(kafka: KafkaSettings, script: Callable[[Stage], Any]) -> None:
    stage = Stage(
        confluent_kafka.Producer,
        confluent_kafka.Consumer,
        confluent_kafka.admin.AdminClient,
        kafka.bootstrap,
        time.sleep,
    )
    real = script(stage)
    stage.close()
    for seed in range(5):
        assert _played_by_the_model(script, seed) == real
