"""Entries stand in a chain and nobody signs them: what was not signed could still be changed unseen."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import msgspec

from sealstream.anomaly.detecting import Finding, Thresholds, second_at
from sealstream.anomaly.pipeline import ChainObserved
from sealstream.anomaly.wording import counted, span

__all__ = ["CheckpointLate"]


class _Thresholds(Thresholds, frozen=True):
    """`late_s`: so long there were entries behind the newest checkpoint, and no newer one came."""

    late_s: int = 120


class _State(msgspec.Struct):
    """`signed_size`: of the newest checkpoint, behind which there were entries at `since_s` already (0: there are
    none). `told`: that it is late.
    """

    signed_size: int = -1
    since_s: int = 0
    told: bool = False


class CheckpointLate:
    """How long entries have waited for a checkpoint."""

    name: ClassVar[str] = "checkpoint_late"
    says: ClassVar[str] = "entries wait for a signed checkpoint"
    reads = ChainObserved
    state = _State
    thresholds = _Thresholds()

    def detect(self, state: _State, seen: ChainObserved) -> tuple[_State, Sequence[Finding]]:
        if seen.size <= seen.signed_size:
            return _State(seen.signed_size), ()
        if state.signed_size != seen.signed_size or not state.since_s:
            return _State(seen.signed_size, seen.at_s), ()
        late_s = seen.at_s - state.since_s
        if late_s <= self.thresholds.late_s or state.told:
            return state, ()
        state.told = True
        waiting = seen.size - seen.signed_size
        newest = f"the newest covers {seen.signed_size} and was signed at {second_at(seen.signed_s)}"
        if not seen.signed_s:
            newest = "there is none yet"
        finding = Finding(
            severity="high",
            confidence=0.9,
            summary=(
                f"{counted(waiting, 'entry waits', 'entries wait')} for a checkpoint of chain {seen.chain}, for "
                f"{span(late_s)}; {newest}, usual is one a second"
            ),
            window=(state.since_s, seen.at_s),
            key_s=seen.signed_s,
            query=f"chain:{seen.chain} seq:{seen.signed_size}..{seen.size - 1}",
            score=late_s / self.thresholds.late_s,
            seen={"unsigned": waiting, "late_s": late_s},
            usual={"checkpoint_s": 1},
            seqs=[[seen.signed_size, seen.size - 1]],
        )
        return state, (finding,)
