"""The unit files of deploy/systemd: they start commands that exist, and treat an alarm as the local supervisor does."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from tests.pipeline import say

from sealstream.cli.run_process import ProcessName
from sealstream.devstack import ALARM_EXIT_CODE

UNITS = Path(__file__).parents[2] / "deploy" / "systemd"
SERVICES = sorted(UNITS.glob("*.service"))


def settings_of(unit: Path) -> dict[str, list[str]]:
    """The unit's settings; a name can stand more than once."""
    found: dict[str, list[str]] = {}
    for line in unit.read_text().splitlines():
        name, equals, value = line.partition("=")
        if equals and not line.startswith("#"):
            found.setdefault(name, []).append(value)
    return found


def test_there_is_a_unit_for_each_process() -> None:
    processes = {*ProcessName, "outbox-relay", "collect"}
    named = {unit.name.removeprefix("sealstream-").removesuffix(".service").removesuffix("@") for unit in SERVICES}
    assert named == processes


@pytest.mark.parametrize("unit", SERVICES, ids=lambda unit: unit.name)
def test_a_unit_starts_a_command_that_exists(unit: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    (started,) = settings_of(unit)["ExecStart"]
    program, *words = started.replace("%i", "main").split()
    assert Path(program).name == "sealstream"
    told = say(tmp_path / "none.toml", *words, "--help")
    assert told.code == 0, told.err
    for option in (word for word in words if word.startswith("--")):
        assert option in told.out
    ran = say(tmp_path / "none.toml", *words)  # the words are understood; what is missing is the settings
    assert (ran.code, "no settings file" in ran.err) == (2, True), ran.err


@pytest.mark.parametrize("unit", SERVICES, ids=lambda unit: unit.name)
def test_a_unit_restarts_what_failed_and_never_what_an_alarm_has_stopped(unit: Path) -> None:
    said = settings_of(unit)
    assert said["Restart"] == ["on-failure"]
    assert said["RestartPreventExitStatus"] == [str(ALARM_EXIT_CODE)]
    assert said["StartLimitIntervalSec"] == ["0"]
    assert said["Type"] == ["notify"]
    assert int(said["TimeoutStopSec"][0]) > 10
    assert int(said["WatchdogSec"][0]) > 120  # `alive_within_seconds`
    assert said["NoNewPrivileges"] == ["yes"]
    signs = "checkpointing" in unit.name
    assert ("-/etc/sealstream/keys" in said.get("InaccessiblePaths", [])) is not signs


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd here")
def test_systemd_understands_them(tmp_path: Path) -> None:
    for unit in UNITS.iterdir():
        text = unit.read_text().replace("/opt/sealstream/bin/sealstream", "/bin/true")
        (tmp_path / unit.name.replace("@.", "@main.")).write_text(text)
    names = [str(path) for path in tmp_path.iterdir()]
    told = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", *names], capture_output=True, text=True, timeout=60, check=False
    )
    assert (told.returncode, told.stderr) == (0, "")
