"""Many actors whose logins fail from one address: somebody tries a few passwords on every account.

An office behind one address has people who mistype, too. What tells them apart: they get in a moment later. So those
count who failed and have not logged in from there within the same window.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Literal, NamedTuple

import msgspec

from sealstream.anomaly.actions import LOGIN, traits
from sealstream.anomaly.detecting import Finding, Thresholds, merged_ranges, quoted, window_query
from sealstream.anomaly.episodes import Episode
from sealstream.anomaly.sketching import digest_of, mark, marked
from sealstream.anomaly.usual import Rate
from sealstream.anomaly.windows import Window
from sealstream.anomaly.wording import counted, listed, rate, span
from sealstream.layout.activity import AddressActivity, AddressCell

__all__ = ["PasswordSpray"]

_FAST_BUCKETS = 5
_SLOW_BUCKETS = 6
_FAST_BYTES = 64
_SLOW_BYTES = 128
_BROKEN_IN = 1
_NOBODY = "anonymous"


class _Thresholds(Thresholds, frozen=True):
    """`actors`: so many who fail within `window_s` and don't get in are a spray, and so are `slow_actors` within
    `slow_window_s`, and `unnamed_failures` within `window_s` for which no account is named, if that is `usual_factor`
    times what the address is used to. A spray is over after `quiet_s` without one, a slow one not before its window;
    one of the actors who gets in within `success_s` of it may be its success.
    """

    actors: int = 8
    unnamed_failures: int = 20
    window_s: int = 600
    slow_actors: int = 16
    slow_window_s: int = 86_400
    usual_factor: float = 4.0
    quiet_s: int = 7_200
    success_s: int = 3_600


class _State(msgspec.Struct):
    """Buckets count failed logins, and hold as bitmaps who failed (`one`) and who got in (`other`). `usual`: actors who
    failed in a bucket of `slow` and did not get in, counted when it leaves. `nameless`, `nameless_usual`: failed logins
    for which no account is named, in `fast`'s time, and those that have left it.
    """

    fast: Window = msgspec.field(default_factory=Window)
    slow: Window = msgspec.field(default_factory=Window)
    usual: Rate = msgspec.field(default_factory=Rate)
    episode: Episode = msgspec.field(default_factory=Episode)
    nameless: Window = msgspec.field(default_factory=Window)
    nameless_usual: Rate = msgspec.field(default_factory=Rate)
    nameless_episode: Episode = msgspec.field(default_factory=Episode)


class _Spray(NamedTuple):
    window: Window
    actors: int
    least: float


class PasswordSpray:
    """The actors who fail to log in from one address within ten minutes and a day, against what is usual there."""

    name: ClassVar[str] = "password_spray"
    says: ClassVar[str] = "logins of many actors, or of accounts that nobody names, fail from one address"
    subject: ClassVar[Literal["actor", "address"]] = "address"
    state = _State
    thresholds = _Thresholds()

    def detect(self, state: _State, seen: AddressActivity, second: int) -> tuple[_State, Sequence[Finding]]:
        attempts = [cell for cell in seen.cells if traits(cell.action) & LOGIN]
        if not attempts:
            return state, ()
        nameless = [cell for cell in attempts if cell.actor_id == _NOBODY and cell.result != "success"]
        found = self._nameless(state, seen, second, nameless) if nameless else []
        logins = [cell for cell in attempts if cell.actor_id != _NOBODY] if nameless else attempts
        if not logins:
            return state, found
        state.usual.begin(second)
        limits = self.thresholds
        failed = [cell for cell in logins if cell.result != "success"]
        succeeded = [cell for cell in logins if cell.result == "success"]
        broken_in = [cell for cell in succeeded if self._may_be_its_success(state, cell, second)]
        _note(state.fast, seen, second, failed, succeeded, limits.window_s // _FAST_BUCKETS, _FAST_BYTES)
        left = _note(state.slow, seen, second, failed, succeeded, limits.slow_window_s // _SLOW_BUCKETS, _SLOW_BYTES)
        for lost, at in left:
            state.usual.add(at, lost)
        if failed:
            found += self._failures(state, seen, second)
        if broken_in and state.episode.level != _BROKEN_IN:
            state.episode.level = _BROKEN_IN
            found.append(self._success(state, seen, second, broken_in))
        return state, found

    def _failures(self, state: _State, seen: AddressActivity, second: int) -> list[Finding]:
        limits = self.thresholds
        usual = state.usual.an_hour(second)
        fast = max(limits.actors, limits.usual_factor * usual * limits.window_s / 3_600)
        slow = max(limits.slow_actors, limits.usual_factor * usual * limits.slow_window_s / 3_600)
        sprays = [_Spray(state.fast, _lost(state.fast), fast), _Spray(state.slow, _lost(state.slow), slow)]
        spray = max(sprays, key=lambda each: each.actors / each.least)
        is_fast = sprays[0].actors >= sprays[0].least
        quiet_s = limits.quiet_s if is_fast else max(limits.quiet_s, limits.slow_window_s)
        if spray.actors < spray.least or not state.episode.tells(second, quiet_s):
            return []
        window, taken_s = spray.window, spray.window.end - spray.window.start + 1
        finding = Finding(
            severity="high",
            confidence=min(0.99, 1 - 0.5 * spray.least / spray.actors),
            summary=(
                f"logins of {counted(spray.actors, 'actor')} ({listed(window.marks, of=spray.actors)}) failed from "
                f"{seen.ip_address} in {span(taken_s)}, {counted(window.count, 'attempt')}, and none of them got in; "
                f"usual are such actors: {rate(usual)}"
            ),
            window=(window.start, window.end),
            key_s=Episode.key_s(second, limits.quiet_s),
            query=window_query(window.chains, window.start, window.end, f"ip:{seen.ip_address}", "-result:success"),
            score=spray.actors / spray.least,
            seen={"actors": spray.actors, "failures": window.count, "seconds": taken_s},
            usual={"actors_a_day": round(usual * 24, 2)},
            seqs=window.seqs(seen.chain),
        )
        return [finding]

    def _nameless(
        self, state: _State, seen: AddressActivity, second: int, nameless: list[AddressCell]
    ) -> list[Finding]:
        """Of applications that don't say whose account is tried: how often it is, is all that there is to judge by."""
        limits, window, usual = self.thresholds, state.nameless, state.nameless_usual
        usual.begin(second)
        bucket_s = max(1, limits.window_s // _FAST_BUCKETS)
        for old in window.slide(second, bucket_s, _FAST_BUCKETS):
            usual.add(old.start, old.count)
        seqs = sorted(pair for cell in nameless for pair in cell.seqs)
        window.bucket(second, bucket_s).add(sum(cell.count for cell in nameless), seen.chain, seqs)
        an_hour = usual.an_hour(second)
        least = max(limits.unnamed_failures, limits.usual_factor * an_hour * limits.window_s / 3_600)
        if window.count < least or not state.nameless_episode.tells(second, limits.quiet_s):
            return []
        taken_s = window.end - window.start + 1
        finding = Finding(
            severity="high",
            confidence=min(0.99, 1 - 0.5 * least / window.count),
            summary=(
                f"{counted(window.count, 'failed login')} from {seen.ip_address} in {span(taken_s)}, for which no "
                f"account is named; usual is {rate(an_hour)}"
            ),
            window=(window.start, window.end),
            key_s=Episode.key_s(second, limits.quiet_s) + 2,
            query=window_query(window.chains, window.start, window.end, f"ip:{seen.ip_address}", "-result:success"),
            score=window.count / least,
            seen={"failures": window.count, "seconds": taken_s},
            usual={"failures_an_hour": round(an_hour, 2)},
            seqs=window.seqs(seen.chain),
        )
        return [finding]

    def _may_be_its_success(self, state: _State, cell: AddressCell, second: int) -> bool:
        if not state.episode.goes_on(second, self.thresholds.success_s):
            return False
        bits = bytearray()
        mark(bits, digest_of(cell.actor_id), _SLOW_BYTES)
        failed = [bucket.one for bucket in state.slow.buckets]
        entered = [bucket.other for bucket in state.slow.buckets]
        return marked(*failed, bits) == marked(*failed) and marked(*entered, bits) > marked(*entered)

    def _success(self, state: _State, seen: AddressActivity, second: int, behind: list[AddressCell]) -> Finding:
        window = state.slow
        actors = sorted({cell.actor_id for cell in behind})
        begin, end = window.start, max(window.end, second)
        return Finding(
            severity="critical",
            confidence=0.8,
            summary=(
                f"{listed(actors)} logged in from {seen.ip_address}, where logins of {_lost(window)} other actors "
                f"failed in {span(end - begin + 1)}"
            ),
            window=(begin, end),
            key_s=Episode.key_s(second, self.thresholds.quiet_s) + 1,
            query=window_query(
                sorted({*window.chains, seen.chain}),
                begin,
                end,
                f"ip:{seen.ip_address}",
                *(f"actor:{quoted(actor)}" for actor in actors[:3]),
            ),
            score=_lost(window) / self.thresholds.actors,
            seen={"actors": _lost(window), "failures": window.count, "actor": actors[0]},
            usual={"actors_a_day": round(state.usual.an_hour(second) * 24, 2)},
            seqs=merged_ranges(pair for cell in behind for pair in cell.seqs),
        )


def _note(
    window: Window,
    seen: AddressActivity,
    second: int,
    failed: Sequence[AddressCell],
    succeeded: Sequence[AddressCell],
    bucket_s: int,
    size_bytes: int,
) -> list[tuple[int, int]]:
    """Count a record; returns of each bucket that has left the window who was lost in it, and when it began."""
    left = window.slide(second, bucket_s, _FAST_BUCKETS if size_bytes == _FAST_BYTES else _SLOW_BUCKETS)
    bucket = window.bucket(second, bucket_s)
    for cell in failed:
        mark(bucket.one, digest_of(cell.actor_id), size_bytes)
        bucket.note(cell.actor_id)
    for cell in succeeded:
        mark(bucket.other, digest_of(cell.actor_id), size_bytes)
    if failed:
        bucket.add(
            sum(cell.count for cell in failed), seen.chain, sorted(pair for cell in failed for pair in cell.seqs)
        )
    return [(_lost_in(old.one, old.other), old.start) for old in left]


def _lost(window: Window) -> int:
    """How many failed in it and did not get in."""
    entered = [bucket.other for bucket in window.buckets]
    return marked(*(bucket.one for bucket in window.buckets), *entered) - marked(*entered)


def _lost_in(failed: bytearray, entered: bytearray) -> int:
    return marked(failed, entered) - marked(entered)
