"""Looks after one worker: starts it as a process of its own, and ends and restarts one that gets nowhere.

A worker can stop without ending: Faust's consumer is known to. Two signs are watched. Its reports say that its loop
moves; the group's committed offsets, which Kafka keeps, say that its work is done. A worker that is silent, or whose
partitions hold a record while their offset stands, is killed; another starts where the offsets are. Recovering states
is moving, and while Kafka does not answer nobody is judged.

The worker can't outlive this process: its end of the pipe breaks, and the kernel kills it (`worker_life`). Nothing is
kept here; a crash at any line is a start.
"""

from __future__ import annotations

import math
import os
import select
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from typing import NamedTuple

import structlog

from sealstream.anomaly.worker_beginning import input_lost, lost_places
from sealstream.anomaly.worker_reports import Report, decode_report
from sealstream.errors import NotCanonical, SealstreamError, Unavailable
from sealstream.kafka import KafkaSettings, Place, committed_offsets, end_offsets, first_offsets, first_record
from sealstream.layout import Figures, figures

__all__ = ["Patience", "Restarts", "WorkerWatchdog"]

_WAIT_S = 0.25
_STOP_WITHIN_S = 6.5
_LONGEST_LINE = 1_000_000
_WHILE_IT_WORKS = 10


class Patience(NamedTuple):
    """How long what may last. `start_s`: until the first report; `silent_s`: between two; `still_s`: that a partition
    with a waiting record has the same committed offset (twice that where another worker looks after it; ten times that
    while another of the worker's own moves: with much to catch up on, Faust empties one after the other).
    `look_every_s`: how often Kafka is asked.
    """

    start_s: float = 60.0
    silent_s: float = 30.0
    still_s: float = 60.0
    look_every_s: float = 5.0


_PATIENCE = Patience()


class Restarts:
    """Growing pauses between starts of workers that do not last. Kept by who builds one watchdog after another."""

    sound_after_s = 30.0
    longest_s = 30.0

    def __init__(self) -> None:
        self._began_at = 0.0
        self._pause_s = 0.5

    def begin(self) -> None:
        """Another starts now. Raises `Unavailable` when it is too early for that."""
        now = time.monotonic()
        if self._began_at and now - self._began_at > self.sound_after_s:
            self._pause_s = 0.5
        elif self._began_at and now - self._began_at < self._pause_s:
            raise Unavailable("a worker ended soon after its start: the next one waits a little")
        else:
            self._pause_s = min(2 * self._pause_s, self.longest_s)
        self._began_at = now


class WorkerWatchdog:
    """`command`: starts a worker, given `--pipe FD --parent PID` behind it. `places`: all partitions of the input."""

    def __init__(
        self,
        kafka: KafkaSettings,
        group: str,
        places: Sequence[Place],
        command: Sequence[str],
        tally: Figures,
        *,
        restarts: Restarts | None = None,
        patience: Patience = _PATIENCE,
    ) -> None:
        if restarts is not None:
            restarts.begin()
        self._tally = tally
        self._tally.set(figures.WORKER_READY, 0)
        self._patience = patience
        self._log = structlog.get_logger().bind(process="anomaly")
        self._progress = _Progress(kafka, group, places, patience)
        self._looking = ThreadPoolExecutor(1, "looking")
        self._look: Future[str] | None = None
        self._looked_at = time.monotonic()
        self._heard_at = time.monotonic()
        self._report: Report | None = None
        self._unread = b""
        reading, writing = os.pipe()
        self._pipe = reading
        os.set_blocking(reading, False)
        try:
            self._worker = subprocess.Popen(
                [*command, "--pipe", str(writing), "--parent", str(os.getpid())],
                pass_fds=[writing],
                stdin=subprocess.DEVNULL,
            )
        except OSError as error:
            os.close(reading)
            raise Unavailable(f"a worker can't be started: {error}") from error
        finally:
            os.close(writing)

    @property
    def pid(self) -> int:
        """The worker's."""
        return self._worker.pid

    def step(self) -> bool:
        """Listen a moment. Raises `Unavailable` when the worker has ended or got nowhere, `InputLost`."""
        moved = self._listen()
        if (code := self._worker.poll()) is not None:
            why = f": {self._report.trouble}" if self._report is not None and self._report.trouble else ""
            raise Unavailable(f"the worker has ended with exit code {code}{why}")
        silent_s = time.monotonic() - self._heard_at
        limit_s = self._patience.start_s if self._report is None else self._patience.silent_s
        if silent_s > limit_s:
            self._kill()
            raise Unavailable(f"the worker has said nothing for {silent_s:.0f} s: it was ended")
        self._check_progress()
        return moved

    def close(self) -> None:
        """End the worker: in order, and where that takes too long, at once. Can be called twice."""
        if self._worker.poll() is None:
            self._worker.send_signal(signal.SIGTERM)
            try:
                self._worker.wait(_STOP_WITHIN_S)
            except subprocess.TimeoutExpired:
                self._log.warning("the worker did not stop in time: it was ended")
                self._kill()
        self._looking.shutdown(wait=False, cancel_futures=True)
        if self._pipe >= 0:
            os.close(self._pipe)
            self._pipe = -1

    def _listen(self) -> bool:
        if not select.select([self._pipe], [], [], _WAIT_S)[0]:
            return False
        with suppress(BlockingIOError):
            read = os.read(self._pipe, _LONGEST_LINE)
            if not read:
                time.sleep(_WAIT_S)  # it has closed its end, so it is about to end
            *lines, self._unread = (self._unread + read).split(b"\n")
            for line in lines:
                try:
                    self._hear(decode_report(line))
                except NotCanonical as error:
                    self._log.warning("a report of the worker can't be understood", why=str(error))
        return True

    def _hear(self, report: Report) -> None:
        before, self._report = self._report or Report(), report
        self._heard_at = time.monotonic()
        self._progress.heard(report)
        for figure, name in _COUNTED.items():
            if (more := getattr(report, name) - getattr(before, name)) > 0:
                self._tally.add(figure, more)
        self._tally.set(figures.WORKER_READY, report.ready)
        self._tally.set(figures.WORKER_PARTITIONS, len(report.places))
        if report.trouble and report.trouble != before.trouble:
            self._log.warning("the worker waits", why=report.trouble)

    def _check_progress(self) -> None:
        now = time.monotonic()
        if self._look is None:
            if now - self._looked_at >= self._patience.look_every_s:
                self._look = self._looking.submit(self._progress.look)
            return
        if not self._look.done():
            return
        look, self._look, self._looked_at = self._look, None, now
        try:
            stands = look.result()
        except Unavailable as error:
            self._log.warning("Kafka does not say how far the worker is", why=str(error))
            return
        except SealstreamError:
            self._kill()
            raise
        self._tally.set(figures.LAG_ENTRIES, self._progress.behind, "")
        self._tally.set(figures.LAG_SECONDS, self._progress.behind_s, "")
        if stands:
            self._kill()
            raise Unavailable(f"{stands}: the worker was ended")

    def _kill(self) -> None:
        self._worker.kill()
        self._worker.wait()


