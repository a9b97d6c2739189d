"""Kafka lost whole: the chain comes back from the archive and Postgres, and the pipeline goes on where it stood."""

from __future__ import annotations

from tests.pipeline import Pipeline, wait_until
from tests.runbooks.conftest import drill, lose_topics, wait_ended

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


def test_a_chain_whose_tail_is_lost_is_closed_and_its_successor_says_what_is_lost(lived: Pipeline) -> None:
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
    lose_topics(lived, lived.topics)

    refused = lived.command("restore", "kafka", "--chain", name, "--checkpoint", str(published))
    assert refused.code == 1
    assert f"sealstream chain continue {name}" in refused.err
    assert lived.command("chain", "continue", name).code == 2  # without the note nobody knows of a loss
    closed = lived.command("chain", "continue", name, "--checkpoint", str(published))
    assert closed.code == 0, closed
    held = lived.verify("postgres").entries
    assert f"entries {held} to {size - 1} of {name} are lost" in closed.out.replace("\n", " ")
    assert "was closed" in lived.command("run", "sequencer", "--chain", name).err

    after = Pipeline(lived.folder, successor, lived.admin_dsn)
    try:
        after.start()
        after.send([after.event(n) for n in range(10)])
        after.wait_stored(after.wait_sealed())
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
