"""An alert is sealed in its chain, and a replay looks for it there first."""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import closing

from confluent_kafka.admin import AdminClient
from tests.anomaly.bench import CHAIN, logins, read_all
from tests.long_runs import long_run
from tests.pipeline import Pipeline, make_pipeline, pipeline_roles, wait_until  # noqa: F401 - fixtures

from sealstream.cli.anomaly_process import create_watch_topics
from sealstream.cli.anomaly_wiring import alerts_in_postgres
from sealstream.devstack import ProcessSpec
from sealstream.devstack.running import spawn
from sealstream.kafka import AcknowledgedProducer, Outgoing, Place, committed_offsets, partition_counts, set_offsets
from sealstream.layout.activity import ActivityTopics, encode_activity
from sealstream.layout.alerts import decode_alert
from sealstream.layout.workers import WorkerTopics, worker_group


@long_run
def test_a_replay_looks_into_the_chain_before_it_raises_anything(make_pipeline: Callable[..., Pipeline]) -> None:  # noqa: F811
    pipeline = make_pipeline(chain=CHAIN)
    activity, group = ActivityTopics.of(pipeline.prefix), worker_group(pipeline.prefix)
    attack = logins("eve", 12)
    with closing(AcknowledgedProducer(pipeline.kafka)) as producer:
        producer.send([Outgoing(activity.activity, encode_activity(record), b"eve") for record in attack])
    pipeline.start("sequencer", "postgres-sink")
    start_watch(pipeline)
    wait_until(lambda: len(raised(pipeline)) == 1, 90, pipeline.why)
    size = pipeline.wait_sealed()
    wait_until(lambda: (pipeline.progress().postgres_size or 0) >= size, 60, pipeline.why)
    pipeline.stop("anomaly")
    (alert,) = [decode_alert(record.value or b"") for record in read_all(pipeline.kafka, activity.alerts)]
    known = alerts_in_postgres(pipeline.reader_dsn)
    assert known([alert.id, "00000000-0000-4000-8000-000000000000"]) == {alert.id}

    places = begin_again(pipeline)  # as if the worker had been away since before it found anything
    start_watch(pipeline)
    wait_until(lambda: any(committed_offsets(pipeline.kafka, group, places).values()), 90, pipeline.why)
    pipeline.stop("anomaly")
    assert len(read_all(pipeline.kafka, activity.alerts)) == 1
    pipeline.wait_sealed()
    assert len(raised(pipeline)) == 1


def raised(pipeline: Pipeline) -> list[dict[str, object]]:
    return [entry for entry in pipeline.entries() if entry["action"] == "alert.raised"]


def start_watch(pipeline: Pipeline) -> None:
    command = [sys.executable, "-m", "sealstream.cli.entry", "--config", str(pipeline.config), "run", "anomaly"]
    spec = ProcessSpec(name="anomaly", argv=command)
    pipeline.running["anomaly"] = spawn(spec, pipeline.folder / "anomaly.log")


def begin_again(pipeline: Pipeline) -> list[Place]:
    """No state, and the offsets at the beginning; all partitions."""
    client = AdminClient({"bootstrap.servers": pipeline.kafka.bootstrap})
    for future in client.delete_topics(list(WorkerTopics.of(pipeline.prefix))).values():
        future.result(30)
    create_watch_topics(pipeline.settings)
    counts = partition_counts(pipeline.kafka, ActivityTopics.of(pipeline.prefix)[:2])
    places = [Place(topic, n) for topic, count in counts.items() for n in range(count)]
    wait_until(
        lambda: set_offsets(pipeline.kafka, worker_group(pipeline.prefix), dict.fromkeys(places, 0)), 30, pipeline.why
    )
    return places
