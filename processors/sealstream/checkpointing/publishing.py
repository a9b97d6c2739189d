"""Writes signed notes, a transaction at a time, and sees each as a reader does before it returns.

Kafka can lose or tear a transaction that it has reported as committed, so a commit's answer is not believed: every note
of it must appear, in order and with nothing between, within 5 s. Whatever else appears was written by somebody who has
no business there: starting anew reads and checks it.

A crash before the commit leaves nothing that a reader sees. After it, notes that nobody has read back: the next start
finds what is there and signs again what is not; signing a size again gives the same bytes, since Ed25519 is
deterministic and what was committed to the chain does not change.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

from sealstream.checkpointing.growing import SignedSize
from sealstream.errors import Fenced
from sealstream.kafka import CommittedReader, TransactionalProducer
from sealstream.layout import ChainTopics, CheckpointHeaders, checkpoint_headers
from sealstream.sealing import Checkpoint, Signer, root, sign_checkpoint

__all__ = ["Publisher"]

_AT_ONCE = 1_000


class Publisher:
    """`checkpoints`, `segments`: readers of both topics, at their ends; `read_back_s`: how long a note may take."""

    def __init__(
        self,
        producer: TransactionalProducer,
        topics: ChainTopics,
        signer: Signer,
        checkpoints: CommittedReader,
        segments: CommittedReader,
        *,
        read_back_s: float,
    ) -> None:
        self._producer = producer
        self._topics = topics
        self._signer = signer
        self._checkpoints = checkpoints
        self._segments = segments
        self._read_back_s = read_back_s

    def publish(self, sizes: Sequence[SignedSize]) -> None:
        """Sign, write and see them all, smaller ones first; a segment's end in both topics in one transaction."""
        for first in range(0, len(sizes), _AT_ONCE):
            self._publish(sizes[first : first + _AT_ONCE])

    def _publish(self, sizes: Sequence[SignedSize]) -> None:
        producer, topics = self._producer, self._topics
        notes = [self._sign(size) for size in sizes]
        producer.begin()
        for size, note in zip(sizes, notes, strict=True):
            headers = CheckpointHeaders(size.compact_range.hashes, size.chain_offset)
            producer.produce(topics.checkpoints, note, headers=checkpoint_headers(headers))
            if size.first_seq is not None:
                headers = headers._replace(first_seq=size.first_seq, last_seq=size.size - 1)
                producer.produce(topics.segments, note, headers=checkpoint_headers(headers))
        producer.commit()
        deadline = time.monotonic() + self._read_back_s
        self._see(self._checkpoints, topics.checkpoints, notes, deadline)
        ends = [note for size, note in zip(sizes, notes, strict=True) if size.first_seq is not None]
        self._see(self._segments, topics.segments, ends, deadline)

    def _sign(self, size: SignedSize) -> bytes:
        return sign_checkpoint(Checkpoint(self._signer.name, size.size, root(size.compact_range)), self._signer)

    def _see(self, reader: CommittedReader, topic: str, notes: Sequence[bytes], deadline: float) -> None:
        seen = 0
        while seen < len(notes):
            records = reader.read(len(notes) - seen, max(0.0, deadline - time.monotonic()))
            for record in records:
                if record.value != notes[seen]:
                    raise Fenced(f"{topic}, offset {record.offset}: a record that we did not write: starting anew")
                seen += 1
            if not records and time.monotonic() > deadline:
                raise Fenced(
                    f"{topic}: {len(notes) - seen} of {len(notes)} notes reported as committed were not seen within "
                    f"{self._read_back_s:.0f} s: starting anew"
                )
