"""A stream whose events are on disk before Kafka gets them: the mode `spool`.

`send` writes the event into the journal and, when all before it were handed over, hands it to the driver at once. When
the driver's queue is full, or fails, events wait on disk alone, and the polling thread hands them over in their order.
Where the disk has no room and the driver has, an event goes to Kafka without having been on disk; where neither has, it
is dropped, counted and reported.

The invariant: numbers are handed over without a gap, from the first that Kafka has not acknowledged. The crash story:
what `send` has taken survives every end of the process (loss of power: as `fsync` says), and is sent by the next client
on this directory, by another that runs, or by `sealstream spool drain`; what Kafka had already comes twice, with the
same bytes and numbers, and is sealed once. A forked child leaves all this to its parent.
"""

from __future__ import annotations

import time
from collections import deque
from threading import RLock, Thread

from sealstream.client.composing import Composer
from sealstream.client.delivery import Delivery, warn
from sealstream.client.spool_drain import Drain, claim_next
from sealstream.client.spool_feed import Feed
from sealstream.client.spool_journal import Journal, SpoolSettings
from sealstream.client.spool_reader import Reader
from sealstream.client.stats import Losses, Stats
from sealstream.client.stream import OnFailure, Statement, Stream
from sealstream.client.tracing import Headers
from sealstream.errors import Misconfigured, SealstreamError
from sealstream.sealing import EventSigner

__all__ = ["SpooledStream"]

_POLL_S = 0.1
_POLL_BUSY_S = 0.01
_WAIT_S = 0.005
_AT_ONCE = 256  # records handed over under one hold of the lock, some 0.3 ms
_LOOK_AGAIN_S = 10.0


