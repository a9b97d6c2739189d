"""The commands on a running chain: questions, chains, keys, and what is said when an argument is wrong."""

from __future__ import annotations

import json
import os
import pwd
import re
import signal
import socket
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from tests.pipeline import Pipeline, Said

from sealstream.cli import main
from sealstream.cli.main import run
from sealstream.cli.settings import write_settings
from sealstream.events import format_timestamp
from sealstream.layout import SegmentLimits
from sealstream.sealing import parse_vkey


@pytest.fixture(scope="module")
def asked(make_pipeline: Callable[..., Pipeline]) -> Pipeline:
    """A chain in Postgres: 80 events of today, and one of 40 days ago; its processes have ended."""
    pipeline = make_pipeline(SegmentLimits(entries=500, bytes=1_000_000, seconds=60))
    today = format_timestamp(datetime.now(UTC) - timedelta(minutes=5))
    long_ago = format_timestamp(datetime.now(UTC) - timedelta(days=40))
    pipeline.send([pipeline.event(1_000, timestamp=long_ago, action="old-read")])
    pipeline.send([pipeline.event(n, timestamp=today) for n in range(80)])
    pipeline.start("sequencer", "checkpointing", "postgres-sink")
    pipeline.wait_stored(pipeline.wait_sealed())
    assert set(pipeline.stop().values()) == {0}
    return pipeline


def rows(said: Said) -> list[str]:
    """The lines of a table that begin with a number (seq) or a name, without its head."""
    assert said.code == 0, said.err
    return [line for line in said.out.splitlines()[1:] if line.strip()]


def test_what_one_actor_did(asked: Pipeline) -> None:
    answer = rows(asked.command("ask", "actor", "user-7"))
    assert len([line for line in answer if re.match(r"\s*\d+ ", line)]) == 8
    assert "old-read" not in "".join(rows(asked.command("ask", "actor", "user-0")))
    assert "old-read" in "".join(rows(asked.command("ask", "actor", "user-0", "--days", "60")))
    assert (
        len([line for line in rows(asked.command("ask", "actor", "user-7", "--limit", "3")) if "patient" in line]) == 3
    )
    cut = asked.command("ask", "actor", "user-7", "--limit", "7")
    assert "there are more than these 7: --limit N, or `sealstream search 'actor:user-7 after:720h'" in cut.err
    assert asked.command("ask", "actor", "user-7", "--limit", "8").err == ""
    assert "no actions in that time" in asked.command("ask", "actor", "nobody").out


def test_who_touched_one_record_and_why(asked: Pipeline) -> None:
    said = asked.command("ask", "resource", "patient_record", "patient-7")
    assert len([line for line in rows(said) if "user-7" in line]) == 2
    assert "treatment" in said.out
    assert asked.command("ask", "resource", "patient_record/patient-7").out == said.out
    cut = asked.command("ask", "resource", "patient_record/patient-7", "--limit", "1")
    assert "--limit N, or `sealstream search resource:patient_record/patient-7" in cut.err
    assert asked.command("ask", "resource", "patient_record").code == 2
    assert "no access to it" in asked.command("ask", "resource", "patient_record", "patient-none").out


def test_who_fails_too_often(asked: Pipeline) -> None:
    said = asked.command("ask", "failures")
    # Of 8 events each, odd users fail in every second (n % 4 == 3), even ones are denied in every second (n % 4 == 2).
    assert "nobody" in said.out
    often = asked.command("ask", "failures", "--more-than", "3")
    assert len([line for line in rows(often) if line.startswith("user-")]) == 10
    assert asked.command("ask", "failures", "--more-than", "-1").code == 2


