"""Runs one process of the pipeline: build it, step it, close it, and build it anew after what can be waited out.

Starting and recovering are the same lines: each round builds the process from its stores. `Unavailable` is waited out;
`ChainStopped` is an alarm that ends the process with exit code 1, since only a person may decide to go on; where an
orchestrator would start it anew, it can stay instead, and do nothing (`metrics.stay_after_alarm`). SIGTERM and
SIGINT finish the step at hand and close in order. A kill at any moment leaves what the process's own crash story says.
"""

from __future__ import annotations

import os
import random
import signal
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from types import FrameType
from typing import Protocol

import structlog

from sealstream.errors import ChainStopped, SealstreamError, Unavailable
from sealstream.health import Vitals
from sealstream.layout import Alarm, Figures

__all__ = ["Process", "configure_logging", "serve"]

_FIRST_PAUSE_S = 0.2
_LONGEST_PAUSE_S = 10.0
_STOP_WITHIN_S = 8.0
_REST_S = 1.0


class Process(Protocol):
    """What every process is: `step()` handles one batch and says whether there was work; `close()` ends in order."""

    def step(self) -> bool:
        """Handle one batch; wait a moment when there is none."""
        ...

    def close(self) -> None:
        """Finish in order."""
        ...


class _Lines:
    """To standard error. A log that can't be written (its disk is full, its reader gone) ends no process."""

    def msg(self, message: str) -> None:
        with suppress(OSError, ValueError):
            print(message, file=sys.stderr, flush=True)

    debug = info = warning = warn = error = critical = exception = fatal = log = msg


def configure_logging() -> None:
    """Lines for people on a terminal, JSON elsewhere; to standard error."""
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.dict_tracebacks
            if not sys.stderr.isatty()
            else structlog.processors.ExceptionPrettyPrinter(),
            structlog.dev.ConsoleRenderer() if sys.stderr.isatty() else structlog.processors.JSONRenderer(),
        ],
        logger_factory=lambda *_: _Lines(),
    )


def serve(
    name: str, build: Callable[[], Process], stop: threading.Event | None = None, vitals: Vitals | None = None
) -> int:
    """Run until told to stop; the return value is the exit code (0 stopped, 1 alarm, 2 can't run).

    `vitals` are told how it goes, for whoever asks.
    """
    log = structlog.get_logger().bind(process=name)
    vitals = vitals or Vitals(name, (), Figures())
    stop = stop or _stop_on_signals(vitals)
    code = _run(build, stop, vitals, log)
    if code == 1 and vitals.stays_after_alarm:
        log.critical("staying, without doing anything: probes and figures tell of the alarm until it is stopped")
        while not stop.wait(_REST_S):
            vitals.resting()
    return code


def _run(build: Callable[[], Process], stop: threading.Event, vitals: Vitals, log: structlog.stdlib.BoundLogger) -> int:
    pause = _FIRST_PAUSE_S
    while not stop.is_set():
        process: Process | None = None
        try:
            vitals.beginning()
            process = build()
            log.info("started")
            while not stop.is_set():
                process.step()
                vitals.stepped()
                pause = _FIRST_PAUSE_S
        except ChainStopped as alarm:
            vitals.stopped_by(Alarm(type(alarm).__name__, str(alarm), alarm.runbook))
            log.critical(
                "chain stopped: a person must decide",
                kind=type(alarm).__name__,
                reason=str(alarm),
                runbook=alarm.runbook,
            )
            return 1
        except Unavailable as wait:
            vitals.waiting(str(wait), wait.runbook)
            log.warning("waiting and starting anew", reason=str(wait), pause_s=round(pause, 1), **_what_to_do(wait))
            stop.wait(pause * random.uniform(0.8, 1.2))
            pause = min(pause * 2, _LONGEST_PAUSE_S)
        except SealstreamError as error:
            log.error("can't run", kind=type(error).__name__, reason=str(error), **_what_to_do(error))
            return error.exit_code
        except Exception as error:  # no alarm about the log: a supervisor may start this again
            log.critical("ended by a fault of the program: please report it", reason=repr(error), exc_info=True)
            return 2
        finally:
            if process is not None:
                try:
                    process.close()
                except Exception as error:  # noqa: BLE001 - what ends it has been said
                    log.warning("did not close in order; the next start recovers", reason=str(error))
    log.info("stopped")
    return 0


def _what_to_do(error: SealstreamError) -> dict[str, str]:
    return {"runbook": error.runbook} if error.runbook else {}


def _stop_on_signals(vitals: Vitals) -> threading.Event:
    stop = threading.Event()

    def told(number: int, frame: FrameType | None) -> None:
        if not stop.is_set():
            stop.set()
            vitals.stopping()
            overdue = threading.Timer(_STOP_WITHIN_S, _end_at_once)
            overdue.daemon = True
            overdue.start()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, told)
    return stop


def _end_at_once() -> None:
    """A store that does not answer must not hold the process up: an end at any line is what a start recovers from."""
    structlog.get_logger().warning("did not close in time; ending at once, the next start recovers")
    os._exit(0)
