"""From what an application says to a canonical event: one way, for every road that an event takes to the log.

What is not given comes from what is bound (`sealstream.client.bind`); an actor comes from one or the other, as a whole.
Without any, the actor is `anonymous`; with an id and no type, a `user`. A trace is OpenTelemetry's current one, where
none is given or bound. What `sealstream.client.redaction` names is replaced before anything else is done. Values beyond
JSON's are converted, by the rule in `sealstream.client.values`, only where the event as it was given is refused. The
number is a placeholder: whoever sends the event writes the true one into the finished bytes (`numbered`).

Pure but for the clock and the ids, which are handed in; a crash leaves nothing behind.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from sealstream.client.context import ACTOR_FIELDS, bound
from sealstream.client.redaction import Redaction
from sealstream.client.tracing import current_trace_id
from sealstream.client.values import acceptable_event
from sealstream.errors import InvalidEvent
from sealstream.events import MAX_EVENT_BYTES, canonical_event, format_timestamp

__all__ = ["NUMBER_DIGITS", "UNNUMBERED", "Composer"]

UNNUMBERED = 0
"""The `producer_seq` of an event that has yet to be numbered."""

NUMBER_DIGITS = 16
"""The largest number has so many: 2^53-1."""


class Composer:
    """Makes events of one `source`, whose host is this one's name by default.

    `spare_bytes`: how much the event may still grow when it gets its true producer and number. `redaction`: what must
    not leave the process; None: the defaults.
    """

    def __init__(
        self,
        source: Mapping[str, str] | None,
        clock: Callable[[], datetime],
        new_id: Callable[[], str],
        spare_bytes: int = NUMBER_DIGITS,
        redaction: Redaction | None = None,
    ) -> None:
        self._source = {"host": socket.gethostname(), **(source or {})}
        self._clock = clock
        self._new_id = new_id
        self._largest = MAX_EVENT_BYTES - spare_bytes
        self._redact = (redaction or Redaction()).redact

    def event(self, producer_id: str, given: dict[str, Any]) -> tuple[str, bytes]:
        """The event's id and its canonical bytes, not yet numbered. `given` (all fields, None: not given) is filled in.

        Raises `InvalidEvent`, and whatever objects of a strange kind raise when they are read.
        """
        actor_id = given["actor_id"]
        for name, value in bound().items():
            if given[name] is None and (actor_id is None or name not in ACTOR_FIELDS):
                given[name] = value
        if actor_id is None and given["actor_id"] is None:
            given["actor_id"] = "anonymous"
            given["actor_type"] = given["actor_type"] or "anonymous"
        elif given["actor_type"] is None:
            given["actor_type"] = "user"
        event_id = given["id"]
        if event_id is None:
            event_id = given["id"] = self._new_id()
        if given["timestamp"] is None:
            given["timestamp"] = format_timestamp(self._clock())
        if given["trace_id"] is None:
            given["trace_id"] = current_trace_id()
        given["producer_id"] = producer_id
        given["producer_seq"] = UNNUMBERED
        given["source"] = self._source
        self._redact(given)
        try:
            canonical = canonical_event(given)
            if len(canonical) <= self._largest:
                return str(event_id).lower(), canonical
        except InvalidEvent:
            pass
        converted, canonical = acceptable_event(given, self._largest, self._redact)
        return str(converted["id"]).lower(), canonical

    def statement(
        self,
        producer_id: str,
        action: str,
        metadata: dict[str, Any],
        actor_id: str = "sealstream/client",
        about: tuple[str, str] | None = None,
    ) -> bytes:
        """What a producer says of itself (`audit.loss`, `producer.closed`), not yet numbered.

        `about`: type and id of the resource; None: the producer. Raises `InvalidEvent`.
        """
        resource_type, resource_id = about or ("producer", producer_id)
        return canonical_event(
            {
                "action": action,
                "actor_id": actor_id,
                "actor_type": "system",
                "id": self._new_id(),
                "metadata": metadata,
                "producer_id": producer_id,
                "producer_seq": UNNUMBERED,
                "resource_id": resource_id,
                "resource_type": resource_type,
                "result": "failure" if action == "audit.loss" else "success",
                "source": self._source,
                "timestamp": format_timestamp(self._clock()),
            }
        )
