"""`confluent_kafka.Consumer` against the model: assigned, for reading; or subscribed, for ownership alone.

Kept: read committed up to the last stable offset; records come in runs whose ends are drawn; the end of the partition
is told once each time that it is reached anew; a position that does not exist is told once. A subscribed member hears
of assignments, revocations and losses inside `poll`, and keeps its place only while its process runs (the group drops
it otherwise). Left out: reading by a subscribed consumer, and the answers to its commits.

Aimed at `kafka.fetch`, beside the general faults: `stands still`: nothing comes any more until it is assigned again;
at `kafka.group.poll`: `forgets the brokers`: the group drops it, and it never comes back.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any

from confluent_kafka import KafkaError, KafkaException, TopicPartition
from tests.simulation.kafka.broker import Broker, Group, Member, Topic
from tests.simulation.kafka.message import ModelMessage

__all__ = ["ModelConsumer"]

_AGAIN_S = 0.4
_STILL = frozenset(("stands still",))
_FORGETS = frozenset(("forgets the brokers",))


class ModelConsumer:
    """See the module. `broker` is given by `functools.partial`, the rest is the driver's."""

    def __init__(self, broker: Broker, config: Mapping[str, Any]) -> None:
        self._broker = broker
        self._world = world = broker.world
        assert world.process is not None
        self._process = world.process
        self._group_name = config.get("group.id", "")
        self._committed = config.get("isolation.level", "read_committed") == "read_committed"
        self._eof = bool(config.get("enable.partition.eof"))
        self._error_cb = config.get("error_cb")
        self._told_down = False
        self._topic = ""
        self._life: Topic | None = None
        self._position = 0
        self._end_told = -1
        self._lost = False
        self._member: Member | None = None
        self._group: Group | None = None
        self._calls: dict[str, Callable[[Any, list[TopicPartition]], None]] = {}
        self._closed = False
        self._stands_still = False
        self._forgot = False

    # --- assigned

    def assign(self, partitions: Sequence[TopicPartition]) -> None:
        self._world.check()
        (one,) = partitions
        self._topic, self._position = one.topic, one.offset
        self._end_told, self._lost, self._stands_still = -1, False, False

    def consume(self, num_messages: int = 1, timeout: float = -1) -> list[ModelMessage]:
        world = self._world
        deadline = world.now_ns + int(timeout * 1e9)
        found: list[ModelMessage] = []
        world.effect(f"kafka.fetch.{self._topic}", lambda: None, _no_answer)
        if world.armed and world.take_fault(f"kafka.fetch.{self._topic}", _STILL) is not None:
            self._stands_still = True
        while True:
            found += self._take(num_messages - len(found))
            left_s = (deadline - world.now_ns) / 1e9
            if len(found) >= num_messages or left_s <= 0:
                return found
            topic = self._broker.topics.get(self._topic)
            if not self._broker.is_up or topic is None:
                world.sleep(min(left_s, _AGAIN_S))
            elif not world.wait(topic.came, left_s):
                return found + self._take(num_messages - len(found))
            else:
                world.sleep(0.0002 + 0.002 * world.rng.random() ** 3)

    def _take(self, limit: int) -> list[ModelMessage]:
        broker, world = self._broker, self._world
        if not broker.is_up:
            if self._error_cb is not None and not self._told_down:
                self._told_down = True
                self._error_cb(KafkaError(KafkaError._ALL_BROKERS_DOWN, "1/1 brokers are down"))
            return []
        self._told_down = False
        topic = broker.topics.get(self._topic)
        if topic is None or self._lost or self._stands_still or limit <= 0:
            return []
        if not topic.start <= self._position <= topic.end:
            self._lost = True
            error = KafkaError(KafkaError._AUTO_OFFSET_RESET, "fetch failed due to requested offset not available")
            return [ModelMessage(self._topic, self._position, 0, None, None, (), error)]
        if self._position == self._end_told and self._position >= (topic.stable if self._committed else topic.end):
            return []
        if limit > 1 and world.rng.random() < 0.3:
            limit = world.rng.randint(1, min(limit, 20))  # what has come so far
        if self._committed:
            held, following = topic.visible(self._position, limit)
        else:
            at = topic.index(self._position)
            looked_at = topic.held[at : at + limit]
            held = [one for one in looked_at if not one.is_marker]
            following = looked_at[-1].offset + 1 if len(looked_at) == limit else topic.end
        messages = [
            ModelMessage(self._topic, one.offset, one.timestamp_ms, one.key, one.value, one.headers) for one in held
        ]
        self._position = max(self._position, following)
        end = topic.stable if self._committed else topic.end
        if self._eof and len(messages) < limit and self._position >= end and self._end_told != self._position:
            self._end_told = self._position
            error = KafkaError(KafkaError._PARTITION_EOF, "Broker: No more messages")
            messages.append(ModelMessage(self._topic, self._position, 0, None, None, (), error))
        return messages

    def commit(self, *, offsets: Sequence[TopicPartition], asynchronous: bool) -> None:
        """Of a member: beside the application, when the broker has heard of it and it is one still."""
        self._world.check()
        assert asynchronous, "nobody may wait for this"
        member, committed = self._member, {(self._group_name, one.topic): one.offset for one in offsets}

        def arrive() -> None:
            if self._broker.is_up and member is not None and not member.dropped:
                self._broker.offsets.update(committed)

        self._world.after(0.002, arrive)

    def committed(self, partitions: Sequence[TopicPartition], timeout: float = -1) -> list[TopicPartition]:
        offsets, group = self._broker.offsets, self._group_name
        found = [TopicPartition(one.topic, 0, offsets.get((group, one.topic), -1001)) for one in partitions]
        return self._world.effect("kafka.admin.committed", lambda: found, _no_answer)

    def get_watermark_offsets(self, partition: TopicPartition, timeout: float = -1, cached: bool = False) -> Any:
        if not self._broker.is_up:
            self._world.sleep(timeout)
            return None
        topic = self._broker.topics.get(partition.topic)
        if topic is None:
            raise KafkaException(KafkaError(KafkaError.UNKNOWN_TOPIC_OR_PART, "unknown topic"))
        return self._world.effect("kafka.admin.watermarks", lambda: (topic.start, topic.end), _no_answer)

    # --- subscribed

    def subscribe(
        self, topics: Sequence[str], on_assign: Any = None, on_revoke: Any = None, on_lost: Any = None
    ) -> None:
        self._world.check()
        self._calls = {"assign": on_assign, "revoke": on_revoke, "lost": on_lost}
        self._group = self._broker.group(self._group_name)
        self._member = Member(self._world, self._process, topics)
        group, member = self._group, self._member
        self._world.sleep(0.001)  # joining goes on beside the application, until it succeeds
        group.join(member)

    def poll(self, timeout: float | None = None) -> ModelMessage | None:
        world, member = self._world, self._member
        world.check()
        assert member is not None
        if world.armed and self._group is not None and world.take_fault("kafka.group.poll", _FORGETS) is not None:
            self._forgot = True
            self._group.drop(member)
        if not member.events and not (member.dropped and not member.owned):
            world.wait(member.changed, timeout)
        else:
            world.sleep(0.0002)
        if member.events:
            kind, topics = member.events.pop(0)
            self._calls[kind](self, [TopicPartition(topic, 0) for topic in topics])
            if kind == "revoke" and self._group is not None:
                self._group.released(member, topics)
        elif member.dropped and self._group is not None and self._broker.is_up and not self._forgot:
            self._group.join(member)
        return None

    def memberid(self) -> str | None:
        self._world.check()
        assert self._member is not None
        return None if self._forgot or self._member.dropped else self._process.name

    def incremental_assign(self, partitions: Sequence[TopicPartition]) -> None:
        self._world.check()

    def incremental_unassign(self, partitions: Sequence[TopicPartition]) -> None:
        self._world.check()

    def pause(self, partitions: Sequence[TopicPartition]) -> None:
        self._world.check()

    def close(self) -> None:
        if self._closed or not self._process.alive:
            return
        self._closed = True
        member, group = self._member, self._group
        if member is None or group is None:
            return
        if member.owned:
            self._calls["revoke"](self, [TopicPartition(topic, 0) for topic in list(member.owned)])
        member.closed = True
        with suppress(KafkaException):  # then the group drops it after the session timeout
            self._world.effect("kafka.group.leave", lambda: group.leave(member), _no_answer)


def _no_answer(how: str) -> BaseException:
    return KafkaException(KafkaError(KafkaError._TRANSPORT, f"Local: Broker transport failure ({how})"))
