"""How one process is: whether its loop moves, and whether it does its work. Told by the loop, asked by the probes.

**Alive**: the loop has moved within some seconds. Waiting for a server and building anew are moving too, and so is
taking a place (a long chain is read through), for at most an hour: killing such a process would only begin it again.
**Ready**: it has taken its place, its stores answer, no alarm has stopped a chain of it, nobody has told it to stop.
A standby is ready: its place is to wait (docs/decisions/0230).

Written by the loop's thread by single assignments, read by others; nothing waits. Nothing to lose in a crash.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import NamedTuple

from sealstream.layout import Alarm, Figures, figures

__all__ = ["Verdict", "Vitals"]

_BEGIN_WITHIN_S = 3600.0
_STANDBY_AFTER_S = 10.0
"""A sequencer to which the group has given no chain by then is a standby: the group needs 6 s to miss a dead one."""


class Verdict(NamedTuple):
    """`because`: in words, why not; `runbook`: the page that helps, if one does."""

    holds: bool
    because: tuple[str, ...] = ()
    runbook: str = ""


class Vitals:
    """One process. `process`: its kind; `chains`: which it serves.

    `stays_after_alarm`: it then answers on, and does nothing. `clock`: seconds that only rise; `wall`: since 1970.
    """

    def __init__(
        self,
        process: str,
        chains: tuple[str, ...],
        tally: Figures,
        *,
        alive_within_s: float = 120.0,
        stays_after_alarm: bool = False,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self.process = process
        self.chains = chains
        self.tally = tally
        self.stays_after_alarm = stays_after_alarm
        self._alive_within_s = alive_within_s
        self._clock = clock
        self._wall = wall
        self._moved_at = clock()
        self._placed_at: float | None = None
        self._waits = "it is starting"
        self._runbook = ""
        self._stopping = False
        self._troubles: dict[str, str] = {}

    # What the loop tells

    def beginning(self) -> None:
        """It is about to be built from its stores."""
        self._placed_at = None
        self._moved_at = self._clock()

    def stepped(self) -> None:
        """A step was made, so it has its place."""
        now = self._clock()
        self._moved_at = now
        self.tally.now(figures.STEP_TIME, "")
        if self._placed_at is None:
            self._placed_at, self._waits, self._runbook = now, "", ""

    def waiting(self, reason: str, runbook: str = "") -> None:
        """It is built anew after this, later."""
        self._placed_at = None
        self._moved_at = self._clock()
        self._waits, self._runbook = reason, runbook
        self.tally.add(figures.RESTARTS, 1, "")

    def stopped_by(self, alarm: Alarm) -> None:
        """An alarm ends it."""
        self.tally.alarm(self.chains[0] if len(self.chains) == 1 else "", alarm)

    def resting(self) -> None:
        """An alarm has ended its work, and it goes on to say so: to start it anew would mend nothing."""
        self._moved_at = self._clock()

    def stopping(self) -> None:
        """It was told to stop, or must."""
        self._stopping = True

    # What the asking thread tells

    def store_answered(self, store: str, trouble: str = "") -> None:
        """The store answered, or this is why not."""
        self.tally.set(figures.STORE_REACHABLE, not trouble, store)
        if trouble:
            self._troubles[store] = trouble
        else:
            self._troubles.pop(store, None)

    # What the probes ask

    def alive(self) -> Verdict:
        """Whether the loop moves."""
        still_s = self._clock() - self._moved_at
        limit_s = _BEGIN_WITHIN_S if self._placed_at is None else self._alive_within_s
        because = []
        if still_s > limit_s:
            because.append(f"the loop has not moved for {still_s:.0f} s (at most {limit_s:.0f} s)")
        for chain in self.chains:
            stepped_at = self.tally.value(figures.STEP_TIME, chain)
            if self.tally.value(figures.CHAIN_TAKEN, chain) == 1 and stepped_at is not None:
                still_s = self._wall() - stepped_at
                if still_s > self._alive_within_s:
                    because.append(f"the loop of chain {chain} has not moved for {still_s:.0f} s")
        return Verdict(not because, tuple(because))

    def ready(self) -> Verdict:
        """Whether it does its work."""
        because, runbook = [], ""
        if self._stopping:
            because.append("it is stopping")
        for chain, alarm in self.tally.alarms().items():
            because.append(f"chain {chain} was stopped by an alarm, {alarm.kind}: {alarm.reason}")
            runbook = alarm.runbook
        if self._placed_at is None:
            because.append(f"it has not taken its place: {self._waits or 'it is starting'}")
            runbook = runbook or self._runbook
        else:
            because += self._chains_that_wait(self._placed_at)
            if self.process == "anomaly" and self.tally.value(figures.WORKER_READY) != 1:
                because.append("its worker has not joined the group yet, or recovers its states")
        because += [f"{store} does not answer: {trouble}" for store, trouble in self._troubles.copy().items()]
        return Verdict(not because, tuple(because), runbook)

    def _chains_that_wait(self, placed_at: float) -> list[str]:
        if self.process != "sequencer":
            return []
        taken = {chain: self.tally.value(figures.CHAIN_TAKEN, chain) for chain in self.chains}
        if set(taken.values()) <= {None} and self._clock() - placed_at < _STANDBY_AFTER_S and not self.tally.alarms():
            return ["the group has not said yet which chains are its own"]
        stopped = self.tally.alarms()
        return [
            f"chain {chain} is being taken"
            for chain, is_taken in taken.items()
            if is_taken == 0 and chain not in stopped
        ]
