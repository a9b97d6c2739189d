"""Where Kafka is, and what each of its errors means to us.

One table decides between waiting (`Unavailable`), rebuilding (`Fenced`) and asking for a person (`Misconfigured`), so
that every call of this package answers the same fault alike. Pure: nothing is opened here.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from confluent_kafka import KafkaError, KafkaException

from sealstream.errors import Fenced, Misconfigured, SealstreamError, Unavailable

__all__ = [
    "ANSWER_S",
    "NO_COORDINATOR_YET",
    "KafkaSettings",
    "TopicMissing",
    "client_config",
    "error_of",
    "topic_missing",
    "translated",
]

ANSWER_S = 10.0
"""How long a broker may take to answer one question, in seconds."""
NO_COORDINATOR_YET = frozenset(
    {KafkaError.COORDINATOR_LOAD_IN_PROGRESS, KafkaError.COORDINATOR_NOT_AVAILABLE, KafkaError.NOT_COORDINATOR}
)
"""The same question again: the first who asks about a group has the broker make its own topic."""

_NO_TOPIC = frozenset(
    {KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError._UNKNOWN_TOPIC, KafkaError._UNKNOWN_PARTITION},
)
_FENCED = frozenset({KafkaError._FENCED, KafkaError.PRODUCER_FENCED, KafkaError.INVALID_PRODUCER_EPOCH})
# Not `_AUTHENTICATION`: a broker that goes away amid a handshake and a token that has ended look like a wrong password.
_FOR_A_PERSON = frozenset(
    {
        KafkaError._INVALID_ARG,
        KafkaError._SSL,
        KafkaError.CLUSTER_AUTHORIZATION_FAILED,
        KafkaError.GROUP_AUTHORIZATION_FAILED,
        KafkaError.INVALID_CONFIG,
        KafkaError.INVALID_REPLICATION_FACTOR,
        KafkaError.MSG_SIZE_TOO_LARGE,
        KafkaError.POLICY_VIOLATION,
        KafkaError.SASL_AUTHENTICATION_FAILED,
        KafkaError.TOPIC_AUTHORIZATION_FAILED,
        KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED,
        KafkaError.UNSUPPORTED_VERSION,
    }
)
_NO_OPTIONS: Mapping[str, str] = MappingProxyType({})


class KafkaSettings(NamedTuple):
    """`bootstrap`: host:port, several with commas. `options`: librdkafka's own, for TLS and SASL."""

    bootstrap: str
    options: Mapping[str, str] = _NO_OPTIONS


def client_config(kafka: KafkaSettings, own: Mapping[str, Any]) -> dict[str, Any]:
    """The driver's configuration: what each kind of client needs of its `own` is not up to options.

    The driver's log lines are left out: what they say reaches the caller as an error, with the place where it hurt.
    """
    return {**kafka.options, "bootstrap.servers": kafka.bootstrap, "log_level": 0, **own}


def error_of(raised: KafkaException) -> KafkaError:
    """The driver's error inside its exception."""
    return raised.args[0]


class TopicMissing(Misconfigured):
    """A topic is not there: never made, or lost."""

    runbook = "docs/runbooks/lost-kafka.md"


def topic_missing(kafka: KafkaSettings, topic: str) -> TopicMissing:
    """What to say of a topic that is not there."""
    return TopicMissing(
        f"topic {topic} does not exist at Kafka {kafka.bootstrap}: `sealstream chain create NAME` makes a new chain's "
        "topics; if this chain has lived, they were lost, and `sealstream restore kafka` brings them back"
    )


def translated(error: KafkaError, kafka: KafkaSettings, doing: str, topic: str = "") -> SealstreamError:
    """The error as one of ours. `doing`: what was tried, such as "reading audit.raw.main"."""
    code = error.code()
    if code in _NO_TOPIC and topic:
        return topic_missing(kafka, topic)
    sentence = f"{doing}: Kafka at {kafka.bootstrap}: {error.str()}"
    if code in _FENCED or error.fatal() or error.txn_requires_abort():
        return Fenced(sentence)
    if code in _NO_TOPIC or code in _FOR_A_PERSON:
        return Misconfigured(sentence)
    return Unavailable(sentence)
