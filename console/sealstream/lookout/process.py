"""`sealstream run watch`: looks at each chain every few seconds, and raises what the pipeline's detectors find.

One step is one look at one chain. The order that makes every crash harmless: what is to be raised is written into the
chain's state, acknowledged, and only then raised; after that the state says that it was. A crash between has it raised
again, with the same bytes and ids. Starting is reading the states and looking; without a state the watch begins with
the chain's end, and tells what holds now.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

import msgspec
import structlog

from sealstream.anomaly.pipeline import PipelineKept, PipelineWatch
from sealstream.errors import NotCanonical
from sealstream.layout import Figures, figures
from sealstream.layout.pipeline_watch import WatchState
from sealstream.lookout.looking import Looked
from sealstream.lookout.raising import Raising
from sealstream.lookout.states import WatchStates

__all__ = ["LogWatch", "Look"]

Look = Callable[[WatchState | None], Looked]
"""Looks at one chain, as of the state before. Raises `Unavailable` when the chain itself can't be asked."""

_STORE_EVERY_S = 60.0
_MOMENT_S = 0.2


class LogWatch:
    """The process. `looks`: by chain; `every_s`: how often each is looked at."""

    def __init__(
        self,
        looks: Mapping[str, Look],
        states: WatchStates,
        raising: Raising,
        watch: PipelineWatch,
        *,
        every_s: float,
        tally: Figures | None = None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], object] = time.sleep,
    ) -> None:
        self._looks = dict(looks)
        self._keeper = states
        self._raising = raising
        self._watch = watch
        self._every_s = every_s
        self._tally = tally or Figures()
        self._clock = clock
        self._sleep = sleep
        self._log = structlog.get_logger().bind(process="watch")
        self._states = {chain: states.of(chain) for chain in looks}
        self._kept = {chain: self._decoded(chain) for chain in looks}
        self._due = dict.fromkeys(looks, clock())
        self._store_at = dict.fromkeys(looks, clock() + _STORE_EVERY_S)

    def step(self) -> bool:
        """Look at the chain that has waited longest, or wait a moment when none is due."""
        now = self._clock()
        chain = min(self._due, key=lambda each: self._due[each], default=None)
        if chain is None or self._due[chain] > now:
            self._sleep(_MOMENT_S)
            return False
        more = self._look_at(chain)
        self._due[chain] = now if more else now + self._every_s
        return True

    def close(self) -> None:
        """Keep what is known."""
        for chain, state in self._states.items():
            if state is not None:
                self._keeper.store(chain, state)

    def _look_at(self, chain: str) -> bool:
        """Whether there is more to read at once."""
        self._finish(chain)
        looked = self._looks[chain](self._states[chain])
        kept = self._kept[chain]
        alerts = [alert for seen in looked.observations for alert in self._watch.see(kept, seen)]
        words = self._watch.encode(kept).decode()
        self._states[chain] = state = WatchState(looked.next_seq, looked.refused, words, alerts)
        self._tally.add(figures.BATCHES, 1, chain)
        if alerts or self._clock() >= self._store_at[chain]:
            self._store(chain, state)
        self._finish(chain)
        return looked.more

    def _finish(self, chain: str) -> None:
        """Raise what the state says is to be raised."""
        state = self._states[chain]
        if state is None or not state.raising:
            return
        done = self._raising.raise_all(chain, state.raising)
        self._tally.add(figures.ALERTS_RAISED, done.raised)
        self._tally.add(figures.ALERTS_KNOWN, done.known)
        self._tally.add(figures.ALERTS_UNSEALED, done.unsealed)
        self._states[chain] = msgspec.structs.replace(state, raising=[])
        self._store(chain, self._states[chain])

    def _store(self, chain: str, state: WatchState | None) -> None:
        if state is not None:
            self._keeper.store(chain, state)
            self._store_at[chain] = self._clock() + _STORE_EVERY_S

    def _decoded(self, chain: str) -> PipelineKept:
        state = self._states[chain]
        if state is None or not state.kept:
            return PipelineKept()
        try:
            return self._watch.decode(state.kept.encode())
        except NotCanonical as error:
            self._log.warning("what was known of the pipeline can't be read: beginning anew", reason=str(error))
            return PipelineKept()
