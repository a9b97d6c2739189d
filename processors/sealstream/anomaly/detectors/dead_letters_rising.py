"""More records are refused than usual: a producer sends what is no event, and its events are not in the log."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import msgspec

from sealstream.anomaly.detecting import Finding, Thresholds, window_query
from sealstream.anomaly.episodes import Episode
from sealstream.anomaly.pipeline import DeadLettersObserved
from sealstream.anomaly.usual import Rate
from sealstream.anomaly.windows import Window
from sealstream.anomaly.wording import counted, rate, span

__all__ = ["DeadLettersRising"]

_BUCKETS = 12


class _Thresholds(Thresholds, frozen=True):
    """`refused` records within `window_s`, and `usual_factor` times what is usual, are told. `quiet_s`: no second
    alert.
    """

    refused: int = 10
    window_s: int = 3_600
    usual_factor: float = 5.0
    quiet_s: int = 7_200


class _State(msgspec.Struct):
    """`counted`: as it was said last; -1: never. `recent`: what came since. `usual`: what has left it."""

    counted: int = -1
    recent: Window = msgspec.field(default_factory=Window)
    usual: Rate = msgspec.field(default_factory=Rate)
    episode: Episode = msgspec.field(default_factory=Episode)


class DeadLettersRising:
    """How many records are refused within an hour, against what is usual."""

    name: ClassVar[str] = "dead_letters_rising"
    says: ClassVar[str] = "more records are refused than usual"
    reads = DeadLettersObserved
    state = _State
    thresholds = _Thresholds()

    def detect(self, state: _State, seen: DeadLettersObserved) -> tuple[_State, Sequence[Finding]]:
        before, state.counted = state.counted, seen.refused
        new = 0 if before < 0 else seen.refused - before if seen.refused >= before else seen.refused
        if not new:
            return state, ()
        limits, window, bucket_s = self.thresholds, state.recent, self.thresholds.window_s // _BUCKETS
        for old in window.slide(seen.at_s, bucket_s, _BUCKETS):
            state.usual.add(old.start, old.count)
        window.bucket(seen.at_s, bucket_s).add(new, seen.chain, seen.seqs)
        refused, usual = window.count, state.usual.an_hour(seen.at_s)
        least = max(limits.refused, limits.usual_factor * usual * limits.window_s / 3_600)
        if refused < least or not state.episode.tells(seen.at_s, limits.quiet_s):
            return state, ()
        finding = Finding(
            severity="medium",
            confidence=min(0.99, 1 - 0.5 * least / refused),
            summary=(
                f"{counted(refused, 'record')} for chain {seen.chain} refused within "
                f"{span(window.end - window.start + 1)}; usual is {rate(usual)}"
            ),
            window=(window.start, window.end),
            key_s=Episode.key_s(seen.at_s, limits.quiet_s),
            query=window_query(seen.chain, window.start, window.end, "kind:log", "action:input.passed"),
            score=refused / least,
            seen={"refused": refused},
            usual={"refused_an_hour": round(usual, 2)},
            seqs=window.seqs(seen.chain),
        )
        return state, (finding,)