def test_who_asked_is_recorded_in_the_log_before_the_answer_is_shown(
    asked: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = len(asked.records(asked.topics.control))
    assert asked.command("ask", "resource", "patient_record", "patient-7").code == 0
    assert asked.command("ask", "actor", "nobody").code == 0
    events = [json.loads(record.value or b"") for record in asked.records(asked.topics.control)[before:]]
    person = f"{pwd.getpwuid(os.geteuid()).pw_name}@{socket.gethostname()}"
    assert [(event["action"], event["actor_id"], event["resource_id"]) for event in events] == [
        ("log.read", person, asked.name)
    ] * 2
    assert [(event["metadata"]["query"], event["metadata"]["rows"]) for event in events] == [
        ("resource patient_record patient-7 --limit 100", 2),
        ("actor nobody --days 30 --limit 100", 0),
    ]
    monkeypatch.setenv("SEALSTREAM_KAFKA__PREFIX", "gone")
    said = asked.command("ask", "actor", "user-7")
    assert said.code == 2
    assert said.out == ""
    assert "nothing is shown" in said.err


def test_a_verification_stands_when_it_can_not_be_recorded(
    asked: Pipeline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def verified() -> Said:
        return asked.command("verify", "postgres", "--chain", asked.name, "--json", "--state-dir", str(tmp_path))

    first = json.loads(verified().out)
    newest = json.loads(asked.records(asked.topics.control)[-1].value or b"")
    assert (newest["metadata"]["what"], newest["metadata"]["store"]) == ("verify", "postgres")
    assert (newest["metadata"]["verdict"], newest["metadata"]["rows"]) == (first["verdict"], first["entries"])
    monkeypatch.setenv("SEALSTREAM_KAFKA__PREFIX", "gone")
    second = json.loads(verified().out)
    assert (second["verdict"], second["entries"]) == (first["verdict"], first["entries"])
    assert "not recorded in the log" in second["notes"][-1]


def test_a_verification_that_broke_is_recorded_as_a_failure(
    asked: Pipeline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("nobody foresaw this")

    before = len(asked.records(asked.topics.control))
    monkeypatch.setattr("sealstream.cli.verify.verify_store", broken)
    said = asked.command("verify", "postgres", "--chain", asked.name, "--state-dir", str(tmp_path))
    assert said.code == 2
    (event,) = [json.loads(record.value or b"") for record in asked.records(asked.topics.control)[before:]]
    assert (event["action"], event["result"]) == ("log.read", "failure")
    assert (event["metadata"]["store"], event["metadata"]["verdict"]) == ("postgres", "could not verify")


def test_a_chain_is_made_again_without_harm_and_refused_with_other_terms(asked: Pipeline) -> None:
    create = [
        "chain",
        "create",
        asked.name,
        "--retention",
        "1d",
        "--segment-bytes",
        "1000000",
        "--segment-seconds",
        "60",
    ]
    before = asked.config.read_text()
    again = asked.command(*create, "--segment-entries", "500")
    assert again.code == 0, again.err
    assert asked.config.read_text() == before
    other = asked.command(*create, "--segment-entries", "501")
    assert other.code == 2
    assert "can't be changed" in other.err
    assert asked.command("chain", "create", asked.name, "--log", "somewhere.else/log").code == 2
    listed = asked.command("chain", "list")
    assert listed.code == 0
    assert asked.name in listed.out
    assert "1d" in listed.out


@pytest.mark.parametrize("name", ["Main", "main-r2", "a" * 40, "", "a/b"])
def test_a_name_that_no_chain_can_have(asked: Pipeline, name: str) -> None:
    said = asked.command("chain", "create", name)
    assert said.code == 2
    assert "chain name" in said.err


def test_in_a_pipe_nothing_is_cut_or_wrapped(asked: Pipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    said = asked.command("chain", "show", asked.name)
    assert asked.chain.vkey in said.out
    assert "…" not in said.out
    assert max(map(len, said.out.splitlines())) < 1_000
    monkeypatch.setenv("COLUMNS", "60")
    assert max(map(len, asked.command("ask", "actor", "user-7").out.splitlines())) <= 60


def test_the_bucket_is_made_again_without_harm(asked: Pipeline) -> None:
    said = asked.command("archive", "init")
    assert said.code == 0, said.err
    assert "was there already" in said.out
    assert "can't be changed later" in said.out
    assert asked.command("archive", "init", "--retention", "for ever").code == 2


def test_migrating_needs_an_administrator(asked: Pipeline) -> None:
    said = asked.command("migrate")
    assert said.code == 2
    assert "postgres.admin_dsn" in said.err


def test_keys_are_made_once_for_their_owner_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "main.key"
    assert run(["keys", "create", "audit.example.com/clinic/main", str(file)]) == 0
    vkey = capsys.readouterr().out.splitlines()[0]
    assert parse_vkey(vkey).name == "audit.example.com/clinic/main"
    assert file.stat().st_mode & 0o777 == 0o600
    secret = file.read_bytes()
    assert run(["keys", "create", "audit.example.com/clinic/main", str(file)]) == 2
    assert file.read_bytes() == secret
    capsys.readouterr()
    assert run(["keys", "show", str(file)]) == 0
    assert capsys.readouterr().out.strip() == vkey
    file.chmod(0o640)
    assert run(["keys", "show", str(file)]) == 2
    assert "0600" in capsys.readouterr().err
    for origin in ("no-log", "audit.example.com/Main", "https://audit.example.com/main"):
        assert run(["keys", "create", origin, str(tmp_path / "other.key")]) == 2
    assert run(["keys", "show", str(tmp_path / "none.key")]) == 2


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["run", "nonsense"], "nonsense"),
        (["run", "checkpointing", "--chain", "unknown"], "sealstream chain create unknown"),
        (["run", "postgres-sink", "--chain", "a", "--chain", "b"], "one --chain"),
        (["run", "archive-sink", "--accept-input-lost"], "run sequencer"),
        (["ask", "actor"], "actor_id"),
        (["verify", "everything"], "everything"),
        (["nonsense"], "nonsense"),
        (["logs", "--lines", "0"], "--lines"),
    ],
)
def test_a_wrong_argument_is_said_with_exit_code_2(asked: Pipeline, arguments: list[str], told: str) -> None:
    said = asked.command(*arguments)
    assert said.code == 2
    assert told in said.err.lower()
    assert "Traceback" not in said.err


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["chain", "retention", "hipaa"], "hipaa is a retention policy and no chain (known: eu, main)"),
        (["chain", "retention", "hipaa"], "`sealstream chain retention main hipaa` keeps main by it"),
        (["chain", "retention", "gdpr:2y"], "`sealstream chain retention main gdpr:2y`"),
        (["chain", "retention", "6y", "eu"], "`sealstream chain retention eu 6y`"),
        (["chain", "retention", "gdpr"], "gdpr:<duration>"),
        (["chain", "retention", "mian"], "did you mean main?"),
        (["chain", "status", "mian"], "did you mean main?"),
        (["chain", "show", "nothing-like-it"], "(known: eu, main): `sealstream chain create nothing-like-it` makes it"),
        (["chain", "continue", "main-r2"], "did you mean main?"),
        (["tail", "--chain", "eus"], "did you mean eu?"),
        (["show", "main"], "`sealstream chain show main` shows it, `sealstream search chain:main` its entries"),
        (["search", "eu"], "did you mean chain:eu?"),
        (["config", "acls", "sequencer"], "`sealstream config acls eu --for sequencer`"),
    ],
)
def test_what_stands_in_the_place_of_a_chain_is_told_what_it_is(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], told: str
) -> None:
    config = tmp_path / "sealstream.toml"
    write_settings(config, {"log": "audit.example.com/tests", "chains": {"eu": {"vkey": "x"}, "main": {"vkey": "x"}}})
    assert run(["--config", str(config), *arguments]) == 2
    said = capsys.readouterr()
    assert told in said.err
    assert said.out == ""


