"""From what the stores say of a chain to what the pipeline's detectors read. Pure.

The invariant: what a statement gives is dated by its own place in the chain, so that read again it gives the same; only
what is asked of the stores is dated by the moment of asking.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from sealstream.anomaly.pipeline import (
    ChainObserved,
    DeadLettersObserved,
    GapObserved,
    Observation,
    SinkObserved,
)
from sealstream.events import parse_timestamp
from sealstream.health.asking import Archived, Signed, Stored
from sealstream.layout import Entry

__all__ = ["STATEMENTS", "Looked", "OfStatements", "Seen", "of_sinks", "of_statements", "of_the_chain"]

STATEMENTS = ("producer.gap", "input.passed")
"""The log's own statements that are looked at."""


class Seen(NamedTuple):
    """How far a chain and its stores are. `size`, `sealed_at`: of the chain's last entry. A sink that was not asked, or
    did not answer, is None. `behind_since`, `unarchived_since`: since when the oldest entry waits for it; None: none
    does. Times in seconds since 1970.
    """

    size: int
    sealed_at: float | None
    signed: Signed | None = None
    stored: Stored | None = None
    behind_since: float | None = None
    archived: Archived | None = None
    unarchived_since: float | None = None


class Looked(NamedTuple):
    """One look at a chain. `next_seq`: where to read statements on; `refused`: counted so far; `more`: there are more
    statements than were read.
    """

    observations: Sequence[Observation]
    next_seq: int
    refused: int
    more: bool = False


class OfStatements(NamedTuple):
    """What statements gave, and how many records are refused so far."""

    observations: list[Observation]
    refused: int


def of_the_chain(chain: str, seen: Seen, now_s: int) -> Iterator[Observation]:
    """How far it is sealed and signed; nothing of a chain that is empty, or of which nobody says what is signed."""
    if seen.size and seen.sealed_at is not None and seen.signed is not None:
        yield ChainObserved(
            chain=chain,
            at_s=now_s,
            size=seen.size,
            sealed_s=int(seen.sealed_at),
            signed_size=min(seen.signed.size, seen.size),
            signed_s=int(seen.signed.at or 0),
        )


def of_sinks(chain: str, seen: Seen, now_s: int) -> Iterator[Observation]:
    """How far the sinks are that answered; the archive is held to the segments that have ended."""
    if seen.stored is not None:
        yield _sink(chain, "postgres-sink", seen.stored.size, seen.size, seen.behind_since, now_s)
    if seen.archived is not None and seen.signed is not None:
        ended = seen.signed.segment_size
        yield _sink(chain, "archive-sink", seen.archived.size, ended, seen.unarchived_since, now_s)


def _sink(chain: str, sink: str, stored: int, size: int, since: float | None, now_s: int) -> SinkObserved:
    waits = since is not None and stored < size
    lag_s = max(now_s - since, 0.0) if waits and since is not None else 0.0
    return SinkObserved(chain=chain, at_s=now_s, sink=sink, stored=stored, size=max(size, stored), lag_s=lag_s)


def of_statements(chain: str, entries: Iterable[Entry], refused: int) -> OfStatements:
    """What the log says itself, in order; `refused`: records that were so far. Others' entries are passed over."""
    found: list[Observation] = []
    for entry in entries:
        if entry.written.kind != "log" or entry.action not in STATEMENTS:
            continue
        said: dict[str, Any] = entry.metadata or {}
        at_s, seq = int(parse_timestamp(entry.written.sequenced_at).timestamp()), entry.written.seq
        if entry.action == "producer.gap":
            missing = sum(last - first + 1 for first, last in said["ranges"])
            producer = str(said["producer_id"])
            found.append(GapObserved(chain=chain, at_s=at_s, seq=seq, producer_id=producer, missing=missing))
            continue
        new = sum(item["last"] - item["first"] + 1 for item in said["items"] if item["what"] == "refused")
        if new:
            refused += new
            found.append(DeadLettersObserved(chain=chain, at_s=at_s, refused=refused, seqs=[[seq, seq]]))
    return OfStatements(found, refused)
