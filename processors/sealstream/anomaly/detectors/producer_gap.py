"""Numbers of a producer are missing: events were lost before the log, or somebody kept them from it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import msgspec

from sealstream.anomaly.detecting import Finding, Thresholds, window_query
from sealstream.anomaly.episodes import Episode
from sealstream.anomaly.pipeline import GapObserved
from sealstream.anomaly.sketching import digest_of, mark, marked
from sealstream.anomaly.usual import Rate
from sealstream.anomaly.windows import Window
from sealstream.anomaly.wording import counted, listed, rate, span

__all__ = ["ProducerGap"]

_BUCKETS = 12
_BYTES = 64


class _Thresholds(Thresholds, frozen=True):
    """`missing` numbers within `window_s`, and `usual_factor` times what is usual, are told; from `high_missing` on as
    high. `quiet_s`: no second alert.
    """

    missing: int = 1
    high_missing: int = 100
    window_s: int = 3_600
    usual_factor: float = 4.0
    quiet_s: int = 7_200


class _State(msgspec.Struct):
    """`recent`: missing numbers, marked with their producers; `one`: all of these. `usual`: those that have left it."""

    recent: Window = msgspec.field(default_factory=Window)
    usual: Rate = msgspec.field(default_factory=Rate)
    episode: Episode = msgspec.field(default_factory=Episode)


class ProducerGap:
    """How many numbers of producers are missing within an hour, against what is usual."""

    name: ClassVar[str] = "producer_gap"
    says: ClassVar[str] = "numbers of a producer are missing"
    reads = GapObserved
    state = _State
    thresholds = _Thresholds()

    def detect(self, state: _State, seen: GapObserved) -> tuple[_State, Sequence[Finding]]:
        limits, window, bucket_s = self.thresholds, state.recent, self.thresholds.window_s // _BUCKETS
        for old in window.slide(seen.at_s, bucket_s, _BUCKETS):
            state.usual.add(old.start, old.count)
        bucket = window.bucket(seen.at_s, bucket_s)
        bucket.add(seen.missing, seen.chain, [[seen.seq, seen.seq]])
        bucket.note(seen.producer_id)
        mark(bucket.one, digest_of(seen.producer_id), _BYTES)
        missing, usual = window.count, state.usual.an_hour(seen.at_s)
        least = max(limits.missing, limits.usual_factor * usual * limits.window_s / 3_600)
        if missing < least or not state.episode.tells(seen.at_s, limits.quiet_s):
            return state, ()
        producers = max(marked(*(each.one for each in window.buckets)), len(window.marks))
        finding = Finding(
            severity="high" if missing >= limits.high_missing else "medium",
            confidence=0.9,
            summary=(
                f"{counted(missing, 'number')} of {listed(window.marks, of=producers)} missing in chain {seen.chain} "
                f"within {span(window.end - window.start + 1)}; usual is {rate(usual)}"
            ),
            window=(window.start, window.end),
            key_s=Episode.key_s(seen.at_s, limits.quiet_s),
            query=window_query(seen.chain, window.start, window.end, "kind:log", "action:producer.gap"),
            score=missing / least,
            seen={"missing": missing, "producers": producers},
            usual={"missing_an_hour": round(usual, 2)},
            seqs=window.seqs(seen.chain),
        )
        return state, (finding,)
