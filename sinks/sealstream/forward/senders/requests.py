"""Receivers that take one HTTP request for a message, or for a batch: webhooks, Slack, PagerDuty, OTLP."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import msgspec

from sealstream.errors import Misconfigured, Unavailable
from sealstream.forward.addresses import NotAllowed
from sealstream.forward.formats.mapped import media_type
from sealstream.forward.formats.otlp import export_request, log_record
from sealstream.forward.formats.pagerduty import pagerduty_event
from sealstream.forward.formats.slack import slack_message
from sealstream.forward.formats.standard_webhook import signed_headers, signing_keys, webhook_payload
from sealstream.forward.messages import Message
from sealstream.forward.outcomes import Outcome, later, refused, taken
from sealstream.forward.posting import Poster, attempted, outcome_of
from sealstream.forward.senders.sending import Prepared
from sealstream.forward.targets import Target

__all__ = ["OtlpSender", "PagerDutySender", "SlackSender", "WebhookSender"]

_JSON = {"Content-Type": "application/json"}


class _OneByOne:
    """One request for each message."""

    most = 1
    most_bytes = 1_000_000

    def __init__(self, target: Target) -> None:
        self.target = target
        self.poster = Poster(target)

    def try_out(self) -> str:
        """Connects, and sends nothing: a request would be a message."""
        return self.poster.try_to_connect()

    def close(self) -> None:
        self.poster.close()


class WebhookSender(_OneByOne):
    """Standard Webhooks. `wall`: seconds since 1970, for the time of an attempt."""

    def __init__(self, target: Target, wall: Callable[[], float] = time.time) -> None:
        super().__init__(target)
        self._keys = signing_keys(target.secret)
        self._wall = wall

    def prepare(self, message: Message) -> Prepared:
        return Prepared(message, webhook_payload(self.target, message))

    def send(self, messages: Sequence[Prepared]) -> Outcome:
        (message, body) = messages[0]
        headers = signed_headers(message.id, body, self._keys, int(self._wall()), media_type(self.target))
        return attempted(self.poster, body, headers)


class SlackSender(_OneByOne):
    """Slack's incoming webhooks."""

    def prepare(self, message: Message) -> Prepared:
        return Prepared(message, slack_message(self.target, message))

    def send(self, messages: Sequence[Prepared]) -> Outcome:
        return attempted(self.poster, messages[0].body, _JSON)


class PagerDutySender(_OneByOne):
    """PagerDuty's Events API v2: it answers 202 once an event is taken."""

    def prepare(self, message: Message) -> Prepared:
        return Prepared(message, pagerduty_event(self.target, message))

    def send(self, messages: Sequence[Prepared]) -> Outcome:
        return attempted(self.poster, messages[0].body, _JSON)


class OtlpSender:
    """OTLP/HTTP with JSON.

    An answer may say that some records of a request were rejected, and not which; the specification forbids to send
    that request again ("Partial Success"). So all of its messages become letters, and a person decides. Statuses that
    it forbids to try again, such as 401 and 500, are tried again all the same, slowly and for a limited time: what is
    forwarded here is kept, and a credential that has expired must not empty it into the letters.
    """

    most = 500
    most_bytes = 1_000_000

    def __init__(self, target: Target) -> None:
        self.target = target
        self.poster = Poster(target)

    def prepare(self, message: Message) -> Prepared:
        return Prepared(message, bytes(log_record(self.target, message)))

    def send(self, messages: Sequence[Prepared]) -> Outcome:
        body = export_request(self.target, [msgspec.Raw(each.body) for each in messages])
        try:
            answer = self.poster.post(body, _JSON)
        except (NotAllowed, Unavailable) as error:
            return later(str(error))
        outcome = outcome_of(answer)
        if outcome.end != "taken":
            return outcome
        try:
            partial = msgspec.json.decode(answer.body, type=_Response).partialSuccess if answer.body.strip() else None
        except (msgspec.DecodeError, UnicodeDecodeError):
            return outcome  # 2xx is the whole answer of receivers that are not so strict
        rejected = int(partial.rejectedLogRecords) if partial is not None else 0
        if rejected:
            said = partial.errorMessage if partial is not None else ""
            return refused(f"{rejected} of the {len(messages)} sent together were rejected: {said[:300]}")._replace(
                whole=True
            )
        return taken(outcome.said)

    def try_out(self) -> str:
        """A request without a record: the receiver judges the credentials, and keeps nothing."""
        outcome = attempted(self.poster, export_request(self.target, []), _JSON)
        if outcome.end == "taken":
            return f"it takes requests ({outcome.said})"
        raise (Unavailable if outcome.end == "later" else Misconfigured)(outcome.said)

    def close(self) -> None:
        self.poster.close()


class _PartialSuccess(msgspec.Struct):
    rejectedLogRecords: int | str = 0  # the form's own name; 64-bit integers come as text
    errorMessage: str = ""


class _Response(msgspec.Struct):
    partialSuccess: _PartialSuccess | None = None
