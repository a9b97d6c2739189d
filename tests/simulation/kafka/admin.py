"""`confluent_kafka.admin.AdminClient` against the model: each question is asked when its answer is awaited."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from confluent_kafka import IsolationLevel, KafkaError, KafkaException, TopicCollection, TopicPartition
from confluent_kafka.admin import OffsetSpec
from tests.simulation.kafka.broker import Broker, Topic
from tests.simulation.kafka.message import Answer

__all__ = ["ModelAdmin"]


class _Asked:
    """In the place of a future."""

    def __init__(self, broker: Broker, operation: str, answer: Callable[[], Any], timeout_s: float) -> None:
        self._broker = broker
        self._operation = operation
        self._answer = answer
        self._timeout_s = timeout_s

    def result(self, timeout: float | None = None) -> Any:
        world = self._broker.world
        deadline = world.now_ns + int(self._timeout_s * 1e9)
        while not self._broker.is_up:
            if world.now_ns >= deadline:
                raise KafkaException(KafkaError(KafkaError._TIMED_OUT, "Failed while waiting for response"))
            world.sleep(0.4)
        answer = world.effect(
            self._operation,
            self._answer,
            lambda how: KafkaException(KafkaError(KafkaError._TRANSPORT, f"Broker transport failure ({how})")),
        )
        if isinstance(answer, KafkaError):
            raise KafkaException(answer)
        return answer


class ModelAdmin:
    """See the module. `broker` is given by `functools.partial`, the rest is the driver's."""

    def __init__(self, broker: Broker, config: Mapping[str, Any]) -> None:
        broker.world.check()
        self._broker = broker

    def poll(self, timeout: float = -1) -> int:
        """Nothing is reported beside the answers here."""
        return 0

    def _ask(self, operation: str, answer: Callable[[], Any], timeout_s: float) -> _Asked:
        return _Asked(self._broker, f"kafka.admin.{operation}", answer, timeout_s)

    def _topic(self, name: str, answer: Callable[[Topic], Any]) -> Any:
        topic = self._broker.topics.get(name)
        if topic is None:
            return KafkaError(KafkaError.UNKNOWN_TOPIC_OR_PART, "This server does not host this topic-partition.")
        return answer(topic)

    def describe_cluster(self, *, request_timeout: float = 10) -> _Asked:
        return self._ask("describe_cluster", lambda: Answer(cluster_id="simulated"), request_timeout)

    def describe_topics(self, topics: TopicCollection, *, request_timeout: float = 10) -> dict[str, _Asked]:
        def described(topic: Topic) -> Answer:
            return Answer(name=topic.name, topic_id=topic.id, partitions=[Answer(id=0, leader=1)])

        return {
            name: self._ask("describe_topics", lambda name=name: self._topic(name, described), request_timeout)  # type: ignore[misc]
            for name in topics.topic_names
        }

    def describe_configs(self, resources: Sequence[Any], *, request_timeout: float = 10) -> dict[Any, _Asked]:
        def configs(topic: Topic) -> dict[str, Answer]:
            return {name: Answer(value=value) for name, value in topic.config.items()}

        return {
            one: self._ask("describe_configs", lambda one=one: self._topic(one.name, configs), request_timeout)  # type: ignore[misc]
            for one in resources
        }

    def create_topics(
        self, topics: Sequence[Any], *, operation_timeout: float = 10, request_timeout: float = 10
    ) -> Any:
        return {
            one.topic: self._ask(
                "create_topics",
                lambda one=one: self._broker.create(one.topic, dict(one.config or {})),  # type: ignore[misc]
                request_timeout,
            )
            for one in topics
        }

    def list_offsets(
        self,
        requests: Mapping[TopicPartition, OffsetSpec],
        *,
        isolation_level: Any = IsolationLevel.READ_UNCOMMITTED,
        request_timeout: float = 10,
    ) -> dict[TopicPartition, _Asked]:
        def offset(topic: Topic, spec: OffsetSpec) -> Answer:
            if spec is _EARLIEST:
                return Answer(offset=topic.start)
            committed = isolation_level == IsolationLevel.READ_COMMITTED
            return Answer(offset=topic.stable if committed else topic.end)

        return {
            one: self._ask(
                f"list_offsets.{one.topic}",
                lambda one=one, spec=spec: self._topic(one.topic, lambda topic: offset(topic, spec)),  # type: ignore[misc]
                request_timeout,
            )
            for one, spec in requests.items()
        }

    def delete_records(
        self, positions: Sequence[TopicPartition], *, request_timeout: float = 10, operation_timeout: float = 10
    ) -> dict[TopicPartition, _Asked]:
        def trimmed(topic: Topic, before: int) -> Any:
            if before > topic.end:
                return KafkaError(KafkaError.OFFSET_OUT_OF_RANGE, "Broker: Offset out of range")
            topic.trim(before)
            return Answer(low_watermark=topic.start)

        return {
            one: self._ask(
                f"delete_records.{one.topic}",
                lambda one=one: self._topic(one.topic, lambda topic: trimmed(topic, one.offset)),  # type: ignore[misc]
                request_timeout,
            )
            for one in positions
        }


_EARLIEST = OffsetSpec.earliest()
