"""A chain that is being signed: read, grow, sign, again and again.

The invariants: nothing is written before the tree has come to every size that was signed before; then segments' ends
are written as they come, and the size now at most once an interval, when it has grown. After any error this is not used
again. A crash leaves what `checkpointing` says.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from sealstream.checkpointing.beginning import begin_with_entry_0
from sealstream.checkpointing.growing import Growing, SignedSize
from sealstream.checkpointing.publishing import Publisher
from sealstream.checkpointing.signed import Signed
from sealstream.kafka import CommittedReader
from sealstream.layout import ChainSettings, Figures, figures

__all__ = ["Pace", "Running"]

_LIMIT = 10_000


class Pace(NamedTuple):
    """`interval_s`: between two checkpoints that no segment's end asks for; `wait_s`: how long a step waits for
    entries; `read_back_s`: how long a committed note may take to appear; `read_again`: how many signed entries a start
    holds against their checkpoints (about a second; trimming keeps twice as many).
    """

    interval_s: float = 1.0
    wait_s: float = 0.2
    read_back_s: float = 5.0
    read_again: int = 100_000


class Running:
    """`growing` None: the chain begins with the next entry that comes."""

    def __init__(
        self,
        chain: ChainSettings,
        signed: Signed,
        growing: Growing | None,
        entries: CommittedReader,
        publisher: Publisher,
        *,
        clock: Callable[[], float],
        pace: Pace,
        tally: Figures,
    ) -> None:
        self._chain = chain
        self._signed = signed
        self._growing = growing
        self._entries = entries
        self._publisher = publisher
        self._clock = clock
        self._pace = pace
        self._tally = tally
        self._ends: list[SignedSize] = []
        self._signed_size = signed.newest
        self._due_at = clock()
        tally.set(figures.NEXT_OFFSET, entries.position(), chain.name)
        if growing is not None:
            tally.reached(chain.name, growing.size, growing.sequenced_at)
        if signed.newest:
            tally.set(figures.CHECKPOINT_SIZE, signed.newest, chain.name)

    def step(self) -> bool:
        """One batch of what was committed, and what is to be signed after it; False: there was neither."""
        records = self._entries.read(_LIMIT, self._wait_s())
        if records:
            if self._growing is None:
                self._growing = begin_with_entry_0(records[0], self._chain, self._signed)
            self._ends += self._growing.add(records)
            self._count(len(records), self._growing)
        return self._sign() or bool(records)

    def _count(self, entries: int, growing: Growing) -> None:
        name, tally = self._chain.name, self._tally
        tally.add(figures.BATCHES, 1, name)
        tally.add(figures.ENTRIES, entries, name)
        tally.set(figures.NEXT_OFFSET, self._entries.position(), name)
        tally.reached(name, growing.size, growing.sequenced_at)

    def _wait_s(self) -> float:
        if self._growing is None or self._growing.size <= self._signed_size:
            return self._pace.wait_s
        return min(self._pace.wait_s, max(0.0, self._due_at - self._clock()))

    def _sign(self) -> bool:
        growing = self._growing
        if growing is None or growing.size < self._signed.newest:
            return False
        due = self._ends
        covered = due[-1].size if due else self._signed_size
        if growing.size > covered and self._clock() >= self._due_at:
            due = [*due, growing.now]
        if not due:
            return False
        self._publisher.publish(due)
        self._ends = []
        self._signed_size = due[-1].size
        name, tally = self._chain.name, self._tally
        tally.add(figures.CHECKPOINTS, len(due), name)
        tally.add(figures.SEGMENTS, sum(size.first_seq is not None for size in due), name)
        tally.set(figures.CHECKPOINT_SIZE, self._signed_size, name)
        tally.now(figures.CHECKPOINT_TIME, name)
        self._due_at = self._clock() + self._pace.interval_s
        return True
