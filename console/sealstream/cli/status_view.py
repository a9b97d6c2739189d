"""What `sealstream status` shows: one screen for people, one document for programs, of the same views. Pure."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from rich.console import Group
from rich.table import Table
from rich.text import Text

from sealstream.cli.harmless import harmless, told
from sealstream.devstack import ProcessStatus
from sealstream.health.asking import Producers, Sealed, Signed, Stored, Trouble
from sealstream.health.judging import ChainView, Finding, ProcessView, exit_code, said_age
from sealstream.health.letters import DeadLetters
from sealstream.kafka.settings import TopicMissing
from sealstream.layout import Figure, figures

__all__ = ["document", "screen"]

_ENDED_AS_TOLD = (None, 0, 143, -15)  # 128 + SIGTERM is how a JVM says it
_STYLE = {"wrong": "bold red", "unknown": "yellow", "note": "cyan"}
_STATE_STYLE = {"running": "green", "works": "green", "starting": "yellow", "restarting": "yellow", "stopped": "dim"}


def document(
    local: list[ProcessStatus],
    views: list[ProcessView],
    chains: list[ChainView],
    found: list[Finding],
    code: int,
    now: float,
) -> dict[str, Any]:
    supervised = {status.name: {**status._asdict(), "log": str(status.log)} for status in local}
    return {
        "verdict": ("well", "wrong", "unknown")[code],
        "exit_code": code,
        "at": now,
        "findings": [finding._asdict() for finding in found],
        "processes": [_members(view, supervised.get(view.name, {})) for view in views],
        "chains": [view.members() for view in chains],
    }


def _members(view: ProcessView, supervised: dict[str, Any]) -> dict[str, Any]:
    members = view._asdict()
    del members["told"]
    return {**members, **supervised, "figures": _told(view)}


def _told(view: ProcessView) -> dict[str, list[dict[str, Any]]]:
    """The figures by name, each with its labels."""
    told: dict[str, list[dict[str, Any]]] = {}
    for (name, labels), value in view.told.items():
        told.setdefault(name, []).append({**dict(labels), "value": value})
    return told


def screen(
    local: list[ProcessStatus], views: list[ProcessView], chains: list[ChainView], found: list[Finding], now: float
) -> Group:
    return Group(
        _process_table({status.name: status for status in local}, views, found, now),
        *(_chain_lines(view, now) for view in chains),
        Text(),
        *_verdict(found),
    )


def _process_table(
    local: dict[str, ProcessStatus], views: list[ProcessView], found: list[Finding], now: float
) -> Table:
    table = Table("process", "state", "ready", "pid", "for", "restarts", "done", "lag", box=None, padding=(0, 2, 0, 0))
    for view in views:
        status = local.get(view.name)
        state = _state(view, found)
        table.add_row(
            told(view.name),
            Text(state, style=_STATE_STYLE.get(state, "bold red")),
            {True: "yes", False: "NO", None: "-"}[view.ready],
            str(status.pid or "-") if status else "-",
            said_age(now - status.since) if status else "-",
            str(status.restarts or "-") if status else "-",
            _whole(_summed(view, figures.FORWARDED if view.name == "forward" else figures.ENTRIES)),
            _lag(view),
        )
    return table


def _state(view: ProcessView, found: list[Finding]) -> str:
    """The supervisor's word, the process's own, or what its chain's stores give to understand."""
    if view.state is not None:
        return view.state if view.exit_code in _ENDED_AS_TOLD else f"{view.state} (exit {view.exit_code})"
    if view.url:
        return "running" if not view.trouble else "no answer"
    about = {finding.severity for finding in found if view.name.startswith(finding.about or "?")}
    if "wrong" in about:
        return "stands?"
    asked = not any(finding.severity == "unknown" for finding in found)
    return "works" if asked else "?"


def _values(view: ProcessView, figure: Figure) -> list[float]:
    return [value for (name, _), value in view.told.items() if name == figure.name]


def _summed(view: ProcessView, figure: Figure) -> float | None:
    values = _values(view, figure)
    return sum(values) if values else None


