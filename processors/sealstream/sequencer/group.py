"""A sequencer process: the chains that the consumer group gives to it, each sealed by a thread of its own.

The thread that polls the group does nothing else, so that taking one chain, however long that lasts, neither delays
the others nor costs us the membership. A chain that is revoked is finished, stopped in order and committed before the
group may give it away; one that is lost is let go of at once, since somebody else has it already and has fenced us.
A standby is the same process with nothing to do: when the owner dies, the group notices within 6 s and gives it the
chain, and it starts as everybody starts.

A crash leaves each chain as `sequencer` says, and a member that the group drops after 6 s.
"""

from __future__ import annotations

import os
import random
import threading
import time
from collections.abc import Callable, Mapping

import structlog

from sealstream.errors import Fenced, Misconfigured, SealstreamError, Unavailable
from sealstream.kafka import KafkaSettings
from sealstream.layout import Alarm, ChainSettings, ChainTopics, Figures, figures, sequencer_group
from sealstream.layout.spans import Tracing
from sealstream.sequencer.owned import Pace
from sealstream.sequencer.ownership import Ownership
from sealstream.sequencer.sequencer import Sequencer

__all__ = ["SequencerGroup"]

_ALARM_AFTER_FAILURES = 3
_FIRST_PAUSE_S = 0.2
_FENCED_PAUSE_S = 1.0  # whoever has fenced us may own the chain now: let the group say so before fencing it in turn
_LONGEST_PAUSE_S = 10.0
_POLL_S = 0.2


class ChainWorker:
    """One owned chain's thread: builds a sequencer, steps it, and builds it anew after what can be waited out."""

    def __init__(
        self, name: str, build: Callable[[], Sequencer], taken: Callable[[str], None], tally: Figures | None = None
    ) -> None:
        self._name = name
        self._build = build
        self._taken = taken
        self._tally = tally or Figures()
        self._log = structlog.get_logger().bind(chain=name)
        self._stopping = threading.Event()
        self._lost = False
        self.ended_by: Exception | None = None
        self._thread = threading.Thread(target=self._run, name=f"sequencer-{name}", daemon=True)
        self._thread.start()

    def give_up(self, *, lost: bool) -> None:
        """End in order, or at once when the chain is lost; returns when the thread has ended."""
        self._lost = lost
        self._stopping.set()
        self._thread.join()
        self._tally.forget(figures.CHAIN_TAKEN, self._name)
        self._tally.forget(figures.STEP_TIME, self._name)

    def _run(self) -> None:
        failures = 0
        self._tally.resumed(self._name)
        while not self._stopping.is_set():
            sequencer: Sequencer | None = None
            self._tally.set(figures.CHAIN_TAKEN, 0, self._name)
            try:
                sequencer = self._build()
                while not self._stopping.is_set():
                    sequencer.step()
                    self._tally.now(figures.STEP_TIME, self._name)
                    if sequencer.transactions_seen:
                        failures = 0
                        self._tally.set(figures.CHAIN_TAKEN, 1, self._name)
                        self._taken(self._name)
                self._close(sequencer)
            except Unavailable as error:
                failures += 1
                self._tally.set(figures.CHAIN_TAKEN, 0, self._name)
                self._tally.add(figures.RESTARTS, 1, self._name)
                self._failed(failures, error)
                self._abandon(sequencer)
                least_s = _FENCED_PAUSE_S if isinstance(error, Fenced) else _FIRST_PAUSE_S
                self._stopping.wait(min(least_s * 2 ** (failures - 1), _LONGEST_PAUSE_S) * random.uniform(0.8, 1.2))
            except Exception as error:  # noqa: BLE001 - whatever ends a thread is raised by the group's `step()`
                self.ended_by = error
                runbook = error.runbook if isinstance(error, SealstreamError) else ""
                self._tally.set(figures.CHAIN_TAKEN, 0, self._name)
                self._tally.alarm(self._name, Alarm(type(error).__name__, str(error), runbook))
                self._log.critical("chain stopped", kind=type(error).__name__, reason=str(error), runbook=runbook)
                self._abandon(sequencer)
                return

    def _failed(self, failures: int, error: Unavailable) -> None:
        if failures >= _ALARM_AFTER_FAILURES:
            self._log.critical("taken anew again and again", failures=failures, reason=str(error))
        else:
            self._log.warning("taking the chain anew", kind=type(error).__name__, reason=str(error))

    def _close(self, sequencer: Sequencer) -> None:
        if self._lost:
            self._abandon(sequencer)
        else:
            sequencer.close()

    def _abandon(self, sequencer: Sequencer | None) -> None:
        try:
            if sequencer is not None:
                sequencer.abandon()
        except SealstreamError as error:
            self._log.warning("did not close in order; the next start recovers", reason=str(error))