class SpooledStream(Stream):
    """`Stream`, kept on disk. `drains`: what to send the streams of dead processes with. `signer`: signs each event
    before it is on disk.
    """

    def __init__(
        self,
        topic: str,
        delivery: Delivery,
        producer_id: str,
        losses: Losses,
        statement: Statement,
        settings: SpoolSettings,
        drains: Delivery,
        composer: Composer,
        signer: EventSigner | None = None,
    ) -> None:
        super().__init__(topic, delivery, producer_id, losses, statement)
        self._settings = settings
        self._drains = drains
        self._composer = composer
        self._signer = signer
        self._always = settings.fsync == "always"
        self._journal = Journal(settings, producer_id, topic)
        self._feed = Feed(delivery, self._lock)
        self._feed.begin(topic, 0)
        self._reader = Reader(self._journal.folder)
        self._unspooled: deque[int] = deque()  # numbers not on disk, from the first that is not acknowledged
        self._missed_to = 0
        self._progress = False
        self._waiters = 0
        self._synced_at = 0.0
        self._complained = False
        self._adopting: Thread | None = None

    # --- events

    def send(self, event: bytes, headers: Headers = None) -> str | None:
        """As `Stream.send`, and on disk when it returns None; with `fsync` `always`, through a loss of power, too.

        `headers` are not on disk: an event that is sent from there goes without.
        """
        reason = super().send(event, headers)
        if self._always and reason is None:
            self._journal.sync(self._journal.end - 1)
        return reason

    def _begin_for_event(self) -> None:
        try:
            self._begin()
        except Misconfigured as error:  # no thread, or no driver, in this process: the disk keeps its events
            if not self._complained:
                self._complained = True
                warn("audit events only go to the spool: %s", error)

    def _begin(self) -> None:
        super()._begin()
        self._adopting = Thread(target=self._adopt, name="sealstream-spool", daemon=True)
        try:
            self._adopting.start()
        except RuntimeError:  # another process, or the next start, will
            self._adopting = None

    def _open_producer(self) -> None:
        self._feed.open()

    def _next_number(self) -> int:
        # An exception of a signal handler may have ended `send` right after the event was on disk.
        return max(self._next, self._journal.end)

    def _carry(
        self, number: int, value: bytes, headers: Headers, on_failure: OnFailure | None, own: bool
    ) -> str | None:
        feed = self._feed
        if self._signer is not None:
            value = self._signer.signed(value)
        if self._journal.append(number, value, own=own):
            self._next = number + 1
            if feed.fed == number:
                feed.hand(number, value, headers=headers)
            return None
        if feed.fed != number:
            return "spool full"
        self._journal.admit_unspooled()
        self._next = number + 1
        self._unspooled.append(number)
        if not feed.hand(number, value, on_failure or self._on_failure, headers):
            self._unspooled.pop()
            self._next = number
            return "spool full"
        return None

    # --- what the threads do

    def _serve(self) -> None:
        while not self._stopping.is_set():
            self.step()
            self._tend()
        self._reader.close()

    def step(self) -> None:
        """One round: serve the driver, hand over what waits on disk, note what Kafka has."""
        waits = not self._waiters and (self._feed.fed >= self._next or not self._progress)
        self._progress = self._feed.step(_POLL_S if waits else _POLL_BUSY_S)
        try:
            self._catch_up()
        except OSError as error:
            if not self._complained:
                self._complained = True
                warn("the audit spool %s can't be read: %s", self._journal.folder, error.strerror or error)
        self._journal.mark(self._feed.acknowledged, self._losses.unreported)
        while self._unspooled and self._unspooled[0] < self._feed.acknowledged:
            self._unspooled.popleft()
        if not self._always and time.monotonic() - self._synced_at >= self._settings.fsync_interval_s:
            self._synced_at = time.monotonic()
            self._journal.sync()

    def _catch_up(self) -> None:
        """Hand over what is on disk and not with the driver, as far as the driver takes it."""
        feed = self._feed
        while True:
            with self._lock:
                fed, below = feed.fed, self._next
            if fed >= below:
                return
            records = self._reader.read(fed, below)
            self._miss(fed, records[0].number if records else below)
            if not records:
                with self._lock:
                    feed.pass_over(below)
            for first in range(0, len(records), _AT_ONCE):
                with self._lock:
                    for number, value in records[first : first + _AT_ONCE]:
                        if not feed.hand(number, value):
                            return

    def _miss(self, first: int, end: int) -> None:
        """These numbers can't be read from disk; those that never were there have been counted by the driver's word."""
        first, self._missed_to = max(first, self._missed_to), max(end, self._missed_to)
        if first >= end:
            return
        with self._lock:
            unspooled = set(self._unspooled)
        missing = sum(number not in unspooled for number in range(first, end))
        if missing:
            self._failed += missing
            self._losses.add("spool damaged", missing)

    def _adopt(self) -> None:
        """Sends what processes that died have left here, now and later."""
        passed: set[str] = set()
        complained = ""
        while not self._stopping.is_set():
            try:
                self._send_what_is_left(passed)
            except (OSError, SealstreamError) as error:
                if str(error) != complained:
                    complained = str(error)
                    warn("what a process that died left in the audit spool could not be sent yet: %s", error)
            self._stopping.wait(_LOOK_AGAIN_S)

    def _send_what_is_left(self, passed: set[str]) -> None:
        feed = Feed(self._drains, RLock())
        try:
            while not self._stopping.is_set():
                claim = claim_next(self._settings.directory, self._topic, passed)
                if claim is None:
                    return
                with Drain(claim, feed, self._composer) as drain:
                    while not self._stopping.is_set() and not drain.step(_POLL_S):
                        pass
        finally:
            feed.close()

    # --- the end

    def flush(self, timeout_s: float) -> int:
        """Waits until Kafka has all, or the time is over: how many events are still on their way, all on disk."""
        deadline = time.monotonic() + timeout_s
        with self._lock:
            self._waiters += 1
        try:
            while self._pending() and self._thread is not None and time.monotonic() < deadline:
                time.sleep(_WAIT_S)
        finally:
            with self._lock:
                self._waiters -= 1
        return self._pending()

    def close(self, timeout_s: float) -> Stats:
        """Reports losses, states the next number, waits for Kafka; what it has not acknowledged stays on disk."""
        deadline = time.monotonic() + timeout_s
        while not self._queue_end() and time.monotonic() < deadline:
            time.sleep(_WAIT_S)
        with self._lock:
            self._ended = True
        self.flush(deadline - time.monotonic())
        self._stopping.set()
        for thread in (self._thread, self._adopting):
            if thread is not None:
                thread.join(2)
        self._feed.close()
        with self._lock:
            self._journal.finish(self._feed.acknowledged, self._losses.unreported)
        return self.stats()

    def stats(self) -> Stats:
        """As of now."""
        with self._lock:
            delivered = max(self._feed.acknowledged - self._failed, 0)
            return (
                super()
                .stats()
                ._replace(
                    delivered=delivered,
                    pending=max(self._next - delivered - self._failed, 0),
                    spool_bytes=self._journal.held_bytes,
                )
            )

    def _pending(self) -> int:
        return self._next - self._feed.acknowledged

    def abandon(self) -> None:
        """In a forked child: files, locks and the producer stay the parent's."""
        super().abandon()
        self._journal.abandon(self._busy)
        self._feed.abandon()
