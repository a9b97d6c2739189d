"""An account that nobody used for weeks is used again: forgotten accounts are whom intruders like best.

Who is enabled again by somebody else before the return is expected back: that is who was away for a child or an
illness, and the enabling is in the log under the name of who did it.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from typing import ClassVar, Literal

import msgspec

from sealstream.anomaly.actions import ENABLE, LOGIN, POWER, traits
from sealstream.anomaly.detecting import Finding, Thresholds, merged_ranges, quoted, second_at, window_query
from sealstream.anomaly.runs import Run
from sealstream.anomaly.wording import counted, listed, span
from sealstream.layout.activity import Activity

__all__ = ["DormantActor"]

_HOUR_S = 3_600
_DAY_S = 86_400
_FADING = 0.998


class _Thresholds(Thresholds, frozen=True):
    """Dormant is who has done nothing for `dormant_days`, and for `pause_factor` times the longest pause before, having
    been active on `min_days` days before that. Attempts to log in that fail are nothing, nor is a return within
    `expected_days` of the account's being enabled by another.
    """

    dormant_days: int = 30
    pause_factor: float = 1.5
    min_days: int = 5
    expected_days: int = 14


class _State(msgspec.Struct):
    """`last_s`: the newest activity, to an hour; `days`: of activity. `longest_s`: the longest pause between two, which
    fades. `tried`: failed logins since. `enabled_s`: when another enabled the account.
    """

    last_s: int = 0
    days: int = 0
    longest_s: int = 0
    tried: int = 0
    enabled_s: int = 0


class DormantActor:
    """How long an actor did nothing, when it does something again."""

    name: ClassVar[str] = "dormant_actor"
    says: ClassVar[str] = "an account that was not used for weeks is used again"
    subject: ClassVar[Literal["actor", "address"]] = "actor"
    state = _State
    thresholds = _Thresholds()

    def ahead(self, state: _State, run: Run) -> Iterator[int]:
        """An hour later on the same day it is still there."""
        if any(kind.traits & ENABLE and kind.is_success for kind in run.received_kinds):
            yield from run.moments
            return
        seconds, place = run.seconds, 0
        while (place := bisect_left(seconds, state.last_s + _HOUR_S, place)) < len(seconds):
            second, kind = seconds[place], run.kinds[place]
            if second // _DAY_S == state.last_s // _DAY_S and (kind.is_success or not kind.traits & LOGIN):
                state.last_s, state.tried = second, 0
            else:
                yield second
                place = bisect_right(seconds, second, place)

    def detect(self, state: _State, seen: Activity, second: int) -> tuple[_State, Sequence[Finding]]:
        if seen.received and any(traits(each.action) & ENABLE and each.result == "success" for each in seen.received):
            state.enabled_s = second
        pause_s = second - state.last_s
        if pause_s < _HOUR_S:
            return state, ()
        acts = [cell for cell in seen.cells if cell.result == "success" or not traits(cell.action) & LOGIN]
        if not acts:
            state.tried += sum(cell.count for cell in seen.cells) if state.last_s else 0
            return state, ()
        last_s, days, longest_s, tried = state.last_s, state.days, state.longest_s, state.tried
        state.last_s, state.tried = second, 0
        if second // _DAY_S == last_s // _DAY_S:
            return state, ()
        state.days = days + 1
        if not last_s:
            return state, ()
        limits = self.thresholds
        state.longest_s = max(round(longest_s * _FADING), pause_s)
        limit_s = max(limits.dormant_days * _DAY_S, limits.pause_factor * longest_s)
        is_expected = second - state.enabled_s < limits.expected_days * _DAY_S
        if pause_s < limit_s or days < limits.min_days or is_expected:
            return state, ()
        powers = any(traits(cell.action) & POWER for cell in acts)
        actions = sorted({cell.action for cell in acts})
        behind = f", behind {counted(tried, 'failed login')}" if tried else ""
        addresses = sorted({cell.ip_address for cell in acts if cell.ip_address})
        finding = Finding(
            severity="high" if powers or tried else "medium",
            confidence=min(0.95, 1 - 0.5 * limit_s / pause_s),
            summary=(
                f"{seen.actor_id} is active again after {span(pause_s)}: {listed(actions)} "
                f"from {listed(addresses) or 'an unknown address'}"
                f"{behind}; its longest pause was {span(longest_s)}, over {days} days of activity"
            ),
            window=(second, second),
            key_s=second - second % _DAY_S,
            query=window_query(seen.chain, second, second, f"actor:{quoted(seen.actor_id)}"),
            score=pause_s / limit_s,
            seen={"pause_days": round(pause_s / _DAY_S, 1), "failed_logins": tried, "last": second_at(last_s)},
            usual={"longest_pause_days": round(longest_s / _DAY_S, 1), "active_days": days},
            seqs=merged_ranges(pair for cell in acts for pair in cell.seqs),
        )
        return state, (finding,)
