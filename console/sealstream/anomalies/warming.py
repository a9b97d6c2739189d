"""What history knows of everybody, for workers that start for the first time: the states before a moment.

`HistoryWarmUp(history, thresholds)` is a `sealstream.anomaly.warming.WarmUp`: called with a kind of subject, it gives
each of them by name. History is read once, in one process or several, when the first kind is asked for; the states are
kept as the workers keep them, so that memory holds bytes. Reads only; a crash leaves nothing behind.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Literal, NamedTuple

from sealstream.anomalies.history import History, stretches_of
from sealstream.anomalies.working import Tell, in_processes
from sealstream.anomaly.detectors import DETECTORS
from sealstream.anomaly.sharing import Share, ShareWatch
from sealstream.anomaly.watching import Subject, chosen

__all__ = ["HistoryWarmUp"]

_TELL_EVERY = 20_000


class _Known(NamedTuple):
    actors: dict[str, bytes]
    addresses: dict[str, bytes]


class HistoryWarmUp:
    """`progress`: called with how many entries of each chain were read. Raises what reading raises."""

    def __init__(
        self,
        history: History,
        thresholds: Mapping[str, Mapping[str, Any]],
        *,
        processes: int = 1,
        progress: Callable[[Mapping[str, int]], object] = lambda _read: None,
    ) -> None:
        self._history = history
        self._thresholds = thresholds
        self._processes = processes
        self._progress = progress
        self._known: list[_Known] | None = None

    def __call__(self, kind: Literal["actor", "address"]) -> Iterator[tuple[str, Subject[Any]]]:
        """Every subject of this kind, as it is known at the history's end."""
        if self._known is None:
            self._known = self._read()
        watch = ShareWatch(chosen(DETECTORS, self._thresholds))
        decode = watch.of_actors.decode if kind == "actor" else watch.of_addresses.decode
        for known in self._known:
            for name, state in (known.actors if kind == "actor" else known.addresses).items():
                yield name, decode(state)

    def _read(self) -> list[_Known]:
        tasks = [(self._history, self._thresholds, Share(number, self._processes)) for number in range(self._processes)]
        if self._processes > 1:
            return in_processes(_watched, tasks, self._progress)
        return [_watched(*tasks[0], self._progress)]


def _watched(history: History, thresholds: Mapping[str, Mapping[str, Any]], share: Share, tell: Tell) -> _Known:
    watching = ShareWatch(chosen(DETECTORS, thresholds))
    untold: dict[str, int] = {}

    def read(chain: str, count: int) -> None:
        untold[chain] = untold.get(chain, 0) + count
        if sum(untold.values()) >= _TELL_EVERY:
            tell(untold)
            untold.clear()

    for _first, stretch in stretches_of(history, share, read):
        for actor_id, runs in stretch.actors:
            watching.see_actor(actor_id, runs)
        for address, tries in stretch.addresses:
            watching.see_address(address, tries)
    actors = {name: watching.of_actors.encode(subject) for name, subject in watching.actors.items()}
    addresses = {name: watching.of_addresses.encode(subject) for name, subject in watching.addresses.items()}
    return _Known(actors, addresses)
