"""A chain says nothing, not even its heartbeat: the sequencer does not seal, whatever producers send."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import msgspec

from sealstream.anomaly.detecting import Finding, Thresholds, second_at, window_query
from sealstream.anomaly.pipeline import ChainObserved
from sealstream.anomaly.wording import span

__all__ = ["Silence"]

_HEARTBEAT_S = 60
_CRITICAL_FACTOR = 5


class _Thresholds(Thresholds, frozen=True):
    """`silent_s`: without an entry of any kind; a heartbeat comes after each minute without."""

    silent_s: int = 180


class _State(msgspec.Struct):
    """`told_of_s`: the last entry's second of the silence that was told; `told_critical`: as critical."""

    told_of_s: int = 0
    told_critical: bool = False


class Silence:
    """How long ago a chain's last entry was sealed."""

    name: ClassVar[str] = "silence"
    says: ClassVar[str] = "a chain seals nothing, not even its heartbeat"
    reads = ChainObserved
    state = _State
    thresholds = _Thresholds()

    def detect(self, state: _State, seen: ChainObserved) -> tuple[_State, Sequence[Finding]]:
        limit_s = self.thresholds.silent_s
        silent_s = seen.at_s - seen.sealed_s
        if not seen.size or silent_s <= limit_s:
            return state, ()
        critical = silent_s > _CRITICAL_FACTOR * limit_s
        if state.told_of_s == seen.sealed_s and (state.told_critical or not critical):
            return state, ()
        state.told_of_s, state.told_critical = seen.sealed_s, critical
        finding = Finding(
            severity="critical" if critical else "high",
            confidence=0.95,
            summary=(
                f"chain {seen.chain} has sealed nothing for {span(silent_s)}, since {second_at(seen.sealed_s)}; "
                f"usual is an entry, or a heartbeat, every {_HEARTBEAT_S} s"
            ),
            window=(seen.sealed_s, seen.at_s),
            key_s=seen.sealed_s + critical,
            query=window_query(seen.chain, seen.sealed_s, seen.at_s),
            score=silent_s / limit_s,
            seen={"silent_s": silent_s, "last_seq": seen.size - 1},
            usual={"heartbeat_s": _HEARTBEAT_S},
            seqs=[[seen.size - 1, seen.size - 1]],
        )
        return state, (finding,)
