"""The pure heart of the sequencer: whatever records come, the chain continues and every offset is accounted for."""

from __future__ import annotations

import json
from hashlib import sha256
from typing import Any, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import sealstream.sequencer.batch as batch_module
from sealstream.events import MAX_INTEGER, ValidEvent, canonical_event, control_statement
from sealstream.layout import ChainSettings, ChainTopics, Retention
from sealstream.sealing import Tip, Written, next_tip, read_written, seal, split_sealed, start_tip
from sealstream.sequencer import statements
from sealstream.sequencer.batch import Batch, Scribe, sealed_time
from sealstream.sequencer.deduplication import Deduplication
from sealstream.sequencer.producers import AsOf
from sealstream.sequencer.replay import Memory

CHAIN = ChainSettings("t", "log.example/x", "log.example/x/t+00000000+AAAA", Retention("soc2", 366))
TOPICS = ChainTopics.of("t")
NOW_NS = 1_795_000_000_123_456_789
RECEIVED_MS = 1_795_000_000_100


class FakeRecord(NamedTuple):
    """The shape of `sealstream.kafka.Record`."""

    offset: int
    timestamp_ms: int
    key: bytes | None
    value: bytes | None
    headers: tuple[()] = ()


def records(values: list[bytes | None], first: int = 0) -> list[FakeRecord]:
    return [FakeRecord(first + i, RECEIVED_MS + i // 3, None, value) for i, value in enumerate(values)]


def event(n: int, producer: str | None = "p", number: int | None = None, **more: Any) -> bytes:
    fields: dict[str, Any] = {
        "id": f"0193a8f2-7c1e-7000-8000-{n:012}",
        "timestamp": "2026-11-24T03:00:00.000000Z",
        "actor_id": "ada",
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


def control(n: int) -> bytes:
    return control_statement(
        "store.expired",
        id=f"0193a8f2-7c1e-7000-9000-{n:012}",
        timestamp="2026-11-24T03:00:00.000000Z",
        actor_id="sealstream/test",
        resource_type="store",
        resource_id="postgres",
        metadata={"store": "postgres", "first_seq": 0, "last_seq": n, "reason": "time is over"},
    )


class Chain:
    """A scribe and everything that it has sealed, checked entry by entry as any reader would."""

    def __init__(self, **memory: Any) -> None:
        self.tip: Tip = start_tip(CHAIN.origin)
        self.events, self.controls = Deduplication(**memory), Deduplication(**memory)
        self.scribe = Scribe(
            CHAIN.name, TOPICS, self.tip, self.events, self.controls, randomness=lambda size: bytes(size)
        )
        self.values: list[bytes] = []
        self.dead: list[Any] = []
        self.scribe.begin(NOW_NS)
        self.scribe.say(statements.chain_created(CHAIN, bytes(32)))
        self.finish()

    def finish(self) -> Batch:
        batch = self.scribe.finish()
        for key, value in batch.entries:
            self.tip = next_tip(self.tip, value, CHAIN.name)
            self.values.append(value)
            assert json.loads(value)["id"] == key.decode()
        assert batch.tip == self.tip
        self.dead += batch.dead_letters
        return batch

    def take(self, values: list[bytes | None], first: int = 0, kind: str = "event") -> list[dict[str, Any]]:
        before = len(self.values)
        self.scribe.begin(NOW_NS)
        self.scribe.take(kind, records(values, first))
        self.finish()
        return [json.loads(value) for value in self.values[before:]]

    def restarted(self, window: int) -> Memory:
        memory = Memory(AsOf(0, "", ""), recent_entries=window)
        for value in self.values:
            memory.replay(value)
        return memory


def actions(entries: list[dict[str, Any]]) -> list[str]:
    return [entry["action"] for entry in entries]


def test_an_entry_is_sealed_exactly_as_sealing_says() -> None:
    chain = Chain()
    raw, ctl = event(1, number=0), control(1)
    chain.take([raw])
    chain.take([ctl], kind="control")
    prev = split_sealed(chain.values[0]).hash
    received = sealed_time(RECEIVED_MS * 1000)
    first = seal(raw, Written("t", -1, "event", 0, received, 1, sealed_time(NOW_NS // 1000)), prev)
    second = seal(ctl, Written("t", 0, "control", 0, received, 2, sealed_time(NOW_NS // 1000)), first.hash)
    assert chain.values[1:] == [first.to_bytes(), second.to_bytes()]


def test_sequenced_at_never_goes_back() -> None:
    chain = Chain()
    chain.scribe.begin(NOW_NS - 5_000_000_000)
    chain.scribe.take("event", records([event(0)]))
    chain.finish()
    assert chain.tip.sequenced_at == sealed_time(NOW_NS // 1000)


refused = st.sampled_from([b"", b"{}", b"[", b"\xff\xfe", b'{"id":1}', b"x" * 70_000, None])


@settings(max_examples=200)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["event", "control"]),
            st.integers(0, 2),
            st.one_of(refused, st.integers(0, 12).map(lambda n: n)),
            st.booleans(),
        ),
        max_size=40,
    )
)
def test_every_offset_becomes_an_entry_or_is_accounted_for(
    steps: list[tuple[str, int, bytes | int | None, bool]],
) -> None:
    chain = Chain(recent_entries=8)
    next_offset = {"event": 0, "control": 0}
    sent: dict[tuple[str, int], bytes] = {}
    for kind, skipped, what, end_batch in steps:
        offset = next_offset[kind] + skipped
        value = what if not isinstance(what, int) else (event(what) if kind == "event" else control(what))
        chain.scribe.begin(NOW_NS)
        chain.scribe.take(kind, [FakeRecord(offset, RECEIVED_MS, None, value)])
        sent[kind, offset] = value or b""
        next_offset[kind] = offset + 1
        if end_batch:
            chain.finish()
    chain.finish()
    chain.scribe.settle()
    chain.finish()
    assert chain.tip.raw_offset == next_offset["event"] - 1
    assert chain.tip.control_offset == next_offset["control"] - 1
    told: dict[tuple[str, int], bytes] = {}
    for value in chain.values:
        entry = json.loads(value)
        written = entry["written"]
        if written["kind"] != "log":
            told[written["kind"], written[f"{'raw' if written['kind'] == 'event' else 'control'}_offset"]] = (
                split_sealed(value).body
            )
        for item in (entry.get("metadata") or {}).get("items", []) if entry["action"] == "input.passed" else []:
            kind = "event" if entry["metadata"]["topic"] == "raw" else "control"
            run = [sent.get((kind, offset)) for offset in range(item["first"], item["last"] + 1)]
            if item["what"] == "empty":
                assert run == [None] * len(run)
                continue
            assert None not in run
            assert item["sha256"] == sha256(b"".join(sha256(one or b"").digest() for one in run)).hexdigest()
            for offset in range(item["first"], item["last"] + 1):
                told[kind, offset] = b""
            if "of" in item:
                body = split_sealed(chain.values[item["of"]]).body
                assert body.startswith((run[0] or b"")[:-1] + b',"written":')
    assert set(told) == set(sent)
    for (kind, offset), body in told.items():
        if body:
            assert body.startswith(sent[kind, offset][:-1] + b',"written":')


@settings(max_examples=100)
@given(
    st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9), st.integers(0, 1)), max_size=40),
    st.integers(1, 10),
    st.integers(0, 40),
)
def test_memory_made_again_from_the_chain_judges_as_before(
    steps: list[tuple[int, int, int]], window: int, cut: int
) -> None:
    chain = Chain(recent_entries=window)
    states_at = None
    for index, (n, number, says) in enumerate(steps):
        chain.take([event(n, "pq"[n % 2], number, reason=str(says))], first=index)
        if index == cut:
            states_at = len(chain.values), {name: _copy(state) for name, state in chain.events.producers.items()}
    again = chain.restarted(window)
    from_states = again
    if states_at is not None:
        from_states = Memory(AsOf(states_at[0], "r", "c"), states_at[1], recent_entries=window)
        for value in chain.values[min(states_at[0], max(0, len(chain.values) - window)) :]:
            from_states.replay(value)
    for n in range(10):
        for number in range(11):
            for says in (0, 1):
                data = event(n, "pq"[n % 2], number, reason=str(says))
                one = ValidEvent(data, f"0193a8f2-7c1e-7000-8000-{n:012}", "pq"[n % 2], number, "read", None)
                expected = chain.events.judge(one, sha256(data).digest())
                for memory in (again, from_states):
                    got = memory.events.judge(one, sha256(data).digest())
                    # A window may hold a little more than it must; what it then knows exactly, the states know roughly.
                    if got != expected:
                        old = expected.of if expected else None
                        assert old is not None
                        assert old.seq < len(chain.values) - window


def _copy(state: Any) -> Any:
    return type(state)(*(getattr(state, name) for name in ("next",)), list(state.missing), state.floor, state.last_seen)


def test_a_gap_a_late_event_and_a_repeat() -> None:
    chain = Chain()
    entries = chain.take([event(0), event(3), event(1), event(3), event(2)])
    assert actions(entries) == ["read", "read", "producer.gap", "read", "input.passed", "read"]
    assert entries[2]["metadata"] == {"producer_id": "p", "ranges": [[1, 2]]}
    assert entries[4]["metadata"]["items"][0]["of"] == entries[1]["written"]["seq"]


def test_a_conflict_is_stated_right_behind_its_entry_and_before_a_gap() -> None:
    chain = Chain()
    first = chain.take([event(0)])[0]
    entries = chain.take([event(0, number=7, reason="other")], first=1)
    assert actions(entries) == ["read", "producer.conflict", "producer.gap"]
    facts = entries[1]["metadata"]
    assert (facts["seq"], facts["of"]) == (entries[0]["written"]["seq"], first["written"]["seq"])
    assert facts["digest"] == sha256(event(0, number=7, reason="other")).hexdigest()
    assert facts["of_digest"] == sha256(event(0)).hexdigest()


def test_beyond_the_recent_entries_a_number_seen_before_is_a_repeat_and_its_bytes_are_kept() -> None:
    chain = Chain(recent_entries=3)
    chain.take([event(n) for n in range(10)])
    entries = chain.take([event(0), event(1, reason="other")], first=10)
    assert actions(entries) == ["input.passed"]
    assert [item["what"] for item in entries[0]["metadata"]["items"]] == ["repeated"]
    assert "of" not in entries[0]["metadata"]["items"][0]
    assert [letter.value for letter in chain.dead] == [event(0), event(1, reason="other")]


def test_ten_thousand_old_numbers_after_a_newer_one_are_all_sealed() -> None:
    chain = Chain()
    entries = chain.take([event(10_000), *(event(n) for n in range(10_000))])
    assert actions(entries)[:2] == ["read", "producer.gap"]
    assert len(entries) == 10_002
    assert not chain.events.producers["p"].missing


def test_refused_records_go_to_the_dead_letters_with_what_there_is_to_know() -> None:
    chain = Chain()
    huge = b"x" * 100_000
    entries = chain.take([b"{}", huge, event(0), None])
    assert actions(entries) == ["input.passed", "read", "input.passed"]
    assert [item["what"] for item in entries[0]["metadata"]["items"]] == ["refused", "refused"]
    letters = [(letter.value, dict(letter.headers)) for letter in chain.dead]
    assert [len(value) for value, _ in letters] == [2, 65_536, 0]
    assert letters[1][1]["sha256"] == sha256(huge).hexdigest().encode()
    assert letters[1][1]["length"] == b"100000"
    assert [headers["offset"] for _, headers in letters] == [b"0", b"1", b"3"]
    assert letters[0][1]["topic"] == TOPICS.raw.encode()
    assert letters[0][1]["reason"].decode() == entries[0]["metadata"]["items"][0]["reason"]


def test_more_than_a_hundred_reasons_take_several_entries() -> None:
    chain = Chain()
    quotes = '"' * 150
    entries = chain.take([json.dumps({f"{n}{quotes}": 1}).encode() for n in range(250)] + [event(0)])
    assert actions(entries) == ["input.passed"] * 3 + ["read"]
    assert [len(entry["metadata"]["items"]) for entry in entries[:3]] == [100, 100, 50]


def test_a_fault_in_validation_refuses_one_record_and_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    chain = Chain()
    source = chain.scribe._inputs["event"]
    validate = source.validate

    def faulty(value: bytes | None) -> ValidEvent:
        if value == event(1):
            raise ZeroDivisionError("a fault of ours")
        return validate(value)

    monkeypatch.setattr(source, "validate", faulty)
    entries = chain.take([event(0), event(1), event(2)])
    assert actions(entries) == ["read", "input.passed", "read", "producer.gap"]
    assert entries[1]["metadata"]["items"][0]["reason"] == "validation failed: ZeroDivisionError"


def test_a_log_statement_in_the_control_topic_is_refused() -> None:
    chain = Chain()
    forged = event(0, None, action="chain.heartbeat")
    entries = chain.take([forged, control(1)], kind="control")
    assert actions(entries) == ["input.passed", "store.expired"]
    assert entries[0]["metadata"]["topic"] == "control"


def test_numbers_of_control_records_are_counted_apart() -> None:
    chain = Chain()
    chain.take([event(0, "p")])
    entries = chain.take([event(0, "p", reason="as a control")], kind="control")
    assert actions(entries) == ["read"]
    closing = event(5, "p", 1, action="producer.closed", metadata={"next": 2})
    chain.take([closing], first=1, kind="control")
    assert not chain.controls.producers["p"].closed, "`producer.closed` is a raw event's word alone"


def test_markers_between_records_are_empty_and_wait_at_the_end() -> None:
    chain = Chain()
    chain.scribe.begin(NOW_NS)
    chain.scribe.take("event", [FakeRecord(0, 1, None, event(0)), FakeRecord(3, 1, None, event(1))])
    chain.scribe.raw.skip_to(6)
    assert len(chain.finish().entries) == 3
    chain.scribe.settle()
    (key_value,) = chain.finish().entries
    assert json.loads(key_value[1])["metadata"]["items"] == [{"first": 4, "last": 5, "what": "empty"}]


def test_a_lost_input_goes_on_behind_what_is_lost() -> None:
    chain = Chain()
    chain.take([event(0)])
    chain.scribe.begin(NOW_NS)
    chain.scribe.lose_input("event", old_topic_id="a", new_topic_id="a", last=9, next=10)
    chain.scribe.take("event", records([event(1)], first=10))
    chain.finish()
    assert chain.tip.raw_offset == 10
    chain.scribe.lose_input("event", old_topic_id="a", new_topic_id="b", last=None, next=0)
    chain.scribe.take("event", records([event(2)], first=0))
    chain.finish()
    assert chain.tip.raw_offset == 0


def test_silent_and_dropped_producers_are_stated_in_as_many_entries_as_their_names_need() -> None:
    chain = Chain()
    names = [f"{n:04}" + "\x01" * 508 for n in range(60)]
    chain.take([event(n, name, 0) for n, name in enumerate(names)])
    chain.scribe.begin(NOW_NS)
    chain.scribe.review_producers(day_ago=chain.tip.sequenced_at, month_ago="")
    chain.finish()
    said = [json.loads(value) for value in chain.values[61:]]
    assert set(actions(said)) == {"producer.silent"}
    assert len(said) > 1
    listed = [one for entry in said for one in entry["metadata"]["producers"]]
    assert [one["producer_id"] for one in listed] == names
    chain.scribe.review_producers(day_ago=chain.tip.sequenced_at, month_ago=chain.tip.sequenced_at)
    chain.finish()
    assert not chain.events.producers
    assert not chain.restarted(10).events.producers


def test_the_largest_number_can_be_dropped() -> None:
    chain = Chain()
    chain.take([event(0, "p", MAX_INTEGER)])
    chain.scribe.review_producers(day_ago=chain.tip.sequenced_at, month_ago=chain.tip.sequenced_at)
    chain.finish()
    assert json.loads(chain.values[-1])["metadata"]["producers"][0]["next"] == MAX_INTEGER


def test_recorded_topics_move_by_input_lost_alone() -> None:
    memory = Memory(AsOf(0, "", ""))
    chain = Chain()
    for raw_id in ("one", "two"):
        started = statements.sequencer_started("t", host="h", version="1", raw_topic_id=raw_id, control_topic_id="c")
        chain.scribe.say(started)
    chain.finish()
    for value in chain.values:
        memory.replay(value)
    assert memory.topic_ids == {"raw": "one", "control": "c"}
    chain.scribe.lose_input("event", old_topic_id="one", new_topic_id="two", last=None, next=0)
    chain.finish()
    memory.replay(chain.values[-1])
    assert memory.topic_ids["raw"] == "two"


def test_a_batch_module_reads_no_clock() -> None:
    assert not {"time", "os", "socket"} & set(vars(batch_module))
    assert read_written(split_sealed(Chain().values[0]).body).seq == 0
