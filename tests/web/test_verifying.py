"""What is left of a verification that went wrong: the next one can begin, and the operator is told."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs
from tests.long_runs import long_run
from tests.pipeline import wait_until

from sealstream.errors import Misconfigured
from sealstream.web.verifying import Verifications

pytestmark = long_run

HOLDS = {"store": "kafka", "verdict": "holds", "exit_code": 0}


def printing(*documents: Any) -> list[str]:
    """A verification that prints these."""
    return [sys.executable, "-c", f"import json\nfor each in {documents!r}: print(json.dumps(each))"]


@pytest.fixture
def logged() -> Iterator[list[Any]]:
    with capture_logs() as logs:
        yield logs


def ended(verifications: Verifications) -> None:
    wait_until(lambda: not verifications.running("main"), 20)


def test_a_report_that_nobody_expected_does_not_end_verifying(tmp_path: Path, logged: list[Any]) -> None:
    documents: list[Any] = [{"a": 1}]
    verifications = Verifications(tmp_path, lambda _chain: printing(*documents))
    verifications.start("main", "ann")
    ended(verifications)
    assert verifications.last("main") is None
    assert [each["event"] for each in logged if each["log_level"] == "error"] == ["a verification's result is lost"]
    documents[:] = [HOLDS]
    verifications.start("main", "ann")
    ended(verifications)
    assert (verifications.last("main") or {})["exit_code"] == 0


def test_a_result_that_can_not_be_kept_does_not_end_verifying(tmp_path: Path, logged: list[Any]) -> None:
    folder = tmp_path / "verifications"
    verifications = Verifications(folder, lambda _chain: printing(HOLDS))
    (folder / "main.json").mkdir(parents=True)  # a file can't take its place
    verifications.start("main", "ann")
    ended(verifications)
    (folder / "main.json").rmdir()
    verifications.start("main", "ann")
    ended(verifications)
    assert verifications.last("main") is not None
    assert len([each for each in logged if each["log_level"] == "error"]) == 1
    assert [file.name for file in folder.iterdir()] == ["main.json"]


def test_a_folder_that_can_not_be_written_is_said_before_the_work(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    verifications = Verifications(tmp_path / "file" / "verifications", lambda _chain: printing(HOLDS))
    with pytest.raises(Misconfigured, match=r"results of verifications can't be kept in .*verifications: .*expected"):
        verifications.start("main", "ann")
    assert not verifications.running("main")
    with pytest.raises(Misconfigured):
        verifications.check_folder()


@pytest.mark.parametrize(
    "damage", [b"", b"{}", b"[]", b'{"finished_at": "yesterday"}', b"\xff\xfe", b'{"stores": [{"exit_code": "0"}]}']
)
def test_a_damaged_result_is_none_and_the_schedule_goes_on(tmp_path: Path, damage: bytes, logged: list[Any]) -> None:
    (tmp_path / "main.json").write_bytes(damage)
    verifications = Verifications(tmp_path, lambda _chain: printing(HOLDS), tick_s=0.02)
    assert verifications.last("main") is None
    verifications.keep_up(["main"], 1)
    wait_until(lambda: verifications.last("main") is not None, 20)
    verifications.close()
    assert "a verification's result can't be read" in {each["event"] for each in logged}


@long_run
def test_the_schedule_outlives_a_verification_that_does_not_begin_and_does_not_hammer(
    tmp_path: Path, logged: list[Any]
) -> None:
    asked: list[str] = []

    def command(chain: str) -> list[str]:
        asked.append(chain)
        return [str(tmp_path / "no-such-program")] if chain == "main" else printing(HOLDS)

    verifications = Verifications(tmp_path, command, tick_s=0.02)
    verifications.keep_up(["main", "other"], 1)
    wait_until(lambda: verifications.last("other") is not None, 20)
    verifications.close()
    assert asked == ["main", "other"]
