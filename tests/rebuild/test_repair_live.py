"""The whole pipeline at work, events coming in: repaired and replayed under it, and everything verifies afterwards."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable

import pytest
from tests.pipeline import Pipeline, make_pipeline, sql
from tests.rebuild.long_runs import long_run

from sealstream.cli.settings import load_settings
from sealstream.cli.stores import archive_settings
from sealstream.layout import SegmentLimits

__all__ = ["make_pipeline"]


@long_run
@pytest.mark.slow
def test_postgres_is_repaired_and_replayed_while_events_come_in(make_pipeline: Callable[..., Pipeline]):
    pipeline = make_pipeline(SegmentLimits(entries=400, bytes=10_000_000, seconds=5))
    pipeline.start()
    pipeline.send([pipeline.event(n, producer="p") for n in range(1_500)])
    pipeline.wait_stored(pipeline.wait_sealed())
    numbers, ended = itertools.count(1_500), threading.Event()

    def go_on() -> None:
        while not ended.wait(0.1):
            pipeline.send([pipeline.event(next(numbers), producer="p") for _ in range(20)])

    sender = threading.Thread(target=go_on)
    sender.start()
    try:
        triggers = "ALTER TABLE audit_log {} TRIGGER {}"
        sql(pipeline.admin_dsn, triggers.format("DISABLE", "ALL"))
        sql(pipeline.admin_dsn, "UPDATE audit_log SET actor_id = 'nobody' WHERE seq = 700")
        sql(pipeline.admin_dsn, "DELETE FROM audit_log WHERE seq BETWEEN 1000 AND 1100")
        assert pipeline.command("reconcile", "--chain", pipeline.name).code == 1
        said = pipeline.command("repair", "postgres", "--chain", pipeline.name)
        assert said.code == 0, said.err
        for source in ("kafka", "archive"):
            said = pipeline.command("replay", "postgres", "--from", source, "--chain", pipeline.name)
            assert said.code == 0, said.err
    finally:
        ended.set()
        sender.join()
    assert all(process.poll() is None for process in pipeline.running.values()), pipeline.why()
    pipeline.wait_quiet()
    for store in ("postgres", "kafka", "archive"):
        said = pipeline.command("verify", store, "--chain", pipeline.name)
        assert said.code == 0, said.out + said.err
    assert pipeline.command("reconcile", "--chain", pipeline.name).code == 0
    reasons = [
        entry["metadata"]["reason"]
        for entry in pipeline.entries()
        if entry["action"] == "store.repaired" and entry["written"]["kind"] == "control"
    ]
    assert [reason.partition(";")[0] for reason in reasons] == [
        "differed from the signed entries",
        "replayed from kafka",
        "replayed from archive",
    ]
    assert pipeline.stored_ids() == [pipeline.event_id(n) for n in range(next(numbers))]


@long_run
@pytest.mark.slow
def test_the_archive_sink_goes_on_in_a_bucket_that_was_replayed(make_pipeline: Callable[..., Pipeline]):
    pipeline = make_pipeline(SegmentLimits(entries=200, bytes=10_000_000, seconds=5))
    pipeline.start()
    pipeline.send([pipeline.event(n, producer="p") for n in range(900)])
    sent = 900 + pipeline.archive_all(900)
    pipeline.wait_quiet()
    replay = ["replay", "archive", "--chain", pipeline.name, "--bucket", f"{pipeline.archive.bucket}-new", "--from"]
    assert pipeline.command(*replay, "kafka").code == 0
    assert pipeline.stop("archive-sink") == {"archive-sink": 0}
    said = pipeline.command(*replay, "archive", "--switch")
    assert said.code == 0, said.err
    pipeline.settings = load_settings(pipeline.config)
    pipeline.archive = archive_settings(pipeline.settings)
    assert pipeline.archive.bucket.endswith("-new")
    pipeline.start("archive-sink")
    pipeline.send([pipeline.event(n, producer="p") for n in range(sent, sent + 500)])
    sent += 500
    sent += pipeline.archive_all(sent)
    pipeline.wait_quiet()
    assert all(process.poll() is None for process in pipeline.running.values()), pipeline.why()
    for store in ("postgres", "kafka", "archive"):
        said = pipeline.command("verify", store, "--chain", pipeline.name)
        assert said.code == 0, said.out + said.err
    assert pipeline.archived_ids() == [pipeline.event_id(n) for n in range(sent)]
