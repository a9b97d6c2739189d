"""Chains for the archive's tests: sealed, cut and signed here with the same pure functions as the real processes."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from sealstream.archive import ColumnMaker, ObjectBuilder, Start
from sealstream.events import canonical_event, format_timestamp, log_statement
from sealstream.layout import (
    ChainSettings,
    CheckpointHeaders,
    Retention,
    SegmentCutter,
    SegmentLimits,
    checkpoint_headers,
)
from sealstream.sealing import (
    EMPTY_RANGE,
    Checkpoint,
    CompactRange,
    Sealed,
    Written,
    extend,
    genesis_hash,
    new_signing_key,
    root,
    seal,
    sign_checkpoint,
    signer,
)

FIXED_KEY = "PRIVATE+KEY+audit.example.com/clinic/main+5f0c3bff+AYTSvsbYCpCg0Xw0GXS3v5N6IXwuSLUcz36g4gx3kJte"
MAKER = ColumnMaker()
TWENTY = SegmentLimits(entries=20)
A_YEAR = Retention("soc2", archive_days=366)
BEGIN = datetime(2026, 11, 24, 3, 0, tzinfo=UTC)


@dataclass
class MadeSegment:
    """A segment of a made chain: its entries, its signed note, and the ranges around it."""

    first_seq: int
    entries: list[Sealed]
    start: Start
    note: bytes
    signed: Checkpoint
    compact_range: CompactRange

    @property
    def last_seq(self) -> int:
        return self.first_seq + len(self.entries) - 1

    @property
    def values(self) -> list[bytes]:
        return [entry.to_bytes() for entry in self.entries]

    def headers(self, chain_offset: int) -> list[tuple[str, bytes]]:
        return checkpoint_headers(
            CheckpointHeaders(self.compact_range.hashes, chain_offset, self.first_seq, self.last_seq)
        )


@dataclass
class MadeChain:
    """A chain in memory, made entry by entry; everything in it follows from its name and seed."""

    name: str = "main"
    limits: SegmentLimits = TWENTY
    retention: Retention = A_YEAR
    prefix: str = "audit"
    at: datetime = BEGIN
    skey: str = ""
    entries: list[Sealed] = field(default_factory=list)
    segments: list[MadeSegment] = field(default_factory=list)
    raw_offset: int = -1
    control_offset: int = -1

    def __post_init__(self) -> None:
        self.log = "audit.example.com/clinic"
        self.signer = signer(self.skey or new_signing_key(f"{self.log}/{self.name}"))
        self.cutter = SegmentCutter(self.limits)
        self.range = EMPTY_RANGE
        self.open: list[Sealed] = []
        self.start = Start(EMPTY_RANGE, genesis_hash(self.origin))
        self.settings = ChainSettings(
            self.name, self.log, self.signer.vkey, self.retention, self.limits, prefix=self.prefix
        )
        self.log_entry(
            "chain.created",
            {
                "origin": self.origin,
                "vkey": self.signer.vkey,
                "nonce": "5e" * 32,
                "retention": {"policy": self.retention.policy, "archive_days": self.retention.archive_days},
                "segment_entries": self.limits.entries,
                "segment_bytes": self.limits.bytes,
                "segment_seconds": self.limits.seconds,
            },
        )

    @property
    def origin(self) -> str:
        return f"{self.log}/{self.name}"

    def event(self, after_s: float = 0.01, **fields: Any) -> Sealed:
        """One more event, `after_s` after the entry before."""
        self.at += timedelta(seconds=after_s)
        seq = len(self.entries)
        made = {
            "id": f"01939e2c-0000-7000-8000-{seq:012x}",
            "timestamp": format_timestamp(self.at - timedelta(milliseconds=40)),
            "actor_id": f"user-{seq % 7}",
            "actor_type": "user",
            "action": ("read", "write", "login")[seq % 3],
            "resource_type": "patient",
            "resource_id": f"patient-{seq % 5}",
            "result": "denied" if seq % 11 == 0 else "success",
            "ip_address": f"10.0.0.{seq % 250}",
            "metadata": {"http_status": 200, "note": 'Zoë’s "chart"\n\x01'},
            **fields,
        }
        return self._seal("event", canonical_event(made))

    def events(self, number: int, after_s: float = 0.01) -> None:
        for _ in range(number):
            self.event(after_s)

    def log_entry(self, action: str, metadata: dict[str, Any] | None = None, after_s: float = 0.01) -> Sealed:
        self.at += timedelta(seconds=after_s)
        event = log_statement(
            action,
            id=f"01939e2c-0000-7000-8000-{len(self.entries):012x}",
            timestamp=format_timestamp(self.at),
            process="sequencer",
            resource_type="chain",
            resource_id=self.name,
            metadata=metadata,
        )
        return self._seal("log", event)

    def control(self, event: bytes, after_s: float = 0.01) -> Sealed:
        """Seals what a process has said in the control topic."""
        self.at += timedelta(seconds=after_s)
        return self._seal("control", event)

    def _seal(self, kind: str, event: bytes) -> Sealed:
        self.raw_offset += kind == "event"
        self.control_offset += kind == "control"
        seq, time = len(self.entries), format_timestamp(self.at)
        received = None if kind == "log" else time
        written = Written(self.name, self.control_offset, kind, self.raw_offset, received, seq, time)
        entry = seal(event, written, self.entries[-1].hash if self.entries else genesis_hash(self.origin))
        cut = self.cutter.add(seq, kind, time, len(entry.body))
        if cut.before:
            self._end_segment()
        self.entries.append(entry)
        self.open.append(entry)
        if cut.with_it:
            self._end_segment()
        return entry

    def _end_segment(self) -> None:
        self.range = extend(self.range, [entry.hash for entry in self.open])
        signed = Checkpoint(self.origin, self.range.size, root(self.range))
        first_seq = self.start.compact_range.size
        note = sign_checkpoint(signed, self.signer)
        self.segments.append(MadeSegment(first_seq, self.open, self.start, note, signed, self.range))
        last = self.open[-1]
        self.start = Start(self.range, last.hash)
        self.open = []


def build(chain: MadeChain, segment: MadeSegment) -> bytes:
    """The Parquet object of a made segment."""
    builder = ObjectBuilder(segment.start, chain.limits, MAKER)
    try:
        builder.add(segment.values)
        return builder.finish()
    finally:
        builder.close()


@pytest.fixture
def make_chain():
    """MadeChain itself, for tests that need their own limits."""
    return MadeChain


@pytest.fixture
def build_object():
    return build


@pytest.fixture
def made_chain() -> MadeChain:
    """A chain of three segments of 20 entries and an open one."""
    chain = MadeChain()
    chain.events(64)
    return chain


@pytest.fixture
def fixed_chain() -> MadeChain:
    """The chain whose first segment lies in `data/`, written by other versions of pyarrow; its key is no secret."""
    chain = MadeChain(limits=SegmentLimits(entries=60), skey=FIXED_KEY)
    chain.events(70)
    return chain
