"""Which records and entries become spans, and with which ids and times: pure, without a server."""

from __future__ import annotations

import time
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from sealstream.events import canonical_event, control_statement
from sealstream.kafka import Record
from sealstream.layout import ChainSettings, ChainTopics, Retention
from sealstream.layout.spans import Span, Tracing, traced_entry, traceparent
from sealstream.postgres.tracing import StoreSpans
from sealstream.sealing import split_sealed, start_tip
from sealstream.sequencer.batch import Batch, Scribe
from sealstream.sequencer.deduplication import Deduplication
from sealstream.sequencer.tracing import SealSpans

CHAIN = ChainSettings("t", "log.example/x", "log.example/x/t+00000000+AAAA", Retention("soc2", 366))
NOW_MS = time.time_ns() // 1_000_000
MS = 1_000_000
TRACE, SENDER = "4bf92f3577b34da6a3ce929d0e0e4736", 0x00F067AA0BA902B7


class World:
    """A scribe and both makers of spans. Kafka has a record one millisecond after the one before."""

    def __init__(self, ratio: float = 1.0) -> None:
        self.spans: list[Span] = []
        self.now_ns = NOW_MS * MS
        self.tracing = Tracing(ratio, lambda: self.now_ns, self.spans.extend)
        memories = Deduplication(), Deduplication()
        self.scribe = Scribe("t", ChainTopics.of("t"), start_tip(CHAIN.origin), *memories, randomness=bytes)
        self.seals, self.stores = SealSpans("t", self.tracing), StoreSpans("t", self.tracing)

    def seal(self, *records: Record, controls: tuple[Record, ...] = ()) -> Batch:
        self.now_ns += 10 * MS
        self.seals.read(records)
        self.scribe.begin(self.now_ns)
        self.scribe.take("control", controls)
        self.scribe.take("event", records)
        batch = self.scribe.finish()
        self.now_ns += 10 * MS
        self.seals.sealed(batch, self.now_ns)
        return batch

    def store(self, batch: Batch) -> None:
        appended_ms = self.now_ns // MS - 5
        records = [Record(n, appended_ms, key, value) for n, (key, value) in enumerate(batch.entries)]
        self.now_ns += 10 * MS
        read_ns = self.stores.now_ns()
        self.now_ns += 10 * MS
        self.stores.stored(records, read_ns)


def record(offset: int, trace_id: str = TRACE, *, header: str = "", **more: Any) -> Record:
    value = canonical_event(
        {
            "id": f"0193a8f2-7c1e-7000-8000-{more.pop('number', offset):012}",
            "timestamp": "2026-11-24T03:00:00.000000Z",
            "actor_id": "ada",
            "actor_type": "user",
            "action": "read",
            "resource_type": "record",
            "resource_id": "7",
            "result": "success",
            **({"trace_id": trace_id} if trace_id else {}),
            **more,
        }
    )
    return sent(offset, value, header or traceparent(int(TRACE, 16), SENDER))


def sent(offset: int, value: bytes, header: str) -> Record:
    return Record(offset, NOW_MS + offset, None, value, [("traceparent", header.encode())])


def test_sealing_is_the_child_of_the_sender_and_storing_the_child_of_sealing() -> None:
    world = World()
    batch = world.seal(record(0), record(1))
    world.store(batch)
    first, second, stored, _ = world.spans
    hashes = [split_sealed(value).hash for _, value in batch.entries]
    for span, own_hash in zip((first, second), hashes, strict=True):
        assert (span.name, span.trace_id, span.parent_id) == ("sealstream seal", int(TRACE, 16), SENDER)
        assert span.span_id == int.from_bytes(own_hash[:8], "big")
    assert (stored.name, stored.trace_id, stored.parent_id) == ("sealstream store", int(TRACE, 16), first.span_id)
    assert (first.start_ns, first.read_ns, first.end_ns) == tuple((NOW_MS + ms) * MS for ms in (0, 10, 20))
    assert second.start_ns == (NOW_MS + 1) * MS
    assert (stored.start_ns, stored.read_ns, stored.end_ns) == tuple((NOW_MS + ms) * MS for ms in (15, 30, 40))
    assert (stored.chain, stored.seq, stored.event_id) == ("t", 0, "0193a8f2-7c1e-7000-8000-000000000000")


def test_what_became_no_entry_of_that_trace_has_no_span() -> None:
    world = World()
    header = traceparent(int(TRACE, 16), SENDER)
    batch = world.seal(
        sent(0, b"no event", header),  # refused
        record(1, "another-trace"),
        record(2, trace_id=""),
        record(3, "f" * 32),
        record(4, header=header[:-1] + "0"),  # not sampled
        record(6, metadata={"trace_id": TRACE, "user_agent": "x"}, trace_id=""),
        Record(7, NOW_MS, None, record(7).value),  # without a header
        record(8),
        record(9, number=8),  # the same event again
        sent(10, b"no event", header),
    )
    assert [span.event_id[-2:] for span in world.spans] == ["08"]
    entry = traced_entry(batch.entries[world.spans[0].seq][1])
    assert entry is not None
    assert entry.raw_offset == 8


def test_a_trace_outside_the_ratio_has_no_span_in_either_process() -> None:
    world = World(ratio=0.5)
    low, high = "0" * 16 + "7" + "f" * 15, "0" * 16 + "8" + "0" * 15
    world.store(
        world.seal(*[record(n, each, header=traceparent(int(each, 16), 1)) for n, each in enumerate((low, high))])
    )
    assert [(span.name, f"{span.trace_id:032x}") for span in world.spans] == [
        ("sealstream seal", low),
        ("sealstream store", low),
    ]


def test_what_the_log_says_itself_and_what_is_old_is_not_told_of() -> None:
    world = World()
    batch = world.seal(
        controls=(
            Record(
                0,
                NOW_MS,
                None,
                control_statement(
                    "store.expired",
                    id="0193a8f2-7c1e-7000-9000-000000000000",
                    timestamp="2026-11-24T03:00:00.000000Z",
                    actor_id="sealstream/test",
                    resource_type="store",
                    resource_id="postgres",
                    metadata={"store": "postgres", "first_seq": 0, "last_seq": 1, "reason": "over"},
                ),
            ),
        )
    )
    world.store(batch)
    assert world.spans == []
    batch = world.seal(record(0))
    world.spans.clear()
    world.stores.stored([Record(0, NOW_MS - 86_400_001, None, batch.entries[0][1])], world.now_ns)
    assert world.spans == []


@settings(deadline=None)
@given(st.lists(st.sampled_from(["traced", "plain", "refused", "skipped"]), max_size=60), st.data())
def test_each_traced_record_of_any_batch_has_the_span_of_its_own_entry(kinds: list[str], data: st.DataObject) -> None:
    world = World()
    records = [
        record(offset) if kind == "traced" else record(offset, "") if kind == "plain" else sent(offset, b"{", "")
        for offset, kind in enumerate(kinds)
        if kind != "skipped"
    ]
    at = 0
    while at < len(records):
        end = data.draw(st.integers(at + 1, len(records)))
        world.seal(*records[at:end])
        at = end
    assert [int(span.event_id[-12:]) for span in world.spans] == [
        offset for offset, kind in enumerate(kinds) if kind == "traced"
    ]
