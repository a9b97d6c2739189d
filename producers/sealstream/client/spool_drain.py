"""The spool of a process that is dead: its events go to Kafka, in order, and its files go when Kafka has them.

Who drains is whoever gets the stream's lock first: another client on the same directory, the next start of the
application, or a person. The invariant: a file goes only when Kafka has acknowledged all that could be read from it,
and what could not be read is said in the log, as `audit.loss` in a stream of its own, before the mark passes it.

The crash story: a drain that ends anywhere is begun again from the mark; events that Kafka has already come twice, with
the same bytes and numbers, and are sealed once. Where the writer's machine still runs, its last number is known for
sure (no page of a file was lost), and `producer.closed` is added under the next one, on disk before it is sent. Else
nobody may use a number of that stream, and the log states a day later that it fell silent.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from threading import RLock
from typing import Any, NamedTuple

from confluent_kafka import Producer

from sealstream.client import spool_directory
from sealstream.client.composing import Composer
from sealstream.client.delivery import Delivery, warn
from sealstream.client.spool_directory import Claim
from sealstream.client.spool_feed import Feed
from sealstream.client.spool_format import SegmentHeader
from sealstream.client.spool_journal import add_segment, new_header
from sealstream.client.spool_reader import Reader
from sealstream.client.stream import numbered
from sealstream.errors import Misconfigured, Unavailable
from sealstream.events import new_event_id

__all__ = ["Drain", "DrainProgress", "Drained", "claim_next", "drain_spool", "drains"]

_QUEUE_BYTES = 8 * 1024 * 1024
_ACTOR = "sealstream/spool"


def drains(bootstrap: str, options: Mapping[str, Any], factory: Callable[..., Producer] = Producer) -> Delivery:
    """How a drain delivers. Raises `Misconfigured`."""
    return Delivery(bootstrap, options, max_pending_bytes=_QUEUE_BYTES, delivery_timeout_s=None, factory=factory)


def claim_next(directory: Path, topic: str | None, passed: set[str]) -> Claim | None:
    """The oldest stream that nobody holds, for this topic (None: any), and that is not `passed`, which grows by those
    that can't be sent. Folders without events are swept away. Raises `OSError`.
    """
    for folder in spool_directory.streams(directory):
        if folder.name in passed:
            continue
        header = header_of(folder)
        if header is not None and topic is not None and header.topic != topic:
            passed.add(folder.name)
            continue
        claim = spool_directory.claim(folder)
        if claim is None:
            continue
        if not spool_directory.segments(folder):
            claim.remove()
            continue
        if header is None and header_of(folder) is None:
            passed.add(folder.name)
            claim.release()
            warn("the audit spool %s can't be sent: no segment says for which topic; look at it, and remove it", folder)
            continue
        return claim
    return None


def header_of(folder: Path) -> SegmentHeader | None:
    """The first header of a stream that holds. Raises `OSError`."""
    for segment in spool_directory.segments(folder):
        try:
            header = spool_directory.header_of(segment)
        except FileNotFoundError:  # just sent
            continue
        if header is not None:
            return header
    return None


class Drain:
    """One claimed stream, on its way to Kafka by `step`. `events`: how many it has to send; `lost`: how many events its
    owner had, that are not here and that the log is told of. Raises `OSError`, and `Misconfigured`.
    """

    def __init__(self, claim: Claim, feed: Feed, composer: Composer) -> None:
        self.claim = claim
        self.producer_id = claim.producer_id
        self.events = self.lost = 0
        self.done = False
        self._feed = feed
        self._composer = composer
        self._reader = Reader(claim.folder)
        self._progress = True
        try:
            self._mark = claim.read_mark()
            self._end = self._before = self._mark.acknowledged
            feed.begin(self._survey(), self._before)
        except BaseException:
            claim.release()
            raise

    def _survey(self) -> str:
        """Reads it all once, and writes down what has to be said about it."""
        begin, last = self._mark.acknowledged, b""
        with Reader(self.claim.folder, judged_from=begin) as reader:
            at = max(begin - 1, 0)  # the last one that Kafka has may have been the end of it
            while records := reader.read(at):
                self.events += len(records) - (records[0].number < begin)
                last = records[-1].value
                at = records[-1].number + 1
            header = reader.header
            damaged = reader.damaged + (reader.torn and begin <= reader.end)
            ended = reader.end
        assert header is not None  # `claim_next` has seen one
        self._end = max(at, begin)
        self._say_what_is_lost(header.topic, damaged)
        known = header.boot_id != "" and header.boot_id == spool_directory.boot_id() and begin <= ended
        if known and not damaged and not self._mark.unspooled and last and not _closes(last):
            self._add_closed(header, ended)
        return header.topic

    def _say_what_is_lost(self, topic: str, damaged: int) -> None:
        """As a stream of its own in the same directory, which is then drained like any other."""
        losses = [("spool damaged", damaged), ("not reported before the process died", self._mark.lost)]
        told = [(reason, count) for reason, count in losses if count]
        if not told or self._mark.reported:
            return
        self.lost = sum(count for _reason, count in told)
        warn("the audit spool %s: %s", self.claim.folder, ", ".join(f"{count} {reason}" for reason, count in told))
        own = new_event_id()
        values = [self._statement(own, "audit.loss", {"reason": reason, "count": count}) for reason, count in told]
        values.append(self._statement(own, "producer.closed", {"next": len(values) + 1}))
        made = spool_directory.create_stream(self.claim.folder.parent, own)
        try:
            add_segment(
                made.folder,
                new_header(topic, own, first=0, after=0),
                [numbered(value, number) for number, value in enumerate(values)],
            )
        finally:
            made.release()
        self._mark = self._mark._replace(lost=0, reported=True)
        self.claim.write_mark(self._mark)

    def _statement(self, producer_id: str, action: str, metadata: dict[str, Any]) -> bytes:
        about = ("producer", self.producer_id)
        return self._composer.statement(producer_id, action, metadata, actor_id=_ACTOR, about=about)

    def _add_closed(self, header: SegmentHeader, number: int) -> None:
        value = numbered(self._statement(self.producer_id, "producer.closed", {"next": number + 1}), number)
        closing = new_header(header.topic, self.producer_id, first=number, after=number)
        add_segment(self.claim.folder, closing, [value])
        self.events += 1
        self._end = number + 1

    @property
    def sent(self) -> int:
        """How many of its events Kafka has acknowledged."""
        return min(self._feed.acknowledged - self._before, self.events) if not self.done else self.events

    @property
    def trouble(self) -> str:
        """What keeps it, "" when nothing does."""
        return self._feed.trouble

    def step(self, timeout_s: float) -> bool:
        """One round; whether Kafka has all, and the stream is gone. Raises `OSError`."""
        if self.done:
            return True
        self._hand_over()
        waits = not self._progress or self._feed.fed >= self._end
        self._progress = self._feed.step(timeout_s if waits else min(timeout_s, 0.01))
        self._note()
        if self._feed.acknowledged >= self._end:
            self._reader.close()
            self.claim.remove()
            self.done = True
        return self.done

    def _hand_over(self) -> None:
        while self._feed.fed < self._end:
            records = self._reader.read(self._feed.fed, self._end)
            with self._feed.lock:
                if not records:
                    self._feed.pass_over(self._end)
                for number, value in records:
                    if not self._feed.hand(number, value):
                        return

    def _note(self) -> None:
        acknowledged = self._feed.acknowledged
        if acknowledged == self._mark.acknowledged:
            return
        self._mark = self._mark._replace(acknowledged=acknowledged)
        self.claim.write_mark(self._mark)
        segments = spool_directory.segments(self.claim.folder)
        for segment, following in pairwise(segments):
            if spool_directory.first_of(following) > acknowledged:
                break
            segment.unlink(missing_ok=True)

    def __enter__(self) -> Drain:
        return self

    def __exit__(self, *_raised: object) -> None:
        """Leave the rest to the next one."""
        if not self.done:
            self._feed.drop()
        self._reader.close()
        self.claim.release()


def _closes(value: bytes) -> bool:
    return b'"producer.closed"' in value and json.loads(value).get("action") == "producer.closed"


class DrainProgress(NamedTuple):
    """Of one stream: its events, how many of them Kafka has, and what keeps the rest ("": nothing)."""

    producer_id: str
    events: int
    sent: int
    trouble: str


class Drained(NamedTuple):
    """`streams`, `events`: what was sent. `lost`: events that the log was told of as `audit.loss`. `held`: streams of
    living processes, which send them by themselves. `unreadable`: streams of which nothing says for which topic.
    """

    streams: int
    events: int
    lost: int
    held: tuple[str, ...]
    unreadable: tuple[str, ...]


def drain_spool(
    directory: str | Path,
    bootstrap: str,
    *,
    kafka_options: Mapping[str, Any] | None = None,
    patience_s: float = 60.0,
    on_progress: Callable[[DrainProgress], object] = lambda _: None,
    stopping: Callable[[], bool] = lambda: False,
) -> Drained:
    """Send everything that dead processes have left in this spool directory. Repeatable; ends at any time unharmed.

    `patience_s`: how long Kafka may acknowledge nothing. `stopping` is asked between rounds: True raises
    `KeyboardInterrupt` there, and not amid the driver's callbacks. Raises `Unavailable` and `Misconfigured`.
    """
    directory, feed = Path(directory), Feed(drains(bootstrap, kafka_options or {}), RLock())
    composer = Composer(None, lambda: datetime.now(UTC), new_event_id)
    streams = events = lost = 0
    passed: set[str] = set()
    try:
        while True:
            claim = claim_next(directory, None, passed)
            if claim is not None:
                with Drain(claim, feed, composer) as drain:
                    _run(drain, patience_s, on_progress, stopping)
                streams, events, lost = streams + 1, events + drain.events, lost + drain.lost
                continue
            left = spool_directory.streams(directory)
            held = tuple(
                folder.name for folder in left if folder.name not in passed and spool_directory.is_held(folder)
            )
            if len(held) + len(passed.intersection(folder.name for folder in left)) == len(left):
                break  # else one has just ended, or somebody looked at it
    except OSError as error:
        raise Misconfigured(f"spool {str(directory)!r} can't be read or written: {error.strerror or error}") from error
    finally:
        feed.close()
    return Drained(streams, events, lost, held, tuple(folder.name for folder in left if folder.name in passed))


def _run(
    drain: Drain,
    patience_s: float,
    on_progress: Callable[[DrainProgress], object],
    stopping: Callable[[], bool],
) -> None:
    sent, since = -1, time.monotonic()
    while not drain.step(0.1):
        if stopping():
            raise KeyboardInterrupt
        on_progress(DrainProgress(drain.producer_id, drain.events, drain.sent, drain.trouble))
        if drain.sent != sent:
            sent, since = drain.sent, time.monotonic()
        elif time.monotonic() - since > patience_s:
            raise Unavailable(
                f"Kafka has acknowledged nothing for {patience_s:g} s ({drain.trouble or 'no answer'}): "
                f"{drain.events - drain.sent} events wait in {drain.claim.folder}; nothing is lost, try again later"
            )
    on_progress(DrainProgress(drain.producer_id, drain.events, drain.events, ""))
