"""A chain of its own for each test: topics on the shared broker, producers for its inputs, a reader of the outcome."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Sequence
from hashlib import sha256
from typing import Any

import pytest
from confluent_kafka import Producer
from tests.markers import wait_for_markers

from sealstream.events import canonical_event, control_statement
from sealstream.kafka import KafkaSettings, Record, create_topics, last_record, read_until_end
from sealstream.layout import ChainSettings, ChainTopics, Retention
from sealstream.sealing import Tip, new_signing_key, next_tip, signer, start_tip


class Log:
    """One chain under test, seen from outside."""

    def __init__(self, kafka: KafkaSettings) -> None:
        name = f"s{uuid.uuid4().hex[:12]}"
        self.kafka = kafka
        self.key = new_signing_key(f"log.example/{name}")
        self.chain = ChainSettings(name, "log.example", signer(self.key).vkey, Retention("soc2", 366))
        self.topics = ChainTopics.of(name)
        create_topics(kafka, self.topics.configs())

    def event(self, n: int, *, producer: str | None = "p", number: int | None = None, **more: Any) -> bytes:
        """A valid event; the same arguments give the same bytes."""
        fields: dict[str, Any] = {
            "id": str(uuid.uuid5(uuid.NAMESPACE_URL, f"{self.chain.name}/{n}")),
            "timestamp": "2026-11-24T03:00:00.000000Z",
            "actor_id": f"user-{n % 10}",
            "actor_type": "user",
            "action": "read",
            "resource_type": "record",
            "resource_id": str(n),
            "result": "success",
            **more,
        }
        if producer is not None:
            fields |= {"producer_id": producer, "producer_seq": n if number is None else number}
        return canonical_event(fields)

    def control(self, n: int) -> bytes:
        """A valid control statement."""
        return control_statement(
            "store.expired",
            id=str(uuid.uuid5(uuid.NAMESPACE_URL, f"{self.chain.name}/control/{n}")),
            timestamp="2026-11-24T03:00:00.000000Z",
            actor_id="sealstream/test",
            resource_type="store",
            resource_id="postgres",
            metadata={"store": "postgres", "first_seq": 0, "last_seq": n, "reason": "time is over"},
        )

    def send(self, values: Sequence[bytes | None], topic: str | None = None) -> None:
        """Into the raw topic (or another), in this order, acknowledged."""
        producer = Producer({"bootstrap.servers": self.kafka.bootstrap, "enable.idempotence": True, "linger.ms": 5})
        for value in values:
            producer.produce(topic or self.topics.raw, value, partition=0)
        assert producer.flush(30) == 0

    def send_in_transaction(self, values: Sequence[bytes], *, commit: bool = True) -> None:
        """Into the raw topic by a transactional producer, which leaves a marker behind."""
        producer = self.open_transaction(f"up-{uuid.uuid4()}", self.topics.raw, values)
        producer.commit_transaction(30) if commit else producer.abort_transaction(30)
        wait_for_markers(self.kafka, self.topics.raw)

    def open_transaction(self, transactional_id: str, topic: str, values: Sequence[bytes]) -> Producer:
        """A transaction that stays open as long as the producer given back lives; what is in it was acknowledged."""
        producer = Producer({"bootstrap.servers": self.kafka.bootstrap, "transactional.id": transactional_id})
        producer.init_transactions(30)
        producer.begin_transaction()
        for value in values:
            producer.produce(topic, value, partition=0)
        assert producer.flush(30) == 0
        return producer

    def all_sealed(self) -> Callable[[Any], bool]:
        """Whether a sequencer has come to the last record that both inputs hold now."""
        last = [last_record(self.kafka, topic) for topic in (self.topics.raw, self.topics.control)]
        raw, control = (record.offset if record else -1 for record in last)
        return lambda sequencer: sequencer.tip.raw_offset >= raw and sequencer.tip.control_offset >= control

    def records(self, topic: str) -> list[Record]:
        """All that a reader sees of a topic."""
        return [record for records in read_until_end(self.kafka, topic) for record in records]

    def entries(self) -> list[dict[str, Any]]:
        """The chain as a reader sees it, after every entry was checked to continue it."""
        tip: Tip = start_tip(self.chain.origin)
        entries = []
        for record in self.records(self.topics.chain):
            assert record.value is not None
            tip = next_tip(tip, record.value, self.chain.name)
            entry = json.loads(record.value)
            assert record.key == entry["id"].encode()
            entries.append(entry)
        return entries

    def check_every_offset(self) -> list[dict[str, Any]]:
        """The chain, after it was held against both input topics: each record an entry, or an item with its digest."""
        entries = self.entries()
        for kind, topic in (("event", "raw"), ("control", "control")):
            held = {record.offset: record.value or b"" for record in self.records(getattr(self.topics, topic))}
            told: set[int] = set()
            for entry in entries:
                written = entry["written"]
                if written["kind"] == kind:
                    offset = written[f"{topic}_offset"]
                    sealed = {k: v for k, v in entry.items() if k not in ("written", "prev_hash", "hash")}
                    assert canonical_event(sealed) == canonical_event(json.loads(held[offset]))
                    told.add(offset)
                elif entry["action"] == "input.passed" and entry["metadata"]["topic"] == topic:
                    for item in entry["metadata"]["items"]:
                        run = range(item["first"], item["last"] + 1)
                        if item["what"] == "empty":
                            assert not set(run) & set(held)
                            continue
                        digests = b"".join(sha256(held[offset]).digest() for offset in run)
                        assert item["sha256"] == sha256(digests).hexdigest()
                        told.update(run)
            assert told == set(held), f"{topic}: offsets that the chain does not account for"
        return entries


@pytest.fixture
def log(kafka: KafkaSettings) -> Log:
    """A new chain with all its topics."""
    return Log(kafka)


@pytest.fixture
def another_log(kafka: KafkaSettings) -> Log:
    """A second one."""
    return Log(kafka)
