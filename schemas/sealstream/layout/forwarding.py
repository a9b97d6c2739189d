"""What the forward sink keeps in Kafka: where each target stands, and what receivers refused for good. Pure.

`positions` is compacted; the key is the target's name, and its last record counts. `deadletter` holds letters and what
became of them: a letter's value is the message's own bytes, its headers say the rest; a record with the header
`settled` and the same target and place ends that letter. A letter that stands there twice (a crash between the letter
and the position) is one.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import msgspec

from sealstream.errors import NotCanonical
from sealstream.layout.topics import DEFAULT_PREFIX, TopicConfig

__all__ = [
    "ForwardTopics",
    "LetterHeaders",
    "Place",
    "Position",
    "Positions",
    "decode_positions",
    "encode_positions",
    "letter_headers",
    "parse_letter_headers",
]

_DAY_MS = 86_400_000


class ForwardTopics(NamedTuple):
    """The forward sink's own topics, which all chains and targets of a prefix share; one partition each."""

    positions: str
    deadletter: str

    @classmethod
    def of(cls, prefix: str = DEFAULT_PREFIX) -> ForwardTopics:
        """The topics under this prefix."""
        return cls(f"{prefix}.forward-positions", f"{prefix}.forward-deadletter")

    def configs(self) -> list[TopicConfig]:
        """How each topic is created. Positions come often, and only closed segments are cleaned: so they are small."""
        often = {"cleanup.policy": "compact", "segment.bytes": "16777216", "segment.ms": "3600000"}
        return [
            TopicConfig(self.positions, often),
            TopicConfig(self.deadletter, {"cleanup.policy": "delete", "retention.ms": str(90 * _DAY_MS)}),
        ]


class Place(NamedTuple):
    """One partition of a topic that a target follows."""

    topic: str
    partition: int = 0

    def __str__(self) -> str:
        return f"{self.topic}/{self.partition}"


class Position(msgspec.Struct, frozen=True, omit_defaults=True):
    """`next`: the offset that comes next, in the topic with the id `topic_id`.

    `seq`: of a chain's topic, the last entry that is done with: it counts where offsets changed (a restored topic).
    """

    next: int
    topic_id: str
    seq: int | None = None


class Positions(msgspec.Struct, frozen=True):
    """Where one target stands, by place as `Place` prints it."""

    places: dict[str, Position]
    v: int = 1


def encode_positions(positions: Positions) -> bytes:
    """JSON with members in the order of the classes."""
    return _encoder.encode(positions)


def decode_positions(value: bytes) -> Positions:
    """The reverse. Raises `NotCanonical`."""
    try:
        return _decoder.decode(value)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise NotCanonical(f"not the positions of a target: {error}: {value[:80]!r}") from error


class LetterHeaders(NamedTuple):
    """What stands beside a letter. `what`: alert, entry, closing, or lost (no value: it was trimmed before its time).

    `id`: the message's, by which receivers know a repeat. `place`, `offset`: where the message was read. `at`: when it
    was refused, as an event's `timestamp`. `settled`: empty in a letter; else delivered or dismissed, and `reason` says
    why or by whom.
    """

    target: str
    what: str
    id: str
    place: Place
    offset: int
    at: str
    reason: str
    settled: str = ""


def letter_headers(headers: LetterHeaders) -> list[tuple[str, bytes]]:
    """As Kafka headers: UTF-8, numbers in decimal."""
    listed = {
        "target": headers.target,
        "what": headers.what,
        "id": headers.id,
        "topic": headers.place.topic,
        "partition": str(headers.place.partition),
        "offset": str(headers.offset),
        "at": headers.at,
        "reason": headers.reason,
    }
    if headers.settled:
        listed["settled"] = headers.settled
    return [(name, value.encode(errors="replace")) for name, value in listed.items()]


def parse_letter_headers(headers: Iterable[tuple[str, bytes]]) -> LetterHeaders:
    """The reverse. Raises `NotCanonical` when one is missing or is no number."""
    named = {name: value.decode(errors="replace") for name, value in headers}
    try:
        place = Place(named["topic"], int(named["partition"]))
        return LetterHeaders(
            named["target"],
            named["what"],
            named["id"],
            place,
            int(named["offset"]),
            named["at"],
            named["reason"],
            named.get("settled", ""),
        )
    except (KeyError, ValueError) as error:
        raise NotCanonical(f"not the headers of a letter: {error!r}") from error


_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(Positions)