class _Progress:
    """How far the group is, asked from time to time, in a thread of its own."""

    def __init__(
        self,
        kafka: KafkaSettings,
        group: str,
        places: Sequence[Place],
        patience: Patience,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._kafka = kafka
        self._group = group
        self._places = places
        self._patience = patience
        self._clock = clock
        self._at: dict[Place, int] = {}
        self._moved_at: dict[Place, float] = dict.fromkeys(places, clock())
        self._recovered = -1
        self._ours: frozenset[Place] = frozenset()
        self._works_at = -math.inf
        self.behind = 0
        self.behind_s = 0.0

    def heard(self, report: Report) -> None:
        """What the worker says. Recovering, and being given partitions, is getting somewhere."""
        ours = frozenset(report.places)
        if report.recovered != self._recovered or ours != self._ours:
            self._recovered, self._ours = report.recovered, ours
            self._moved_at = dict.fromkeys(self._places, self._clock())

    def look(self) -> str:
        """In words, which partition stands though it has a record waiting; empty when none does.

        Raises `Unavailable`, and `InputLost`.
        """
        asked_at = self._clock()
        try:
            committed = committed_offsets(self._kafka, self._group, self._places)
            firsts, ends = first_offsets(self._kafka, self._places), end_offsets(self._kafka, self._places)
        except Unavailable:
            self._moved_at = dict.fromkeys(self._places, self._clock())
            raise
        if lost := lost_places(committed, firsts, ends):
            raise input_lost(lost, committed, firsts, ends)
        at = {place: max(committed.get(place, 0), firsts[place]) for place in self._places}
        return self._judge(asked_at, at, ends)

    def _judge(self, now: float, at: Mapping[Place, int], ends: Mapping[Place, int]) -> str:
        ours, moved_at = self._ours, self._moved_at
        self.behind, self.behind_s = 0, 0.0
        stands = ""
        for place in self._places:
            if place in ours and place in self._at and at[place] != self._at[place]:
                self._works_at = now
            if at[place] != self._at.get(place) or at[place] >= ends[place]:
                self._at[place] = at[place]
                moved_at[place] = now
        works = now - self._works_at <= self._patience.still_s
        for place in self._places:
            still_s = now - moved_at[place]
            # Behind the last record stands its transaction's marker. A worker that has nothing yet has all to do.
            if (place in ours or not ours) and ends[place] - at[place] > 1:
                self.behind += ends[place] - at[place] - 1
                self.behind_s = max(self.behind_s, still_s)
            limit_s = self._patience.still_s * ((_WHILE_IT_WORKS if works else 1) if place in ours else 2)
            if still_s > limit_s and not stands:
                if first_record(self._kafka, place, at[place]) is not None:
                    stands = (
                        f"{place.topic}, partition {place.partition}, has records from offset {at[place]} on, which "
                        f"nobody has handled for {still_s:.0f} s"
                    )
                else:
                    moved_at[place] = now
        return stands


_COUNTED = {
    figures.WATCHED: "records",
    figures.MALFORMED: "malformed",
    figures.DETECTOR_FAILURES: "failed",
    figures.ALERTS_RAISED: "alerts",
    figures.ALERTS_KNOWN: "known",
    figures.ALERTS_UNSEALED: "unsealed",
}