def _lag(view: ProcessView) -> str:
    """Entries of all chains or targets together, and how long the oldest of any waits."""
    entries, seconds = _summed(view, figures.LAG_ENTRIES), max(_values(view, figures.LAG_SECONDS), default=0)
    if entries is None:
        entries = _summed(view, figures.FORWARD_LAG)
        seconds = max(_values(view, figures.FORWARD_LAG_SECONDS), default=0)
    if entries is None:
        return "-"
    return f"{entries:,.0f}" + (f", {said_age(seconds)}" if seconds else "")


def _whole(value: float | None) -> str:
    return "-" if value is None else f"{value:,.0f}"


def _chain_lines(view: ChainView, now: float) -> Group:
    def age(at: float | None) -> str:
        return "never" if at is None else f"{said_age(max(now - at, 0))} ago"

    def behind(part: Any, at: str, reached: float | None) -> str:
        if isinstance(part, Trouble):
            return "does not answer"
        size = view.sealed.size if isinstance(view.sealed, Sealed) else None
        lag = "?" if size is None else f"{max(size - part.size, 0):,}"
        return f"{part.size:,} entries, {lag} behind, {at} {age(reached)}"

    head = Text.assemble("\n", ("chain ", "dim"), (view.chain, "bold"), ("  closed" if view.closed else "", "dim"))
    rows = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    if isinstance(view.sealed, Sealed):
        told = f"{view.sealed.size:,} entries, the last {age(view.sealed.sequenced_at)}"
        rows.add_row("  sealed", f"{told}; {view.sealed.waiting:,} events waiting")
    elif view.sealed.runbook == TopicMissing.runbook:
        rows.add_row("  sealed", "Kafka has no topic of it")
    else:
        rows.add_row("  sealed", "Kafka does not answer")
    if isinstance(view.signed, Signed):
        rows.add_row("  signed", behind(view.signed, "checkpoint", view.signed.at))
    if view.stored is not None:
        at = view.stored.sequenced_at if isinstance(view.stored, Stored) else None
        rows.add_row("  postgres", behind(view.stored, "newest", at) + _online_since(view.stored))
    if view.archived is not None:
        at = None if isinstance(view.archived, Trouble) else view.archived.sequenced_at
        ends = "" if at is None else " (segments as they end)"
        rows.add_row("  archive", behind(view.archived, "newest", at) + ends)
    if view.rolled_up is not None:
        at = None if isinstance(view.rolled_up, Trouble) else view.rolled_up.sequenced_at
        rows.add_row("  activity", behind(view.rolled_up, "newest", at))
    if isinstance(view.producers, Producers):
        known = view.producers
        told = f"{known.known:,} known, {known.silent:,} silent, {known.missing:,} numbers missing"
        rows.add_row("  producers", told)
    if isinstance(view.letters, DeadLetters):
        more = "at least " if view.letters.more else ""
        told = f"{more}{view.letters.kept:,} kept, {view.letters.last_day:,} of the last day"
        retried = f", {view.letters.retried:,} of these sent again" if view.letters.retried else ""
        dismissed = f", {view.letters.dismissed:,} dismissed" if view.letters.dismissed else ""
        rows.add_row("  dead letters", told + retried + dismissed)
    return Group(head, rows)


def _verdict(found: list[Finding]) -> list[Text]:
    code = exit_code(found)
    wrong = sum(finding.severity == "wrong" for finding in found)
    said = (
        "all is well",
        "1 thing is wrong" if wrong == 1 else f"{wrong} things are wrong",
        "can't tell whether all is well",
    )[code]
    lines = [Text(said, style=("bold green", "bold red", "bold yellow")[code])]
    for finding in found:
        line = Text.assemble((f"  {finding.severity:8}", _STYLE[finding.severity]), harmless(finding.words))
        lines.append(line.append(f"  -> {finding.page}", style="dim") if finding.page else line)
    return lines


def _online_since(stored: Stored | Trouble) -> str:
    """Where Postgres begins, if months have left it."""
    if isinstance(stored, Trouble) or not stored.first_seq:
        return ""
    since = "" if stored.first_at is None else f", sealed {datetime.fromtimestamp(stored.first_at, UTC):%Y-%m-%d}"
    return f"; online from entry {stored.first_seq:,}{since} on, the archive has the older ones"
