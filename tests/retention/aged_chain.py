"""A chain of three months whose online time is over, and of today's entries; `say` seals that a month leaves."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from confluent_kafka import Producer
from tests.rebuild.made_chain import MadeChain

from sealstream.events import control_statement, format_timestamp
from sealstream.kafka import KafkaSettings
from sealstream.layout import ChainTopics, Retention, checkpoint_headers, month_leaves, retention_members
from sealstream.layout.chains import STORE_EXPIRED
from sealstream.retention import expired_statement_id

__all__ = ["PCI", "Aged", "when"]

BEGIN = datetime(2025, 3, 29, 12, 0, tzinfo=UTC)
PCI = Retention("pci", archive_days=732, online_days=366)


def when(n: int) -> datetime:
    """From March to May 2025, and then of now, more or less."""
    if n < 90:
        return BEGIN + timedelta(days=n // 2)
    return datetime.now(UTC) - timedelta(seconds=200 - n)


class Aged(MadeChain):
    """A chain of three old months, and today's entries; `say` seals what the retention process says."""

    def expired(self, month: str, /, **other: Any) -> bytes:
        """What is said when the month leaves; with `other` members, as a liar has it: None takes one away."""
        first, end = self.month_bounds(month)
        metadata = {
            "store": "postgres", "month": month, "first_seq": first, "last_seq": end - 1,
            "first_hash": self.hashes[first].hex(), "last_hash": self.hashes[end - 1].hex(), "reason": "of old",
            "retention": retention_members(PCI), **other,
        }  # fmt: skip
        return control_statement(
            STORE_EXPIRED, id=expired_statement_id(self.settings.origin, "postgres", month),
            timestamp=format_timestamp(month_leaves(month, 366)),
            actor_id="sealstream/retention", resource_type="store", resource_id="postgres",
            metadata={member: value for member, value in metadata.items() if value is not None},
        )  # fmt: skip

    def say(self, month: str, /, **other: Any) -> int:
        """Seals it."""
        self._now = format_timestamp(datetime.now(UTC))
        self._seal("control", self.expired(month, **other))
        return len(self.values) - 1

    def sign(self) -> None:
        self._note(len(self.values), ends_segment=False)

    def say_more(self, kafka: KafkaSettings, value: bytes) -> None:
        """Seals what came to the control topic, as the sequencer does, signs it, and writes both to the topics."""
        known, topics = len(self.values), ChainTopics.of(self.settings.name)
        self._bucket = None  # a segment that ends now is archived by nobody
        self._now = format_timestamp(datetime.now(UTC))
        self._seal("control", value)
        self.sign()
        producer = Producer({"bootstrap.servers": kafka.bootstrap, "transactional.id": f"more-{topics.chain}-{known}"})
        producer.init_transactions(60)
        producer.begin_transaction()
        for entry in self.values[known:]:
            producer.produce(topics.chain, entry, partition=0)
        producer.commit_transaction(60)
        note, headers = self.notes[-1]
        producer.begin_transaction()
        producer.produce(topics.checkpoints, note, headers=checkpoint_headers(headers), partition=0)
        producer.commit_transaction(60)
