"""Questions to the cluster: one short-lived admin client each, every answer awaited, leaders' elections waited out.

Nothing is kept between questions; what a crash in the middle of one leaves is what the broker made of the request.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from typing import Any, TypeVar

from confluent_kafka import KafkaError, KafkaException, TopicCollection
from confluent_kafka.admin import AdminClient

from sealstream.errors import SealstreamError, Unavailable
from sealstream.kafka.refusals import in_words, is_lasting, most_telling
from sealstream.kafka.settings import ANSWER_S, KafkaSettings, client_config, error_of, topic_missing, translated

__all__ = ["answers", "ask", "check_reachable", "describe"]

_T = TypeVar("_T")

# A topic that was just made, or whose leader has just died, has no leader for a moment.
_NO_LEADER_YET = frozenset(
    {
        KafkaError._NOENT,
        KafkaError.FENCED_LEADER_EPOCH,
        KafkaError.LEADER_NOT_AVAILABLE,
        KafkaError.NOT_LEADER_FOR_PARTITION,
        KafkaError.UNKNOWN_LEADER_EPOCH,
    }
)
_NO_ANSWER = frozenset({KafkaError._TIMED_OUT, KafkaError._TIMED_OUT_QUEUE, KafkaError._TRANSPORT})
_FIRST_TRY_S = 2.5
_PAUSE_S = 0.05


def answers(
    kafka: KafkaSettings, doing: str, request: Callable[[AdminClient], Mapping[Any, Future[_T]]], topic: str = ""
) -> dict[Any, _T | KafkaError]:
    """Each item's answer, or the error that the broker gave for it. Raises `Unavailable` when nobody answers.

    A cluster names any of its brokers as the one to ask, also one that was killed a moment ago, for as long as its
    session lasts; a new client that asks again soon is sent to another.
    """
    first_s = min(_FIRST_TRY_S, ANSWER_S / 2)
    found: dict[Any, _T | KafkaError] = {}
    failure: KafkaException | None = None
    heard: list[KafkaError] = []
    for patience_s in (first_s, ANSWER_S - first_s):
        begun, failure = time.monotonic(), None
        try:
            found = _asked(kafka, doing, request, patience_s, heard)
            unanswered = any(isinstance(each, KafkaError) and each.code() in _NO_ANSWER for each in found.values())
        except KafkaException as error:
            failure, unanswered = error, error_of(error).code() in _NO_ANSWER
        reason = most_telling(heard) if unanswered else None
        if reason is not None and is_lasting(reason):  # a certificate, a password: told aside alone
            raise Unavailable(f"{doing}: Kafka at {kafka.bootstrap}: {in_words(reason, kafka)}") from failure
        if not unanswered or time.monotonic() - begun > 0.75 * ANSWER_S:  # a question with its own, longer time
            break
    if failure is not None:
        raise translated(error_of(failure), kafka, doing, topic) from failure
    return found


def _asked(
    kafka: KafkaSettings,
    doing: str,
    request: Callable[[AdminClient], Mapping[Any, Future[_T]]],
    patience_s: float,
    heard: list[KafkaError],
) -> dict[Any, _T | KafkaError]:
    client = AdminClient(client_config(kafka, {"socket.timeout.ms": int(patience_s * 1000), "error_cb": heard.append}))
    found: dict[Any, _T | KafkaError] = {}
    try:
        for item, future in request(client).items():
            try:
                found[item] = future.result(timeout=2 * ANSWER_S)
            except KafkaException as error:
                found[item] = error_of(error)
            except TimeoutError as error:
                raise Unavailable(
                    f"{doing}: Kafka at {kafka.bootstrap} did not answer in {2 * ANSWER_S:.0f} s"
                ) from error
    finally:
        client.poll(0)  # what was reported beside the answers is heard now
    return found


def ask(kafka: KafkaSettings, doing: str, topic: str, request: Callable[[AdminClient], Mapping[Any, Future[_T]]]) -> _T:
    """The one answer about `topic`. Raises `Misconfigured` when the topic does not exist."""

    def request_when_connected(client: AdminClient) -> Mapping[Any, Future[_T]]:
        # While no broker is connected, the driver looks for a partition's leader in vain and looks again after 3 s.
        client.describe_topics(TopicCollection([topic]))[topic].result(2 * ANSWER_S)
        return request(client)

    deadline = time.monotonic() + ANSWER_S
    while True:
        (answer,) = answers(kafka, doing, request_when_connected, topic).values()
        if not isinstance(answer, KafkaError):
            return answer
        if answer.code() not in _NO_LEADER_YET or time.monotonic() > deadline:
            raise translated(answer, kafka, doing, topic)
        time.sleep(_PAUSE_S)


def check_reachable(kafka: KafkaSettings, doing: str) -> None:
    """Raises `Unavailable` when no broker answers."""
    (answer,) = answers(kafka, doing, lambda client: {"": client.describe_cluster()}).values()
    if isinstance(answer, KafkaError):
        raise translated(answer, kafka, doing)


def describe(kafka: KafkaSettings, topics: list[str]) -> dict[str, Any]:
    """The driver's description of each topic. Raises `Misconfigured` for the first that does not exist."""
    found = answers(
        kafka,
        f"looking for {', '.join(topics)}",
        lambda client: client.describe_topics(TopicCollection(topics)),
    )
    described = {}
    for topic, answer in found.items():
        if isinstance(answer, KafkaError):
            raise _of_topic(answer, kafka, topic)
        described[topic] = answer
    return described


def _of_topic(error: KafkaError, kafka: KafkaSettings, topic: str) -> SealstreamError:
    if error.code() == KafkaError.UNKNOWN_TOPIC_OR_PART:
        return topic_missing(kafka, topic)
    return translated(error, kafka, f"looking for {topic}", topic)
