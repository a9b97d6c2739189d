"""A process is stepped, waited for, built anew or stopped, by what it raises."""

from __future__ import annotations

import threading

from sealstream.cli.service import serve
from sealstream.errors import ChainBroken, Fenced, Misconfigured, SealstreamError


class _Scripted:
    """Raises what the script says, step by step; None is a step that went well; the script's end stops the service."""

    def __init__(self, script: list[SealstreamError | None], stop: threading.Event, log: list[str]) -> None:
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


def _serve(*script: SealstreamError | None) -> tuple[int, list[str]]:
    stop, log, left = threading.Event(), [], list(script)
    return serve("test", lambda: _Scripted(left, stop, log), stop), log


def test_a_process_that_is_told_to_stop_is_closed_and_ends_well() -> None:
    assert _serve(None, None) == (0, ["built", "step", "step", "closed"])


def test_what_can_be_waited_out_builds_the_process_anew() -> None:
    code, log = _serve(None, Fenced("another took over"), None)
    assert (code, log) == (0, ["built", "step", "closed", "built", "step", "closed"])


def test_an_alarm_ends_the_process_with_exit_code_1_and_is_not_tried_again() -> None:
    assert _serve(None, ChainBroken("entry 7"), None) == (1, ["built", "step", "closed"])


def test_a_wrong_setting_ends_the_process_with_exit_code_2() -> None:
    assert _serve(Misconfigured("no such topic")) == (2, ["built", "closed"])


def test_a_close_that_fails_is_no_second_failure() -> None:
    class Unclosable(_Scripted):
        def close(self) -> None:
            super().close()
            raise Fenced("nobody is there to say goodbye to")

    stop, log = threading.Event(), []
    assert serve("test", lambda: Unclosable([None], stop, log), stop) == 0
    assert log == ["built", "step", "closed"]