class SequencerGroup:
    """The sequencer process for `chains` (by name), sharing them with every other process of the same group.

    All chains have one prefix. `accept_input_lost` is a decision about what is found now: it counts until a chain was
    taken once, so that a later loss stops the chain again. `tally`: counts what its chains do. `tracing`: tells of each
    event that somebody looks at.
    """

    def __init__(
        self,
        kafka: KafkaSettings,
        chains: Mapping[str, ChainSettings],
        *,
        clock: Callable[[], int] = time.time_ns,
        randomness: Callable[[int], bytes] = os.urandom,
        accept_input_lost: bool = False,
        pace: Pace | None = None,
        tally: Figures | None = None,
        tracing: Tracing | None = None,
    ) -> None:
        self._kafka = kafka
        self._tracing = tracing
        self._tally = tally or Figures()
        self._by_topic = {ChainTopics.of(chain.name, chain.prefix).raw: chain for chain in chains.values()}
        if not chains:
            raise Misconfigured("a sequencer process was given no chains: make one with `sealstream chain create main`")
        if len({chain.prefix for chain in chains.values()}) != 1:
            raise Misconfigured("a sequencer process serves chains of one prefix: give others a process of their own")
        self._accepting = set(chains) if accept_input_lost else set[str]()
        self._clock = clock
        self._randomness = randomness
        self._pace = pace
        self._workers: dict[str, ChainWorker] = {}
        prefix = next(iter(chains.values())).prefix
        self._ownership = Ownership(
            kafka,
            sequencer_group(prefix),
            self._by_topic,
            gained=self._gained,
            revoked=lambda topic: self._give_up(topic, lost=False),
            lost=lambda topic: self._give_up(topic, lost=True),
        )

    @property
    def owned(self) -> list[str]:
        """The names of the chains that are ours now."""
        return sorted(self._by_topic[topic].name for topic in self._workers)

    def step(self) -> bool:
        """Let the group speak for a moment; whether a chain is ours.

        Raises what ended a chain's thread once every chain of ours has ended (an alarm was given for each before).
        """
        self._ownership.poll(_POLL_S)
        workers = list(self._workers.values())
        endings = [worker.ended_by for worker in workers if worker.ended_by is not None]
        if endings and len(endings) == len(workers):
            raise endings[0]
        return bool(workers)

    def close(self) -> None:
        """Stop every chain in order, then leave the group, so that a standby takes over at once."""
        for topic in list(self._workers):
            self._give_up(topic, lost=False)
        self._ownership.close()

    def _gained(self, topic: str) -> None:
        chain = self._by_topic[topic]
        self._workers[topic] = ChainWorker(chain.name, lambda: self._build(chain), self._taken, self._tally)

    def _build(self, chain: ChainSettings) -> Sequencer:
        raw = ChainTopics.of(chain.name, chain.prefix).raw
        return Sequencer(
            self._kafka,
            chain,
            clock=self._clock,
            randomness=self._randomness,
            accept_input_lost=chain.name in self._accepting,
            pace=self._pace,
            report_offsets=lambda offsets: self._ownership.report(raw, offsets),
            tally=self._tally,
            tracing=self._tracing,
        )

    def _taken(self, name: str) -> None:
        self._accepting.discard(name)

    def _give_up(self, topic: str, *, lost: bool) -> None:
        worker = self._workers.pop(topic, None)
        if worker is not None:
            worker.give_up(lost=lost)
