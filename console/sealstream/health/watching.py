"""Two small threads beside a process's loop: one asks the stores for the lag, one tells systemd how the process is.

The loop knows nothing of them. A store that does not answer holds up the asking thread alone; what it found last then
stays, and `sealstream_store_reachable` says that it is old. Both are daemons: they hold nothing that an end must wait
for, and an end at any line leaves nothing behind.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from types import TracebackType

import structlog

from sealstream.errors import SealstreamError
from sealstream.health.notify import ServiceManager
from sealstream.health.serving import MetricsServer
from sealstream.health.vitals import Vitals

__all__ = ["Health", "Question"]

Question = Callable[[], None]
"""Asks one store, sets what it found in the tally; raises a `SealstreamError` when there is no answer."""

_PULSE_S = 0.5
_BIND_AGAIN_S = 10.0


class Health:
    """A context: from entering to leaving it, the process is watched. `questions` by the store that each asks.

    `server` None: no port was named. Questions are asked for who reads the answers, so not without a server.
    """

    def __init__(
        self,
        vitals: Vitals,
        server: MetricsServer | None,
        questions: Mapping[str, Question],
        *,
        every_s: float = 10.0,
        manager: ServiceManager | None = None,
    ) -> None:
        self.vitals = vitals
        self._server = server
        self._questions = questions if server is not None else {}
        self._every_s = every_s
        self._manager = manager or ServiceManager()
        self._ended = threading.Event()
        self._log = structlog.get_logger().bind(process=vitals.process)
        self._told_ready = False
        self._told: tuple[str, ...] = ("",)
        self._pinged_at = 0.0
        self._bind_at = 0.0
        self._said_taken = False

    def __enter__(self) -> Health:
        self._bind()
        if self._server is not None or self._manager.listens:
            threading.Thread(target=self._pulse, name="pulse", daemon=True).start()
        if self._questions:
            threading.Thread(target=self._ask, name="ask-stores", daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self.vitals.stopping()
        alarms = [f"ALARM: {each.reason}; {each.runbook}" for each in self.vitals.tally.alarms().values()]
        self._manager.tell("STOPPING=1", f"STATUS={'; '.join(alarms) or 'stopping'}")
        if self._server is not None:
            self._server.close()

    def _bind(self) -> None:
        if self._server is None or self._server.url or time.monotonic() < self._bind_at:
            return
        self._bind_at = time.monotonic() + _BIND_AGAIN_S
        try:
            self._log.info("metrics are served", url=f"{self._server.open()}/metrics")
        except OSError as error:
            if not self._said_taken:
                self._said_taken = True
                self._log.error("can't serve metrics; going on without, and trying again", reason=str(error))

    def _pulse(self) -> None:
        while not self._ended.wait(_PULSE_S):
            self._bind()
            ready = self.vitals.ready()
            if ready.holds and not self._told_ready:
                self._told_ready = True
                self._manager.tell("READY=1")
            if ready.because != self._told:
                self._told = ready.because
                self._manager.tell(f"STATUS={'; '.join(ready.because) or 'ready'}")
            self._ping()

    def _ping(self) -> None:
        """A third of the watchdog's time apart, and only while the loop moves."""
        every_s, now = self._manager.watchdog_s, time.monotonic()
        if every_s is not None and now - self._pinged_at >= every_s / 3 and self.vitals.alive().holds:
            self._pinged_at = now
            self._manager.tell("WATCHDOG=1")

    def _ask(self) -> None:
        while True:
            for store, question in self._questions.items():
                try:
                    question()
                    self.vitals.store_answered(store)
                except SealstreamError as error:
                    self.vitals.store_answered(store, str(error))
                except Exception as error:  # noqa: BLE001 - figures are missing then, and the log goes on
                    self.vitals.store_answered(store, f"{type(error).__name__}: {error}")
            if self._ended.wait(self._every_s):
                return
