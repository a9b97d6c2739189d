"""The four processes together, each a program of its own on real servers."""

from __future__ import annotations

import time
from collections import Counter

import pytest
from confluent_kafka import Producer
from tests.pipeline import Pipeline, wait_until

from sealstream.kafka.settings import client_config
from sealstream.sealing import Written, seal, split_sealed, tip_after
from sealstream.verify import FaultKind


def test_a_thousand_malformed_events_are_each_in_the_dead_letters_and_accounted_for(pipeline: Pipeline) -> None:
    malformed = [
        b"",
        b"{",
        b"\xff\xfe",
        b'{"id": 1, "id": 2}',
        b"[" * 40 + b"]" * 40,
        pipeline.event(0).replace(b'"action":"read",', b""),
        pipeline.event(0).replace(b"2026-11-24", b"2026-02-30"),
        pipeline.event(0).replace(b'"result":"success"', b'"result":"maybe"'),
        pipeline.event(0).replace(b"{", b'{"written":{},', 1),
        pipeline.event(0, reason="x" * 60_000).replace(b'"reason":"', b'"reason":"' + b"x" * 5_000),
    ]
    good = [pipeline.event(n, producer="p") for n in range(100)]
    bad = [malformed[n % len(malformed)] for n in range(1_000)]
    mixed = [value for n in range(100) for value in (*bad[10 * n : 10 * n + 10], good[n])]
    pipeline.send(mixed)
    pipeline.start()
    pipeline.wait_stored(pipeline.wait_sealed())

    letters = pipeline.records(pipeline.topics.deadletter)
    offsets = [int(dict(letter.headers)["offset"]) for letter in letters]
    assert offsets == [offset for offset, value in enumerate(mixed) if value not in good]
    assert all(letter.value == mixed[offset][:65_536] for letter, offset in zip(letters, offsets, strict=True))
    items = [i for e in pipeline.entries() if e["action"] == "input.passed" for i in e["metadata"]["items"]]
    assert Counter(i["what"] for i in items)["refused"] == len(items)
    assert sum(i["last"] - i["first"] + 1 for i in items) == 1_000
    assert pipeline.stored_ids() == [pipeline.event_id(n) for n in range(100)]
    for store in ("kafka", "postgres"):
        report = pipeline.verify(store)
        assert report.exit_code == 0, report.faults
    assert set(pipeline.stop().values()) == {0}


def test_a_spool_of_old_numbers_that_arrives_after_a_newer_one_is_sealed_whole(pipeline: Pipeline) -> None:
    pipeline.start()
    pipeline.send([pipeline.event(10_000, producer="spool")])
    pipeline.wait_stored(pipeline.wait_sealed())
    pipeline.send([pipeline.event(n, producer="spool") for n in range(10_000)])
    pipeline.wait_stored(pipeline.wait_sealed())

    assert pipeline.stored_ids() == [pipeline.event_id(n) for n in (10_000, *range(10_000))]
    statements = [e for e in pipeline.entries() if e["action"].startswith("producer.")]
    assert [(e["action"], e["metadata"]["ranges"]) for e in statements] == [("producer.gap", [[0, 9_999]])]
    for store in ("kafka", "postgres"):
        report = pipeline.verify(store)
        assert report.exit_code == 0, report.faults


def test_what_a_stranger_wrote_into_the_chain_and_aborted_is_never_seen_and_never_signed(pipeline: Pipeline) -> None:
    pipeline.send([pipeline.event(n) for n in range(100)])
    pipeline.start()
    pipeline.wait_stored(pipeline.wait_sealed())

    producer = Producer(client_config(pipeline.kafka, {"transactional.id": f"evil-{pipeline.name}"}))
    producer.init_transactions(30)
    producer.begin_transaction()
    forged = forged_entries(pipeline, 50)
    for value in forged:
        producer.produce(pipeline.topics.chain, value, partition=0)
    assert producer.flush(30) == 0
    pipeline.send([pipeline.event(n) for n in range(100, 600)])
    time.sleep(2)  # meanwhile the forged entries lie in the topic, and nobody may pass them
    producer.abort_transaction(30)

    pipeline.send([pipeline.event(n) for n in range(600, 1_100)])
    pipeline.wait_stored(pipeline.wait_sealed())
    pipeline.wait_archived(1_000)
    assert pipeline.stored_ids() == [pipeline.event_id(n) for n in range(1_100)]
    sealed = [record.value for record in pipeline.records(pipeline.topics.chain)]
    assert not set(forged) & set(sealed)
    for store in ("kafka", "postgres", "archive"):
        report = pipeline.verify(store)
        assert report.exit_code == 0, report.faults
    assert all(process.poll() is None for process in pipeline.running.values())


