"""Many failed logins of one actor in a short time: somebody guesses a password, or a credential went stale.

Two windows: minutes for who is in a hurry, an hour for who tries not to be seen. Many applications record a failed
login as done by `anonymous` to an account, since nobody has shown yet who it is: that counts for the account, and
nothing for `anonymous`, who is everybody. A login that succeeds right behind a burst is told by an alert of its own:
the guess may have been right.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Literal, NamedTuple

import msgspec

from sealstream.anomaly.actions import LOGIN, RECEIVED, traits, traits_of
from sealstream.anomaly.detecting import Finding, Thresholds, merged_ranges, quoted, window_query
from sealstream.anomaly.episodes import Episode
from sealstream.anomaly.usual import Rate
from sealstream.anomaly.windows import Window
from sealstream.anomaly.wording import counted, rate, span
from sealstream.layout.activity import Activity, Cell, Received

__all__ = ["FailedLoginBurst"]

_BUCKETS = 12
_BROKEN_IN = 1
_ON_ACCOUNT, _BY_ITSELF = "(on the account)", "(by itself)"
_MOST_ADDRESSES = 4


class _Thresholds(Thresholds, frozen=True):
    """`failures`: so many within `window_s` are a burst, and so are `slow_failures` within `slow_window_s`, if that is
    `usual_factor` times what the actor is used to. A burst is over after `quiet_s` without one, a slow one
    not before its window; a success within `success_s` of its last failures counts as behind it.
    """

    failures: int = 8
    window_s: int = 180
    slow_failures: int = 40
    slow_window_s: int = 3_600
    usual_factor: float = 5.0
    quiet_s: int = 1_800
    success_s: int = 600


class _State(msgspec.Struct):
    """`recent`, `slow`: failed logins, marked with their addresses and whose they are. `usual`: those that have left
    `slow`.
    """

    recent: Window = msgspec.field(default_factory=Window)
    slow: Window = msgspec.field(default_factory=Window)
    usual: Rate = msgspec.field(default_factory=Rate)
    episode: Episode = msgspec.field(default_factory=Episode)


class _Burst(NamedTuple):
    window: Window
    failures: int
    least: float


class FailedLoginBurst:
    """An actor's failed logins within minutes and an hour, against what is usual for it."""

    name: ClassVar[str] = "failed_login_burst"
    says: ClassVar[str] = "many failed logins of one actor in a short time, and a success behind them"
    subject: ClassVar[Literal["actor", "address"]] = "actor"
    state = _State
    thresholds = _Thresholds()
    concerns: ClassVar[int] = LOGIN | RECEIVED

    def detect(self, state: _State, seen: Activity, second: int) -> tuple[_State, Sequence[Finding]]:
        if not seen.received and not traits_of(seen) & LOGIN:
            return state, ()
        logins = [cell for cell in seen.cells if traits(cell.action) & LOGIN and cell.actor_type != "anonymous"]
        tried = [each for each in seen.received if traits(each.action) & LOGIN and each.result != "success"]
        if not logins and not tried:
            return state, ()
        state.usual.begin(second)
        failed: list[Cell | Received] = [*tried, *(cell for cell in logins if cell.result != "success")]
        succeeded = [cell for cell in logins if cell.result == "success"]
        found = []
        if failed:
            found += self._failures(state, seen, second, failed)
        if succeeded and state.episode.goes_on(second, self.thresholds.success_s):
            found += self._successes(state, seen, second, failed, succeeded)
        return state, found

    def _failures(self, state: _State, seen: Activity, second: int, failed: list[Cell | Received]) -> list[Finding]:
        limits = self.thresholds
        count = sum(cell.count for cell in failed)
        seqs = sorted(pair for cell in failed for pair in cell.seqs)
        for window, length_s in ((state.recent, limits.window_s), (state.slow, limits.slow_window_s)):
            bucket_s = _bucket_s(length_s)
            left = window.slide(second, bucket_s, _BUCKETS)
            if window is state.slow:
                for old in left:
                    state.usual.add(old.start, old.count)
            bucket = window.bucket(second, bucket_s)
            bucket.add(count, seen.chain, seqs)
            for cell in failed:
                bucket.note(_ON_ACCOUNT if isinstance(cell, Received) else _BY_ITSELF)
                if cell.ip_address and len(bucket.marks) < _MOST_ADDRESSES + 1:  # there is room for both of the others
                    bucket.note(cell.ip_address)
        usual = state.usual.an_hour(second)
        bursts = [
            _Burst(state.recent, state.recent.count, self._least(limits.failures, usual, limits.window_s)),
            _Burst(state.slow, state.slow.count, self._least(limits.slow_failures, usual, limits.slow_window_s)),
        ]
        burst = max(bursts, key=lambda each: each.failures / each.least)
        is_fast = bursts[0].failures >= bursts[0].least
        quiet_s = limits.quiet_s if is_fast else max(limits.quiet_s, limits.slow_window_s)
        if burst.failures < burst.least or not state.episode.tells(second, quiet_s):
            return []
        return [self._finding(burst, seen, second, usual)]

    def _least(self, failures: int, usual_an_hour: float, window_s: int) -> float:
        return max(failures, self.thresholds.usual_factor * usual_an_hour * window_s / 3_600)

    def _finding(self, burst: _Burst, seen: Activity, second: int, usual_an_hour: float) -> Finding:
        window, failures = burst.window, burst.failures
        taken_s = window.end - window.start + 1
        addresses = len(set(window.marks) - {_ON_ACCOUNT, _BY_ITSELF})
        return Finding(
            severity="high",
            confidence=min(0.99, 1 - 0.5 * burst.least / failures),
            summary=(
                f"{counted(failures, 'failed login')} of {seen.actor_id} in {span(taken_s)} from "
                f"{counted(addresses, 'address', 'addresses') if addresses else 'unknown addresses'}; "
                f"usual is {rate(usual_an_hour)}"
            ),
            window=(window.start, window.end),
            key_s=Episode.key_s(second, self.thresholds.quiet_s),
            query=window_query(window.chains, window.start, window.end, *_whose(window, seen), "-result:success"),
            score=failures / burst.least,
            seen={"failures": failures, "seconds": taken_s, "addresses": addresses},
            usual={"failures_an_hour": round(usual_an_hour, 2)},
            seqs=window.seqs(seen.chain),
        )

    def _successes(
        self, state: _State, seen: Activity, second: int, failed: list[Cell | Received], succeeded: list[Cell]
    ) -> list[Finding]:
        if state.episode.level == _BROKEN_IN:
            return []
        before = min((cell.seqs[0][0] for cell in failed), default=-1)
        behind = [cell for cell in succeeded if cell.seqs[-1][1] > before]
        if not behind:
            return []
        state.episode.level = _BROKEN_IN
        window = state.slow
        places = sorted({cell.ip_address for cell in behind if cell.ip_address})
        known = bool(set(places) & set(window.marks))
        begin, end = min(window.start, second), max(window.end, second)
        finding = Finding(
            severity="critical",
            confidence=0.9 if known else 0.7,
            summary=(
                f"{seen.actor_id} logged in from {places[0] if places else 'an unknown address'} behind "
                f"{counted(window.count, 'failed login')} in {span(window.end - window.start + 1)}"
                f"{', some of them from there' if known else ''}"
            ),
            window=(begin, end),
            key_s=Episode.key_s(second, self.thresholds.quiet_s) + 1,
            query=window_query(
                sorted({*window.chains, seen.chain}),
                begin,
                end,
                *(_whose(window, seen) if _ON_ACCOUNT not in window.marks else ()),
            ),
            score=window.count / self.thresholds.failures,
            seen={"failures": window.count, "address": places[0] if places else "", "from_there": int(known)},
            usual={"failures_an_hour": round(state.usual.an_hour(second), 2)},
            seqs=merged_ranges([*window.seqs(seen.chain), *(pair for cell in behind for pair in cell.seqs)]),
        )
        return [finding]


def _whose(window: Window, seen: Activity) -> tuple[str, ...]:
    """What finds these failures: they are the actor's own, or on its account; no term finds both."""
    if _ON_ACCOUNT not in window.marks:
        return (f"actor:{quoted(seen.actor_id)}",)
    return () if _BY_ITSELF in window.marks else (f"resource_id:{quoted(seen.actor_id)}",)


def _bucket_s(window_s: int) -> int:
    return max(1, window_s // _BUCKETS)
