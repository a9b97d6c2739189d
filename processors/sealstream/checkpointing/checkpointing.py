"""One chain's checkpointing: check every committed entry, grow the tree, sign at most once a second.

    audit.chain.C ──▶ Growing (pure) ──▶ one transaction: audit.checkpoints.C, audit.segments.C

The first `step()` starts; starting is recovering, there is nothing else. Only committed entries are read, so a
signature states what everybody can read; and nothing is signed before the tree has come to every size that was signed
before, with its root. So one size is never signed with two roots. What a crash leaves, line by line:

* before `open()`: nothing. After it, the process before us is fenced: it may sign, but nobody will ever read that;
* while reading what was signed, and the chain up to there: nothing is written;
* from `begin()` to the end of `commit()`: as `publishing` says; a note is there or is signed again with the same bytes;
* between a commit and its reading back: the next start reads it as signed.

`Forked` and `ChainBroken` come before anything is written that builds on what they found.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack
from typing import NamedTuple

import structlog

from sealstream.checkpointing.beginning import read_entry, resume
from sealstream.checkpointing.growing import Growing
from sealstream.checkpointing.locating import entry_number
from sealstream.checkpointing.publishing import Publisher
from sealstream.checkpointing.running import Pace, Running
from sealstream.checkpointing.signed import Signed, read_signed
from sealstream.errors import ChainStopped, Fenced, InputLost, Misconfigured, RolledBack
from sealstream.kafka import (
    CommittedReader,
    KafkaSettings,
    TransactionalProducer,
    check_topics,
    end_offset,
    last_record,
    start_offset,
)
from sealstream.layout import ChainSettings, ChainTopics, Figures, checkpointing_transactional_id
from sealstream.sealing import Signer

__all__ = ["Checkpointing"]


class _Bounds(NamedTuple):
    """What others may move while a start reads: signing, retention, trimming."""

    signed_until: int
    checkpoints_from: int
    chain_from: int


class Checkpointing:
    """Signs one chain. Nothing happens before the first `step()`.

    `clock`: seconds that only rise. `open_producer` and `open_reader` make what writes and reads, so that tests can put
    faults between. `tally`: counts what was done. Raises `Misconfigured` when the key is not the chain's.
    """

    def __init__(
        self,
        kafka: KafkaSettings,
        chain: ChainSettings,
        signer: Signer,
        *,
        clock: Callable[[], float] = time.monotonic,
        pace: Pace | None = None,
        tally: Figures | None = None,
        open_producer: Callable[[KafkaSettings, str], TransactionalProducer] = TransactionalProducer,
        open_reader: Callable[[KafkaSettings, str, int], CommittedReader] = CommittedReader,
    ) -> None:
        if signer.vkey != chain.vkey or signer.name != chain.origin:
            raise Misconfigured(
                f"the signing key {signer.vkey} is not that of chain {chain.name}: expected {chain.vkey}, named "
                f"{chain.origin}"
            )
        self._kafka = kafka
        self._chain = chain
        self._signer = signer
        self._clock = clock
        self._pace = pace or Pace()
        self._tally = tally or Figures()
        self._open_producer = open_producer
        self._open_reader = open_reader
        self._log = structlog.get_logger().bind(chain=chain.name)
        self._held = ExitStack()
        self._running: Running | None = None
        self._chain_from = 0

    def step(self) -> bool:
        """Start, or handle one batch; whether there was work.

        Raises `Fenced` or another `Unavailable`: close this and build another; `ChainStopped`: a person must decide;
        `Misconfigured`: a topic is not as it must be.
        """
        if self._running is None:
            self._running = self._start()
            return False
        try:
            return self._running.step()
        except InputLost as error:
            topic = ChainTopics.of(self._chain.name, self._chain.prefix).chain
            if start_offset(self._kafka, topic) == self._chain_from:
                raise
            # Trimmed since this start had looked where to begin; whether too far, the next start finds.
            raise Fenced(f"{topic} was trimmed while it was being read: {error}") from error

    def close(self) -> None:
        """Let go of everything. What has grown and is not signed yet the next start signs."""
        self._running = None
        self._held.close()

    def _start(self) -> Running:
        """Fence the process before us, read what was signed, go to where the tree begins. Nothing is written."""
        kafka, chain = self._kafka, self._chain
        topics = ChainTopics.of(chain.name, chain.prefix)
        used = (topics.chain, topics.checkpoints, topics.segments)
        check_topics(kafka, [config for config in topics.configs() if config.name in used])
        with ExitStack() as held:
            producer = self._open_producer(kafka, checkpointing_transactional_id(chain.name))
            held.callback(producer.close)
            producer.open()

            def read(topic: str, offset: int) -> CommittedReader:
                reader = self._open_reader(kafka, topic, offset)
                held.callback(reader.close)
                return reader

            # Read our notes back from here on; whatever somebody else writes behind it is found then.
            before = self._bounds(topics)
            self._chain_from = before.chain_from
            checkpoints = read(topics.checkpoints, before.signed_until)
            segments = read(topics.segments, end_offset(kafka, topics.segments, committed=True))
            entries = read(topics.chain, start_offset(kafka, topics.chain))
            try:
                signed, growing = self._find(topics, entries)
            except ChainStopped as error:
                if self._bounds(topics) == before:
                    raise
                # What was read before another process signed, or retention or trimming passed, and what is there since
                # do not fit together: no alarm. Where there is a reason for one, starting anew finds it again.
                raise Fenced(
                    f"{topics.checkpoints} or {topics.chain} changed while it was being read: another process signs, "
                    f"or retention passed: {error}"
                ) from error
            publisher = Publisher(
                producer, topics, self._signer, checkpoints, segments, read_back_s=self._pace.read_back_s
            )
            running = Running(
                *(chain, signed, growing, entries, publisher), clock=self._clock, pace=self._pace, tally=self._tally
            )
            self._log.info("started", signed=signed.newest, read_again_from=signed.beginning.size)
            self._held = held.pop_all()
        return running

    def _bounds(self, topics: ChainTopics) -> _Bounds:
        kafka = self._kafka
        return _Bounds(
            end_offset(kafka, topics.checkpoints, committed=True),
            start_offset(kafka, topics.checkpoints),
            start_offset(kafka, topics.chain),
        )

    def _find(self, topics: ChainTopics, entries: CommittedReader) -> tuple[Signed, Growing | None]:
        """What was signed, and the tree up to where `entries` is read on from; None: from the first entry."""
        kafka, chain = self._kafka, self._chain
        tail = last_record(kafka, topics.chain)
        size = 0 if tail is None else entry_number(topics.chain, tail) + 1
        start = entries.position()
        first = None if tail is None else read_entry(entries, topics.chain)
        from_seq = 0 if first is None else entry_number(topics.chain, first)
        signed = read_signed(kafka, chain, from_seq=from_seq, read_again=self._pace.read_again)
        if size < signed.newest:
            raise RolledBack(
                f"{topics.chain} holds {size} entries, but size {signed.newest} is signed: the chain was rolled "
                "back; restore it, a published checkpoint must never be contradicted"
            )
        if tail is not None and first is not None and signed.beginning.size:
            return signed, resume(entries, chain, signed, start, first, tail)
        entries.seek(start)
        return signed, None
