"""kill -9 of every process at random moments while events flow: none is lost, none comes twice, all stores verify."""

from __future__ import annotations

import json
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator

import pytest
from confluent_kafka import Producer
from tests.long_runs import long_run
from tests.pipeline import PROCESSES, Pipeline

from sealstream.kafka.settings import client_config
from sealstream.layout import SegmentLimits

EVENTS = 50_000
PRODUCERS = 5
FLOW_S = 25
ROUNDS = 3
SEED = 20_261_124


@pytest.fixture
def pipeline(make_pipeline: Callable[..., Pipeline]) -> Iterator[Pipeline]:
    """A chain whose segments end after 1,000 entries or 5 s."""
    made = make_pipeline(SegmentLimits(entries=1_000, bytes=10_000_000, seconds=5))
    yield made
    made.kill_all()


@long_run
@pytest.mark.slow
@pytest.mark.timeout(480)
def test_killing_everything_again_and_again_loses_and_repeats_nothing(pipeline: Pipeline) -> None:
    killed = threading.Event()
    producers = [threading.Thread(target=emit, args=(pipeline, which, killed)) for which in range(PRODUCERS)]
    pipeline.start()
    for producer in producers:
        producer.start()
    try:
        kill_while_they_flow(pipeline)
    finally:
        killed.set()
    for producer in producers:
        producer.join(60)
        assert not producer.is_alive()
    events = EVENTS + pipeline.archive_all(EVENTS)
    size = pipeline.wait_quiet()

    emitted = Counter(pipeline.event_id(n) for n in range(events))
    entries = pipeline.entries()
    assert [entry["written"]["seq"] for entry in entries] == list(range(size))
    sealed = [entry["id"] for entry in entries if entry["written"]["kind"] == "event"]
    assert Counter(sealed) == emitted
    assert pipeline.stored_ids() == sealed
    assert pipeline.archived_ids() == sealed
    numbers: dict[str, list[int]] = {}
    for entry in entries:
        if "producer_id" in entry:
            numbers.setdefault(entry["producer_id"], []).append(entry["producer_seq"])
    assert all(numbers[f"producer-{which}"] == list(range(EVENTS // PRODUCERS)) for which in range(PRODUCERS))
    assert len([e for e in entries if e["action"] == "sequencer.started"]) == ROUNDS + 1

    verified = pipeline.command(
        "verify", "all", "--chain", pipeline.name, "--json", "--state-dir", str(pipeline.folder)
    )
    assert verified.code == 0, verified.out
    reports = [json.loads(document) for document in verified.out.replace("}\n{", "}\0{").split("\0")]
    assert [report["store"] for report in reports] == ["kafka", "postgres", "archive"]
    assert all(report["faults"] == [] for report in reports)
    kafka, postgres = (report["entries"] for report in reports[:2])
    assert kafka == size
    # That it was read is sealed, too; Postgres may have that already when its turn comes, and nothing else.
    assert {entry["action"] for entry in pipeline.entries()[size:postgres]} <= {"log.read"}
    assert size <= postgres <= len(pipeline.entries())
    assert "WORM-locked" in reports[2]["assurance"]
    assert set(pipeline.stop().values()) == {0}


def emit(pipeline: Pipeline, which: int, killed: threading.Event) -> None:
    """One application's share of the events, numbered, over `FLOW_S` seconds; the last tenth when all is `killed`."""
    producer = Producer(client_config(pipeline.kafka, {"enable.idempotence": True, "linger.ms": 5}))
    share = EVENTS // PRODUCERS
    begun = time.monotonic()
    for number in range(share):
        event = pipeline.event(which * share + number, producer=f"producer-{which}", number=number)
        producer.produce(pipeline.topics.raw, event, partition=0)
        producer.poll(0)
        if number == share * 9 // 10:
            killed.wait(200)
        if number % 50 == 0:
            time.sleep(max(begun + FLOW_S * number / share - time.monotonic(), 0))
    assert producer.flush(60) == 0


def kill_while_they_flow(pipeline: Pipeline) -> None:
    """Kills and restarts in a random order, at random moments, each process once a round.

    A sequencer is killed when it has sealed something since it was started: before that it waits for the group to
    forget the one killed before it, and nothing could be torn.
    """
    rng = random.Random(SEED)
    sealed = 0
    for _ in range(ROUNDS):
        for name in rng.sample(PROCESSES, len(PROCESSES)):
            time.sleep(rng.uniform(0.2, 2))
            if name == "sequencer":
                pipeline.wait_beyond(sealed)
                time.sleep(rng.uniform(0, 0.5))
            pipeline.kill(name)
            time.sleep(rng.uniform(0, 0.5))
            sealed = pipeline.size() if name == "sequencer" else sealed
            pipeline.start(name)
