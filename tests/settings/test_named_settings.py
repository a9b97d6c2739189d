"""A settings file that somebody named and that is not there is never passed over, whatever else the folder holds."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import pytest
from tests.pipeline import Said, say

from sealstream.cli.main import run
from sealstream.cli.settings import write_settings

NOWHERE = {"kafka": {"bootstrap": "127.0.0.1:1"}, "archive": {"bucket": ""}}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with a local stack of which only the settings and the states of its programs are left."""
    monkeypatch.chdir(tmp_path)
    for name in ("SEALSTREAM_CONFIG", "SEALSTREAM_HOME"):
        monkeypatch.delenv(name, raising=False)
    stack = tmp_path / ".sealstream"
    write_settings(stack / "sealstream.toml", NOWHERE)
    program = {"state": "stopped", "pid": None, "since": 0.0, "restarts": 0, "exit_code": 0}
    processes = [{"status": {"name": "kafka", "log": "logs/kafka.log", **program}, "identity": None}]
    (stack / "state.json").write_text(json.dumps({"processes": processes}))
    assert said("status").code == 2
    assert "nothing runs here" in said("status").out
    return tmp_path


def said(*arguments: str) -> Said:
    """A command that is told no settings file but in its arguments."""
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        code = run([*arguments])
    return Said(code, out.getvalue(), err.getvalue())


def by_option(*arguments: str) -> Said:
    return said("--config", "nothere.toml", *arguments)


def by_variable(*arguments: str) -> Said:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SEALSTREAM_CONFIG", "nothere.toml")
        return said(*arguments)


@pytest.mark.parametrize("named", [by_option, by_variable])
def test_a_named_file_that_is_missing_ends_status(named: Callable[..., Said], folder: Path) -> None:
    for arguments in (["status"], ["status", "--json"]):
        told = named(*arguments)
        assert (told.code, told.out) == (2, "")
        assert "no settings file at nothere.toml" in told.err


@pytest.mark.parametrize("named", [by_option, by_variable])
@pytest.mark.usefixtures("folder")
def test_a_named_file_that_is_missing_is_wrong_to_config_check(
    named: Callable[..., Said], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in (("KAFKA__BOOTSTRAP", "127.0.0.1:1"), ("ARCHIVE__BUCKET", "")):
        monkeypatch.setenv(f"SEALSTREAM_{name}", value)
    told = named("config", "check")
    assert told.code == 1
    assert "wrong     settings: no settings file at nothere.toml" in told.out
    assert "to do: name the file that there is" in told.out


def test_a_file_that_nobody_named_may_be_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SEALSTREAM_CONFIG", raising=False)
    for name, value in (("KAFKA__BOOTSTRAP", "127.0.0.1:1"), ("ARCHIVE__BUCKET", "")):
        monkeypatch.setenv(f"SEALSTREAM_{name}", value)
    assert "ok        settings: no file .sealstream/sealstream.toml" in said("config", "check").out


def test_where_nothing_is_known_all_is_not_well(tmp_path: Path) -> None:
    config = tmp_path / "sealstream.toml"
    write_settings(config, NOWHERE)
    told = say(config, "status")
    assert told.code == 2
    assert "all is well" not in told.out.replace("can't tell whether all is well", "")
    assert f"there is no chain in {config}" in told.out
    assert json.loads(say(config, "status", "--json").out)["verdict"] == "unknown"


def test_a_search_that_is_none_is_shown_with_its_mark_below(tmp_path: Path) -> None:
    config = tmp_path / "sealstream.toml"
    config.write_text('[report.privileged]\nbad = "acton:x"\n')
    told = say(config, "config", "check")
    assert told.code == 1
    assert "\\n" not in told.out
    lines = told.out.splitlines()
    (at,) = [number for number, line in enumerate(lines) if line.strip() == "acton:x"]
    assert lines[at + 1].index("^") == lines[at].index("acton")
