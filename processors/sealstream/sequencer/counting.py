"""What is counted of a sealed batch, once it was read back: so nothing is counted that was aborted.

Runs in the thread that reads back, beside the making of the next batch, once a batch. The invariant: it raises nothing,
so that a figure never stops the log.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime

from sealstream.errors import NotCanonical
from sealstream.layout import Figures, decode_entry, figures
from sealstream.sequencer.batch import Batch

__all__ = ["clock_skews", "count_batch"]

_LOOKED_AT = 16


def count_batch(tally: Figures, chain: str, batch: Batch) -> None:
    """Add this batch to the chain's figures."""
    counted = batch.counted
    tally.add(figures.BATCHES, 1, chain)
    tally.add(figures.ENTRIES, len(batch.entries), chain)
    tally.add(figures.DEAD_LETTERS, len(batch.dead_letters), chain)
    tally.add(figures.REFUSED, counted.refused, chain)
    tally.add(figures.REPEATED, counted.repeated, chain)
    tally.add(figures.GAPS, counted.statements.get("producer.gap", 0), chain)
    for action, times in counted.statements.items():
        tally.add(figures.STATEMENTS, times, chain, action)
    tally.set(figures.NEXT_OFFSET, batch.tip.raw_offset + 1, chain)
    tally.reached(chain, batch.tip.size, batch.tip.sequenced_at)
    if skews := clock_skews([value for _, value in batch.entries]):
        tally.set(figures.CLOCK_SKEW, min(skews), chain, "least")
        tally.set(figures.CLOCK_SKEW, max(skews), chain, "greatest")


def clock_skews(sealed: Sequence[bytes]) -> list[float]:
    """Broker's time minus the producer's, in seconds, of at most 16 events, spread evenly; none for other entries."""
    skews = []
    for value in sealed[:: -(-len(sealed) // _LOOKED_AT) or 1]:
        with suppress(NotCanonical, ValueError):
            entry = decode_entry(value)
            if entry.written.kind == "event" and entry.written.received_at is not None:
                received, said = (datetime.fromisoformat(each) for each in (entry.written.received_at, entry.timestamp))
                skews.append((received - said).total_seconds())
    return skews
