"""Every runbook played on a real chain: broken as the page says, its message is seen, its commands mend it.

One pipeline lives through the pages one after another, as it would in a bad week; each leaves it sound. Drills that
take longer run with `make drills`.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import pytest
from tests.long_runs import long_run
from tests.pipeline import Pipeline, Said, say, sql, wait_until
from tests.runbooks.conftest import drill, lose_topics
from tests.runbooks.pages import PAGES, RUNBOOKS, Page, matches, named, play

from sealstream.cli import stores
from sealstream.layout import SegmentLimits
from sealstream.layout.tables import Roles
from sealstream.postgres import migrate

pytestmark = long_run

STORED = "wait until everything is sealed and stored"
SOURCES = ("schemas", "producers", "processors", "sinks", "verifiers", "deploy", "console")


class Patient:
    """The pipeline of the bad week, and how many events it was given."""

    def __init__(self, pipeline: Pipeline) -> None:
        self.pipeline = pipeline
        self.events = 0

    def send(self, count: int) -> None:
        """More events, numbered by one producer."""
        numbers = range(self.events, self.events + count)
        self.pipeline.send([self.pipeline.event(n, producer="p") for n in numbers])
        self.events += count

    def settle(self) -> None:
        """Every event is stored, once, in order, and signed."""
        pipeline = self.pipeline
        wait_until(lambda: len(pipeline.stored_ids()) >= self.events, 60, pipeline.why)
        pipeline.wait_stored(pipeline.wait_sealed())
        assert pipeline.stored_ids() == [pipeline.event_id(n) for n in range(self.events)]

    def play(self, page: str, *blocks: int, **handlers: Callable[[], object]) -> None:
        """Play the page's blocks (all by default)."""
        acts = {act.replace("_", " "): handler for act, handler in handlers.items()}
        play(self.pipeline, Page.of(page).steps(*blocks), {STORED: self.settle, **acts})

    def sees(self, page: str, process: str, timeout_s: float = 60) -> None:
        """A process says one of the page's messages, and names the page."""
        messages = [named(line, self.pipeline) for line in Page.of(page).seen()]
        log = self.pipeline.folder / f"{process}.log"

        def seen() -> bool:
            lines = log.read_text(errors="replace").splitlines()
            return any(f"runbooks/{page}.md" in line and matches(m, line) for m in messages for line in lines)

        wait_until(seen, timeout_s, self.pipeline.why)


@pytest.fixture(scope="module")
def patient(make_pipeline: Callable[..., Pipeline], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Patient]:
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("console"))
        patch.setenv("XDG_STATE_HOME", str(Path.cwd() / "state"))
        pipeline = make_pipeline(SegmentLimits(entries=100, bytes=10_000_000, seconds=3_600))
        patient = Patient(pipeline)
        patient.send(250)
        pipeline.start()
        patient.settle()
        yield patient
        pipeline.kill_all()


def test_dead_letters(patient: Patient) -> None:
    pipeline = patient.pipeline
    pipeline.send([b'{"id": 1}', *(pipeline.event(n, producer="p") for n in range(250, 255))])
    patient.events = 255
    patient.settle()
    patient.sees("dead-letters", "sequencer")

    def correct() -> None:
        Path("event.json").write_bytes(pipeline.event(255, producer="p"))
        patient.events = 256

    def scan() -> None:
        letters = len(pipeline.records(pipeline.topics.deadletter))
        pipeline.send([b"GET / HTTP/1.1", b"\x16\x03\x01"])
        wait_until(lambda: len(pipeline.records(pipeline.topics.deadletter)) == letters + 2, 60, pipeline.why)

    acts = {
        "write the corrected event of letter 0 to event.json": correct,
        "somebody scans the ports, and two records of rubbish are refused": scan,
    }
    patient.play("dead-letters", **acts)
    patient.settle()
    shown = pipeline.command("deadletters", "show", "0", "--chain", pipeline.name)
    assert shown.out == '{"id": 1}\n'
    assert pipeline.command("deadletters", "show", "1", "--chain", pipeline.name).code == 2


def test_missing_numbers(patient: Patient) -> None:
    pipeline, begin = patient.pipeline, patient.events
    missing = pipeline.event(begin + 1, producer="p")
    pipeline.send([pipeline.event(begin, producer="p", number=begin + 1)])
    patient.events += 1
    patient.settle()

    def arrive() -> None:
        pipeline.send([missing.replace(f'"producer_seq":{begin + 1}'.encode(), f'"producer_seq":{begin}'.encode())])
        patient.events += 1
        patient.settle()

    patient.play("missing-numbers", **{"the missing events arrive": arrive})


@drill
def test_lagging_sink(patient: Patient) -> None:
    patient.pipeline.stop("postgres-sink")
    patient.send(20)
    patient.pipeline.wait_sealed()
    patient.play("lagging-sink")