def test_a_chain_with_the_name_of_a_policy_is_a_chain(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = tmp_path / "sealstream.toml"
    kafka = {"bootstrap": "127.0.0.1:1"}
    write_settings(config, {"log": "audit.example.com/tests", "kafka": kafka, "chains": {"hipaa": {"vkey": "x"}}})
    assert run(["--config", str(config), "config", "acls", "hipaa", "--for", "sequencer"]) == 0
    run(["--config", str(config), "chain", "retention", "hipaa"])
    assert "is a retention policy" not in capsys.readouterr().err


def test_without_settings_every_command_says_how_to_begin(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in (["chain", "list"], ["verify", "all"], ["ask", "failures"], ["migrate"], ["run", "sequencer"]):
        assert run(["--config", str(tmp_path / "none.toml"), *arguments]) == 2
        assert "sealstream up" in capsys.readouterr().err


@pytest.mark.parametrize(("interrupted", "code"), [(True, 130), (False, 2)])
def test_ctrl_c_is_no_fault_even_where_the_driver_makes_another_error_of_it(
    monkeypatch: pytest.MonkeyPatch, interrupted: bool, code: int
) -> None:
    def app(**_options: object) -> None:
        try:
            if interrupted:
                signal.raise_signal(signal.SIGINT)
        except KeyboardInterrupt:
            pass
        raise TypeError("expected configuration property name as type unicode string")

    monkeypatch.setattr(main, "app", app)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        assert run(["status"]) == code
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, before)
