"""Splunk's HTTP Event Collector, with its acknowledgements: what it answers 200 to is received, and not yet indexed.

A batch is taken when the collector says that it is indexed. Where that does not come in time, or where the collector
was started anew in between, the batch is sent again, in a channel of its own, since numbers of acknowledgements begin
anew with a collector: what was indexed after all is there twice, with the same `sealstream_id`.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Sequence
from urllib.parse import urlsplit

import msgspec

from sealstream.errors import Misconfigured, Unavailable
from sealstream.forward.addresses import NotAllowed
from sealstream.forward.formats.splunk import hec_event
from sealstream.forward.messages import Message
from sealstream.forward.outcomes import Outcome, later, taken, unsure
from sealstream.forward.posting import Answer, Poster, outcome_of
from sealstream.forward.senders.sending import Pause, Prepared
from sealstream.forward.targets import Target

__all__ = ["SplunkSender"]

_PATH = "/services/collector/event"
_ACK_WITHIN_S = 120.0
_FIRST_LOOK_S = 0.1
_LONGEST_LOOK_S = 5.0
# Codes of the collector's answers: what is wrong with the token or the setup, and not with an event.
_ABOUT_THE_TARGET = frozenset({1, 2, 3, 4, 7, 10, 11, 14, 16})
_NO_DATA = 5


class SplunkSender:
    """One collector. `ack_within_s`: how long a batch may take to be indexed."""

    most = 500
    most_bytes = 1_000_000

    def __init__(
        self,
        target: Target,
        pause: Pause,
        *,
        ack_within_s: float = _ACK_WITHIN_S,
        now: Callable[[], float] = time.monotonic,
        channels: Callable[[], uuid.UUID] = uuid.uuid4,
    ) -> None:
        path = urlsplit(target.url).path.rstrip("/")
        self._base = path.removesuffix("/event").removesuffix(_PATH.removesuffix("/event"))
        self._target = target
        self._poster = Poster(target)
        self._pause = pause
        self._ack_within_s = ack_within_s
        self._now = now
        self._channels = channels
        self._channel = str(channels())

    def prepare(self, message: Message) -> Prepared:
        return Prepared(message, hec_event(self._target, message))

    def send(self, messages: Sequence[Prepared]) -> Outcome:
        try:
            answer = self._post(_PATH, b"\n".join(each.body for each in messages))
            outcome = _outcome(answer)
            if outcome.end != "taken" or not self._target.acknowledgement:
                return outcome
            return self._acknowledged(answer)
        except (NotAllowed, Unavailable) as error:
            self._channel = str(self._channels())
            return later(str(error))

    def try_out(self) -> str:
        """A request without an event, which a collector refuses with a code of its own once it knows the token."""
        answer = self._post(_PATH, b"")
        told = _told(answer)
        if told.code == _NO_DATA or answer.status == 200:
            return f"it knows the token ({answer.said})"
        outcome = _outcome(answer)
        raise (Unavailable if outcome.end == "later" else Misconfigured)(outcome.said)

    def close(self) -> None:
        self._poster.close()

    def _acknowledged(self, answer: Answer) -> Outcome:
        number = _told(answer).ackId
        if number is None:
            return unsure(
                f"{answer.said}: no acknowledgement was promised; switch on indexer acknowledgement for the token, or "
                "set acknowledgement = false"
            )
        deadline, look_s = self._now() + self._ack_within_s, _FIRST_LOOK_S
        body = msgspec.json.encode({"acks": [number]})
        while True:
            if self._pause(look_s):
                return later("stopped before the acknowledgement came")
            asked = self._post(f"{_PATH.removesuffix('/event')}/ack", body)
            outcome = _outcome(asked)
            if outcome.end == "taken" and _told(asked).acks.get(str(number)) is True:
                return taken(f"indexed (acknowledgement {number})")
            if outcome.end not in ("taken", "later"):
                return unsure(f"asking for the acknowledgement: {outcome.said}")
            if self._now() >= deadline:
                self._channel = str(self._channels())
                return later(f"received, but not indexed in {self._ack_within_s:.0f} s (acknowledgement {number})")
            look_s = min(look_s * 1.5, _LONGEST_LOOK_S)

    def _post(self, path: str, body: bytes) -> Answer:
        headers = {
            "Content-Type": "application/json",
            "Authorization": f"Splunk {self._target.secret}",
            "X-Splunk-Request-Channel": self._channel,
        }
        return self._poster.post(body, headers, path=self._base + path)


def _outcome(answer: Answer) -> Outcome:
    """Of the status, and of the collector's own code where it has one."""
    outcome = outcome_of(answer)
    if outcome.end == "refused" and _told(answer).code in _ABOUT_THE_TARGET:
        return unsure(outcome.said)
    return outcome


class _Told(msgspec.Struct):
    text: str = ""
    code: int | None = None
    ackId: int | None = None
    acks: dict[str, bool] = {}


def _told(answer: Answer) -> _Told:
    try:
        return msgspec.json.decode(answer.body, type=_Told)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return _Told()