def test_full_disk(patient: Patient) -> None:
    """Postgres says what it says when a disk is full; that a real one is survived the fault bench shows."""
    pipeline = patient.pipeline
    sql(
        pipeline.admin_dsn,
        "CREATE FUNCTION no_room() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION "
        "'could not extend file: No space left on device' USING ERRCODE = 'disk_full'; END $$",
    )
    sql(pipeline.admin_dsn, "CREATE TRIGGER no_room BEFORE UPDATE ON audit_position EXECUTE FUNCTION no_room()")
    patient.send(20)
    patient.sees("full-disk", "postgres-sink")

    def make_room() -> None:
        sql(pipeline.admin_dsn, "DROP TRIGGER no_room ON audit_position")

    patient.play("full-disk", **{"make room on the disk": make_room})


@drill
def test_lost_postgres(patient: Patient, pipeline_roles: Roles, monkeypatch: pytest.MonkeyPatch) -> None:
    pipeline = patient.pipeline
    monkeypatch.setattr(stores, "migrate", lambda dsn, **more: migrate(dsn, roles=pipeline_roles, **more))
    server = pipeline.admin_dsn.rpartition("/")[0] + "/postgres"
    sql(server, f"DROP DATABASE {pipeline.name} WITH (FORCE)")
    patient.send(20)
    pipeline.settings.postgres.admin_dsn = pipeline.admin_dsn
    monkeypatch.setenv("SEALSTREAM_POSTGRES__ADMIN_DSN", pipeline.admin_dsn)

    def new_database() -> None:
        sql(server, f"CREATE DATABASE {pipeline.name}")

    patient.play(
        "lost-postgres", 0, 3, **{"make an empty database, and put its address into the settings": new_database}
    )


def test_lost_kafka_and_with_it_the_input(patient: Patient) -> None:
    pipeline = patient.pipeline
    wait_until(lambda: (pipeline.progress().archive_size or 0) >= 200, 60, pipeline.why)
    lose_topics(pipeline, pipeline.topics)
    pipeline.kill("sequencer")
    pipeline.start("sequencer")
    patient.sees("lost-kafka", "sequencer")
    assert pipeline.command("chain", "status", pipeline.name).code == 2
    limits = ("--segment-entries", "100", "--segment-bytes", "10000000", "--segment-seconds", "3600")
    made = pipeline.command("chain", "create", pipeline.name, "--retention", "1d", *limits)
    assert made.code == 2
    assert f"sealstream restore kafka --chain {pipeline.name}" in made.err  # never a second, empty history
    blocks = Page.of("lost-kafka").steps(0)
    play(pipeline, blocks)
    patient.send(30)  # producers never stopped
    pipeline.start("sequencer")
    patient.sees("input-lost", "sequencer")
    pipeline.stop("sequencer")
    patient.play("lost-kafka", 1, 2)
    patient.play("input-lost", 2)


@pytest.mark.parametrize("name", PAGES)
def test_a_page_says_what_the_product_says(name: str) -> None:
    """Its messages stand in the sources, its commands and options exist, its links lead somewhere."""
    page = Page.of(name)
    told = _messages_of_the_sources()
    for line in page.seen():
        pattern = re.sub(r"\baudit\.[a-z]+\.main\b|\bmain\b", "...", line)
        for part in (part.strip() for part in re.split(r"\.\.\.|: ", pattern)):
            assert len(part) < 8 or part == "No space left on device" or part in told, f"{name}: nobody says {part!r}"
    for step in page.steps():
        words = shlex.split(step.command)
        if words[:1] == ["sealstream"]:
            group = [word for word in words[1:3] if not word.startswith("-")]
            shown = _help(*group) if len(group) == 2 and _help(*group).code == 0 else _help(*group[:1])
            assert shown.code == 0, step.command
            for option in (word for word in words if word.startswith("--")):
                assert option in shown.out, f"{step.command}: there is no {option}"
    for link in re.findall(r"\]\(([a-z-]+\.md)\)", page.text):
        assert (RUNBOOKS / link).exists(), link
    for heading in ("What you see", "What it means", "What to do", "How to know that it is over"):
        assert f"## {heading}" in page.text
    assert "## What to tell the auditor" in page.text
    assert f"]({name}.md)" in (RUNBOOKS / "README.md").read_text()


def test_every_alarm_names_a_page_that_exists() -> None:
    for path in re.findall(r'runbook = "([^"]+)"', _sources()):
        assert (RUNBOOKS.parents[1] / path).exists(), path


@cache
def _help(*words: str) -> Said:
    return say(Path("none.toml"), *words, "--help")


def _sources() -> str:
    root = RUNBOOKS.parents[1]
    return "\n".join(path.read_text() for folder in SOURCES for path in sorted((root / folder).rglob("*.py")))


@cache
def _messages_of_the_sources() -> str:
    joined = re.sub(r'"\s*\n\s*f?"', "", _sources())
    return re.sub(r"\{[^{}]*\}", "...", joined)
