"""The activity roll-up: every chain's committed entries, counted by actor and second, written once.

    audit.chain.* ──▶ Following (pure), one a chain ──▶ one transaction: activity, addresses, positions

One process rolls up all chains of a prefix. A second is written when an entry of a later one stands in its chain; while
a chain is quiet, a second after its last entry; and while time stands still in a chain (the sequencer's clock was set
back), every two seconds what grew since. Behind, a transaction takes all that there is, up to 50,000 entries; live, it
holds the second that has just ended.

The first `step()` starts; starting is recovering, there is nothing else. What a crash leaves, line by line:

* before `open()`: nothing. After it, the process before us is fenced and can commit nothing more;
* while beginning, and while entries are counted: nothing is written;
* from `begin()` to the end of `commit()`: an open transaction, which the next `open()` aborts, or one that is wholly
  there, records and positions;
* between a commit and its reading back: the next start reads the positions that are there.

In each case the next process begins each chain with the first entry of the second that was not over, and passes over
what was told of it. A chain that can't go on is left with an alarm, and the others go on.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack

import structlog

from sealstream.anomaly.beginning import begin_chain, take_over
from sealstream.anomaly.followed import Followed, Pace
from sealstream.anomaly.writing import ActivityWriter
from sealstream.errors import ChainStopped, Misconfigured, SealstreamError
from sealstream.kafka import CommittedReader, KafkaSettings, TransactionalProducer
from sealstream.layout import Alarm, ChainSettings, Figures, figures
from sealstream.layout.activity import PARTITIONS

__all__ = ["ActivityRollUp", "Pace"]

_AT_ONCE = 10_000


class ActivityRollUp:
    """Rolls up `chains`, all of one prefix. Nothing happens before the first `step()`.

    `partitions`: of the topics with activity. `clock`: seconds that only rise. `accept_lost`: a person's decision to go
    on where entries are gone that were never rolled up. `tally`: counts what was done. `open_producer` and
    `open_reader` make what writes and reads, so that tests can put faults between.
    """

    def __init__(
        self,
        kafka: KafkaSettings,
        chains: Sequence[ChainSettings],
        *,
        partitions: int = PARTITIONS,
        clock: Callable[[], float] = time.monotonic,
        accept_lost: bool = False,
        pace: Pace | None = None,
        tally: Figures | None = None,
        open_producer: Callable[[KafkaSettings, str], TransactionalProducer] = TransactionalProducer,
        open_reader: Callable[[KafkaSettings, str, int], CommittedReader] = CommittedReader,
    ) -> None:
        if len({chain.prefix for chain in chains}) != 1:
            raise Misconfigured("the roll-up serves the chains of one prefix: expected one chain or more, all of it")
        self._kafka = kafka
        self._chains = chains
        self._prefix = chains[0].prefix
        self._partitions = partitions
        self._clock = clock
        self._accept_lost = accept_lost
        self._pace = pace or Pace()
        self._tally = tally or Figures()
        self._open_producer = open_producer
        self._open_reader = open_reader
        self._log = structlog.get_logger()
        self._held = ExitStack()
        self._writer: ActivityWriter | None = None
        self._followed: list[Followed] = []
        self._left: set[str] = set()

    def step(self) -> bool:
        """Start, or roll up what has come and write what is due; whether there was work.

        Raises `Fenced` or another `Unavailable`: close this and build another; `Misconfigured`: a topic is not as it
        must be; `ChainStopped`, once the last chain can't go on: a person must decide.
        """
        if self._writer is None:
            self._writer = self._start()
            return False
        taken = self._take_what_comes()
        now = self._clock()
        for each in self._followed:
            each.tell_if_due(now)
        written = self._write(self._writer)
        for each in list(self._followed):
            if each.broken is not None:
                self._followed.remove(each)
                each.reader.close()
                self._leave(each.name, each.broken)
        return written or taken > 0

    def close(self) -> None:
        """Let go of everything. What was counted and not written the next start counts again."""
        self._writer = None
        self._followed = []
        self._left = set()
        self._held.close()

    def _start(self) -> ActivityWriter:
        """Fence the process before us, read how far it came, go there in each chain. Nothing is written."""
        kafka = self._kafka
        with ExitStack() as held:
            writer, positions = take_over(
                *(kafka, self._prefix, self._partitions, held),
                read_back_s=self._pace.read_back_s,
                open_producer=self._open_producer,
                open_reader=self._open_reader,
            )
            for chain in self._chains:
                self._tally.resumed(chain.name)
                try:
                    reader, following = begin_chain(
                        kafka, chain, positions.get(chain.name), self._open_reader, accept_lost=self._accept_lost
                    )
                except (ChainStopped, Misconfigured) as error:  # a topic that is lost is Misconfigured
                    self._leave(chain.name, error)
                    continue
                held.callback(reader.close)
                self._followed.append(Followed(chain.name, reader, following, self._pace, self._clock))
                self._log.info("following", chain=chain.name, next_seq=following.next_seq, offset=reader.position())
            self._held = held.pop_all()
        return writer

    def _take_what_comes(self) -> int:
        """Count entries until there are enough for a transaction, or no more for now; how many."""
        pace, followed = self._pace, self._followed
        taken = 0
        while taken < pace.max_entries:
            came = sum(each.take(0.0) for each in followed)
            if not came and not taken:
                came = sum(each.take(pace.wait_s / len(followed)) for each in followed)
            if not came:
                break
            taken += came
        return taken

    def _write(self, writer: ActivityWriter) -> bool:
        outcomes = {
            each.name: outcome for each in self._followed if (outcome := each.following.handed_out()) is not None
        }
        if outcomes:
            writer.write(outcomes)
        tally = self._tally
        for name, outcome in outcomes.items():
            tally.add(figures.BATCHES, 1, name)
            tally.add(figures.ACTIVITY_RECORDS, len(outcome.activity) + len(outcome.addresses), name)
        for each in self._followed:
            each.count(tally)
        return bool(outcomes)

    def _leave(self, chain: str, error: SealstreamError) -> None:
        """Go on without this chain. Raises the error when it was the last one."""
        self._left.add(chain)
        if len(self._left) == len(self._chains):
            raise error
        self._tally.alarm(chain, Alarm(type(error).__name__, str(error), error.runbook))
        self._log.critical(
            "chain stopped: a person must decide; the others go on",
            chain=chain,
            kind=type(error).__name__,
            reason=str(error),
            runbook=error.runbook,
        )
