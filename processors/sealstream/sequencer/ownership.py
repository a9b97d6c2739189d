"""Who has which chain: a consumer group that subscribes to the raw topics for ownership alone.

Nothing is read through it: its partitions are paused, and the chain itself says where a sequencer stands. The group
notices within 6 s that a process is gone and gives its chains to another. It is a hint, not a lock: what keeps two
sequencers apart is the fencing of the transactional id. A crash leaves a member that the group drops by itself.

The group's committed offsets say, to lag monitors alone, how far the inputs are sealed. They follow what was seen of
the chain, never lead it, and nobody waits for them.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from sealstream.errors import Unavailable
from sealstream.kafka import KafkaSettings
from sealstream.kafka.settings import error_of, translated

__all__ = ["Ownership"]

_SESSION_TIMEOUT_MS = 6_000
_HEARTBEAT_MS = 500
_OUTSIDE_S = 20.0
_LOOK_EVERY_S = 1.0


class TopicsAwaited(Unavailable):
    """A raw topic that was subscribed to is not there (any more): nothing can be owned until it is."""

    runbook = "docs/runbooks/lost-kafka.md"


class Ownership:
    """Calls `gained(topic)`, `revoked(topic)` (still ours until it returns) and `lost(topic)` from within `poll()`."""

    def __init__(
        self,
        kafka: KafkaSettings,
        group: str,
        topics: Iterable[str],
        *,
        gained: Callable[[str], None],
        revoked: Callable[[str], None],
        lost: Callable[[str], None],
    ) -> None:
        self._gained = gained
        self._revoked = revoked
        self._lost = lost
        self._sealed: dict[
            str, Mapping[str, int]
        ] = {}  # by raw topic; whatever of it is committed stays, to be repeated
        self._uncommitted = False
        self._looked_at = self._member_at = time.monotonic()
        try:
            self._consumer = Consumer(
                {
                    **kafka.options,
                    "bootstrap.servers": kafka.bootstrap,
                    "group.id": group,
                    "partition.assignment.strategy": "cooperative-sticky",
                    "session.timeout.ms": _SESSION_TIMEOUT_MS,
                    "heartbeat.interval.ms": _HEARTBEAT_MS,
                    "enable.auto.commit": False,
                    "on_commit": self._on_commit,
                    "enable.auto.offset.store": False,
                    "isolation.level": "read_committed",
                    "auto.offset.reset": "error",
                    "log_level": 0,
                }
            )
            self._consumer.subscribe(
                list(topics), on_assign=self._on_assign, on_revoke=self._on_revoke, on_lost=self._on_lost
            )
        except KafkaException as error:
            raise translated(error_of(error), kafka, f"joining the consumer group {group}") from error

    def poll(self, timeout_s: float) -> None:
        """Let the group speak; raises `Unavailable` when it can't be heard, and what a callback has raised."""
        self._commit()
        try:
            message = self._consumer.poll(timeout_s)
        except KafkaException as error:
            raise Unavailable(f"the consumer group can't be heard: {error}") from error
        # Nothing is read here, so that a position is gone is the business of whoever reads.
        heard = message.error() if message is not None else None
        if heard is not None and heard.code() == KafkaError.UNKNOWN_TOPIC_OR_PART:
            raise TopicsAwaited(
                f"a chain's topic does not exist: {heard.str()}: if the chain has lived, it was lost, and `sealstream "
                "restore kafka` brings it back"
            )
        if heard is not None and heard.code() not in (KafkaError._PARTITION_EOF, KafkaError._AUTO_OFFSET_RESET):
            raise Unavailable(f"the consumer group can't be heard: {heard}")
        self._look()

    def _look(self) -> None:
        """Raises `Unavailable` when we have been no member for long: the driver may never find the group again.

        An answer that lists no brokers, as one that comes back gives for a moment, makes it forget all that it knew
        (docs/decisions/0194). Another consumer begins with the bootstrap servers.
        """
        now = time.monotonic()
        if now - self._looked_at < _LOOK_EVERY_S:
            return
        self._looked_at = now
        if self._consumer.memberid():
            self._member_at = now
        elif now - self._member_at > _OUTSIDE_S:
            raise Unavailable(f"the consumer group has not taken us for {now - self._member_at:.0f} s: joining it anew")

    def report(self, topic: str, offsets: Mapping[str, int]) -> None:
        """Let lag monitors know, soon, how far the inputs of this raw topic's chain are sealed. From any thread."""
        self._sealed[topic] = offsets
        self._uncommitted = True

    def _commit(self) -> None:
        if not self._uncommitted:
            return
        self._uncommitted = False
        positions = [
            TopicPartition(topic, 0, offset)
            for offsets in list(self._sealed.values())
            for topic, offset in offsets.items()
        ]
        with suppress(KafkaException):
            self._consumer.commit(offsets=positions, asynchronous=True)

    def _on_commit(self, error: KafkaError | None, _partitions: list[TopicPartition]) -> None:
        self._uncommitted = self._uncommitted or (error is not None and bool(self._sealed))

    def close(self) -> None:
        """Leave the group, so that others take over at once; `revoked` is called for what is still owned."""
        try:
            self._consumer.close()
        except KafkaException as error:
            raise Unavailable(f"could not leave the consumer group: {error}") from error

    def _on_assign(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        consumer.incremental_assign(partitions)
        consumer.pause(partitions)
        for partition in partitions:
            self._gained(partition.topic)

    def _on_revoke(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        for partition in partitions:
            self._revoked(partition.topic)
        self._commit()
        self._forget(partitions)
        consumer.incremental_unassign(partitions)

    def _on_lost(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        for partition in partitions:
            self._lost(partition.topic)
        self._forget(partitions)
        consumer.incremental_unassign(partitions)

    def _forget(self, partitions: list[TopicPartition]) -> None:
        for partition in partitions:
            self._sealed.pop(partition.topic, None)
