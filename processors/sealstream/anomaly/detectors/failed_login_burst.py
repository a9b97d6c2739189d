"""Many failed logins of one actor in a short time: somebody guesses a password, or a credential went stale."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Literal

import msgspec

from sealstream.anomaly.detecting import Finding, Thresholds, merged_ranges, quoted, window_query
from sealstream.anomaly.usual import Rate
from sealstream.layout.activity import Activity, is_login

__all__ = ["FailedLoginBurst"]


class _Thresholds(Thresholds, frozen=True):
    """`failures`: so many within `window_s` are a burst, if that is `usual_factor` times what the actor is used to."""

    failures: int = 8
    window_s: int = 60
    usual_factor: float = 5.0


class _State(msgspec.Struct):
    """`recent`: (second, failures, addresses, seqs) of the window. `quiet_until`: no second alert of one burst."""

    recent: list[tuple[int, int, list[str], list[list[int]]]] = []
    usual: Rate = msgspec.field(default_factory=Rate)
    quiet_until: int = 0


class FailedLoginBurst:
    """An actor's failed logins within a minute, against what is usual for it."""

    name: ClassVar[str] = "failed_login_burst"
    says: ClassVar[str] = "many failed logins of one actor in a short time"
    subject: ClassVar[Literal["actor", "address"]] = "actor"
    state = _State
    thresholds = _Thresholds()

    def detect(self, state: _State, seen: Activity, second: int) -> tuple[_State, Sequence[Finding]]:
        failed = [cell for cell in seen.cells if cell.result != "success" and is_login(cell.action)]
        if not failed:
            return state, ()
        limits = self.thresholds
        first = second - limits.window_s + 1
        count = sum(cell.count for cell in failed)
        addresses = sorted({cell.ip_address for cell in failed if cell.ip_address})
        state.recent = [each for each in state.recent if each[0] >= first]
        state.recent.append((second, count, addresses, [pair for cell in failed for pair in cell.seqs]))
        usual_an_hour = state.usual.an_hour(second)
        state.usual.add(second, count)
        failures = sum(each[1] for each in state.recent)
        least = max(limits.failures, limits.usual_factor * usual_an_hour * limits.window_s / 3600)
        if failures < least or second < state.quiet_until:
            return state, ()
        state.quiet_until = second + limits.window_s
        places = sorted({address for each in state.recent for address in each[2]})
        begin = state.recent[0][0]
        span = second - begin + 1
        finding = Finding(
            severity="high",
            confidence=min(0.99, 1 - 0.5 * least / failures),
            summary=(
                f"{failures} failed logins of {seen.actor_id} in {span} s from {len(places) or 'unknown'} "
                f"address{'' if len(places) == 1 else 'es'}; usual is {usual_an_hour:.1f} an hour"
            ),
            window=(begin, second),
            key_s=second - second % limits.window_s,
            query=window_query(seen.chain, begin, second, f"actor:{quoted(seen.actor_id)}", "-result:success"),
            score=failures / least,
            seen={"failures": failures, "seconds": span, "addresses": len(places)},
            usual={"failures_an_hour": round(usual_an_hour, 2)},
            seqs=merged_ranges(pair for each in state.recent for pair in each[3]),
        )
        return state, (finding,)
