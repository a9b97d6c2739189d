"""Detectors tried on history: which alerts they would have raised, with the thresholds in force and with others.

The subjects are shared out among processes, each of which reads the history, rolls up and watches its own. The
invariant: the alerts do not depend on how many processes there were. Days before the span that is judged are watched,
too, so that what is usual is known; their alerts do not count. A crash, or Ctrl-C, leaves nothing behind.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from sealstream.anomalies.history import History, stretches_of
from sealstream.anomalies.working import Tell, in_processes
from sealstream.anomaly.detectors import DETECTORS
from sealstream.anomaly.sharing import Share, ShareWatch
from sealstream.anomaly.watching import chosen
from sealstream.layout.alerts import Alert

__all__ = ["Outcome", "Trial", "alerts_by_day", "backtest"]

Thresholds = Mapping[str, Mapping[str, Any]]
_TELL_EVERY = 20_000


class Trial(NamedTuple):
    """`history`: the span that is judged. `learned_from`: where watching begins. `present`: thresholds in force, by
    detector; `changed`: those to be tried instead, of some detectors. `detectors`: which look.
    """

    history: History
    learned_from: datetime
    present: Thresholds
    changed: Thresholds
    detectors: Sequence[str]


class Outcome(NamedTuple):
    """`present`, `changed`: the alerts in order of time, with the thresholds in force and, of the detectors that have
    any, with the changed ones. `entries`: how many were read, of each chain; `actors`: how many did anything in the
    span.
    """

    present: list[Alert]
    changed: list[Alert]
    entries: dict[str, int]
    actors: int


def backtest(
    trial: Trial, processes: int, progress: Callable[[Mapping[str, int]], object] = lambda _read: None
) -> Outcome:
    """Try it, in so many processes (1: in this one). `progress`: called with how many entries of each chain were read.

    Raises what reading raises, and `Unavailable` when a process ends by itself.
    """
    shares = [Share(number, processes) for number in range(processes)]
    if processes == 1:
        read: Counter[str] = Counter()

        def told(counts: Mapping[str, int]) -> None:
            read.update(counts)
            progress(read)

        parts = [_try(trial, shares[0], told)]
    else:
        parts = in_processes(_try, [(trial, share) for share in shares], progress)
    return Outcome(
        _in_order(alert for part in parts for alert in part.present),
        _in_order(alert for part in parts for alert in part.changed),
        parts[0].entries,
        sum(part.actors for part in parts),
    )


def alerts_by_day(alerts: Sequence[Alert]) -> dict[str, Counter[str]]:
    """How many of each detector, by the UTC day of their window's last second."""
    days: dict[str, Counter[str]] = {}
    for alert in alerts:
        days.setdefault(alert.window[1][:10], Counter())[alert.detector] += 1
    return days


def _try(trial: Trial, share: Share, tell: Tell) -> Outcome:
    known = {name: DETECTORS[name] for name in trial.detectors}
    both = {name: {**trial.present.get(name, {}), **trial.changed[name]} for name in known if name in trial.changed}
    present = ShareWatch(chosen(known, trial.present))
    changed = ShareWatch(chosen({name: known[name] for name in both}, both)) if both else None
    found: list[Alert] = []
    found_changed: list[Alert] = []
    actors: set[str] = set()
    entries: Counter[str] = Counter()
    untold: Counter[str] = Counter()

    def read(chain: str, count: int) -> None:
        entries[chain] += count
        untold[chain] += count
        if untold.total() >= _TELL_EVERY:
            tell(untold)
            untold.clear()

    begins = int(trial.history.since.timestamp())
    history = trial.history.spanning(trial.learned_from)
    watches = [(present, found)] if changed is None else [(present, found), (changed, found_changed)]
    for first, stretch in stretches_of(history, share, read, cut_at=begins):
        counts = first >= begins
        for actor_id, runs in stretch.actors:
            for watch, told in watches:
                alerts = watch.see_actor(actor_id, runs)
                if counts:
                    told.extend(alerts)
            if counts and any(run.seconds for run in runs):
                actors.add(actor_id)
        for address, tries in stretch.addresses:
            for watch, told in watches:
                alerts = watch.see_address(address, tries)
                if counts:
                    told.extend(alerts)
    tell(untold)
    return Outcome(found, found_changed, dict(entries), len(actors))


def _in_order(alerts: Iterator[Alert]) -> list[Alert]:
    return sorted(alerts, key=lambda alert: (alert.window[1], alert.detector, alert.subject))
