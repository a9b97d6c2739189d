"""Messages that receivers refused for good: written with the reason, read back, and settled when they were worked off.

A letter holds the message's own bytes, so that it can be sent again when the topic that it came from is long trimmed.
A letter is known by its target and the place where its message was read: one that was written twice is one.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import NamedTuple

from sealstream.errors import NotCanonical
from sealstream.events import format_timestamp
from sealstream.forward.messages import Message, alert_message, closing_message, entry_message
from sealstream.kafka import KafkaSettings, StandingProducer, read_until_end
from sealstream.layout.forwarding import LetterHeaders, Place, letter_headers, parse_letter_headers

__all__ = ["RefusedLetter", "message_in", "open_letters", "settle", "write_letter"]

_REASON_CHARACTERS = 1_000


class RefusedLetter(NamedTuple):
    """`number`: its offset in the topic of letters. `value`: None where the message was lost before it was sent."""

    number: int
    told: LetterHeaders
    value: bytes | None


def write_letter(
    producer: StandingProducer,
    topic: str,
    target: str,
    place: Place,
    offset: int,
    *,
    what: str,
    identity: str,
    value: bytes | None,
    reason: str,
) -> None:
    """Returns when Kafka has the letter. Raises `Unavailable` or `Misconfigured`."""
    now = format_timestamp(datetime.now(UTC))
    headers = LetterHeaders(target, what, identity, place, offset, now, reason[:_REASON_CHARACTERS])
    producer.send(topic, value, headers=letter_headers(headers))


def settle(producer: StandingProducer, topic: str, letter: RefusedLetter, how: str, reason: str) -> None:
    """`how`: delivered or dismissed; the letter is open no more."""
    now = format_timestamp(datetime.now(UTC))
    headers = letter.told._replace(at=now, reason=reason[:_REASON_CHARACTERS], settled=how)
    producer.send(topic, None, headers=letter_headers(headers))


def open_letters(kafka: KafkaSettings, topic: str) -> list[RefusedLetter]:
    """Those that nobody has settled, the oldest first; kept for 90 days."""
    found: dict[tuple[str, Place, int], RefusedLetter] = {}
    for letter in _all(kafka, topic):
        key = (letter.told.target, letter.told.place, letter.told.offset)
        if letter.told.settled:
            found.pop(key, None)
        else:
            found.setdefault(key, letter)
    return list(found.values())


def message_in(letter: RefusedLetter) -> Message | None:
    """The message, to be sent again; None where its bytes are lost, or are no message."""
    makers = {"alert": alert_message, "entry": entry_message, "closing": closing_message}
    if letter.value is None or letter.told.what not in makers:
        return None
    try:
        return makers[letter.told.what](letter.value)
    except NotCanonical:
        return None


def _all(kafka: KafkaSettings, topic: str) -> Iterator[RefusedLetter]:
    for records in read_until_end(kafka, topic):
        for record in records:
            try:
                yield RefusedLetter(record.offset, parse_letter_headers(record.headers), record.value)
            except NotCanonical:  # another's record: nothing that could be worked off
                continue
