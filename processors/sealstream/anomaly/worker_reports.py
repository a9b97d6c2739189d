"""What a worker says of itself to the process that looks after it: one line of JSON, several times a second. Pure.

A report says that the worker's loop moves. Whether it gets anywhere, Kafka says: the group's committed offsets.
"""

from __future__ import annotations

import msgspec

from sealstream.errors import NotCanonical
from sealstream.kafka import Place

__all__ = ["Report", "decode_report", "encode_report"]


class Report(msgspec.Struct, omit_defaults=True):
    """Counts since the worker's start. `records`: handled; `malformed`, `failed`: of these passed over; `alerts`:
    raised; `known`: of those found which the chain held already; `unsealed`: whose chain has no control topic;
    `recovered`: records of state topics that were read. `ready`: it has joined the group and recovered its states.
    `places`: (topic, partition) that it looks after. `trouble`: what it waits for.
    """

    records: int = 0
    malformed: int = 0
    failed: int = 0
    alerts: int = 0
    known: int = 0
    unsealed: int = 0
    recovered: int = 0
    ready: bool = False
    places: list[Place] = []
    trouble: str = ""


def encode_report(report: Report) -> bytes:
    """One line, with its end."""
    return _encoder.encode(report) + b"\n"


def decode_report(line: bytes) -> Report:
    """The reverse. Raises `NotCanonical`."""
    try:
        return _decoder.decode(line)
    except msgspec.DecodeError as error:
        raise NotCanonical(f"not a worker's report: {error}: {line[:80]!r}") from error


_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(Report)
