"""Seals what waits in a chain's topics at a time that is over, by the real sequencer with a clock that is behind."""

from __future__ import annotations

import time
from contextlib import closing
from datetime import timedelta

from tests.pipeline import Pipeline

from sealstream.kafka import end_offset, last_record
from sealstream.layout import decode_entry
from sealstream.sequencer import Sequencer
from sealstream.sequencer.owned import Pace

__all__ = ["seal_in_the_past"]


def seal_in_the_past(pipeline: Pipeline, ago: timedelta) -> int:
    """Until everything is sealed; the chain's size. Later the pipeline's own sequencer goes on with the real clock."""
    behind_ns = int(ago.total_seconds()) * 1_000_000_000
    pace = Pace(max_apart_s=2 * ago.total_seconds())
    begun = time.monotonic()
    with closing(
        Sequencer(pipeline.kafka, pipeline.chain, clock=lambda: time.time_ns() - behind_ns, pace=pace)
    ) as sequencer:
        while not _sealed(pipeline):
            sequencer.step()
            assert time.monotonic() - begun < 120, "not sealed in 120 s"
    return pipeline.size()


def _sealed(pipeline: Pipeline) -> bool:
    last = last_record(pipeline.kafka, pipeline.topics.chain)
    if last is None:
        return False
    written = decode_entry(last.value or b"").written
    inputs = ((pipeline.topics.raw, written.raw_offset), (pipeline.topics.control, written.control_offset))
    return all(offset + 1 >= end_offset(pipeline.kafka, topic, committed=True) for topic, offset in inputs)
