"""The drills that take longer: forged topics, a stolen key, a restore that is killed. `make drills` runs them."""

from __future__ import annotations

import random
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.pipeline import Pipeline, sql, wait_until
from tests.runbooks.conftest import drill, lose_topics, wait_ended
from tests.runbooks.pages import Page, matches, named, play

from sealstream.checkpointing import load_signer
from sealstream.cli import stores
from sealstream.errors import Misconfigured
from sealstream.kafka import TransactionalProducer, create_topics, end_offset, trim
from sealstream.layout import CheckpointHeaders, checkpoint_headers
from sealstream.layout.tables import Roles
from sealstream.postgres import migrate
from sealstream.rebuild.remaining import Remainder
from sealstream.rebuild.restoring import restore_kafka
from sealstream.sealing import (
    EMPTY_RANGE,
    Checkpoint,
    Sealed,
    entry_hash,
    extend,
    open_checkpoint,
    root,
    sign_checkpoint,
    split_sealed,
)

pytestmark = drill


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Evidence goes into a folder of the test's own."""
    monkeypatch.chdir(tmp_path)


def rewrite(pipeline: Pipeline, change: Callable[[list[bytes]], list[bytes]]) -> None:
    """As a Kafka administrator can: the chain's topic made anew, with other records."""
    values = [record.value or b"" for record in pipeline.records(pipeline.topics.chain)]
    lose_topics(pipeline, [pipeline.topics.chain])
    create_topics(pipeline.kafka, [each for each in pipeline.topics.configs() if each.name == pipeline.topics.chain])
    pipeline.send(change(values), pipeline.topics.chain)


def sees(pipeline: Pipeline, page: str, process: str) -> None:
    """The process ends, or waits, with one of the page's messages, and names the page."""
    messages = [named(line, pipeline) for line in Page.of(page).seen()]
    log = pipeline.folder / f"{process}.log"
    wait_until(
        lambda: (
            f"runbooks/{page}.md" in (text := log.read_text(errors="replace"))
            and any(matches(m, text.replace('\\"', '"')) for m in messages)
        ),
        60,
        pipeline.why,
    )


def steps(pipeline: Pipeline, page: str, *blocks: int, **handlers: Callable[[], object]) -> None:
    acts = {act.replace("_", " "): handler for act, handler in handlers.items()}
    play(pipeline, Page.of(page).steps(*blocks), acts)


def test_fork(lived: Pipeline) -> None:
    def forged(values: list[bytes]) -> list[bytes]:
        kept, link = values[:-200], split_sealed(values[-201]).hash
        for value in values[-200:]:
            body = split_sealed(value).body.replace(b'"reason":"treatment"', b'"reason":"curiosity"')
            sealed = Sealed(body, link, entry_hash(link, body))
            kept.append(sealed.to_bytes())
            link = sealed.hash
        return kept

    rewrite(lived, forged)
    lived.start("postgres-sink")
    sees(lived, "fork", "postgres-sink")
    steps(lived, "fork", 0, 1)
    lived.send([lived.event(n, producer="p") for n in range(1_200, 1_300)])
    lived.wait_stored(lived.wait_sealed())
    steps(lived, "fork", 2)
    assert lived.stored_ids() == [lived.event_id(n) for n in range(1_300)]
    assert Path(f"evidence/{lived.topics.chain}.ndjson").read_text().count("\n") >= 1_200
    assert set(lived.stop().values()) == {0}


def test_broken_link(lived: Pipeline) -> None:
    rewrite(lived, lambda values: [*values[:-50], values[-50].replace(b"Z", b"Y", 1), *values[-49:]])
    lived.start("checkpointing")
    sees(lived, "broken-link", "checkpointing")
    steps(lived, "broken-link", 0, 1)
    lived.send([lived.event(n, producer="p") for n in range(1_200, 1_300)])
    lived.wait_stored(lived.wait_sealed())
    steps(lived, "broken-link", 2)
    assert lived.stored_ids() == [lived.event_id(n) for n in range(1_300)]
    assert set(lived.stop().values()) == {0}


