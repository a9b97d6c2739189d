"""Kafka lost whole: the chain comes back from the archive and Postgres, and the pipeline goes on where it stood."""

from __future__ import annotations

import pytest
from tests.pipeline import Pipeline
from tests.runbooks.conftest import lose_topics, wait_ended


@pytest.fixture
def lived(pipeline: Pipeline) -> Pipeline:
    """A chain of several segments, the last still open, whose processes have ended in order."""
    pipeline.start()
    pipeline.send([pipeline.event(n, producer="p") for n in range(1_200)])
    pipeline.wait_archived(1_000)
    pipeline.wait_quiet()
    assert set(pipeline.stop().values()) == {0}
    pipeline.start("checkpointing", "postgres-sink")  # what the sequencer said as it stopped is signed and stored, too
    pipeline.wait_stored(pipeline.size())
    assert set(pipeline.stop().values()) == {0}
    return pipeline


def test_a_kafka_that_was_lost_whole_is_restored_and_the_pipeline_goes_on(lived: Pipeline) -> None:
    before = [record.value for record in lived.records(lived.topics.chain)]
    newest = lived.records(lived.topics.checkpoints)[-1].value
    segments = [record.value for record in lived.records(lived.topics.segments)]
    lose_topics(lived, lived.topics)

    said = lived.command("restore", "kafka", "--chain", lived.name)
    assert said.code == 0, said
    assert f"{len(before)} entries restored" in said.out.replace(",", "")
    assert [record.value for record in lived.records(lived.topics.chain)] == before
    assert [record.value for record in lived.records(lived.topics.segments)] == segments
    assert lived.records(lived.topics.checkpoints)[-1].value == newest
    again = lived.command("restore", "kafka", "--chain", lived.name)
    assert again.code == 0
    assert "nothing is missing" in again.out

    lived.start("sequencer")
    assert wait_ended(lived, "sequencer") == 1
    assert "was recreated" in lived.log("sequencer")
    lived.send([lived.event(n, producer="p") for n in range(1_200, 1_300)])
    lived.start("sequencer", accept_input_lost=True)
    lived.start("checkpointing", "postgres-sink", "archive-sink")
    lived.wait_stored(lived.wait_sealed())
    lived.archive_all(2_000)
    lived.wait_quiet()
    assert lived.stored_ids()[:1_300] == [lived.event_id(n) for n in range(1_300)]
    assert sum(entry["action"] == "input.lost" for entry in lived.entries()) == 2
    for store in ("kafka", "postgres", "archive"):
        report = lived.verify(store)
        assert report.exit_code == 0, report.faults
    assert set(lived.stop().values()) == {0}
