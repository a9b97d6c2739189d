"""The sequencer on a real broker: what is sealed, what is accounted for, and where it refuses to go on."""

from __future__ import annotations

import contextlib
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from confluent_kafka import KafkaException, Producer
from confluent_kafka.admin import (
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewTopic,
    ResourceType,
)
from tests.markers import wait_for_markers

from sealstream.errors import ChainBroken, ChainStopped, Fenced, Forked, InputLost, Misconfigured, Unavailable
from sealstream.kafka import CommittedReader, Record, topic_ids, trim
from sealstream.layout import CheckpointHeaders, checkpoint_headers, sequencer_transactional_id
from sealstream.sealing import Checkpoint, sign_checkpoint, signer
from sealstream.sequencer import ClocksApart, Pace, Sequencer, taking
from sealstream.sequencer.producers import (
    AS_OF_KEY,
    AsOf,
    ProducerState,
    decode_as_of,
    decode_state,
    encode_as_of,
    encode_state,
)

Log = Any  # the class of the fixture in conftest


def run(log: Log, until: Callable[[Sequencer], bool] | None = None, *, stop: bool = True, **options: Any) -> Sequencer:
    """A sequencer stepped until everything that was sent is sealed (or until told), and stopped in order."""
    sequencer = Sequencer(log.kafka, log.chain, **options)
    done = until or log.all_sealed()
    try:
        deadline = time.monotonic() + 60
        sequencer.step()
        while not done(sequencer):
            sequencer.step()
            assert time.monotonic() < deadline, "not done within a minute"
    except BaseException:
        sequencer.abandon()
        raise
    if stop:
        sequencer.close()
    return sequencer


def steps(sequencer: Sequencer, count: int) -> None:
    for _ in range(count):
        sequencer.step()


