"""What a worker says of itself to the process that looks after it: one line of JSON in a pipe, several times a second.

A report says that the worker's loop moves. Whether it gets anywhere, Kafka says: the group's committed offsets.
"""

from __future__ import annotations

import os
from collections.abc import Callable

import msgspec

from sealstream.errors import NotCanonical
from sealstream.kafka import Place

__all__ = ["Report", "decode_report", "encode_report", "reports_to"]


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


def reports_to(pipe: int) -> Callable[[Report], None]:
    """Writes reports into the pipe. One that does not fit, since nobody reads, is left out; where the reader is gone,
    this process ends.
    """
    os.set_blocking(pipe, False)
    unwritten = b""

    def tell(report: Report) -> None:
        nonlocal unwritten
        line = unwritten or encode_report(report)
        try:
            unwritten = line[os.write(pipe, line) :]
        except BlockingIOError:
            pass
        except OSError:
            os._exit(0)

    return tell


_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(Report)
