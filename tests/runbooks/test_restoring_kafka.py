"""Kafka lost whole: the chain comes back from the archive and Postgres, and the pipeline goes on where it stood."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest
from tests.pipeline import Pipeline, wait_until
from tests.runbooks.conftest import drill, lose_topics, wait_ended
from tests.runbooks.pages import Page, play

from sealstream.layout import SegmentLimits
from sealstream.rebuild.remaining import Remainder
from sealstream.rebuild.restoring import restore_kafka

pytestmark = drill


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
    assert "no entry is missing" in again.out

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


@pytest.mark.parametrize("input_is_left", [False, True], ids=["all is lost", "the input is left"])
def test_a_chain_whose_tail_is_lost_is_closed_and_its_successor_says_what_is_lost(
    lived: Pipeline, input_is_left: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(lived.folder)
    name, successor = lived.name, f"{lived.name}-r2"
    published = lived.folder / "auditor.note"
    lived.start("sequencer", "checkpointing")
    lived.send([lived.event(n, producer="p") for n in range(1_200, 1_250)])
    lived.wait_sealed()
    wait_until(lambda: (lived.progress().signed_size or 0) >= lived.size(), 30, lived.why)
    size = lived.size()
    published.write_bytes(lived.records(lived.topics.checkpoints)[-1].value or b"")
    lived.kill("sequencer")
    lived.kill("checkpointing")
    left = (lived.topics.raw, lived.topics.control) if input_is_left else ()
    lose_topics(lived, [topic for topic in lived.topics if topic not in left])

    refused = lived.command("restore", "kafka", "--chain", name, "--checkpoint", str(published))
    assert refused.code == 1
    assert f"sealstream chain continue {name}" in refused.err
    assert lived.command("chain", "continue", name).code == 2  # without the note nobody knows of a loss
    play(lived, Page.of("lost-kafka").steps(3))
    held = lived.verify("postgres").size  # as far as a signature goes that is left
    assert lived.command("chain", "continue", name).code == 0  # again, as when the last producer has moved
    assert "was closed" in lived.command("run", "sequencer", "--chain", name).err

    after = Pipeline(lived.folder, successor, lived.admin_dsn)
    try:
        after.start()
        after.send([after.event(n) for n in range(10)])
        after.wait_stored(after.wait_sealed())
        carried = [lived.event_id(n) for n in range(1_200, 1_250)] if input_is_left else []
        assert after.stored_ids() == [*carried, *(after.event_id(n) for n in range(10))]
        first, second = after.entries()[:2]
        assert (first["action"], second["action"]) == ("chain.created", "chain.continued")
        assert second["metadata"]["checkpoint"] == published.read_text()
        assert (second["metadata"]["first_lost"], second["metadata"]["last_lost"]) == (held, size - 1)
        verified = lived.command("verify", "postgres", "--chain", successor)
        assert verified.code == 0, verified
        assert f"entries {held} to {size - 1} of it are lost" in verified.out.replace("\n", " ")
        assert lived.command("verify", "postgres", "--chain", name).code == 0
        assert set(after.stop().values()) == {0}
    finally:
        after.kill_all()


def test_how_long_it_takes(make_pipeline: Callable[..., Pipeline], capsys: pytest.CaptureFixture[str]) -> None:
    """Prints the figures of the runbook and of decision 0180."""
    pipeline = make_pipeline(SegmentLimits(entries=25_000, bytes=67_000_000, seconds=3_600))
    pipeline.send(pipeline.event(n, producer="p") for n in range(150_000))
    pipeline.start()
    pipeline.wait_archived(125_000, 400)
    pipeline.wait_stored(pipeline.wait_sealed(300), 300)
    pipeline.stop()
    lose_topics(pipeline, pipeline.topics)
    begun, begun_cpu = time.monotonic(), time.process_time()
    with Remainder(pipeline.chain, pipeline.archive, pipeline.reader_dsn) as remainder:
        restored = restore_kafka(pipeline.kafka, pipeline.chain, remainder)
    took_s, cpu_s = time.monotonic() - begun, time.process_time() - begun_cpu
    assert restored.written == restored.size >= 150_000
    begun = time.monotonic()
    pipeline.start("sequencer", accept_input_lost=True)
    pipeline.wait_beyond(restored.size, 200)
    with capsys.disabled():
        print(
            f"\n{restored.written:,} entries restored in {took_s:.1f} s ({cpu_s:.1f} s of CPU time); the sequencer's "
            f"first entry after {time.monotonic() - begun:.1f} s"
        )
    assert set(pipeline.stop().values()) == {0}
    pipeline.kill_all()
