"""Every topic's name, cleanup and headers (docs/format.md): pure, and the only spelling of them.

A chain `main` with the prefix `audit` owns `audit.raw.main`, `audit.chain.main`, ... with one partition each.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

__all__ = [
    "DEFAULT_PREFIX",
    "ChainTopics",
    "CheckpointHeaders",
    "TopicConfig",
    "checkpoint_headers",
    "checkpointing_transactional_id",
    "parse_checkpoint_headers",
    "sequencer_group",
    "sequencer_transactional_id",
]

DEFAULT_PREFIX = "audit"
_DAY_MS = 86_400_000


class TopicConfig(NamedTuple):
    """What a topic must be created with. `partitions` is 1 for every topic of a chain."""

    name: str
    config: Mapping[str, str]
    partitions: int = 1


class ChainTopics(NamedTuple):
    """The seven topics of one chain, by what they hold."""

    raw: str
    control: str
    chain: str
    producers: str
    deadletter: str
    checkpoints: str
    segments: str

    @classmethod
    def of(cls, chain: str, prefix: str = DEFAULT_PREFIX) -> ChainTopics:
        """The topics of the chain with this name."""
        return cls(*(f"{prefix}.{kind}.{chain}" for kind in cls._fields))

    def configs(self) -> list[TopicConfig]:
        """How each topic is created and what a process checks before it starts on one."""
        keep = {"cleanup.policy": "delete", "retention.ms": "-1", "retention.bytes": "-1"}
        by_broker_clock = {"message.timestamp.type": "LogAppendTime"}
        return [
            TopicConfig(self.raw, keep | by_broker_clock),
            TopicConfig(self.control, keep | by_broker_clock),
            TopicConfig(self.chain, keep | by_broker_clock),
            TopicConfig(self.producers, {"cleanup.policy": "compact"}),
            TopicConfig(self.deadletter, {"cleanup.policy": "delete", "retention.ms": str(90 * _DAY_MS)}),
            TopicConfig(self.checkpoints, {"cleanup.policy": "delete", "retention.ms": str(7 * _DAY_MS)}),
            TopicConfig(self.segments, keep),
        ]


def sequencer_group(prefix: str = DEFAULT_PREFIX) -> str:
    """The one consumer group that shares the chains out among sequencer processes."""
    return f"{prefix}-sequencer"


def sequencer_transactional_id(chain: str) -> str:
    """Whoever opens a producer with this id fences the sequencer before it."""
    return f"sealstream-sequencer-{chain}"


def checkpointing_transactional_id(chain: str) -> str:
    """The same for checkpointing."""
    return f"sealstream-checkpointing-{chain}"


class CheckpointHeaders(NamedTuple):
    """What travels beside a signed note in `audit.checkpoints.C` and `audit.segments.C`.

    `compact_range`: 32-byte hashes, largest subtree first. `chain_offset`: where in `audit.chain.C` the entry with
    seq = the note's size stands or will stand (the offset after the record of seq size-1; markers may lie between).
    `first_seq`, `last_seq`: only beside a segment's note.
    """

    compact_range: tuple[bytes, ...]
    chain_offset: int
    first_seq: int | None = None
    last_seq: int | None = None


def checkpoint_headers(headers: CheckpointHeaders) -> list[tuple[str, bytes]]:
    """As Kafka headers: hashes as raw bytes one after another, numbers as decimal ASCII."""
    listed = [
        ("compact_range", b"".join(headers.compact_range)),
        ("chain_offset", str(headers.chain_offset).encode()),
    ]
    if headers.first_seq is not None and headers.last_seq is not None:
        listed += [("first_seq", str(headers.first_seq).encode()), ("last_seq", str(headers.last_seq).encode())]
    return listed


def parse_checkpoint_headers(headers: Iterable[tuple[str, bytes]]) -> CheckpointHeaders:
    """The reverse of `checkpoint_headers`. Raises `ValueError` when one is missing or malformed."""
    named = dict(headers)
    joined = _header(named, "compact_range")
    if len(joined) % 32:
        raise ValueError(f"header compact_range has {len(joined)} bytes: expected a multiple of 32")
    hashes = tuple(joined[i : i + 32] for i in range(0, len(joined), 32))
    chain_offset = _number_header(named, "chain_offset")
    if "first_seq" not in named and "last_seq" not in named:
        return CheckpointHeaders(hashes, chain_offset)
    return CheckpointHeaders(
        hashes, chain_offset, _number_header(named, "first_seq"), _number_header(named, "last_seq")
    )


def _header(named: Mapping[str, bytes], name: str) -> bytes:
    if name not in named:
        raise ValueError(f"a checkpoint's record has no header {name}")
    return named[name]


def _number_header(named: Mapping[str, bytes], name: str) -> int:
    digits = _header(named, name)
    if not (digits.isdigit() and len(digits) <= 19):  # bytes.isdigit: ASCII 0-9 and nothing else
        raise ValueError(f"header {name} is {digits[:32]!r}: expected a decimal number")
    return int(digits)
