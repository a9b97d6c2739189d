"""`TargetLoop`: one target's way from Kafka to its receiver, with its own position; no other target waits for it.

Each `step` makes at most one attempt. What follows from its outcome:

- taken: the position moves on, and is written;
- later: the same messages again after a pause, for ever;
- unsure: the same, until `give_up_s` have passed since the first attempt; then as refused;
- refused: of a batch, its messages are tried one by one; of a single message, a letter is written, with the reason.

Alerts of one subject and entries of one chain keep their order, letters aside, which are sent again by a person. That
an alert was closed is told when every alert that stood in Kafka before was done with.

A crash between an attempt and its position gives the receiver the same messages again, with the same ids; between a
letter and its position, a second letter, which counts as the first. Starting is recovering: positions are read from
Kafka. Two loops of one target at once deliver everything twice, and lose nothing.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import structlog

from sealstream.errors import Unavailable
from sealstream.forward.deadletters import write_letter
from sealstream.forward.following import IsMuted, Item, Queue, never_muted
from sealstream.forward.outcomes import Outcome, refused, unsure
from sealstream.forward.pacing import Pace
from sealstream.forward.positions import kept_positions, starting_positions, write_positions
from sealstream.forward.senders import Pause, Prepared, Sender, waiting
from sealstream.forward.targets import Target
from sealstream.kafka import KafkaSettings, StandingProducer
from sealstream.kafka.several import PlaceLost, SeveralReader
from sealstream.layout import Figures, figures
from sealstream.layout.forwarding import ForwardTopics, Place

__all__ = ["Sources", "TargetLoop"]

_AHEAD = 500
_WRITE_AFTER_S = 0.5
_PASSED_OVER_WRITE_AFTER_S = 5.0
_LAG_EVERY_S = 10.0


class Sources(NamedTuple):
    """The topics: of alerts, of each chain by its name, and the forward sink's own."""

    alerts: str
    chains: Mapping[str, str]
    own: ForwardTopics

    def followed_by(self, target: Target) -> tuple[str | None, list[str]]:
        """The alerts' topic if this target reads it, and the chains' that it reads."""
        chains = [topic for chain, topic in self.chains.items() if not target.chains or chain in target.chains]
        if target.what == "entries":
            return None, chains
        return self.alerts, chains if target.kind == "pagerduty" and target.resolve else []


