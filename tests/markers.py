"""What was committed is read when its marker is written, which may be a little after the commit was answered."""

from __future__ import annotations

import time

from sealstream.kafka import KafkaSettings, end_offset

_AT_MOST_S = 30.0
_PAUSE_S = 0.01


def wait_for_markers(kafka: KafkaSettings, topic: str) -> None:
    """Returns when no transaction in `topic` is undecided any more.

    Kafka answers EndTxn when the coordinator has logged the decision; the markers in the partitions, and with them the
    last stable offset, follow.
    """
    deadline = time.monotonic() + _AT_MOST_S
    while end_offset(kafka, topic, committed=True) < end_offset(kafka, topic, committed=False):
        assert time.monotonic() < deadline, f"a transaction in {topic} is undecided after {_AT_MOST_S:.0f} s"
        time.sleep(_PAUSE_S)
