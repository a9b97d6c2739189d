"""What a user of the cluster can see and may do, asked without changing anything: for `sealstream config check`.

The driver reports why it can't connect (a certificate, a password) beside its answers; here the reason is waited for
and told. Reads only.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from typing import Any, NamedTuple

from confluent_kafka import KafkaError, KafkaException, TopicCollection
from confluent_kafka.admin import AdminClient, ConfigResource

from sealstream.errors import Misconfigured, Unavailable
from sealstream.kafka.refusals import in_words, is_lasting, most_telling
from sealstream.kafka.settings import NO_COORDINATOR_YET, KafkaSettings, client_config, error_of, translated
from sealstream.kafka.topics import differences
from sealstream.layout import TopicConfig

__all__ = ["ClusterView", "TopicView", "inspect"]


_ALL_DOWN_S = 1.0


class TopicView(NamedTuple):
    """`there`: False: it does not exist, None: this user may not see it. `differences`: None: it may not ask for them.
    `operations`: what the user may do with it, in capitals.
    """

    there: bool | None
    differences: Sequence[str] | None = None
    operations: frozenset[str] = frozenset()


class ClusterView(NamedTuple):
    """`topics` by name. `group_operations`: of the consumer groups asked for."""

    brokers: int
    topics: Mapping[str, TopicView]
    group_operations: Mapping[str, frozenset[str]]


def inspect(
    kafka: KafkaSettings, topics: Sequence[TopicConfig], groups: Sequence[str], timeout_s: float = 5.0
) -> ClusterView:
    """Raises `Misconfigured` for what a person must mend, `Unavailable` when nobody answers."""
    heard: list[KafkaError] = []
    milliseconds = int(timeout_s * 1000)
    own = {"socket.timeout.ms": milliseconds, "socket.connection.setup.timeout.ms": milliseconds}
    try:
        client = AdminClient(client_config(kafka, {**own, "error_cb": heard.append}))
    except KafkaException as error:
        raise translated(error_of(error), kafka, "opening a client") from error
    asked = client.describe_cluster(request_timeout=timeout_s)
    begun = time.monotonic()
    while not asked.done() and not _hopeless(heard, time.monotonic() - begun):
        client.poll(0.05)
    cluster = _answer(asked) if asked.done() else KafkaError(KafkaError._TIMED_OUT)
    if isinstance(cluster, KafkaError):
        _raise(cluster, heard, kafka)
    names = [topic.name for topic in topics]
    described = client.describe_topics(
        TopicCollection(names), include_authorized_operations=True, request_timeout=timeout_s
    )
    resources = {name: ConfigResource(ConfigResource.Type.TOPIC, name) for name in names}
    configured = client.describe_configs(list(resources.values()), request_timeout=timeout_s) if names else {}
    views = {
        topic.name: _topic(topic, _answer(described[topic.name]), _answer(configured[resources[topic.name]]))
        for topic in topics
    }
    may = {group: _group_operations(client, group, timeout_s) for group in groups}
    return ClusterView(len(cluster.nodes), views, may)


def _group_operations(client: AdminClient, group: str, timeout_s: float) -> frozenset[str]:
    """None of them where the user may not ask."""
    deadline = time.monotonic() + timeout_s
    while True:
        asked = client.describe_consumer_groups([group], include_authorized_operations=True, request_timeout=timeout_s)
        found = _answer(asked[group])
        if not isinstance(found, KafkaError):
            return _operations(found)
        if found.code() not in NO_COORDINATOR_YET or time.monotonic() > deadline:
            return frozenset()
        time.sleep(0.1)


def _hopeless(heard: Sequence[KafkaError], after_s: float) -> bool:
    """A certificate or a password stays refused; brokers that refuse to connect are given a second."""
    reason = most_telling(heard)
    if reason is not None and is_lasting(reason):
        return True
    return after_s > _ALL_DOWN_S and any(error.code() == KafkaError._ALL_BROKERS_DOWN for error in heard)


def _answer(future: Future[Any]) -> Any:
    try:
        return future.result(30)
    except KafkaException as error:
        return error_of(error)


def _topic(topic: TopicConfig, described: Any, configured: Any) -> TopicView:
    if isinstance(described, KafkaError):
        missing = described.code() in (KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError._UNKNOWN_TOPIC)
        return TopicView(False if missing else None)
    if isinstance(configured, KafkaError):
        return TopicView(True, None, _operations(described))
    values = {name: entry.value for name, entry in configured.items()}
    return TopicView(True, differences(topic, len(described.partitions), values), _operations(described))


def _operations(described: Any) -> frozenset[str]:
    return frozenset(operation.name for operation in described.authorized_operations or ())


def _raise(error: KafkaError, heard: Sequence[KafkaError], kafka: KafkaSettings) -> None:
    reason = most_telling(heard)
    if reason is not None:
        kind = Misconfigured if is_lasting(reason) else Unavailable
        raise kind(f"connecting to Kafka at {kafka.bootstrap}: {in_words(reason, kafka)}")
    raise translated(error, kafka, "connecting")
