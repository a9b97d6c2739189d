"""What the anomaly workers keep in Kafka: the states of actors and addresses, by name and shape. Pure.

A record of a state topic is one subject's newest state: key as in `audit.activity`, value as `Watch.encode` gives it,
header `counted` the number that only rises with each record that the state has counted. It stands in the partition of
the records that it was made of, so the topics have equally many partitions.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from sealstream.layout.topics import DEFAULT_PREFIX, TopicConfig

__all__ = ["WorkerTopics", "counted_header", "parse_counted", "worker_group"]

_COUNTED = "counted"
_TEN_MINUTES_MS = 600_000
_SEGMENT_BYTES = 67_108_864


class WorkerTopics(NamedTuple):
    """The topics of states, which all workers of a prefix share."""

    actors: str
    addresses: str

    @classmethod
    def of(cls, prefix: str = DEFAULT_PREFIX) -> WorkerTopics:
        """The topics under this prefix."""
        return cls(f"{prefix}.anomaly-actors", f"{prefix}.anomaly-addresses")

    def configs(self, partitions: int) -> list[TopicConfig]:
        """How each is created. `partitions`: as many as `audit.activity` has.

        Small segments are compacted soon, but not at once: a worker that was taken for dead, and writes an old state
        once more, must not make a newer one vanish.
        """
        compact = {
            "cleanup.policy": "compact",
            "min.compaction.lag.ms": str(_TEN_MINUTES_MS),
            "segment.bytes": str(_SEGMENT_BYTES),
        }
        return [TopicConfig(name, compact, partitions) for name in self]


def worker_group(prefix: str = DEFAULT_PREFIX) -> str:
    """The one consumer group that shares the partitions out among workers; its offsets say how far they are."""
    return f"{prefix}-anomaly"


def counted_header(counted: int) -> list[tuple[str, bytes]]:
    """As Kafka headers."""
    return [(_COUNTED, str(counted).encode())]


def parse_counted(headers: Iterable[tuple[str, bytes]]) -> int:
    """The reverse; -1 where there is none."""
    for name, value in headers:
        if name == _COUNTED and value.isdigit():
            return int(value)
    return -1