def test_wrong_root_and_a_stolen_key(lived: Pipeline) -> None:
    newest = lived.records(lived.topics.checkpoints)[-1]
    size = open_checkpoint(newest.value or b"", lived.chain.vkey).size
    forged = extend(EMPTY_RANGE, [bytes([n % 256]) * 32 for n in range(size)])
    key = lived.folder / "keys" / f"{lived.name}.key"
    signer = load_signer(key)
    note = sign_checkpoint(Checkpoint(lived.chain.origin, size, root(forged)), signer)
    thief = TransactionalProducer(lived.kafka, f"thief-{lived.name}")
    thief.open()
    thief.begin()
    headers = checkpoint_headers(CheckpointHeaders(forged.hashes, 0))
    thief.produce(lived.topics.checkpoints, note, headers=headers)
    thief.commit()
    thief.close()
    lived.start("checkpointing")
    sees(lived, "wrong-root", "checkpointing")
    steps(lived, "wrong-root", 0)
    restored = lived.command("restore", "kafka", "--chain", lived.name)
    assert restored.code == 1
    assert "--replace" in restored.err
    steps(lived, "wrong-root", 1)

    key.unlink()
    lived.start("checkpointing")
    sees(lived, "lost-signing-key", "checkpointing")
    assert lived.running.pop("checkpointing").wait(10) == 2
    after: list[Pipeline] = []

    def start_successor() -> None:
        after.append(Pipeline(lived.folder, f"{lived.name}-r2", lived.admin_dsn))
        after[0].start()

    def stored() -> None:
        after[0].send([after[0].event(n) for n in range(10)])
        after[0].wait_stored(after[0].wait_sealed())

    name = lived.name
    try:
        steps(
            lived,
            "lost-signing-key",
            **{f"start all of {name}-r2": start_successor, f"wait until {name}-r2 has stored everything": stored},
        )
        second = after[0].entries()[1]["metadata"]
        assert second["first_lost"] == size
        assert second["last_lost"] == size - 1  # all that was sealed was signed
        assert set(after[0].stop().values()) == {0}
    finally:
        for pipeline in after:
            pipeline.kill_all()


def test_lost_postgres_whose_beginning_is_in_the_archive_alone(
    lived: Pipeline, pipeline_roles: Roles, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stores, "migrate", lambda dsn, **more: migrate(dsn, roles=pipeline_roles, **more))
    monkeypatch.setenv("SEALSTREAM_POSTGRES__ADMIN_DSN", lived.admin_dsn)
    server = lived.admin_dsn.rpartition("/")[0] + "/postgres"
    lived.start("sequencer", "checkpointing", "archive-sink", "postgres-sink")
    lived.archive_all(1_200)
    lived.wait_stored(lived.wait_sealed())
    stored = lived.stored_ids()
    segment = lived.records(lived.topics.segments)[0]
    lived.stop("postgres-sink")
    trim(lived.kafka, lived.topics.chain, int(dict(segment.headers)["chain_offset"]))
    sql(server, f"DROP DATABASE {lived.name} WITH (FORCE)")

    def new_database() -> None:
        sql(server, f"CREATE DATABASE {lived.name}")

    steps(lived, "lost-postgres", 1, **{"make an empty database, and put its address into the settings": new_database})
    settle = {"wait until everything is sealed and stored": lambda: lived.wait_stored(lived.wait_sealed())}
    steps(lived, "lost-postgres", 3, **settle)
    assert lived.stored_ids() == stored

    name = "audit_log_" + sql(lived.admin_dsn, "SELECT to_char(now() AT TIME ZONE 'UTC', 'YYYY_MM')")[0][0]
    for statement in (
        f"ALTER TABLE {name} DISABLE TRIGGER ALL",
        f"UPDATE {name} SET actor_id = 'nobody' WHERE seq = 7",
        f"ALTER TABLE {name} ENABLE ALWAYS TRIGGER append_only",
        f"ALTER TABLE {name} ENABLE ALWAYS TRIGGER no_truncate",
    ):
        sql(lived.admin_dsn, statement)
    steps(lived, "lost-postgres", 2)
    steps(lived, "lost-postgres", 3, **settle)
    assert set(lived.stop().values()) == {0}


