"""`sealstream run watch` on a real chain: a late checkpoint and an overdue review are raised once, after kills too."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
from confluent_kafka import Producer
from tests.long_runs import long_run
from tests.pipeline import Pipeline, wait_until
from tests.pipeline_past import seal_in_the_past

from sealstream.cli.settings import load_settings, write_settings
from sealstream.cli.watch_process import make_log_watch
from sealstream.kafka import CommittedReader, end_offset, partition_counts, read_until_end
from sealstream.layout import Figures, SegmentLimits, figures
from sealstream.layout.activity import ActivityTopics
from sealstream.layout.alerts import Alert, decode_alert
from sealstream.layout.pipeline_watch import WatchState, decode_watch_state, watch_topic

pytestmark = long_run


@pytest.fixture(scope="module")
def pipeline(make_pipeline: Callable[..., Pipeline]) -> Iterator[Pipeline]:
    """A chain since yesterday, whose review is overdue at once; sealed and stored, and never signed."""
    made = make_pipeline(SegmentLimits(entries=500, bytes=1_000_000, seconds=3_600))
    write_settings(
        made.config,
        {
            "reviews": {"every": "day", "due_days": 0},
            "watch": {"every_seconds": 0.5, "thresholds": {"checkpoint_late": {"late_s": 2}}},
        },
    )
    made.send([made.event(n) for n in range(5)])
    seal_in_the_past(made, timedelta(days=1))
    made.start("sequencer", "postgres-sink")
    made.send([made.event(9)])
    made.wait_sealed()
    yield made
    made.kill_all()


def sent(pipeline: Pipeline) -> list[Alert]:
    """In the topic of alerts."""
    topic = ActivityTopics.of(pipeline.prefix).alerts
    found = []
    for partition in range(partition_counts(pipeline.kafka, [topic])[topic]):
        end = end_offset(pipeline.kafka, topic, committed=True, partition=partition)
        if end:
            with CommittedReader(pipeline.kafka, topic, 0, partition=partition) as reader:
                while reader.position() < end:
                    found += [decode_alert(record.value or b"") for record in reader.read(1_000, 0.2)]
    return found


def forget(pipeline: Pipeline) -> None:
    """As if what the watch keeps had been lost."""
    producer = Producer({"bootstrap.servers": pipeline.kafka.bootstrap})
    producer.produce(watch_topic(pipeline.prefix).name, None, pipeline.name.encode(), 0)
    assert producer.flush(30) == 0


def raised(pipeline: Pipeline) -> dict[str, dict[str, Any]]:
    """In the chain, by detector; each once."""
    pipeline.wait_sealed()
    entries = [entry for entry in pipeline.entries() if entry["action"] in ("alert.raised", "producer.conflict")]
    found = {entry["metadata"]["detector"]: entry for entry in entries}
    assert len(found) == len(entries), entries
    return found


def state(pipeline: Pipeline) -> WatchState:
    topic = watch_topic(pipeline.prefix).name
    values = [record.value for records in read_until_end(pipeline.kafka, topic) for record in records if record.value]
    return decode_watch_state(values[-1])


def test_each_alert_is_raised_once_also_after_kills_and_with_its_state_lost(pipeline: Pipeline) -> None:
    pipeline.start("watch")
    wait_until(lambda: set(raised(pipeline)) == {"checkpoint_late", "review_overdue"}, 60, pipeline.why)
    for _ in range(2):
        pipeline.kill("watch")
        starts = pipeline.log("watch").count('"started"')
        pipeline.start("watch")
        wait_until(lambda starts=starts: pipeline.log("watch").count('"started"') > starts, 60, pipeline.why)  # type: ignore[misc]
        time.sleep(4)  # several looks, beyond the threshold
    assert pipeline.stop("watch") == {"watch": 0}
    late = raised(pipeline)["checkpoint_late"]
    assert late["metadata"]["summary"].endswith("there is none yet, usual is one a second")
    assert (late["resource_type"], late["resource_id"]) == ("pipeline", pipeline.name)
    assert {alert.detector for alert in sent(pipeline)} == {"checkpoint_late", "review_overdue"}
    assert len(sent(pipeline)) == 2
    assert {alert.id for alert in sent(pipeline)} == {entry["id"] for entry in raised(pipeline).values()}
    pipeline.start("checkpointing")
    pipeline.wait_stored(pipeline.wait_sealed())
    forget(pipeline)
    tally = Figures()
    watch = make_log_watch(load_settings(pipeline.config), [pipeline.name], tally)
    assert watch.step()
    watch.close()
    assert (tally.value(figures.ALERTS_RAISED), tally.value(figures.ALERTS_KNOWN)) == (0, 1)
    assert tally.value(figures.REVIEWS_OVERDUE, pipeline.name) == 1
    assert len(sent(pipeline)) == 2


def test_who_signs_ends_what_is_overdue_and_a_gap_is_told_from_the_chains_own_words(pipeline: Pipeline) -> None:
    signing = ("review", "start", "--chain", pipeline.name, "--verify", "none")
    assert pipeline.command(*signing).code == 0
    signed = pipeline.command("review", "sign", "--chain", pipeline.name, "--note", "looked", "--with-open-alerts")
    assert signed.code == 0, signed.err
    pipeline.send([pipeline.event(50, producer="p", number=0), pipeline.event(51, producer="p", number=4)])
    pipeline.send([b"no event"] * 12)
    pipeline.wait_sealed()
    tally = Figures()
    watch = make_log_watch(load_settings(pipeline.config), [pipeline.name], tally)
    assert watch.step()
    watch.close()
    assert tally.value(figures.REVIEWS_OVERDUE, pipeline.name) == 0
    assert tally.value(figures.ALERTS_RAISED) == 2
    found = raised(pipeline)
    assert found["producer_gap"]["metadata"]["summary"].startswith("3 numbers of p missing")
    assert found["dead_letters_rising"]["metadata"]["seen"]["refused"] >= 10
    gap = next(entry for entry in pipeline.entries() if entry["action"] == "producer.gap")
    assert found["producer_gap"]["metadata"]["seqs"] == [[gap["written"]["seq"]] * 2]
    said = pipeline.command("alerts", "list", "--chain", pipeline.name, "--json")
    assert {json.loads(line)["subject_kind"] for line in said.out.splitlines()} == {"pipeline"}
    assert state(pipeline).refused == 12
