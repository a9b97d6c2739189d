"""Emergency access without a word why: whoever breaks the glass has to say what for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Literal

import msgspec

from sealstream.anomaly.actions import ALL, BREAK_GLASS, is_named, traits, traits_of
from sealstream.anomaly.detecting import Finding, Thresholds, merged_ranges, quoted, window_query
from sealstream.anomaly.episodes import Episode
from sealstream.anomaly.usual import Rate
from sealstream.anomaly.wording import counted, listed, rate
from sealstream.layout.activity import Activity

__all__ = ["BreakGlassWithoutReason"]


class _Thresholds(Thresholds, frozen=True):
    """The first is told; those that follow the last one within `quiet_s` belong to it. `actions`: names of emergency
    access that don't say so by a word (`break_glass`, `emergency`); `*` at the end stands for anything.
    """

    quiet_s: int = 3_600
    actions: tuple[str, ...] = ()


class _State(msgspec.Struct):
    """`usual`: emergency access, with and without a reason."""

    usual: Rate = msgspec.field(default_factory=Rate)
    episode: Episode = msgspec.field(default_factory=Episode)


class BreakGlassWithoutReason:
    """Emergency access for which an actor gave no reason."""

    name: ClassVar[str] = "break_glass_without_reason"
    says: ClassVar[str] = "emergency access without a reason"
    subject: ClassVar[Literal["actor", "address"]] = "actor"
    state = _State
    thresholds = _Thresholds()

    @property
    def concerns(self) -> int:
        """Any record, where settings name further actions."""
        return ALL if self.thresholds.actions else BREAK_GLASS

    def detect(self, state: _State, seen: Activity, second: int) -> tuple[_State, Sequence[Finding]]:
        limits = self.thresholds
        if not limits.actions and not traits_of(seen) & BREAK_GLASS:
            return state, ()
        broken = [
            cell
            for cell in seen.cells
            if (traits(cell.action) & BREAK_GLASS or (limits.actions and is_named(cell.action, limits.actions)))
            and cell.result == "success"
        ]
        if not broken:
            return state, ()
        usual = state.usual.an_hour(second)
        state.usual.add(second, sum(cell.count for cell in broken))
        unexplained = [cell for cell in broken if cell.reasons < cell.count]
        if not unexplained or not state.episode.tells(second, limits.quiet_s):
            return state, ()
        count = sum(cell.count - cell.reasons for cell in unexplained)
        types = sorted({cell.resource_type for cell in unexplained})
        actions = sorted({cell.action for cell in unexplained})
        finding = Finding(
            severity="high",
            confidence=0.95,
            summary=(
                f"{counted(count, 'emergency access', 'emergency accesses')} of {seen.actor_id} to {listed(types)} "
                f"without a reason ({listed(actions)}); usual is {rate(usual)} with and without"
            ),
            window=(second, second),
            key_s=Episode.key_s(second, limits.quiet_s),
            query=window_query(
                seen.chain,
                second,
                second,
                f"actor:{quoted(seen.actor_id)}",
                *(f"action:{quoted(action)}" for action in actions[:8]),
                "-reason:*",
            ),
            score=float(count),
            seen={"without_reason": count, "entries": sum(cell.count for cell in broken)},
            usual={"accesses_an_hour": round(usual, 2)},
            seqs=merged_ranges(pair for cell in unexplained for pair in cell.seqs),
        )
        return state, (finding,)