class TargetLoop:
    """Building it reads where the target stands; raises `Unavailable` or `Misconfigured`.

    `step()` makes one attempt, or waits for records or for the next attempt's time, up to `poll_s`. `trouble` says in
    words why nothing is taken now, and is empty while all is well. `pause`: waits, as a `Sender`'s does.
    """

    def __init__(
        self,
        kafka: KafkaSettings,
        target: Target,
        sender: Sender,
        sources: Sources,
        producer: StandingProducer,
        *,
        is_muted: IsMuted = never_muted,
        pause: Pause = waiting,
        poll_s: float = 0.5,
        pace: Pace | None = None,
        now: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
        tally: Figures | None = None,
    ) -> None:
        self._target = target
        self._sender = sender
        self._sources = sources
        self._producer = producer
        self._pause = pause
        self._poll_s = poll_s
        self._pace = pace or Pace(now, random.random)
        self._now = now
        self._wall = wall
        self._tally = tally or Figures()
        self._log = structlog.get_logger().bind(target=target.name)
        self._alone = 0  # so many of the next messages are tried one by one
        self._together = 0  # so many were tried together: again the same, so that what is made of them is the same
        self._first_attempt_at: float | None = None
        self._written_at = now()
        self._delivered_since_written = False
        self._lag_at = now()
        self._until: dict[Place, int] | None = None  # closings wait for the alerts below these offsets
        alerts, chains = sources.followed_by(target)
        kept = kept_positions(kafka, sources.own.positions).get(target.name)
        positions = starting_positions(kafka, target, alerts, chains, kept)
        self._queue = Queue(target, sources.alerts, positions, is_muted)
        self._kafka = kafka
        self._reader: SeveralReader | None = None
        if kept is None or {str(place) for place in positions} - set(kept.places):
            self._write()
        for figure in (figures.FORWARDED, figures.FORWARD_FAILURES, figures.FORWARD_LETTERS):
            self._tally.add(figure, 0, target.name)
        self._trouble = ""

    @property
    def trouble(self) -> str:
        """Why nothing is taken now; empty while all is well."""
        return self._trouble

    def step(self) -> bool:
        """Whether anything was read or settled."""
        if (waits_s := self._pace.waits_s) > 0:
            self._measure()
            self._pause(min(waits_s, self._poll_s))
            return False
        did = self._read()
        items = self._next()
        if items:
            did = self._attempt(items)
        self._write_if_due(idle=not did)
        self._measure()
        return did

    def close(self) -> None:
        """Writes where the target stands, if it can, and ends the connections."""
        try:
            if self._queue.moved:
                self._write()
        finally:
            self._sender.close()
            if self._reader is not None:
                self._reader.close()

    # Reading

    def _read(self) -> bool:
        if len(self._queue) >= _AHEAD:
            return False
        if self._reader is None:
            offsets = {place: position.next for place, position in self._queue.positions.items()}
            if not offsets:  # no chain in the settings yet
                self._pause(self._poll_s)
                return False
            self._reader = SeveralReader(self._kafka, offsets)
        try:
            records = self._reader.read(_AHEAD - len(self._queue), 0.0 if len(self._queue) else self._poll_s)
        except PlaceLost as lost:
            self._reader.close()
            self._reader = None
            self._skip(lost)
            return True
        self._queue.add(records)
        if not len(self._queue):
            for place in self._queue.positions:
                self._queue.caught_up(place, self._reader.position(place))
        return bool(records)

    def _skip(self, lost: PlaceLost) -> None:
        """What was trimmed before it could be sent is told, counted, and passed over: waiting would not bring it back.

        Whatever was read before it and waits is read again.
        """
        place, next_offset = lost.place, self._queue.positions[lost.place].next
        goes_on = lost.begins if next_offset < lost.begins else lost.ends
        gone = max(lost.begins - next_offset, 0)
        self._log.error("messages are gone from Kafka before they were sent", reason=str(lost), gone=gone)
        if gone:
            write_letter(
                self._producer,
                self._sources.own.deadletter,
                self._target.name,
                place,
                next_offset,
                what="lost",
                identity="",
                value=None,
                reason=f"the offsets {next_offset} to {lost.begins - 1} of {place} were gone before they were sent",
            )
            self._tally.add(figures.FORWARD_LETTERS, 1, self._target.name)
        self._queue.forget()
        self._queue.skip(place, goes_on)
        self._alone, self._together, self._until = 0, 0, None
        self._write()

    def _next(self) -> list[Item]:
        most = 1 if self._alone else self._together or self._sender.most
        items = self._queue.next(most, self._sender.most_bytes)
        if items or not self._queue.closings_wait:
            return items
        assert self._reader is not None
        if self._until is None:
            ends = self._reader.ends()
            self._until = {place: end for place, end in ends.items() if place.topic == self._sources.alerts}
        if any(self._reader.position(place) < end for place, end in self._until.items()):
            return []  # they are still to be read
        return self._queue.next(1, self._sender.most_bytes, closings=True)

    # Sending

    def _attempt(self, items: Sequence[Item]) -> bool:
        if items[0].fault:
            self._give_up(items, refused(items[0].fault))
            return True
        prepared: list[Prepared] = []
        for item in items:
            assert item.message is not None
            try:
                prepared.append(self._sender.prepare(item.message))
            except Exception as error:  # noqa: BLE001 - one message that can't be written must not stop the others
                if prepared:
                    break
                self._give_up(items[:1], refused(f"it can't be written for {self._target.kind}: {error!r}"))
                return True
        tried = items[: len(prepared)]
        if self._first_attempt_at is None:
            self._first_attempt_at = self._now()
        self._together = len(tried)
        outcome = self._sent(prepared)
        if outcome.end == "taken":
            self._taken(tried)
            return True
        self._tally.add(figures.FORWARD_FAILURES, 1, self._target.name)
        tried_s = self._now() - self._first_attempt_at
        over = outcome.end == "unsure" and tried_s >= self._target.give_up_s
        if outcome.end == "refused" or over:
            if len(tried) > 1 and not outcome.whole:
                self._alone, self._together = len(tried), 0
                self._first_attempt_at = None
            else:
                after = f" (tried for {tried_s:.0f} s)" if over else ""
                self._give_up(tried, outcome._replace(said=outcome.said + after))
            return True
        pause_s = self._pace.failed(outcome.after_s)
        self._set_trouble(outcome.said)
        self._log.warning("not taken; trying again", reason=outcome.said, pause_s=round(pause_s, 1))
        return False

    def _sent(self, messages: Sequence[Prepared]) -> Outcome:
        try:
            return self._sender.send(messages)
        except Exception as error:  # noqa: BLE001 - of our own making; it must not hold the target up for ever
            self._log.critical("a fault of the program: please report it", reason=repr(error), exc_info=True)
            return unsure(f"a fault of the program: {error!r}")

    def _taken(self, items: Sequence[Item]) -> None:
        self._tally.add(figures.FORWARDED, len(items), self._target.name)
        self._settled(items)

    def _give_up(self, items: Sequence[Item], outcome: Outcome) -> None:
        for item in items:
            message = item.message
            write_letter(
                self._producer,
                self._sources.own.deadletter,
                self._target.name,
                item.place,
                item.offset,
                what=message.what if message is not None else "unreadable",
                identity=message.id if message is not None else "",
                value=item.value,
                reason=outcome.said,
            )
            self._log.error("refused: it waits among the letters", message=message and message.id, reason=outcome.said)
        self._tally.add(figures.FORWARD_LETTERS, len(items), self._target.name)
        self._settled(items)

    def _settled(self, items: Sequence[Item]) -> None:
        self._queue.done(items)
        self._alone = max(self._alone - len(items), 0)
        self._together = 0
        self._first_attempt_at = None
        self._delivered_since_written = True
        self._pace.well()
        self._set_trouble("")
        if not self._queue.closings_wait:
            self._until = None

    def _set_trouble(self, words: str) -> None:
        if self._trouble and not words:
            self._log.info("messages are taken again")
        self._trouble = words

    # Where it stands

    def _write_if_due(self, *, idle: bool) -> None:
        if not self._queue.moved:
            return
        waited_s = self._now() - self._written_at
        due_s = _WRITE_AFTER_S if self._delivered_since_written else _PASSED_OVER_WRITE_AFTER_S
        if waited_s >= due_s or (idle and self._delivered_since_written):
            self._write()

    def _write(self) -> None:
        write_positions(self._producer, self._sources.own.positions, self._target.name, self._queue.positions)
        self._queue.moved = False
        self._delivered_since_written = False
        self._written_at = self._now()

    def _measure(self) -> None:
        """How much waits, and since when."""
        name, oldest_ms = self._target.name, self._queue.oldest_ms
        since_s = 0.0 if oldest_ms is None else max(self._wall() - oldest_ms / 1000, 0.0)
        self._tally.set(figures.FORWARD_LAG_SECONDS, since_s, name)
        if self._reader is None or self._now() - self._lag_at < _LAG_EVERY_S:
            return
        self._lag_at = self._now()
        try:
            ends = self._reader.ends()
        except Unavailable:  # what was found last stays; reading says it where it matters
            return
        unread = sum(max(end - self._reader.position(place), 0) for place, end in ends.items())
        self._tally.set(figures.FORWARD_LAG, unread + len(self._queue), name)
