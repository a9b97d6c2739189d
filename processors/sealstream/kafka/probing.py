"""What Kafka would let somebody do, tried so that nothing comes of it, and the rules that it goes by.

A write is tried with a request that no broker carries out: it asks for a number of acknowledgements that there is none
of (2), which a broker looks at only once it has found that this user may write there. So it is answered by a refusal in
any case, and which one tells; no record, no marker and no producer's id is left.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from typing import Any, NamedTuple, cast

from confluent_kafka import KafkaError, KafkaException, Message, Producer
from confluent_kafka.admin import (
    AclBindingFilter,
    AclOperation,
    AclPermissionType,
    ConfigResource,
    ResourcePatternType,
    ResourceType,
)

from sealstream.errors import Misconfigured, Unavailable
from sealstream.kafka.admin import answers, describe
from sealstream.kafka.settings import ANSWER_S, KafkaSettings, TopicMissing, client_config, error_of, translated

__all__ = ["Rule", "acls", "broker_configs", "would_take"]

_NO_SUCH_ACKS = 2
_AUTHORIZER = "authorizer.class.name"
_POLL_S = 0.05


class Rule(NamedTuple):
    """One ACL. `resource`: topic, group, ...; `pattern`: literal or prefixed; `allows` False: it denies. `host`: from
    where it counts, "*": from everywhere.
    """

    principal: str
    resource: str
    name: str
    pattern: str
    operation: str
    allows: bool
    host: str = "*"

    def is_about(self, topic: str) -> bool:
        """Whether it speaks of this topic."""
        if self.resource != "topic":
            return False
        return self.name in (topic, "*") or (self.pattern == "prefixed" and topic.startswith(self.name))


def would_take(kafka: KafkaSettings, topic: str, timeout_s: float = ANSWER_S) -> bool:
    """Whether the broker would take a record from this user; nothing is written. Raises `Unavailable`."""
    try:
        describe(kafka, [topic])  # before the driver asks in a way that might create it
    except TopicMissing:
        raise
    except Misconfigured:  # it may not even be seen
        return False
    doing = f"trying to write to {topic}"
    answered: Future[KafkaError | None] = Future()

    def on_delivery(error: KafkaError | None, message: Message) -> None:
        answered.set_result(error)

    try:
        producer = Producer(
            client_config(
                kafka,
                {
                    "acks": _NO_SUCH_ACKS,
                    "enable.idempotence": False,
                    "retries": 0,
                    "linger.ms": 0,
                    "message.timeout.ms": int(timeout_s * 1000),
                },
            )
        )
        producer.produce(topic, b"", None, 0, on_delivery)
        deadline = time.monotonic() + timeout_s
        while not answered.done() and time.monotonic() < deadline:
            producer.poll(_POLL_S)
    except KafkaException as error:
        raise translated(error_of(error), kafka, doing, topic) from error
    refusal = answered.result() if answered.done() else KafkaError(KafkaError._MSG_TIMED_OUT)
    producer.purge()
    if refusal is None or refusal.code() == KafkaError.INVALID_REQUIRED_ACKS:
        return True
    if refusal.code() in (KafkaError.TOPIC_AUTHORIZATION_FAILED, KafkaError.CLUSTER_AUTHORIZATION_FAILED):
        return False
    raise Unavailable(f"{doing}: Kafka at {kafka.bootstrap}: {refusal.str()}")


def acls(kafka: KafkaSettings) -> Sequence[Rule] | None:
    """All rules; None: the broker has no authorizer, so everybody may do everything.

    Raises `Misconfigured` when this user may not ask for them.
    """
    everything = AclBindingFilter(
        ResourceType.ANY, None, ResourcePatternType.ANY, None, None, AclOperation.ANY, AclPermissionType.ANY
    )
    (found,) = answers(kafka, "asking for the ACLs", lambda client: {"": client.describe_acls(everything)}).values()
    if isinstance(found, KafkaError):
        if found.code() == KafkaError.SECURITY_DISABLED:
            return None
        raise translated(found, kafka, "asking for the ACLs")
    # A broker may say that it has none by an empty list.
    if not found and not all(each[_AUTHORIZER] for each in broker_configs(kafka, [_AUTHORIZER])):
        return None
    return [_rule(binding) for binding in found]


def _rule(binding: Any) -> Rule:
    return Rule(
        binding.principal,
        binding.restype.name.lower(),
        binding.name,
        binding.resource_pattern_type.name.lower(),
        binding.operation.name,
        binding.permission_type == AclPermissionType.ALLOW,
        binding.host,
    )


def broker_configs(kafka: KafkaSettings, names: Sequence[str]) -> list[dict[str, str | None]]:
    """These settings of each broker; None: not set; empty: set, and not told, as of what Kafka takes for sensitive.

    Raises `Misconfigured` when this user may not ask.
    """
    (cluster,) = answers(kafka, "asking for the brokers", lambda client: {"": client.describe_cluster()}).values()
    if isinstance(cluster, KafkaError):
        raise translated(cluster, kafka, "asking for the brokers")
    told = []
    for node in cluster.nodes:  # each is asked by itself: a broker tells of none but itself
        found = _config_of(kafka, ConfigResource(ConfigResource.Type.BROKER, str(node.id)))
        told.append({name: found[name].value or "" if name in found else None for name in names})
    return told


def _config_of(kafka: KafkaSettings, broker: ConfigResource) -> Mapping[str, Any]:
    doing = f"asking for the configuration of broker {broker.name}"
    (found,) = answers(kafka, doing, lambda client: client.describe_configs([broker])).values()
    if isinstance(found, KafkaError):
        raise translated(found, kafka, doing)
    return cast(Mapping[str, Any], found)
