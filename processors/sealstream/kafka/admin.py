"""Questions to the cluster: one short-lived admin client each, every answer awaited, leaders' elections waited out.

Nothing is kept between questions, but within `one_connection`, for who asks many in a row; what a crash in the middle
of one leaves is what the broker made of the request.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from contextlib import contextmanager
from typing import Any, TypeVar

from confluent_kafka import KafkaError, KafkaException, TopicCollection
from confluent_kafka.admin import AdminClient

from sealstream.errors import SealstreamError, Unavailable
from sealstream.kafka.refusals import in_words, is_lasting, most_telling
from sealstream.kafka.settings import ANSWER_S, KafkaSettings, client_config, error_of, topic_missing, translated

__all__ = ["answers", "ask", "check_reachable", "describe", "one_connection"]

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


class _Kept:
    """One client for the first tries of a thread's questions; made for the first of them."""

    def __init__(self, kafka: KafkaSettings) -> None:
        self.kafka = kafka
        self.heard: list[KafkaError] = []
        self._client: AdminClient | None = None

    def drop(self) -> None:
        """It gave no answer: the next question makes another."""
        self._client = None

    def client(self) -> AdminClient:
        if self._client is None:  # one that has nothing to deliver counts as false
            self._client = _client(self.kafka, _first_try_s(), self.heard)
        return self._client


_kept = threading.local()


@contextmanager
def one_connection(kafka: KafkaSettings) -> Iterator[None]:
    """Within this block and on this thread the first try of each question to this Kafka goes through one client.

    Connecting takes fifteen times as long as asking, over TLS and with a password (docs/decisions/0370). A question
    that it does not answer is asked once more by a client of its own, as ever.
    """
    before = getattr(_kept, "here", None)
    _kept.here = _Kept(kafka)
    try:
        yield
    finally:
        _kept.here = before


def _first_try_s() -> float:
    return min(_FIRST_TRY_S, ANSWER_S / 2)


def _client(kafka: KafkaSettings, patience_s: float, heard: list[KafkaError]) -> AdminClient:
    return AdminClient(client_config(kafka, {"socket.timeout.ms": int(patience_s * 1000), "error_cb": heard.append}))


def answers(
    kafka: KafkaSettings, doing: str, request: Callable[[AdminClient], Mapping[Any, Future[_T]]], topic: str = ""
) -> dict[Any, _T | KafkaError]:
    """Each item's answer, or the error that the broker gave for it. Raises `Unavailable` when nobody answers.

    A cluster names any of its brokers as the one to ask, also one that was killed a moment ago, for as long as its
    session lasts; a new client that asks again soon is sent to another.
    """
    first_s = _first_try_s()
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
        if unanswered and (kept := getattr(_kept, "here", None)) is not None:
            kept.drop()
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
    kept: _Kept | None = getattr(_kept, "here", None)
    if kept is not None and kept.kafka == kafka and patience_s == _first_try_s():
        client = kept.client()
        client.poll(0)  # what is reported only now is of the question before
        del kept.heard[:]
    else:
        kept, client = None, _client(kafka, patience_s, heard)
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
        if kept is not None:
            heard += kept.heard
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
