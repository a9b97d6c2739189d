"""Denials across many resources or kinds of them: somebody feels along the walls to find what is open.

Half an hour for the quick, a day for the patient. One door that is tried again and again counts by its tries.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Literal, NamedTuple

import msgspec

from sealstream.anomaly.actions import DENIED, LOGIN, traits, traits_of
from sealstream.anomaly.detecting import Finding, Thresholds, quoted, window_query
from sealstream.anomaly.episodes import Episode
from sealstream.anomaly.sketching import mark, marked
from sealstream.anomaly.usual import Rate
from sealstream.anomaly.windows import Window
from sealstream.anomaly.wording import counted, listed, rate, span
from sealstream.layout.activity import Activity, Cell

__all__ = ["DeniedScan"]

_FAST_BUCKETS = 5
_SLOW_BUCKETS = 6
_BYTES = 64


class _Thresholds(Thresholds, frozen=True):
    """`resources` or `types` that were denied, or so many `denials`, within `window_s` are a scan, and so are
    `slow_resources`, `slow_types` or `slow_denials` within `slow_window_s`, if the denials are `usual_factor` times
    what the actor is used to. It is over after `quiet_s` without, a slow one not before its window.
    """

    resources: int = 10
    types: int = 5
    denials: int = 25
    window_s: int = 1_800
    slow_resources: int = 25
    slow_types: int = 6
    slow_denials: int = 60
    slow_window_s: int = 86_400
    usual_factor: float = 4.0
    quiet_s: int = 7_200


class _State(msgspec.Struct):
    """Buckets count denials, marked with their resource types; `one`: the resources. `usual`: denials that have left
    `slow`."""

    fast: Window = msgspec.field(default_factory=Window)
    slow: Window = msgspec.field(default_factory=Window)
    usual: Rate = msgspec.field(default_factory=Rate)
    episode: Episode = msgspec.field(default_factory=Episode)


class _Scan(NamedTuple):
    score: float
    window: Window
    denials: int
    resources: int


class DeniedScan:
    """What an actor is denied within half an hour and a day, against what is usual for it."""

    name: ClassVar[str] = "denied_scan"
    says: ClassVar[str] = "an actor is denied many resources, or many kinds of them"
    subject: ClassVar[Literal["actor", "address"]] = "actor"
    state = _State
    thresholds = _Thresholds()
    concerns: ClassVar[int] = DENIED

    def detect(self, state: _State, seen: Activity, second: int) -> tuple[_State, Sequence[Finding]]:
        if not traits_of(seen) & DENIED:
            return state, ()
        denied = [cell for cell in seen.cells if cell.result == "denied" and not traits(cell.action) & LOGIN]
        if not denied:
            return state, ()
        limits = self.thresholds
        _note(state.fast, seen, second, denied, limits.window_s // _FAST_BUCKETS, _FAST_BUCKETS)
        left = _note(state.slow, seen, second, denied, limits.slow_window_s // _SLOW_BUCKETS, _SLOW_BUCKETS)
        for denials, at in left:
            state.usual.add(at, denials)
        usual = state.usual.an_hour(second)
        fast = self._scan(state.fast, usual, limits.window_s, (limits.resources, limits.types, limits.denials))
        slow = self._scan(
            state.slow, usual, limits.slow_window_s, (limits.slow_resources, limits.slow_types, limits.slow_denials)
        )
        scan = max(fast, slow, key=lambda each: each.score)
        quiet_s = limits.quiet_s if fast.score >= 1 else max(limits.quiet_s, limits.slow_window_s)
        if scan.score < 1 or not state.episode.tells(second, quiet_s):
            return state, ()
        return state, (self._finding(seen, second, scan, usual),)

    def _scan(self, window: Window, usual_an_hour: float, length_s: int, least: tuple[int, int, int]) -> _Scan:
        denials = window.count
        resources = marked(*(bucket.one for bucket in window.buckets))
        found = max(resources / least[0], len(window.marks) / least[1], denials / least[2])
        usual = self.thresholds.usual_factor * usual_an_hour * length_s / 3_600
        return _Scan(min(found, denials / usual) if usual else found, window, denials, resources)

    def _finding(self, seen: Activity, second: int, scan: _Scan, usual_an_hour: float) -> Finding:
        window = scan.window
        taken_s = window.end - window.start + 1
        types = window.marks
        return Finding(
            severity="high" if scan.score >= 2 or len(types) > 1 else "medium",
            confidence=min(0.99, 1 - 0.5 / scan.score),
            summary=(
                f"{seen.actor_id} was denied {counted(scan.denials, 'time')} in {span(taken_s)}, at "
                f"{counted(scan.resources, 'resource')} of {counted(len(types), 'type')} ({listed(types)}); "
                f"usual is {rate(usual_an_hour)}"
            ),
            window=(window.start, window.end),
            key_s=Episode.key_s(second, self.thresholds.quiet_s),
            query=window_query(
                window.chains, window.start, window.end, f"actor:{quoted(seen.actor_id)}", "result:denied"
            ),
            score=scan.score,
            seen={"denials": scan.denials, "resources": scan.resources, "types": len(types), "seconds": taken_s},
            usual={"denials_an_hour": round(usual_an_hour, 2)},
            seqs=window.seqs(seen.chain),
        )


def _note(
    window: Window, seen: Activity, second: int, denied: Sequence[Cell], bucket_s: int, length: int
) -> list[tuple[int, int]]:
    """Count a record; returns of each bucket that has left the window its denials, and when it began."""
    left = window.slide(second, bucket_s, length)
    bucket = window.bucket(second, bucket_s)
    for cell in denied:
        bucket.note(cell.resource_type)
        for resource in cell.resources:
            mark(bucket.one, int(resource, 16), _BYTES)
    bucket.add(sum(cell.count for cell in denied), seen.chain, sorted(pair for cell in denied for pair in cell.seqs))
    return [(old.count, old.start) for old in left]
