"""A chain of its own for each test, sealed by the test itself; what was signed, read as anybody would."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from confluent_kafka.admin import AdminClient
from tests.markers import wait_for_markers

from sealstream.checkpointing import Checkpointing, Pace
from sealstream.errors import Misconfigured, Unavailable
from sealstream.events import log_statement
from sealstream.kafka import KafkaSettings, Record, TransactionalProducer, create_topics, read_until_end, topic_ids
from sealstream.layout import (
    ChainSettings,
    ChainTopics,
    CheckpointHeaders,
    Retention,
    SegmentLimits,
    checkpoint_headers,
    parse_checkpoint_headers,
)
from sealstream.sealing import (
    EMPTY_RANGE,
    Checkpoint,
    Signer,
    Written,
    canonical_json,
    checked_range,
    extend,
    genesis_hash,
    new_signing_key,
    open_checkpoint,
    root,
    seal,
    sign_checkpoint,
    signer,
    tree_root,
)

PACE = Pace(interval_s=0.0, wait_s=0.05, read_back_s=2.0, read_again=0)
"""`read_again`: so that every start resumes behind a signed size."""
NOON = datetime(2026, 11, 24, 12, tzinfo=UTC)


def stamp(moment: datetime) -> str:
    """A time in its sealed form."""
    return moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ")


class Entries:
    """A chain's sealed entries, made as the sequencer makes them."""

    def __init__(self, chain: ChainSettings, *, origin: str | None = None, vkey: str | None = None) -> None:
        self.chain = chain
        self.values: list[bytes] = []
        self.hashes: list[bytes] = []
        self.ends: list[int] = []
        self._raw = -1
        self._now = NOON
        limits = chain.limits
        metadata = {
            "origin": origin or chain.origin,
            "vkey": vkey or chain.vkey,
            "nonce": "00" * 32,
            "retention": {"policy": "soc2", "archive_days": 366},
            "segment_entries": limits.entries,
            "segment_bytes": limits.bytes,
            "segment_seconds": limits.seconds,
        }
        event = log_statement(
            "chain.created",
            id="00000000-0000-7000-8000-000000000000",
            timestamp=stamp(self._now),
            process="sequencer",
            resource_type="chain",
            resource_id=chain.name,
            metadata=metadata,
        )
        self._seal(event, "log")

    def add(self, count: int = 1, *, later: timedelta = timedelta(milliseconds=1), **fields: Any) -> list[bytes]:
        """More events, each so much later; their sealed values."""
        for _ in range(count):
            self._now += later
            self._raw += 1
            event = {"action": "read", "actor_id": "user-1", "resource_id": str(len(self.values)), **fields}
            self._seal(canonical_json(event), "event")
        return self.values[-count:]

    def _seal(self, event: bytes, kind: str) -> None:
        received = None if kind == "log" else stamp(self._now)
        written = Written(self.chain.name, -1, kind, self._raw, received, len(self.values), stamp(self._now))
        prev_hash = self.hashes[-1] if self.hashes else genesis_hash(self.chain.origin)
        sealed = seal(event, written, prev_hash)
        self.values.append(sealed.to_bytes())
        self.hashes.append(sealed.hash)

    def root(self, size: int) -> bytes:
        """The root over the first `size` entries, from the leaves."""
        return tree_root(self.hashes[:size])


class Noted:
    """One record of a notes' topic, opened."""

    def __init__(self, record: Record, vkey: str) -> None:
        self.record = record
        self.note = record.value or b""
        self.checkpoint = open_checkpoint(self.note, vkey)
        self.headers = parse_checkpoint_headers(record.headers)
        assert root(checked_range(self.checkpoint.size, self.headers.compact_range)) == self.checkpoint.root

    @property
    def size(self) -> int:
        return self.checkpoint.size


