"""A process is stepped, waited for, built anew or stopped, by what it raises."""

from __future__ import annotations

import subprocess
import sys
import threading
import time

import pytest

from sealstream.cli.service import serve
from sealstream.errors import ChainBroken, Fenced, Misconfigured
from sealstream.health import Vitals
from sealstream.layout import Figures, figures


class _Scripted:
    """Raises what the script says, step by step; None is a step that went well; the script's end stops the service."""

    def __init__(self, script: list[Exception | None], stop: threading.Event, log: list[str]) -> None:
        self._script = script
        self._stop = stop
        self._log = log
        log.append("built")

    def step(self) -> bool:
        if not self._script:
            self._stop.set()
            return False
        outcome = self._script.pop(0)
        if outcome is not None:
            raise outcome
        self._log.append("step")
        return True

    def close(self) -> None:
        self._log.append("closed")


def _serve(*script: Exception | None) -> tuple[int, list[str]]:
    stop, log, left = threading.Event(), [], list(script)
    return serve("test", lambda: _Scripted(left, stop, log), stop), log


def test_a_process_that_is_told_to_stop_is_closed_and_ends_well() -> None:
    assert _serve(None, None) == (0, ["built", "step", "step", "closed"])


def test_what_can_be_waited_out_builds_the_process_anew() -> None:
    code, log = _serve(None, Fenced("another took over"), None)
    assert (code, log) == (0, ["built", "step", "closed", "built", "step", "closed"])


def test_an_alarm_ends_the_process_with_exit_code_1_and_is_not_tried_again() -> None:
    assert _serve(None, ChainBroken("entry 7"), None) == (1, ["built", "step", "closed"])


def test_where_it_is_told_to_an_alarm_stays_to_be_seen_and_the_process_is_closed() -> None:
    """As under Kubernetes, which starts anew whatever ends: the probes tell of the alarm until somebody ends it."""
    stop, log, codes = threading.Event(), list[str](), list[int]()
    now = [0.0]
    tally = Figures(lambda: now[0])
    vitals = Vitals("checkpointing", ("main",), tally, stays_after_alarm=True, clock=lambda: now[0])
    script: list[Exception | None] = [None, ChainBroken("entry 7"), None]
    serving = threading.Thread(
        target=lambda: codes.append(serve("test", lambda: _Scripted(script, stop, log), stop, vitals)), daemon=True
    )
    serving.start()
    while "closed" not in log:
        time.sleep(0.01)
    now[0] = 10_000.0
    time.sleep(2.5)
    assert serving.is_alive()
    assert log == ["built", "step", "closed"]
    assert vitals.alive().holds
    assert vitals.ready().runbook == ChainBroken.runbook
    assert tally.value(figures.ALARMS, "main", "ChainBroken") == 1
    stop.set()
    serving.join(10)
    assert codes == [1]


def test_a_wrong_setting_ends_the_process_with_exit_code_2() -> None:
    assert _serve(Misconfigured("no such topic")) == (2, ["built", "closed"])


def test_a_fault_of_the_program_is_no_alarm_and_closes_it(capsys: pytest.CaptureFixture[str]) -> None:
    assert _serve(None, ZeroDivisionError("unforeseen")) == (2, ["built", "step", "closed"])
    assert "unforeseen" in "".join(capsys.readouterr())


def test_a_log_that_can_t_be_written_ends_nothing() -> None:
    """As when its disk is full: `/dev/full` refuses every byte."""
    program = (
        "import sys, structlog\nfrom sealstream.cli.service import configure_logging\n"
        "configure_logging()\nstructlog.get_logger().critical('chain stopped', chain='main')\nprint('goes on')"
    )
    with open("/dev/full", "w") as full:
        told = subprocess.run([sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=full, check=False)
    assert told.stdout == b"goes on\n"
    assert told.returncode != 1  # which would be an alarm


def test_a_close_that_fails_is_no_second_failure() -> None:
    class Unclosable(_Scripted):
        def close(self) -> None:
            super().close()
            raise Fenced("nobody is there to say goodbye to")

    stop, log = threading.Event(), []
    assert serve("test", lambda: Unclosable([None], stop, log), stop) == 0
    assert log == ["built", "step", "closed"]
