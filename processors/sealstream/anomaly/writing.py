"""Writes activity, a transaction at a time, each with the positions that follow from it, and sees it as a reader does.

Kafka's transaction protocol can lose or tear a transaction that it has reported as committed, when a request to end
one is delayed (KIP-890, which librdkafka does not speak). So a commit's answer is not believed: the positions, which
are sent only after every record of activity was acknowledged, are read back before the next transaction begins. A
delayed end of ours can only commit (a producer that has aborted is never used again), and whatever commits the
positions has committed what stands before them; so a position that a reader sees vouches for all records up to it.

A crash before the commit leaves nothing that a reader sees. After it, a transaction that nobody has read back: the next
start goes on from the positions that are really there, and writes what is missing behind them again, with the same
bytes.
"""

from __future__ import annotations

import time
from collections.abc import Mapping

from sealstream.anomaly.following import Outcome
from sealstream.errors import Fenced
from sealstream.kafka import CommittedReader, TransactionalProducer
from sealstream.layout.activity import ActivityTopics, encode_position

__all__ = ["ActivityWriter"]


class ActivityWriter:
    """`producer`: open already; `positions`: a reader of that topic, at its end as of now; `read_back_s`: how long
    positions may take to appear.
    """

    def __init__(
        self,
        producer: TransactionalProducer,
        topics: ActivityTopics,
        positions: CommittedReader,
        *,
        read_back_s: float = 5.0,
    ) -> None:
        self._producer = producer
        self._topics = topics
        self._positions = positions
        self._read_back_s = read_back_s

    def write(self, outcomes: Mapping[str, Outcome]) -> None:
        """Write what belongs together, by chain; returns when a reader sees it. Raises `Fenced` when none does."""
        producer, topics = self._producer, self._topics
        producer.begin()
        for outcome in outcomes.values():
            producer.spread(topics.activity, outcome.activity)
            producer.spread(topics.addresses, outcome.addresses)
        producer.flush()
        positions = [(chain.encode(), encode_position(outcome.position)) for chain, outcome in outcomes.items()]
        producer.produce_all(topics.positions, positions)
        producer.commit()
        self._see(positions)

    def _see(self, positions: list[tuple[bytes, bytes]]) -> None:
        deadline = time.monotonic() + self._read_back_s
        seen = 0
        while seen < len(positions):
            records = self._positions.read(len(positions) - seen, max(0.0, deadline - time.monotonic()))
            for record in records:
                if (record.key, record.value) != positions[seen]:
                    raise Fenced(
                        f"{self._topics.positions}, offset {record.offset}: a record that we did not write: starting "
                        "anew"
                    )
                seen += 1
            if not records and time.monotonic() > deadline:
                raise Fenced(
                    f"{self._topics.positions}: {len(positions) - seen} of {len(positions)} positions reported as "
                    f"committed were not seen within {self._read_back_s:.0f} s: starting anew"
                )
