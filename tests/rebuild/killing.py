"""kill -9 of a rebuild at random moments: right before, or right after, one of its calls to the database."""

from __future__ import annotations

import faulthandler
import os
import random
import signal
import traceback
from collections.abc import Callable
from typing import Any

from sealstream.postgres.driver import Session

__all__ = ["killed_until_it_ends"]

_LIVES = 60


def killed_until_it_ends(run: Callable[[], object], seed: int, *, within: int = 15) -> int:
    """Runs it in a process of its own, which kills itself, again and again, ever later; how often it was killed."""
    chance = random.Random(seed)
    for life in range(_LIVES):
        moment, after = chance.randint(1, within * (life + 1)), chance.random() < 0.5
        child = os.fork()
        if child == 0:
            _live(run, moment, after)
        _, status = os.waitpid(child, 0)
        if not os.WIFSIGNALED(status):
            assert os.waitstatus_to_exitcode(status) == 0, "it failed: its traceback is above"
            return life
        assert os.WTERMSIG(status) == signal.SIGKILL
    raise AssertionError(f"not at its end after {_LIVES} lives")


def _live(run: Callable[[], object], moment: int, after: bool) -> None:
    calls, real = 0, Session.run

    def counted(self: Session, doing: str, work: Callable[..., Any]) -> Any:
        nonlocal calls
        calls += 1
        mine = calls == moment
        if mine and not after:
            os.kill(os.getpid(), signal.SIGKILL)
        result = real(self, doing, work)
        if mine:
            os.kill(os.getpid(), signal.SIGKILL)
        return result

    faulthandler.dump_traceback_later(100, exit=True)  # a life that hangs is told of
    Session.run = counted  # type: ignore[method-assign]
    try:
        run()
    except BaseException:  # noqa: BLE001 - the child must end here, whatever it was
        traceback.print_exc()
        os._exit(3)
    os._exit(0)