def test_a_forged_entry_that_was_committed_stops_signing_and_storing_with_an_alarm(pipeline: Pipeline) -> None:
    pipeline.send([pipeline.event(n) for n in range(100)])
    pipeline.start()
    before = pipeline.wait_sealed()
    pipeline.wait_stored(before)
    forged = forged_entries(pipeline, 1)[0].replace(b'"actor_id":"forged-0"', b'"actor_id":"forged-1"')
    pipeline.send([forged], pipeline.topics.chain)

    followers = ("checkpointing", "postgres-sink")  # the archive sink reads what is signed, and so never comes here
    wait_until(lambda: all(pipeline.running[name].poll() is not None for name in followers), 30, pipeline.why)
    assert {name: pipeline.running[name].returncode for name in followers} == dict.fromkeys(followers, 1)
    assert "chain stopped: a person must decide" in pipeline.log("checkpointing")
    assert pipeline.progress().signed_size == pipeline.progress().postgres_size == before
    assert pipeline.running["archive-sink"].poll() is None
    report = pipeline.verify("kafka")
    assert (report.exit_code, report.size) == (1, before)
    assert report.faults[0].kind is FaultKind.EDITED
    assert report.faults[0].first_seq == before


@pytest.mark.slow
def test_of_two_sequencers_one_seals_and_the_other_takes_over_within_ten_seconds(pipeline: Pipeline) -> None:
    pipeline.start("sequencer")
    pipeline.send([pipeline.event(n) for n in range(100)])
    pipeline.wait_sealed()
    pipeline.start("sequencer-2", "checkpointing", "postgres-sink", "archive-sink")
    wait_until(lambda: '"started"' in pipeline.log("sequencer-2"), 20)
    pipeline.send([pipeline.event(n) for n in range(100, 200)])
    pipeline.wait_sealed()
    time.sleep(1)
    owners = [e for e in pipeline.entries() if e["action"] == "sequencer.started"]
    # When the second one joins, the group may hand the chain over: in order, so the first stops and the other starts.
    owner = "sequencer" if len(owners) == 1 else "sequencer-2"
    pipeline.kill(owner)
    pipeline.send([pipeline.event(n) for n in range(200, 300)])
    before = time.monotonic()
    pipeline.wait_sealed(30)
    took = time.monotonic() - before
    print(f"the standby took {took:.1f} s")
    assert took < 10, f"the standby took {took:.1f} s"
    pipeline.wait_stored(pipeline.size())
    assert pipeline.stored_ids() == [pipeline.event_id(n) for n in range(300)]
    assert pipeline.verify("kafka").exit_code == 0


def forged_entries(pipeline: Pipeline, count: int) -> list[bytes]:
    """Entries that continue the chain as it stands, well hashed and linked, as only a thief would write them."""
    last = split_sealed(pipeline.records(pipeline.topics.chain)[-1].value or b"")
    tip = tip_after(last)
    prev_hash, forged = tip.hash, []
    for n in range(count):
        event = pipeline.event(1_000_000 + n, actor_id=f"forged-{n}")
        written = Written(
            pipeline.name,
            tip.control_offset,
            "event",
            tip.raw_offset + 1 + n,
            tip.sequenced_at,
            tip.size + n,
            tip.sequenced_at,
        )
        sealed = seal(event, written, prev_hash)
        forged.append(sealed.to_bytes())
        prev_hash = sealed.hash
    return forged
