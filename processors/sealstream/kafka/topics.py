"""Makes a chain's topics, checks that they are as they must be, tells which they are, trims them.

Making is repeatable: what exists is checked instead. A crash leaves some topics made; the next call makes the rest.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from confluent_kafka import KafkaError, TopicPartition
from confluent_kafka.admin import ConfigResource, NewTopic

from sealstream.errors import InputLost, Misconfigured, Unavailable
from sealstream.kafka.admin import answers, describe
from sealstream.kafka.settings import ANSWER_S, KafkaSettings, TopicMissing, translated
from sealstream.layout import TopicConfig

__all__ = ["check_topics", "create_topics", "differences", "topic_configs", "topic_ids", "trim"]

_AT_LEAST = ("retention.ms", "retention.bytes")
_PAUSE_S = 0.05


def create_topics(kafka: KafkaSettings, topics: Sequence[TopicConfig], replication: int = 1) -> None:
    """Make those of `topics` that do not exist yet; return when all can be used.

    Raises `Misconfigured` when one exists and differs, or can't be made so.
    """
    beside = {"min.insync.replicas": str(max(1, replication - 1)), "unclean.leader.election.enable": "false"}
    new = [NewTopic(topic.name, topic.partitions, replication, config={**topic.config, **beside}) for topic in topics]
    made = answers(
        kafka,
        f"creating {', '.join(topic.name for topic in topics)}",
        lambda client: client.create_topics(new, operation_timeout=ANSWER_S, request_timeout=ANSWER_S),
    )
    for name, answer in made.items():
        if isinstance(answer, KafkaError) and answer.code() != KafkaError.TOPIC_ALREADY_EXISTS:
            raise translated(answer, kafka, f"creating {name} with {replication} replicas")
    _until_settled(lambda: _check_leaders(kafka, [topic.name for topic in topics]))
    _until_settled(lambda: check_topics(kafka, topics))


def check_topics(kafka: KafkaSettings, topics: Sequence[TopicConfig]) -> None:
    """Return when each topic is there and as described. Raises `Misconfigured` that names every difference.

    Longer retention than described is no difference.
    """
    described = describe(kafka, [topic.name for topic in topics])
    found = topic_configs(kafka, [topic.name for topic in topics])
    differing: list[str] = []
    for topic in topics:
        differing += differences(topic, len(described[topic.name].partitions), found[topic.name])
    if differing:
        raise Misconfigured(
            f"topics at Kafka {kafka.bootstrap} are not as they must be: {'; '.join(differing)}. Mend them with "
            "`kafka-configs.sh --alter --entity-type topics --entity-name TOPIC --add-config NAME=VALUE`"
        )


def topic_configs(kafka: KafkaSettings, names: Iterable[str]) -> dict[str, dict[str, str]]:
    """Each topic's configuration as the broker has it now."""
    resources = {ConfigResource(ConfigResource.Type.TOPIC, name): name for name in names}
    found = answers(
        kafka,
        "reading the configuration of topics",
        lambda client: client.describe_configs(list(resources)),
    )
    configs = {}
    for resource, answer in found.items():
        name = resources[resource]
        if isinstance(answer, KafkaError):
            raise translated(answer, kafka, f"reading the configuration of {name}", name)
        configs[name] = {key: entry.value for key, entry in answer.items()}
    return configs


def topic_ids(kafka: KafkaSettings, names: Iterable[str]) -> dict[str, str]:
    """Each topic's id, as Kafka prints it: another one means that the topic was deleted and made again."""
    return {
        name: str(answer.topic_id).replace("+", "-").replace("/", "_")  # the driver spells them in plain base64
        for name, answer in describe(kafka, list(names)).items()
    }


def trim(kafka: KafkaSettings, topic: str, before_offset: int) -> None:
    """Delete the records below `before_offset`, for ever. Nothing happens when they are gone already.

    Raises `InputLost` when the topic ends below: it is not the topic that the offset was learnt from.
    """
    doing = f"trimming {topic} up to offset {before_offset}"
    (answer,) = answers(
        kafka,
        doing,
        lambda client: client.delete_records(
            [TopicPartition(topic, 0, before_offset)], request_timeout=ANSWER_S, operation_timeout=ANSWER_S
        ),
    ).values()
    if isinstance(answer, KafkaError):
        describe(kafka, [topic])
        if answer.code() == KafkaError.OFFSET_OUT_OF_RANGE:
            raise InputLost(f"{doing}: it ends below (cut off or recreated)")
        raise translated(answer, kafka, doing, topic)


class _Leaderless(Unavailable):
    """A partition has no leader."""


def _check_leaders(kafka: KafkaSettings, names: list[str]) -> None:
    leaderless = [name for name, topic in describe(kafka, names).items() if not all(_leaders(topic))]
    if leaderless:
        raise _Leaderless(f"{', '.join(leaderless)}: no leader in {ANSWER_S:.0f} s at Kafka {kafka.bootstrap}")


def _until_settled(ask: Callable[[], None]) -> None:
    """Asks again while a broker has not heard of a topic that was made by another, or of its leader."""
    deadline = time.monotonic() + ANSWER_S
    while True:
        try:
            return ask()
        except (TopicMissing, _Leaderless):
            if time.monotonic() > deadline:
                raise
        time.sleep(_PAUSE_S)


def _leaders(described: Any) -> list[bool]:
    return [partition.leader is not None for partition in described.partitions]


def differences(topic: TopicConfig, partitions: int, found: Mapping[str, str]) -> list[str]:
    """In words, how a topic with so many partitions and these settings is not as it must be."""
    several = f"{topic.name} has {partitions} partitions: expected {topic.partitions}"
    return ([several] if partitions != topic.partitions else []) + [
        f"{topic.name} has {name}={found.get(name)}: expected {wanted}"
        for name, wanted in topic.config.items()
        if not _fits(name, wanted, found.get(name))
    ]


def _fits(name: str, wanted: str, found: str | None) -> bool:
    if found is None or name not in _AT_LEAST:
        return found == wanted
    return int(found) == -1 or (wanted != "-1" and int(found) >= int(wanted))
