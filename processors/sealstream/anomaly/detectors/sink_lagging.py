"""A store falls behind its chain: who asks it misses what happened last."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

import msgspec

from sealstream.anomaly.detecting import Finding, Thresholds
from sealstream.anomaly.episodes import Episode
from sealstream.anomaly.pipeline import SinkObserved
from sealstream.anomaly.usual import Level
from sealstream.anomaly.wording import counted, span

__all__ = ["SinkLagging"]

_FADING = 0.01


class _Thresholds(Thresholds, frozen=True):
    """A sink lags when its oldest waiting entry has waited `lag_s`, or what `lags` says for the sink's name; it lags no
    more below half of that, for `quiet_s`. The archive waits for the end of a segment.
    """

    lag_s: int = 300
    lags: Mapping[str, int] = msgspec.field(default_factory=lambda: {"archive-sink": 1_800})
    quiet_s: int = 1_800


class _State(msgspec.Struct):
    """`usual`: of the lag in seconds, while it did not lag. `lags`: whether it does."""

    usual: Level = msgspec.field(default_factory=Level)
    lags: bool = False
    episode: Episode = msgspec.field(default_factory=Episode)


class SinkLagging:
    """How long entries wait for a sink."""

    name: ClassVar[str] = "sink_lagging"
    says: ClassVar[str] = "a sink falls behind its chain"
    reads = SinkObserved
    state = _State
    thresholds = _Thresholds()

    def detect(self, state: _State, seen: SinkObserved) -> tuple[_State, Sequence[Finding]]:
        limit_s = self.thresholds.lags.get(seen.sink, self.thresholds.lag_s)
        state.lags = seen.lag_s > (limit_s / 2 if state.lags else limit_s)
        if not state.lags:
            state.usual.add(seen.lag_s, _FADING)
            return state, ()
        if not state.episode.tells(seen.at_s, self.thresholds.quiet_s):
            return state, ()
        waiting, since_s = max(seen.size - seen.stored, 1), seen.at_s - round(seen.lag_s)
        finding = Finding(
            severity="high" if seen.lag_s > 6 * limit_s else "medium",
            confidence=0.9,
            summary=(
                f"{seen.sink} is {span(seen.lag_s)} behind chain {seen.chain}, "
                f"{counted(waiting, 'entry waits', 'entries wait')}; usual is {state.usual.mean:.0f} s"
            ),
            window=(since_s, seen.at_s),
            key_s=Episode.key_s(seen.at_s, self.thresholds.quiet_s),
            query=f"chain:{seen.chain} seq:{seen.stored}..{seen.stored + waiting - 1}",
            score=seen.lag_s / limit_s,
            seen={"lag_s": round(seen.lag_s, 1), "waiting": waiting},
            usual={"lag_s": round(state.usual.mean, 1)},
            seqs=[[seen.stored, seen.stored + waiting - 1]],
        )
        return state, (finding,)
