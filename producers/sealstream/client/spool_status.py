"""What lies in a spool directory, for people: one line a stream. Reads only, and locks nothing longer than a look."""

from __future__ import annotations

import time
from contextlib import suppress
from datetime import UTC
from pathlib import Path
from typing import NamedTuple

from sealstream.client import spool_directory
from sealstream.client.spool_drain import header_of
from sealstream.client.spool_reader import Reader
from sealstream.errors import Misconfigured, SealstreamError
from sealstream.events import parse_timestamp

__all__ = ["StreamStatus", "spool_status"]


class StreamStatus(NamedTuple):
    """`waiting`: events that Kafka is not known to have. `damaged`: events that can't be read any more, a torn end as
    one; `unreported`: dropped ones that the log was not told of. `held`: a living process has it, and sends it.
    `topic`: "" when nothing says for which.
    """

    producer_id: str
    topic: str
    host: str
    pid: int
    age_s: float
    waiting: int
    damaged: int
    unreported: int
    bytes: int
    held: bool


def spool_status(directory: str | Path) -> list[StreamStatus]:
    """All streams, the oldest first. Raises `Misconfigured`."""
    found = []
    try:
        for folder in spool_directory.streams(Path(directory)):
            with suppress(FileNotFoundError):  # it has just been sent
                found.append(_status(folder))
    except OSError as error:
        raise Misconfigured(f"spool {str(directory)!r} can't be read: {error.strerror or error}") from error
    return found


def _status(folder: Path) -> StreamStatus:
    held, mark, header = spool_directory.is_held(folder), spool_directory.read_mark(folder), header_of(folder)
    size = sum(segment.stat().st_size for segment in spool_directory.segments(folder))
    waiting, at = 0, mark.acknowledged
    with Reader(folder, judged_from=at) as reader:
        while records := reader.read(at):
            waiting += len(records)
            at = records[-1].number + 1
        # The end of a stream that is being written may be half a record, which is no damage.
        damaged = reader.damaged + (reader.torn and not held and mark.acknowledged <= reader.end)
    return StreamStatus(
        folder.name,
        topic=header.topic if header else "",
        host=header.host if header else "",
        pid=header.pid if header else 0,
        age_s=_age_s(header.begun) if header else 0.0,
        waiting=waiting,
        damaged=damaged,
        unreported=mark.lost,
        bytes=size,
        held=held,
    )


def _age_s(begun: str) -> float:
    try:
        return max(time.time() - parse_timestamp(begun).astimezone(UTC).timestamp(), 0.0)
    except SealstreamError:
        return 0.0
