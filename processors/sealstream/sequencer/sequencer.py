"""One chain's sequencer: take it, then seal what comes, until it is lost or told to stop.

    audit.raw.C, audit.control.C ──▶ Scribe (pure) ──▶ one transaction: audit.chain.C, audit.producers.C, dead letters

The first `step()` takes the chain, each further one handles a batch. Whoever drives it closes it after any exception
and builds another one: there is no recovery beside starting. What a crash leaves, line by line:

* before `open()`: nothing. After it, the sequencer before us is fenced and can commit nothing more;
* while taking: nothing is written;
* after entries were produced: an open transaction, which the next `open()` aborts; no reader has seen it;
* inside `commit()`: the transaction is wholly there or not at all, or torn as `publishing` tells. In each case the next
  taker reads the tail and goes on from the offsets in it, so that no record is sealed twice or left out;
* after `commit()`: a sealed batch that nobody has read back. The next taker reads it as the tail.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from importlib.metadata import version

import structlog

from sealstream.kafka import (
    CommittedReader,
    KafkaSettings,
    TransactionalProducer,
    check_topics,
    end_offset,
    one_connection,
)
from sealstream.layout import ChainSettings, ChainTopics, Figures, sequencer_transactional_id
from sealstream.layout.spans import Tracing
from sealstream.sealing import Tip
from sealstream.sequencer.counting import count_batch
from sealstream.sequencer.owned import OwnedChain, Pace, Speaker
from sealstream.sequencer.publishing import Publisher, ReadBack
from sealstream.sequencer.taking import check_same, take
from sealstream.sequencer.tracing import SealSpans

__all__ = ["Sequencer"]

_READ_BACK_WAIT_S = 0.05  # bounds how long a seek waits for a question that the broker holds


class Sequencer:
    """Seals one chain. Nothing happens before the first `step()`.

    `accept_input_lost`: an operator's decision to go on where an input was recreated or trimmed too far. `clock`:
    nanoseconds since 1970. `report_offsets`: told, in another thread, how far each input topic is sealed, plus one, as
    often as that was seen; it must neither wait nor raise. `tally`: counts what was sealed. `tracing`: makes a span of
    each event whose record asks for it. `open_producer` and `open_reader` make what writes and reads, so that tests can
    put faults between.
    """

    def __init__(
        self,
        kafka: KafkaSettings,
        chain: ChainSettings,
        *,
        clock: Callable[[], int] = time.time_ns,
        randomness: Callable[[int], bytes] = os.urandom,
        accept_input_lost: bool = False,
        pace: Pace | None = None,
        report_offsets: Callable[[Mapping[str, int]], None] = lambda _offsets: None,
        tally: Figures | None = None,
        tracing: Tracing | None = None,
        open_producer: Callable[[KafkaSettings, str], TransactionalProducer] = TransactionalProducer,
        open_reader: Callable[..., CommittedReader] = CommittedReader,
    ) -> None:
        self._kafka = kafka
        self._chain = chain
        self._topics = ChainTopics.of(chain.name, chain.prefix)
        self._clock = clock
        self._randomness = randomness
        self._accept_input_lost = accept_input_lost
        self._pace = pace or Pace()
        self._report_offsets = report_offsets
        self._tally = tally or Figures()
        self._tracing = tracing
        self._open_producer = open_producer
        self._open_reader = open_reader
        self._log = structlog.get_logger().bind(chain=chain.name)
        self._owned: OwnedChain | None = None
        self._held = ExitStack()
        self._failed = False

    def step(self) -> bool:
        """Take the chain, or handle one batch; whether there was work.

        Raises `Fenced` or another `Unavailable`: close this and build another; `ChainStopped`: a person must decide;
        `Misconfigured`: a topic is not as it must be.
        """
        self._failed = True
        if self._owned is None:
            self._owned = self._take()
            worked = True
        else:
            worked = self._owned.step()
        self._failed = False
        return worked

    @property
    def transactions_seen(self) -> int:
        """How many transactions since the chain was taken were read back as committed."""
        return self._owned.transactions_seen if self._owned is not None else 0

    @property
    def tip(self) -> Tip | None:
        """The chain after everything sealed so far, committed or not; None before it was taken."""
        return self._owned.tip if self._owned is not None else None

    def finish(self) -> None:
        """Return when everything sealed so far is committed and was read back."""
        self._failed = True
        if self._owned is not None:
            self._owned.finish()
        self._failed = False

    def close(self) -> None:
        """Seal `sequencer.stopped` and commit, if all went well so far; then let go of everything."""
        owned, self._owned = self._owned, None
        if owned is None:
            return
        try:
            if not self._failed:
                owned.stop()
        finally:
            self._held.close()

    def abandon(self) -> None:
        """Let go of a chain that is ours no longer, without another word in it."""
        self._failed = True
        self.close()

    def _take(self) -> OwnedChain:
        """Steps 1 to 4 and the first batch. Whatever fails, everything opened so far is closed again."""
        kafka, chain, topics, pace = self._kafka, self._chain, self._topics, self._pace
        with ExitStack() as held, one_connection(kafka):
            check_topics(kafka, topics.configs())
            producer = self._open_producer(kafka, sequencer_transactional_id(chain.name))
            held.callback(producer.close)
            producer.open()
            taken = take(kafka, chain, accept_input_lost=self._accept_input_lost, recent_entries=pace.recent_entries)
            self._log.info("chain taken", size=taken.tip.size, new=taken.is_new)

            def read(topic: str, offset: int, **options: float) -> CommittedReader:
                reader = self._open_reader(kafka, topic, offset, **options)
                held.callback(reader.close)
                return reader

            def read_back(topic: str, offset: int, *, alone: bool) -> ReadBack:
                reader = read(topic, offset, fetch_wait_s=_READ_BACK_WAIT_S, ahead_kb=64)
                return ReadBack(reader, pace.read_back_s, alone=alone)

            resume = {lost.kind: lost.next for lost in taken.lost}
            raw = read(topics.raw, resume.get("event", taken.tip.raw_offset + 1))
            control = read(topics.control, resume.get("control", taken.tip.control_offset + 1))
            spans = None if self._tracing is None else SealSpans(chain.name, self._tracing)
            publisher = Publisher(
                producer,
                topics,
                self._report_offsets,
                lambda batch: count_batch(self._tally, chain.name, batch),
                read_back(topics.chain, taken.next_offset, alone=True),
                read_back(topics.producers, end_offset(kafka, topics.producers, committed=True), alone=False),
                clock=self._clock,
                max_apart_s=pace.max_apart_s,
                trace=None if spans is None else spans.sealed,
            )
            held.callback(publisher.close)
            owned = OwnedChain(
                chain,
                taken,
                publisher,
                raw,
                control,
                clock=self._clock,
                randomness=self._randomness,
                speaker=Speaker(socket.gethostname() or "unknown", version("sealstream")),
                pace=pace,
                tally=self._tally,
                check_inputs=lambda: check_same(kafka, topics, taken.topic_ids),
                spans=spans,
            )
            self._held = held.pop_all()
        return owned