def step_for(sequencer: Sequencer, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        sequencer.step()


def actions(entries: list[dict[str, Any]]) -> list[str]:
    return [entry["action"] for entry in entries]


def recreate(log: Log, topic: str) -> None:
    admin = AdminClient({"bootstrap.servers": log.kafka.bootstrap})
    old = topic_ids(log.kafka, [topic])[topic]
    for future in admin.delete_topics([topic]).values():
        future.result()
    config = next(dict(one.config) for one in log.topics.configs() if one.name == topic)
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        with contextlib.suppress(KafkaException, Unavailable, Misconfigured):
            for future in admin.create_topics([NewTopic(topic, 1, 1, config=config)]).values():
                with contextlib.suppress(KafkaException):  # it is there already, old or new
                    future.result()
            if topic_ids(log.kafka, [topic])[topic] != old:
                return
        time.sleep(0.1)
    raise AssertionError(f"{topic} could not be recreated")


def test_a_new_chain_begins_with_its_creation_and_its_sequencer(log: Log) -> None:
    run(log)
    created, started, stopped = log.entries()
    assert actions([created, started, stopped]) == ["chain.created", "sequencer.started", "sequencer.stopped"]
    facts = created["metadata"]
    assert (facts["origin"], facts["vkey"]) == (log.chain.origin, log.chain.vkey)
    assert len(bytes.fromhex(facts["nonce"])) == 32
    assert facts["retention"] == {"policy": "soc2", "archive_days": 366}
    ids = topic_ids(log.kafka, [log.topics.raw, log.topics.control])
    assert started["metadata"]["raw_topic_id"] == ids[log.topics.raw]
    assert started["metadata"]["control_topic_id"] == ids[log.topics.control]
    assert {entry["written"]["kind"] for entry in (created, started, stopped)} == {"log"}
    assert all(entry["actor_id"] == "sealstream/sequencer" for entry in (created, started, stopped))
    assert all(entry["timestamp"] == entry["written"]["sequenced_at"] for entry in (created, started, stopped))


def test_events_and_controls_are_sealed_in_order_and_a_restart_goes_on(log: Log) -> None:
    log.send([log.event(n) for n in range(50)])
    log.send([log.control(1)], log.topics.control)
    run(log)
    log.send([log.event(n) for n in range(40, 60)])
    run(log)
    entries = log.check_every_offset()
    sealed = [entry for entry in entries if entry["written"]["kind"] == "event"]
    assert [entry["producer_seq"] for entry in sealed] == list(range(60))
    assert Counter(actions(entries)) == {
        "chain.created": 1,
        "sequencer.started": 2,
        "sequencer.stopped": 2,
        "read": 60,
        "store.expired": 1,
        "input.passed": 1,
    }
    second = actions(entries).index("sequencer.stopped") + 1
    assert entries[second]["action"] == "sequencer.started"


def test_a_thousand_malformed_events_are_each_in_the_dead_letters_and_accounted_for(log: Log) -> None:
    bad = [b'{"id":%d}' % n if n % 3 else b"\xff%d" % n for n in range(1000)]
    values = [value for n, one in enumerate(bad) for value in (one, log.event(n))]
    log.send(values)
    run(log)
    entries = log.check_every_offset()
    assert actions(entries).count("read") == 1000
    letters = log.records(log.topics.deadletter)
    assert [letter.value for letter in letters] == bad
    assert [dict(letter.headers)["offset"] for letter in letters] == [b"%d" % (2 * n) for n in range(1000)]


def test_ten_thousand_old_numbers_after_a_newer_one_are_all_sealed(log: Log) -> None:
    log.send([log.event(10_000)])
    run(log)
    log.send([log.event(n) for n in range(10_000)])
    run(log)
    entries = log.check_every_offset()
    assert sorted(e["producer_seq"] for e in entries if e["action"] == "read") == list(range(10_001))
    assert actions(entries).count("producer.gap") == 1


def test_markers_and_aborted_events_upstream_are_accounted_for_as_empty(log: Log) -> None:
    log.send([log.event(0)])
    log.send_in_transaction([log.event(1), log.event(2)])
    log.send_in_transaction([log.event(9)], commit=False)
    log.send([log.event(3)])
    log.send_in_transaction([log.event(4)])
    run(log)
    entries = log.check_every_offset()
    assert [e["producer_seq"] for e in entries if e["action"] == "read"] == [0, 1, 2, 3, 4]
    passed = [item for e in entries if e["action"] == "input.passed" for item in e["metadata"]["items"]]
    assert [(item["what"], item["first"], item["last"]) for item in passed[:1]] == [("empty", 3, 5)]


def test_an_open_transaction_upstream_is_waited_for_and_not_taken_for_empty(log: Log) -> None:
    log.send([log.event(0)])
    upstream = log.open_transaction(f"up-{log.chain.name}", log.topics.raw, [log.event(1), log.event(2)])
    sequencer = run(log, lambda s: s.tip is not None and s.tip.size >= 6, stop=False, pace=Pace(heartbeat_s=0.2))
    assert sequencer.tip is not None
    assert sequencer.tip.raw_offset == 0, "offsets of an open transaction are nobody's yet"
    sequencer.close()
    upstream.commit_transaction(30)
    wait_for_markers(log.kafka, log.topics.raw)
    run(log)
    entries = log.check_every_offset()
    assert [e["producer_seq"] for e in entries if e["action"] == "read"] == [0, 1, 2]


def test_a_record_that_somebody_else_wrote_into_the_chain_stops_it(log: Log) -> None:
    sequencer = run(log, stop=False)
    sequencer.finish()
    log.send([b"forged"], log.topics.chain)
    log.send([log.event(0)])
    with pytest.raises(Fenced, match="did not write"):
        steps(sequencer, 20)
    sequencer.close()
    with pytest.raises(ChainBroken):
        run(log)


def test_a_clock_that_was_set_back_is_noticed_without_an_event(log: Log) -> None:
    offset_ns = 0
    sequencer = Sequencer(log.kafka, log.chain, clock=lambda: time.time_ns() + offset_ns)
    steps(sequencer, 2)
    sequencer.finish()
    offset_ns = -3_600_000_000_000
    with pytest.raises(ClocksApart):
        steps(sequencer, 10)
    sequencer.close()


def test_a_log_statement_or_a_misfit_in_the_control_topic_is_refused(log: Log) -> None:
    forged = log.event(0, producer=None, action="chain.heartbeat")
    misfit = log.control(1).replace(b'"first_seq":0', b'"first_seq":"0"')
    log.send([forged, misfit, log.control(2)], log.topics.control)
    run(log)
    entries = log.check_every_offset()
    assert [e["action"] for e in entries if e["written"]["kind"] == "control"] == ["store.expired"]
    assert len(log.records(log.topics.deadletter)) == 2


def test_silence_is_evidence(log: Log) -> None:
    run(log, lambda s: s.tip is not None and s.tip.size >= 4, pace=Pace(heartbeat_s=0.2))
    assert actions(log.entries())[2:4] == ["chain.heartbeat", "chain.heartbeat"]


def test_what_was_passed_over_at_the_end_is_settled_instead_of_a_heartbeat(log: Log) -> None:
    log.send_in_transaction([log.event(0)])
    run(log, lambda s: s.tip is not None and s.tip.raw_offset == 1, pace=Pace(heartbeat_s=2))
    told = actions(log.entries())
    assert told[told.index("read") + 1] == "input.passed"


def test_two_sequencers_at_once_the_fenced_one_writes_nothing(log: Log) -> None:
    first = Sequencer(log.kafka, log.chain)
    first.step()
    log.send([log.event(n) for n in range(10)])
    second = run(log, stop=False)
    log.send([log.event(n) for n in range(10, 20)])
    with pytest.raises(Fenced):
        steps(first, 20)
    first.close()
    done = log.all_sealed()
    while not done(second):
        second.step()
    second.close()
    entries = log.check_every_offset()
    assert [e["producer_seq"] for e in entries if e["action"] == "read"] == list(range(20))
    assert actions(entries).count("sequencer.stopped") == 1


def test_what_another_sequencer_seals_during_a_taking_is_no_alarm(log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    """The tail that was read before does not fit the checkpoint that is read after: the taking was overtaken."""
    log.send([log.event(0)])
    run(log)
    before = len(log.entries())
    real = taking._newest_signed_size

    def overtaken(*arguments: Any) -> int:
        monkeypatch.setattr(taking, "_newest_signed_size", real)
        log.send([log.event(1)])
        run(log)
        sign(log, len(log.entries()), log.topics.checkpoints)
        return real(*arguments)

    monkeypatch.setattr(taking, "_newest_signed_size", overtaken)
    sequencer = Sequencer(log.kafka, log.chain)
    with pytest.raises(Fenced, match="by another sequencer"):
        sequencer.step()
    sequencer.close()
    assert len(log.entries()) == before + 3
    run(log)
    log.check_every_offset()


def test_an_uncommitted_transaction_of_a_dead_sequencer_is_never_seen(log: Log) -> None:
    run(log)
    before = log.entries()
    transactional_id = sequencer_transactional_id(log.chain.name)
    dead = log.open_transaction(transactional_id, log.topics.chain, [b"never to be seen"] * 5)
    log.send([log.event(0)])
    run(log)
    entries = log.check_every_offset()
    assert entries[: len(before)] == before
    del dead


def test_a_foreign_open_transaction_in_the_chain_seals_nothing(log: Log) -> None:
    run(log)
    before = log.entries()
    foreign = log.open_transaction(f"foreign-{log.chain.name}", log.topics.chain, [b"hanging"])
    with pytest.raises(Unavailable, match="transaction is open"):
        run(log)
    foreign.abort_transaction(30)
    assert log.entries() == before
    run(log)


@pytest.mark.parametrize("which", ["raw", "control"])
def test_a_recreated_input_stops_until_an_operator_decides(log: Log, which: str) -> None:
    topic = getattr(log.topics, which)
    make = log.event if which == "raw" else log.control
    log.send([make(n) for n in range(5)], topic)
    run(log)
    before = log.entries()
    recreate(log, topic)
    log.send([make(n) for n in range(5, 15)], topic)
    with pytest.raises(InputLost, match="recreated"):
        run(log)
    assert log.entries() == before
    run(log, accept_input_lost=True)
    entries = log.entries()
    assert actions(entries[len(before) : len(before) + 2]) == ["sequencer.started", "input.lost"]
    lost = entries[len(before) + 1]
    assert lost["metadata"]["first"] == 5
    assert lost["metadata"]["old_topic_id"] != lost["metadata"]["new_topic_id"]
    assert "last" not in lost["metadata"]
    assert lost["written"][f"{which}_offset"] == -1
    assert entries[-2]["written"][f"{which}_offset"] == 9
    run(log)  # the decision is sealed: it need not be made again


@pytest.mark.parametrize("which", ["raw", "control"])
def test_an_input_that_is_recreated_under_a_running_sequencer_stops_it(log: Log, which: str) -> None:
    class Deaf(CommittedReader):
        """As the driver was in the bench of real faults: it waits for an offset that the new topic does not have."""

        def read(self, limit: int, timeout_s: float) -> list[Record]:
            return super().read(limit, timeout_s) if not recreated else time.sleep(timeout_s) or []

    recreated = False
    topic = getattr(log.topics, which)
    make = log.event if which == "raw" else log.control
    log.send([make(n) for n in range(5)], topic)
    sequencer = Sequencer(log.kafka, log.chain, open_reader=Deaf)
    try:
        while sequencer.transactions_seen < 2:
            sequencer.step()
        sequencer.finish()
        recreated = True
        recreate(log, topic)
        log.send([make(n) for n in range(5, 8)], topic)
        with pytest.raises(InputLost, match=f"{which}.* was recreated while it was read"):
            step_for(sequencer, 30)
    finally:
        sequencer.abandon()
    assert sum(entry["written"]["kind"] != "log" for entry in log.entries()) == 5


def test_a_trimmed_input_stops_until_an_operator_decides(log: Log) -> None:
    log.send([log.event(n) for n in range(5)])
    run(log)
    log.send([log.event(n) for n in range(5, 15)])
    trim(log.kafka, log.topics.raw, 9)
    with pytest.raises(InputLost, match="trimmed"):
        run(log)
    run(log, accept_input_lost=True)
    entries = log.entries()
    lost = next(e for e in entries if e["action"] == "input.lost")
    assert (lost["metadata"]["first"], lost["metadata"]["last"]) == (5, 8)
    assert lost["metadata"]["old_topic_id"] == lost["metadata"]["new_topic_id"]
    assert [e["producer_seq"] for e in entries if e["action"] == "read"] == [*range(5), *range(9, 15)]
    assert next(e for e in entries if e["action"] == "producer.gap")["metadata"]["ranges"] == [[5, 8]]


def test_trimming_what_is_sealed_stops_nothing(log: Log) -> None:
    log.send([log.event(n) for n in range(5)])
    run(log)
    trim(log.kafka, log.topics.raw, 5)
    log.send([log.event(5)])
    run(log)
    assert [e["producer_seq"] for e in log.entries() if e["action"] == "read"] == list(range(6))


def sign(log: Log, size: int, topic: str) -> None:
    note = sign_checkpoint(Checkpoint(log.chain.origin, size, bytes(32)), signer(log.key))
    producer = Producer({"bootstrap.servers": log.kafka.bootstrap})
    producer.produce(topic, note, headers=checkpoint_headers(CheckpointHeaders((), 0)), partition=0)
    producer.flush()


@pytest.mark.parametrize("which", ["checkpoints", "segments"])
def test_a_chain_shorter_than_its_checkpoint_is_not_continued(log: Log, which: str) -> None:
    run(log)
    sign(log, 4, getattr(log.topics, which))
    with pytest.raises(ChainStopped, match="a checkpoint of 4 is signed"):
        run(log)
    assert len(log.entries()) == 3


def test_an_empty_chain_beside_a_checkpoint_is_no_new_chain(log: Log) -> None:
    sign(log, 1, log.topics.checkpoints)
    with pytest.raises(ChainStopped, match="can't begin a second time"):
        run(log)
    assert log.entries() == []


def test_a_lost_chain_is_no_new_chain(log: Log) -> None:
    log.send([log.event(0)])
    run(log)
    recreate(log, log.topics.chain)
    with pytest.raises(ChainStopped, match="can't begin a second time"):
        run(log)


def test_settings_of_another_chain_are_noticed(log: Log) -> None:
    run(log)
    with pytest.raises(Forked, match="was created with origin"):
        steps(Sequencer(log.kafka, log.chain._replace(log="other.example")), 1)


def test_a_topic_that_forgets_is_refused(log: Log) -> None:
    admin = AdminClient({"bootstrap.servers": log.kafka.bootstrap})
    entry = ConfigEntry("retention.ms", "1000", incremental_operation=AlterConfigOpType.SET)
    resource = ConfigResource(ResourceType.TOPIC, log.topics.raw, incremental_configs=[entry])
    for future in admin.incremental_alter_configs([resource]).values():
        future.result()
    time.sleep(0.5)
    with pytest.raises(Misconfigured, match="retention"):
        run(log)
    assert log.entries() == []


def test_states_of_producers_are_on_record_as_of_the_tail(log: Log) -> None:
    log.send([log.event(0), log.event(3)])
    run(log)
    latest = {record.key: record.value for record in log.records(log.topics.producers)}
    state = decode_state(latest[b"p"] or b"")
    assert (state.next, state.missing) == (4, [(1, 2)])
    assert decode_as_of(latest[AS_OF_KEY] or b"").size == len(log.entries())


def _torn_states(log: Log, *, last: bytes | None) -> None:
    """States of a transaction whose entries never came to be: they claim that p's numbers up to 49 are sealed."""
    producer = Producer({"bootstrap.servers": log.kafka.bootstrap})
    state = ProducerState(next=50, last_seen="2026-11-24T03:00:00.000000Z")
    producer.produce(log.topics.producers, encode_state(state), b"p", partition=0)
    if last is not None:
        producer.produce(log.topics.producers, last, AS_OF_KEY, partition=0)
    producer.flush()


@pytest.mark.parametrize("fault", ["a prefix of a transaction", "a transaction of another tail", "of the same size"])
def test_numbers_that_only_a_torn_transaction_has_seen_are_still_sealed(log: Log, fault: str) -> None:
    log.send([log.event(n) for n in range(20)])
    run(log)
    size = len(log.entries()) - (0 if fault == "of the same size" else 3)
    foreign = encode_as_of(AsOf(size, *topic_ids(log.kafka, [log.topics.raw, log.topics.control]).values(), "00" * 32))
    _torn_states(log, last=None if fault == "a prefix of a transaction" else foreign)
    log.send([log.event(n) for n in range(20, 25)])
    run(log)
    entries = log.check_every_offset()
    assert [e["producer_seq"] for e in entries if e["action"] == "read"] == list(range(25))
    latest = {record.key: record.value for record in log.records(log.topics.producers)}
    assert decode_state(latest[b"p"] or b"").next == 25


def test_a_first_transaction_that_was_torn_does_not_look_like_a_lost_chain(log: Log) -> None:
    log.open_transaction("torn", log.topics.chain, [b"never committed"]).abort_transaction(30)
    _torn_states(log, last=encode_as_of(AsOf(9, "", "")))
    log.send([log.event(n) for n in range(3)])
    run(log)
    run(log)
    entries = log.check_every_offset()
    assert [e["producer_seq"] for e in entries if e["action"] == "read"] == [0, 1, 2]


@pytest.mark.parametrize("fault", ["ahead", "malformed", "gone"])
def test_states_that_do_not_fit_are_made_again_from_the_chain(log: Log, fault: str) -> None:
    log.send([log.event(n) for n in range(20)])
    run(log, pace=Pace(recent_entries=4))
    if fault == "gone":
        recreate(log, log.topics.producers)
    else:
        as_of = encode_as_of(AsOf(10_000, "", "")) if fault == "ahead" else b"{}"
        producer = Producer({"bootstrap.servers": log.kafka.bootstrap})
        producer.produce(log.topics.producers, as_of, AS_OF_KEY, partition=0)
        producer.produce(log.topics.producers, b'{"next":99}' if fault == "malformed" else None, b"p", partition=0)
        producer.flush()
    log.send([log.event(0), log.event(20)])
    run(log, pace=Pace(recent_entries=4))
    entries = log.check_every_offset()
    assert [e["producer_seq"] for e in entries if e["action"] == "read"] == list(range(21))
    latest = {record.key: record.value for record in log.records(log.topics.producers)}
    assert decode_state(latest[b"p"] or b"").next == 21


def test_clocks_that_are_apart_seal_nothing(log: Log) -> None:
    run(log)
    before = log.entries()
    for hours in (-1, 1):
        apart_ns = hours * 3_600_000_000_000
        with pytest.raises(ClocksApart):
            run(log, clock=lambda apart_ns=apart_ns: time.time_ns() + apart_ns)
    assert log.entries() == before


def test_a_batch_is_bounded_by_records_and_by_bytes(log: Log) -> None:
    log.send([log.event(n, reason="x" * 20_000) for n in range(100)])
    run(log, pace=Pace(max_records=7, max_bytes=50_000))
    assert [e["producer_seq"] for e in log.check_every_offset() if e["action"] == "read"] == list(range(100))
