"""The forward process: each target in a thread of its own, so that none waits for another's receiver.

A target that fails in whatever way is built anew after a pause, and the others go on; what fails is said in the log, in
`troubles` and by `sealstream status`. A crash leaves each target as its loop says.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Sequence

import structlog

from sealstream.errors import Misconfigured, SealstreamError, Unavailable
from sealstream.forward.following import IsMuted, never_muted
from sealstream.forward.senders import sender_of
from sealstream.forward.target_loop import Sources, TargetLoop
from sealstream.forward.targets import Target
from sealstream.kafka import KafkaSettings, StandingProducer, check_topics
from sealstream.kafka.admin import describe
from sealstream.layout import Figures

__all__ = ["Forwarding", "Troubles"]

_FIRST_PAUSE_S = 0.5
_LONGEST_PAUSE_S = 30.0
_FAULT_PAUSE_S = 10.0
_CLOSE_WITHIN_S = 6.0
_STEP_S = 0.5


class Troubles:
    """Why each target takes nothing now: written by its thread, read by others. Outlives the process object."""

    def __init__(self) -> None:
        self._told: dict[str, str] = {}

    def set(self, target: str, words: str) -> None:
        """Empty words: all is well."""
        self._told[target] = words

    def of(self, target: str) -> str:
        """In words; empty while all is well."""
        return self._told.get(target, "")


class Forwarding:
    """All targets. `own`: how the forward sink's topics must be. `is_muted`: whether an alert is not to be forwarded.

    Building it looks for the topics; raises `Misconfigured` or `Unavailable`. `step()` waits a moment; whether all
    targets take messages.
    """

    def __init__(
        self,
        kafka: KafkaSettings,
        targets: Sequence[Target],
        sources: Sources,
        *,
        is_muted: IsMuted = never_muted,
        tally: Figures | None = None,
        troubles: Troubles | None = None,
        wall: Callable[[], float] = time.time,
    ) -> None:
        if not targets:
            raise Misconfigured("there is no target: [forward.targets.NAME] in the settings makes one")
        self._troubles = troubles or Troubles()
        check_topics(kafka, sources.own.configs())
        describe(kafka, sorted({topic for target in targets for topic in _topics_of(sources, target)}))
        self._producer = StandingProducer(kafka)
        self._stopping = threading.Event()
        self._workers = [
            _Worker(
                target,
                lambda target=target: TargetLoop(  # type: ignore[misc]
                    kafka,
                    target,
                    sender_of(target, self._stopping.wait, wall),
                    sources,
                    self._producer,
                    is_muted=is_muted,
                    pause=self._stopping.wait,
                    wall=wall,
                    tally=tally,
                ),
                self._stopping,
                self._troubles,
            )
            for target in targets
        ]

    def step(self) -> bool:
        """Waits a moment; the threads do the work."""
        self._stopping.wait(_STEP_S)
        return not any(self._troubles.of(worker.name) for worker in self._workers)

    def close(self) -> None:
        """Ends every target after its attempt at hand; one whose receiver does not answer is left behind."""
        self._stopping.set()
        deadline = time.monotonic() + _CLOSE_WITHIN_S
        for worker in self._workers:
            worker.join(max(deadline - time.monotonic(), 0.0))
        self._producer.close()


def _topics_of(sources: Sources, target: Target) -> list[str]:
    alerts, chains = sources.followed_by(target)
    return [*([alerts] if alerts else []), *chains]


class _Worker(threading.Thread):
    def __init__(
        self,
        target: Target,
        build: Callable[[], TargetLoop],
        stopping: threading.Event,
        troubles: Troubles,
    ) -> None:
        super().__init__(name=target.name, daemon=True)
        self._build = build
        self._stopping = stopping
        self._troubles = troubles
        self._log = structlog.get_logger().bind(target=target.name)
        self._said = ""
        self.start()

    def run(self) -> None:
        pause_s = _FIRST_PAUSE_S
        while not self._stopping.is_set():
            loop: TargetLoop | None = None
            try:
                loop = self._build()
                while not self._stopping.is_set():
                    loop.step()
                    self._troubles.set(self.name, loop.trouble)
                    self._said, pause_s = "", _FIRST_PAUSE_S
            except Unavailable as error:
                self._failed(str(error))
                self._stopping.wait(pause_s * random.uniform(0.8, 1.2))
                pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
            except SealstreamError as error:
                self._failed(str(error))
                self._stopping.wait(_LONGEST_PAUSE_S)
            except Exception as error:  # noqa: BLE001 - one target's fault must not end the others
                self._failed(f"a fault of the program: {error!r}", fault=True)
                self._stopping.wait(_FAULT_PAUSE_S)
            finally:
                self._close(loop)

    def _failed(self, reason: str, *, fault: bool = False) -> None:
        self._troubles.set(self.name, reason)
        if fault:
            self._log.critical("beginning anew; please report it", reason=reason, exc_info=True)
        elif reason != self._said:
            self._log.warning("beginning anew", reason=reason)
        self._said = reason

    def _close(self, loop: TargetLoop | None) -> None:
        if loop is None:
            return
        try:
            loop.close()
        except SealstreamError as error:
            self._log.warning("did not close in order; the next start recovers", reason=str(error))