def test_trimmed_input(lived: Pipeline) -> None:
    lived.send([lived.event(n, producer="p") for n in range(1_200, 1_220)])
    trim(lived.kafka, lived.topics.raw, end_offset(lived.kafka, lived.topics.raw, committed=True) - 5)
    lived.start("checkpointing", "postgres-sink", "archive-sink", "sequencer")
    sees(lived, "input-lost", "sequencer")
    steps(lived, "input-lost", 1)
    stored = [lived.event_id(n) for n in (*range(1_200), *range(1_215, 1_220))]
    wait_until(lambda: lived.stored_ids() == stored, 60, lived.why)
    wait = {"wait until everything is sealed and stored": lambda: lived.wait_stored(lived.wait_sealed())}
    steps(lived, "input-lost", 2, **wait)
    gaps = [entry["metadata"]["ranges"] for entry in lived.entries() if entry["action"] == "producer.gap"]
    assert gaps == [[[1_200, 1_214]]]

    lived.stop("sequencer")
    lose_topics(lived, [lived.topics.raw])
    steps(lived, "input-lost", 0)
    lived.send([lived.event(n, producer="p") for n in range(1_220, 1_230)])
    steps(lived, "input-lost", 1)
    stored += [lived.event_id(n) for n in range(1_220, 1_230)]
    wait_until(lambda: lived.stored_ids() == stored, 60, lived.why)
    steps(lived, "input-lost", 2, **wait)
    assert set(lived.stop().values()) == {0}


def test_a_restore_that_is_killed_again_and_again_ends_as_if_it_had_not_been(lived: Pipeline) -> None:
    before = [record.value for record in lived.records(lived.topics.chain)]
    segments = [(record.value, dict(record.headers)["first_seq"]) for record in lived.records(lived.topics.segments)]
    lose_topics(lived, [lived.topics.chain, lived.topics.producers, lived.topics.segments, lived.topics.checkpoints])
    command = [sys.executable, "-m", "sealstream.cli.entry", "--config", str(lived.config), "restore", "kafka"]
    command += ["--chain", lived.name]
    for _ in range(3):
        begun = _held(lived)
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wait_until(lambda begun=begun, process=process: process.poll() is not None or _held(lived) > begun, 60)
        time.sleep(random.uniform(0, 0.02))
        process.kill()
        process.wait()
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done
    assert [record.value for record in lived.records(lived.topics.chain)][: len(before)] == before
    assert [
        (record.value, dict(record.headers)["first_seq"]) for record in lived.records(lived.topics.segments)
    ] == segments
    lived.start()
    lived.send([lived.event(n, producer="p") for n in range(1_200, 1_300)])
    lived.wait_stored(lived.wait_sealed())
    assert lived.stored_ids() == [lived.event_id(n) for n in range(1_300)]
    for store in ("kafka", "postgres", "archive"):
        assert lived.verify(store).exit_code == 0, lived.verify(store).faults
    assert set(lived.stop().values()) == {0}


def test_a_sequencer_that_starts_amid_a_restore_begins_no_second_history(lived: Pipeline) -> None:
    before = [record.value for record in lived.records(lived.topics.chain)]
    lose_topics(lived, lived.topics)

    def ctrl_c(what: str, done: int, total: int | None) -> None:
        if what == "restoring":
            raise KeyboardInterrupt

    with Remainder(lived.chain, lived.archive, lived.reader_dsn) as remainder, pytest.raises(KeyboardInterrupt):
        restore_kafka(lived.kafka, lived.chain, remainder, progress=ctrl_c)
    held = lived.size()
    assert 0 < held < len(before)
    create_topics(lived.kafka, lived.topics.configs())  # somebody helps, and makes the input topics
    lived.start("sequencer")
    assert wait_ended(lived, "sequencer") == 1
    assert "is signed" in lived.log("sequencer")
    assert lived.size() == held
    assert lived.command("restore", "kafka", "--chain", lived.name).code == 0
    assert [record.value for record in lived.records(lived.topics.chain)] == before


def _held(pipeline: Pipeline) -> int:
    """Entries in the chain's topic; 0 while it is not there."""
    try:
        return pipeline.size()
    except Misconfigured:
        return 0