class Log:
    """One chain under test, seen from outside."""

    def __init__(self, kafka: KafkaSettings, limits: SegmentLimits) -> None:
        self.kafka = kafka
        name = f"k{uuid.uuid4().hex[:12]}"
        self.signer: Signer = signer(new_signing_key(f"log.example/{name}"))
        self.chain = ChainSettings(name, "log.example", self.signer.vkey, Retention("soc2", 366), limits)
        self.topics = ChainTopics.of(name)
        create_topics(kafka, self.topics.configs())
        self.entries = Entries(self.chain)
        self._open: list[Checkpointing] = []

    def write(
        self, values: Sequence[bytes], topic: str | None = None, *, each: int = 1_000, commit: bool = True
    ) -> None:
        """Records in transactions of so many, committed or aborted."""
        producer = TransactionalProducer(self.kafka, f"test-{uuid.uuid4()}")
        producer.open()
        for first in range(0, len(values), each):
            producer.begin()
            for value in values[first : first + each]:
                producer.produce(topic or self.topics.chain, value)
            producer.commit() if commit else producer.abort()
        wait_for_markers(self.kafka, topic or self.topics.chain)
        producer.close()

    def write_note(
        self, checkpoint: Checkpoint, *, segment_from: int | None = None, signed_by: Signer | None = None
    ) -> None:
        """A note for the entries that we have, whatever it states."""
        compact_range = extend(EMPTY_RANGE, self.entries.hashes[: checkpoint.size])
        self.write_record(
            sign_checkpoint(checkpoint, signed_by or self.signer),
            CheckpointHeaders(compact_range.hashes, checkpoint.size, segment_from, checkpoint.size - 1),
            self.topics.checkpoints if segment_from is None else self.topics.segments,
        )

    def write_record(self, note: bytes, headers: CheckpointHeaders, topic: str) -> None:
        """A record as checkpointing would write it, by somebody else."""
        producer = TransactionalProducer(self.kafka, f"test-{uuid.uuid4()}")
        producer.open()
        producer.begin()
        producer.produce(topic, note, headers=checkpoint_headers(headers))
        producer.commit()
        wait_for_markers(self.kafka, topic)
        producer.close()

    def checkpointing(self, **changed: Any) -> Checkpointing:
        """A process that signs this chain."""
        changed.setdefault("pace", PACE)
        made = Checkpointing(self.kafka, self.chain, self.signer, **changed)
        self._open.append(made)
        return made

    def sign_all(self, **changed: Any) -> None:
        """Run a process until everything that is committed is signed; it is built anew whenever it must wait."""
        size = len(self.entries.values)
        for _ in range(20):
            process = self.checkpointing(**changed)
            try:
                run_until(process, lambda: self.newest() == size)
            except Unavailable:
                continue
            finally:
                process.close()
            return
        raise AssertionError("twenty starts were not enough")

    def newest(self) -> int:
        """The largest size that a checkpoint states; 0 without any."""
        return max((noted.size for noted in self.checkpoints()), default=0)

    def checkpoints(self) -> list[Noted]:
        return self._notes(self.topics.checkpoints)

    def segments(self) -> list[Noted]:
        return self._notes(self.topics.segments)

    def _notes(self, topic: str) -> list[Noted]:
        return [Noted(record, self.chain.vkey) for record in self._records(topic)]

    def _records(self, topic: str) -> list[Record]:
        return [record for records in read_until_end(self.kafka, topic) for record in records]

    def check_signed(self, segment_ends: Sequence[int]) -> None:
        """Every note states the truth, and there is one for each segment's end, in order, in both topics."""
        records = self._records(self.topics.chain)
        for noted in (*self.checkpoints(), *self.segments()):
            assert noted.headers.chain_offset == records[noted.size - 1].offset + 1
        self.check_segments(segment_ends)
        assert set(segment_ends) <= {noted.size for noted in self.checkpoints()}

    def check_segments(self, segment_ends: Sequence[int]) -> None:
        """Every note states the truth, and there is one for each segment's end, in order."""
        for noted in (*self.checkpoints(), *self.segments()):
            assert noted.checkpoint == Checkpoint(self.chain.origin, noted.size, self.entries.root(noted.size))
        segments = self.segments()
        assert [noted.size for noted in segments] == list(segment_ends)
        bounds = [(noted.headers.first_seq, noted.headers.last_seq) for noted in segments]
        assert bounds == [(first, end - 1) for first, end in zip([0, *segment_ends[:-1]], segment_ends, strict=False)]

    def recreate(self, topic: str) -> None:
        """Delete a topic and make it again, empty."""
        client = AdminClient({"bootstrap.servers": self.kafka.bootstrap})
        old = topic_ids(self.kafka, [topic])[topic]
        for future in client.delete_topics([topic], operation_timeout=30).values():
            future.result()
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:  # a broker that is busy still shows the old one, or neither yet
            with suppress(Unavailable, Misconfigured):
                create_topics(self.kafka, [config for config in self.topics.configs() if config.name == topic])
                if topic_ids(self.kafka, [topic])[topic] != old:
                    return
            time.sleep(0.1)
        raise AssertionError(f"{topic} was not made anew")

    def close(self) -> None:
        for process in self._open:
            process.close()


def run_until(process: Checkpointing, done: Callable[[], bool], steps: int = 100) -> None:
    """Step until `done`."""
    for _ in range(steps):
        process.step()
        if done():
            return
    raise AssertionError(f"not done in {steps} steps")


@pytest.fixture
def new_log(kafka: KafkaSettings) -> Iterator[Callable[..., Log]]:
    """Makes chains with the segment limits that are given."""
    made: list[Log] = []

    def make(entries: int = 10, **limits: int) -> Log:
        made.append(Log(kafka, SegmentLimits(entries, **limits)))
        return made[-1]

    yield make
    for log in made:
        log.close()


@pytest.fixture
def log(new_log: Callable[..., Log]) -> Log:
    """A chain whose segments end after ten entries."""
    return new_log()
