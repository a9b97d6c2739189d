"""What a reconciliation is asked and what it gives: the stores, where each begins and ends, and what differs."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

from sealstream.archive import ArchiveSettings
from sealstream.kafka import KafkaSettings, last_record, read_until_end
from sealstream.layout import ChainSettings, ChainTopics, parse_checkpoint_headers
from sealstream.rebuild.differences import Difference
from sealstream.rebuild.kafka_view import Mark
from sealstream.verify.report import Fault
from sealstream.verify.signed import StoredNote

__all__ = ["ComparedStore", "Reconciliation", "Sources", "kafka_notes"]


class Sources(NamedTuple):
    """The stores to compare; None: not this one."""

    kafka: KafkaSettings | None
    reader_dsn: str | None
    archive: ArchiveSettings | str | Path | None


class ComparedStore(NamedTuple):
    """What one store holds: entries `first` to `stop` - 1; `spans` of them were compared in `seconds`."""

    name: str
    first: int
    stop: int
    spans: int
    seconds: float


class Reconciliation:
    """The result. `signed_size`: up to where signatures decide."""

    def __init__(self, chain: str, signed_size: int, stores: list[ComparedStore]) -> None:
        self.chain = chain
        self.signed_size = signed_size
        self.stores = stores
        self.differences: list[Difference] = []
        self.notes: list[str] = []
        self.kafka_mark: Mark | None = None
        self.elapsed_s = 0.0

    @property
    def exit_code(self) -> int:
        """0 all stores hold the signed entries, 1 one of them differs."""
        return 1 if self.differences else 0

    def of(self, store: str) -> list[Fault]:
        """The differences of one store."""
        return [difference.fault for difference in self.differences if difference.store == store]

    def to_json(self) -> dict[str, Any]:
        """The whole for programs."""
        return {
            "chain": self.chain,
            "verdict": "differ" if self.differences else "equal",
            "exit_code": self.exit_code,
            "signed_size": self.signed_size,
            "stores": [store._asdict() for store in self.stores],
            "differences": [difference.to_json() for difference in self.differences],
            "notes": self.notes,
            "elapsed_s": round(self.elapsed_s, 3),
        }


def kafka_notes(kafka: KafkaSettings, chain: ChainSettings) -> list[StoredNote]:
    """Every segment's note and the newest checkpoint, as the topics hold them."""
    topics = ChainTopics.of(chain.name, chain.prefix)
    records = [(topics.segments, record) for records in read_until_end(kafka, topics.segments) for record in records]
    newest = last_record(kafka, topics.checkpoints)
    records += [] if newest is None else [(topics.checkpoints, newest)]
    notes = []
    for topic, record in records:
        place = f"{topic} offset {record.offset}"
        try:
            compact_range = parse_checkpoint_headers(record.headers).compact_range
        except ValueError:
            notes.append(StoredNote(record.value or b"", place))
            continue
        notes.append(StoredNote(record.value or b"", place, compact_range))
    return notes
