"""A chain that was taken: read, seal, publish, again and again, until it is lost or given up.

The loop makes one batch while the one before is committed and read back; a batch grows as long as that takes, so it is
small when little comes and large when much does. The invariants: entries are published in the order in which they were
sealed, a batch at a time, each in one transaction with everything that follows from it; and what is remembered runs
ahead of what is committed by at most two batches, all of which is forgotten when anything fails.

A crash at any line leaves what was committed: the next taker finds the tail and reads on from its offsets, so a record
of a batch that was not committed is read again, and one of a batch that was is not.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import NamedTuple

import structlog

from sealstream.errors import InvalidEvent, Unavailable
from sealstream.events import validate_event
from sealstream.kafka import CommittedReader
from sealstream.layout import ChainSettings, ChainTopics, Figures, figures
from sealstream.sealing import Tip
from sealstream.sequencer import statements
from sealstream.sequencer.batch import Scribe, sealed_time
from sealstream.sequencer.deduplication import RECENT_ENTRIES
from sealstream.sequencer.producers import (
    AS_OF_KEY,
    AsOf,
    encode_as_of,
    encode_key,
    encode_state,
    key_record_key,
    record_key,
)
from sealstream.sequencer.publishing import Publication, Publisher
from sealstream.sequencer.replay import Memory
from sealstream.sequencer.taking import Taken
from sealstream.sequencer.tracing import SealSpans

__all__ = ["OwnedChain", "Pace", "Speaker"]

_WHILE_COMMITTING_S = 0.005
_SILENCE_S, _LOOK_S = 1.0, 5.0
_SECOND_US = 1_000_000
_DAY_US = 86_400 * _SECOND_US
_MONTH_US = 30 * _DAY_US


class Pace(NamedTuple):
    """How much at once, and how long each wait lasts. Tests choose shorter ones; the rest is what the log promises."""

    max_records: int = 10_000
    max_bytes: int = 16 * 1024 * 1024
    poll_s: float = 0.05
    heartbeat_s: float = 60.0
    review_s: float = 60.0
    read_back_s: float = 5.0
    max_apart_s: float = 60.0
    recent_entries: int = RECENT_ENTRIES


class Speaker(NamedTuple):
    """Who says `sequencer.started` and `sequencer.stopped`."""

    host: str
    version: str


class OwnedChain:
    """One chain in our hands. `step()` handles one batch; whatever raises, nothing here is used again but `close()`."""

    def __init__(
        self,
        chain: ChainSettings,
        taken: Taken,
        publisher: Publisher,
        raw: CommittedReader,
        control: CommittedReader,
        *,
        clock: Callable[[], int],
        randomness: Callable[[int], bytes],
        speaker: Speaker,
        pace: Pace,
        tally: Figures,
        check_inputs: Callable[[], None],
        spans: SealSpans | None = None,
    ) -> None:
        self._chain = chain
        self._topics = ChainTopics.of(chain.name, chain.prefix)
        self._memory: Memory = taken.memory
        self._topic_ids: Mapping[str, str] = taken.topic_ids
        self._publisher = publisher
        self._raw = raw
        self._control = control
        self._clock = clock
        self._speaker = speaker
        self._pace = pace
        self._tally = tally
        self._log = structlog.get_logger().bind(chain=chain.name)
        self._scribe = Scribe(
            chain.name,
            self._topics,
            taken.tip,
            self._memory.events,
            self._memory.controls,
            keys=self._memory.keys,
            randomness=randomness,
        )
        self._check_inputs = check_inputs
        self._spans = spans
        self._entry_ns = self._review_ns = self._came_ns = self._looked_ns = clock()
        self._begin(taken, randomness)

    def _begin(self, taken: Taken, randomness: Callable[[int], bytes]) -> None:
        """The first batch says who has taken the chain, and what an operator has decided about it."""
        scribe = self._scribe
        scribe.begin(self._entry_ns)
        if taken.is_new:
            scribe.say(statements.chain_created(self._chain, randomness(32)))
            if self._chain.continued is not None:
                scribe.say(statements.chain_continued(self._chain.name, self._chain.continued))
        scribe.say(
            statements.sequencer_started(
                self._chain.name,
                host=self._speaker.host,
                version=self._speaker.version,
                raw_topic_id=taken.topic_ids["raw"],
                control_topic_id=taken.topic_ids["control"],
            )
        )
        self._judge_last()
        for lost in taken.lost:
            scribe.lose_input(
                lost.kind,
                old_topic_id=lost.old_topic_id,
                new_topic_id=lost.new_topic_id,
                last=lost.last,
                next=lost.next,
            )
        self._publish(self._entry_ns)

    def _judge_last(self) -> None:
        """The chain's tail may be an event of a transaction that was torn before what was to be said of it."""
        last = self._memory.last_event
        if last is None:
            return
        try:
            event = validate_event(last.canonical)
        except InvalidEvent:  # sealed by rules that are not ours
            return
        refused = self._memory.keys.judge(event, last.sequenced_at)
        if refused is not None:
            self._scribe.refuse_signature(last.seq, refused)

    @property
    def transactions_seen(self) -> int:
        """How many transactions were read back as committed."""
        return self._publisher.transactions_seen

    @property
    def tip(self) -> Tip:
        """The chain after everything sealed so far, committed or not."""
        return self._scribe.tip

    def finish(self) -> None:
        """Return when everything sealed so far is committed and was read back."""
        self._publisher.finish()

    def step(self) -> bool:
        """One batch of what has come. False: nothing came for a moment."""
        records = self._take_what_comes()
        now_ns = self._clock()
        if records == 0:
            self._look_at_inputs(now_ns)
            self._idle(now_ns)
        else:
            self._came_ns = now_ns
        caught_up = records < self._pace.max_records
        if (
            self._memory.events.overfull
            or self._memory.controls.overfull
            or (caught_up and self._is_over(self._review_ns, self._pace.review_s, now_ns))
        ):
            self._review(now_ns)
        return self._publish(now_ns)

    def _take_what_comes(self) -> int:
        """Seal records until there are enough for a batch, or no more for now and the batch before is committed."""
        pace, ready = self._pace, self._publisher.ready
        records = size = 0
        while records < pace.max_records and size < pace.max_bytes:
            controls = self._control.read(pace.max_records - records, 0.0)
            wait_s = _WHILE_COMMITTING_S if not ready() else 0.0 if controls or records else pace.poll_s
            events = self._raw.read(pace.max_records - records - len(controls), wait_s)
            came = len(controls) + len(events)
            if came:
                if self._spans is not None:
                    self._spans.read(events)
                self._scribe.begin(self._clock())
                self._scribe.take("control", controls)
                self._scribe.take("event", events)
                records += came
                size += sum(len(record.value or b"") for record in (*controls, *events))
            elif ready():
                break
        return records

    def _look_at_inputs(self, now_ns: int) -> None:
        """A topic that was recreated gives nothing until it has grown to our position: silence is looked into.

        Raises `InputLost`. A broker that does not answer is no reason: whoever reads and writes hears of it.
        """
        if self._is_over(self._came_ns, _SILENCE_S, now_ns) and self._is_over(self._looked_ns, _LOOK_S, now_ns):
            self._looked_ns = now_ns
            with suppress(Unavailable):
                self._check_inputs()

    def _idle(self, now_ns: int) -> None:
        """After a minute without an entry: what was passed over at the end, or a heartbeat, so that time advances."""
        if not self._is_over(self._entry_ns, self._pace.heartbeat_s, now_ns):
            return
        self._scribe.begin(now_ns)
        self._settle_ends()
        if not self._scribe.settle():
            self._scribe.say(statements.chain_heartbeat(self._chain.name))

    @staticmethod
    def _is_over(since_ns: int, seconds: float, now_ns: int) -> bool:
        """Whether so much time has passed; also when the clock was set back, which the next entry then tells."""
        return not 0 <= now_ns - since_ns < seconds * 1e9

    def _settle_ends(self) -> None:
        """Offsets that the readers have passed behind the last records hold none."""
        self._scribe.raw.skip_to(self._raw.position())
        self._scribe.control.skip_to(self._control.position())

    def _review(self, now_ns: int) -> None:
        self._review_ns = now_ns
        with suppress(Unavailable):
            self._check_inputs()  # also where one input is never silent
        self._scribe.begin(now_ns)
        now_us = now_ns // 1000
        self._scribe.review_producers(day_ago=sealed_time(now_us - _DAY_US), month_ago=sealed_time(now_us - _MONTH_US))

    def _publish(self, now_ns: int) -> bool:
        batch = self._scribe.finish()
        if not batch.entries:
            self._publisher.ready()
            return False
        if batch.dead_letters:
            self._log.warning(
                "records of an input were refused or came too late: their producers must mend them",
                count=len(batch.dead_letters),
                reason=dict(batch.dead_letters[0].headers)["reason"].decode(),
                runbook="docs/runbooks/dead-letters.md",
            )
        events, controls = self._memory.events, self._memory.controls
        self._tally.set(figures.PRODUCERS, len(events.producers) + len(controls.producers), self._chain.name)
        self._tally.set(figures.MISSING_RANGES, events.missing_ranges + controls.missing_ranges, self._chain.name)
        states = [
            (record_key(kind, producer_id), encode_state(state) if state is not None else None)
            for kind, memory in (("event", self._memory.events), ("control", self._memory.controls))
            for producer_id, state in memory.changed().items()
        ]
        keys = self._memory.keys
        states += [
            (key_record_key(label), encode_key(key) if key is not None else None)
            for label, key in keys.changed().items()
        ]
        ids = self._topic_ids
        as_of = AsOf(batch.tip.size, ids["raw"], ids["control"], batch.tip.hash.hex(), len(keys))
        states.append((AS_OF_KEY, encode_as_of(as_of)))
        offsets = {
            self._topics.raw: batch.tip.raw_offset + 1,
            self._topics.control: batch.tip.control_offset + 1,
        }
        self._publisher.publish(Publication(batch, states, offsets, now_ns))
        self._entry_ns = now_ns
        return True

    def stop(self) -> None:
        """Give the chain up in good order: everything read is sealed, then `sequencer.stopped`, committed and seen."""
        now_ns = self._clock()
        self._scribe.begin(now_ns)
        self._settle_ends()
        self._scribe.settle()
        speaker = self._speaker
        self._scribe.say(statements.sequencer_stopped(self._chain.name, host=speaker.host, version=speaker.version))
        self._publish(now_ns)
        self._publisher.finish()
