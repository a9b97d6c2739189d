"""How `sealstream anomaly` shows what it found: tables for people, members for programs, and how far it is."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from types import TracebackType
from typing import Any, NamedTuple

import msgspec
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from sealstream.anomalies import Explained, History, Outcome, Trial
from sealstream.anomalies.backtesting import alerts_by_day
from sealstream.anomalies.settings import CLOCKS
from sealstream.anomaly.detectors import DETECTORS
from sealstream.cli.context import out
from sealstream.cli.harmless import told
from sealstream.cli.settings import Settings
from sealstream.layout.alerts import Alert
from sealstream.settings import Loaded, Origin

__all__ = [
    "DetectorRow",
    "Limit",
    "TrialProgress",
    "detector_rows",
    "detectors_as_json",
    "print_detectors",
    "print_explained",
    "print_outcome",
    "trial_as_json",
]

_SEVERITY_STYLE = {"low": "dim", "medium": "yellow", "high": "red", "critical": "bold red"}


class Limit(NamedTuple):
    """A threshold in force. `setting`: what to write into the settings; `origin`: where it was."""

    name: str
    value: Any
    default: Any
    setting: str
    origin: str


class DetectorRow(NamedTuple):
    """A detector with all its thresholds."""

    name: str
    subject: str
    says: str
    meaning: str
    limits: list[Limit]


class TrialProgress:
    """A bar on standard error where that is a terminal; nothing elsewhere."""

    def __init__(self) -> None:
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("entries"),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=Console(stderr=True),
            transient=True,
            disable=not sys.stderr.isatty(),
        )
        self._task = self._progress.add_task("watching history", total=None)

    def total(self, entries: int) -> None:
        """So many there are."""
        self._progress.update(self._task, total=entries)

    def entries(self, read: int) -> None:
        """So many were read."""
        self._progress.update(self._task, completed=read)

    def __enter__(self) -> TrialProgress:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()


def detector_rows(loaded: Loaded[Settings], names: Sequence[str]) -> list[DetectorRow]:
    """The detectors with what is in force."""
    given = loaded.settings.anomaly.thresholds()
    rows = []
    for name in names:
        kind = DETECTORS[name]
        limits = []
        for threshold, default in msgspec.structs.asdict(kind.thresholds).items():
            path: tuple[str, ...] = ("anomaly", "detectors", name, threshold)
            if threshold in CLOCKS.get(name, ()):
                path = ("anomaly", "time_zone" if threshold == "zone" else "time_zones")
            value = given.get(name, {}).get(threshold, default)
            limits.append(Limit(threshold, _plain(value), _plain(default), ".".join(path), str(_origin(loaded, path))))
        meaning = " ".join((type(kind.thresholds).__doc__ or "").split())
        rows.append(DetectorRow(name, kind.subject, kind.says, meaning, limits))
    return rows


def detectors_as_json(rows: Sequence[DetectorRow]) -> list[dict[str, Any]]:
    """For programs."""
    return [row._asdict() | {"limits": [limit._asdict() for limit in row.limits]} for row in rows]


def print_detectors(rows: Sequence[DetectorRow], *, whole: bool) -> None:
    """Each with the thresholds that were set (`whole`: all of them, and what they mean)."""
    for row in rows:
        out.print(Text.assemble((row.name, "bold"), f"  {row.says}", (f"  (by {row.subject})", "dim")), soft_wrap=True)
        if whole:
            out.print(Text(f"  {row.meaning}".replace("`", "")), soft_wrap=True)
            table = Table("threshold", "value", "default", "where set", box=None, padding=(0, 2, 0, 0))
            for limit in row.limits:
                changed = limit.value != limit.default
                table.add_row(
                    limit.setting,
                    told(str(limit.value), "bold" if changed else ""),
                    told(str(limit.default), "dim"),
                    told(limit.origin, "" if changed else "dim"),
                )
            out.print(table)
            continue
        for limit in row.limits:
            words = f"{limit.name} {limit.value}"
            if limit.value != limit.default:
                out.print(Text(f"  {words}  (default {limit.default}; {limit.origin})", style="bold"), soft_wrap=True)
        shown = ", ".join(f"{limit.name} {limit.value}" for limit in row.limits if limit.value == limit.default)
        out.print(Text(f"  {shown}\n", style="dim"), soft_wrap=True)


def print_explained(name: str, source: str, lines: Sequence[Explained]) -> None:
    """What is known of somebody, by detector."""
    out.print(Text.assemble(told(name, "bold"), (f"  as known from {source}", "dim")), soft_wrap=True)
    for each in lines:
        out.print(Text.assemble((each.detector, "bold"), (f"  {each.says}", "dim")), soft_wrap=True)
        for sentence in each.known or ["nothing was seen yet"]:
            out.print(Text.assemble("  ", told(sentence)), soft_wrap=True)


def print_outcome(
    trial: Trial, outcome: Outcome, took_s: float, short: Mapping[str, datetime | None], *, listing: bool
) -> None:
    """Alerts a day by detector: `present`, or `present → changed`. `short`: of which chains there was less to read, and
    until when; None: nothing.
    """
    history = trial.history
    entries = sum(outcome.entries.values())
    chains = ", ".join(_read_of(chain, history, short) for chain in history.chains)
    out.print(
        Text(
            f"{chains} from {history.since:%Y-%m-%d %H:%M} to {history.until:%Y-%m-%d %H:%M} (UTC), "
            f"learned from {trial.learned_from:%Y-%m-%d} on: {entries:,} entries of the {history.store} "
            f"in {took_s:.0f} s ({entries / max(took_s, 0.001):,.0f} a second), {outcome.actors:,} actors"
        ),
        soft_wrap=True,
    )
    present, changed = alerts_by_day(outcome.present), alerts_by_day(outcome.changed)
    told_of = {alert.detector for alert in (*outcome.present, *outcome.changed)} | set(trial.changed)
    names = [name for name in trial.detectors if name in told_of]
    if not outcome.present and not outcome.changed:
        out.print("no alert")
    if names:
        table = Table("day", *names, "all", box=None, padding=(0, 2, 0, 0))
        for day in sorted({*present, *changed}):
            table.add_row(day, *_cells(trial, names, present.get(day, Counter()), changed.get(day, Counter())))
        whole, whole_changed = _sum(present.values()), _sum(changed.values())
        table.add_section()
        table.add_row("all", *_cells(trial, names, whole, whole_changed), style="bold")
        days = max((history.until - history.since).total_seconds() / 86_400, 1 / 24)
        per = 1_000 / max(outcome.actors, 1) / days
        table.add_row("per 1,000 actors and day", *_rates(trial, names, whole, whole_changed, per), style="dim")
        out.print(table)
    for name in trial.changed:
        if name in names:
            _print_change(name, trial, outcome)
    if listing:
        _print_alerts(outcome.present)


def _read_of(chain: str, history: History, short: Mapping[str, datetime | None]) -> str:
    """A chain, with until when it was read where that is before the others."""
    end = short.get(chain, history.until)
    if end is None:
        return f"{chain} (nothing)"
    return chain if history.until - end <= timedelta(seconds=1) else f"{chain} (until {end:%Y-%m-%d %H:%M})"


def trial_as_json(trial: Trial, outcome: Outcome, took_s: float) -> dict[str, Any]:
    """For programs. `changed` of a detector is there where a threshold was."""
    present, changed = alerts_by_day(outcome.present), alerts_by_day(outcome.changed)
    return {
        "chains": list(trial.history.chains),
        "store": trial.history.store,
        "since": trial.history.since.isoformat(),
        "until": trial.history.until.isoformat(),
        "learned_from": trial.learned_from.isoformat(),
        "entries": outcome.entries,
        "actors": outcome.actors,
        "seconds": round(took_s, 3),
        "detectors": {
            name: {"present": _days(present, name)}
            | ({"changed": _days(changed, name), "thresholds": trial.changed[name]} if name in trial.changed else {})
            for name in trial.detectors
        },
        "alerts": msgspec.to_builtins(outcome.present),
        "changed_alerts": msgspec.to_builtins(outcome.changed),
    }


def _days(days: dict[str, Counter[str]], name: str) -> dict[str, int]:
    return {day: counts[name] for day, counts in sorted(days.items()) if counts[name]}


def _origin(loaded: Loaded[Settings], path: tuple[str, ...]) -> Origin:
    return loaded.origin(path)


def _plain(value: Any) -> Any:
    return msgspec.to_builtins(value)


def _sum(counts: Any) -> Counter[str]:
    whole: Counter[str] = Counter()
    for each in counts:
        whole.update(each)
    return whole


def _cells(trial: Trial, names: Sequence[str], present: Counter[str], changed: Counter[str]) -> list[str]:
    """Numbers of all detectors, then of all together."""
    cells = [
        f"{present[name]:,} → {changed[name]:,}" if name in trial.changed else f"{present[name]:,}" for name in names
    ]
    before = sum(present[name] for name in names)
    after = sum((changed if name in trial.changed else present)[name] for name in names)
    return [*cells, f"{before:,} → {after:,}" if trial.changed else f"{before:,}"]


def _rates(trial: Trial, names: Sequence[str], present: Counter[str], changed: Counter[str], per: float) -> list[str]:
    cells = [
        f"{present[name] * per:.2f} → {changed[name] * per:.2f}"
        if name in trial.changed
        else f"{present[name] * per:.2f}"
        for name in names
    ]
    before = sum(present[name] for name in names) * per
    after = sum((changed if name in trial.changed else present)[name] for name in names) * per
    return [*cells, f"{before:.2f} → {after:.2f}" if trial.changed else f"{before:.2f}"]


def _print_change(name: str, trial: Trial, outcome: Outcome) -> None:
    """Which alerts come, and which go."""
    before = {alert.id: alert for alert in outcome.present if alert.detector == name}
    after = {alert.id: alert for alert in outcome.changed if alert.detector == name}
    words = ", ".join(f"{threshold} {value}" for threshold, value in trial.changed[name].items())
    out.print(
        Text(
            f"{name} with {words}: {len(after.keys() - before.keys()):,} alerts more, "
            f"{len(before.keys() - after.keys()):,} fewer, {len(before.keys() & after.keys()):,} the same",
            style="bold",
        ),
        soft_wrap=True,
    )
    for sign, ids, among in (("+", after.keys() - before.keys(), after), ("-", before.keys() - after.keys(), before)):
        for alert in [among[each] for each in among if each in ids][:10]:
            out.print(Text.assemble(f"  {sign} {alert.window[1]} ", told(alert.summary)), soft_wrap=True)


def _print_alerts(alerts: Sequence[Alert]) -> None:
    for alert in alerts:
        style = _SEVERITY_STYLE[alert.severity]
        out.print(
            Text.assemble(
                f"{alert.window[1]} ",
                (alert.severity, style),
                f" {alert.detector} {alert.chain}: ",
                told(alert.summary),
            ),
            soft_wrap=True,
        )
