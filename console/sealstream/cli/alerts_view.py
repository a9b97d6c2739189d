"""Alerts as a person and a program see them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from rich.table import Table
from rich.text import Text

from sealstream.alerts import Book, Case, Incident, Mute
from sealstream.cli.harmless import told
from sealstream.events import format_timestamp

__all__ = ["alert_lines", "alert_members", "alert_table", "incident_members", "incident_table"]

_STYLES = {"low": "dim", "medium": "", "high": "yellow", "critical": "bold red"}


def alert_members(case: Case) -> dict[str, Any]:
    """An alert for programs: the statement's own members, and what was made of it."""
    return {
        "id": case.id,
        "chain": case.chain,
        "seq": case.seq,
        "raised_at": format_timestamp(case.at),
        "subject_kind": case.subject_kind,
        "subject": case.subject,
        "tenant": case.tenant,
        "state": case.state,
        "verdict": case.verdict or None,
        "muted_by": case.muted_by.id if case.muted_by else None,
        **case.facts,
        "said": [each._asdict() | {"at": format_timestamp(each.at)} for each in case.said],
    }


def _state_words(case: Case) -> str:
    if case.muted_by is not None and not case.said:
        return "muted"
    if case.state == "closed":
        return case.verdict
    return f"{case.state} by {case.said[-1].by}" if case.said else case.state


def alert_table(cases: Sequence[Case]) -> Table:
    """One line an alert."""
    table = Table("alert", "raised", "severity", "what", "state", box=None, padding=(0, 2, 0, 0))
    for case in cases:
        table.add_row(
            case.id[:8],
            f"{case.at:%Y-%m-%d %H:%M:%S}Z",
            Text(case.severity, style=_STYLES[case.severity]),
            told(f"{case.detector}: {case.facts['summary']}"),
            told(_state_words(case), "dim" if case.state == "closed" else ""),
        )
    return table


def incident_members(incident: Incident) -> dict[str, Any]:
    """An incident for programs."""
    return {
        "incident": incident.id,
        "severity": incident.severity,
        "state": incident.state,
        "alerts": [alert_members(case) for case in incident.cases],
    }


def incident_table(incidents: Sequence[Incident]) -> Table:
    """One line an incident."""
    table = Table("incident", "began", "severity", "subject", "alerts", "state", box=None, padding=(0, 2, 0, 0))
    for each in incidents:
        first = each.cases[0]
        detectors = ", ".join(sorted({case.detector for case in each.cases}))
        table.add_row(
            each.id[:8],
            f"{first.at:%Y-%m-%d %H:%M:%S}Z",
            Text(each.severity, style=_STYLES[each.severity]),
            told(first.subject),
            told(f"{len(each.cases)}: {detectors}"),
            each.state,
        )
    return table


def alert_lines(case: Case, book: Book) -> Iterator[Text]:
    """One alert with its evidence, for a person."""
    facts = case.facts
    yield Text.assemble(
        (case.id, "bold"), "  ", (case.severity, _STYLES[case.severity]), "  ", told(case.detector).plain
    )
    yield told(str(facts["summary"]), "bold")
    yield Text()
    yield _line("subject", f"{case.subject_kind} {case.subject}")
    if case.tenant:
        yield _line("tenant", case.tenant)
    yield _line("window", " to ".join(str(each) for each in facts["window"]))
    yield _line("raised", f"{format_timestamp(case.at)}, entry {case.seq} of chain {case.chain}")
    yield _line("confidence", f"{float(facts['confidence']):.0%}")
    for name in ("seen", "usual"):
        if facts.get(name):
            yield _line(name, ", ".join(f"{key} {value}" for key, value in facts[name].items()))
    if facts.get("seqs"):
        ranges = ", ".join(str(a) if a == b else f"{a}..{b}" for a, b in facts["seqs"][:8])
        more = f" and {len(facts['seqs']) - 8} more runs" if len(facts["seqs"]) > 8 else ""
        yield _line("entries", f"{ranges}{more}")
    if facts.get("query"):
        yield _line("look", f"sealstream search '{facts['query']}'")
    others = [each for each in book.cases.values() if each.incident == case.incident and each.id != case.id]
    if others:
        yield _line("incident", f"with {', '.join(f'{each.id[:8]} ({each.detector})' for each in others[:8])}")
    if case.muted_by is not None:
        yield _line("muted", _mute_words(case.muted_by))
    for each in case.said:
        what = f"closed as {each.verdict}" if each.verdict else "acknowledged"
        words = f": {each.words}" if each.words else ""
        yield _line(f"{each.at:%m-%d %H:%M}", f"{what} by {each.by} (entry {each.seq}){words}")
    if case.is_work:
        doing = "ack" if case.state == "open" else "close"
        how = "" if doing == "ack" else " --as true-positive|false-positive|benign --reason '...'"
        yield Text()
        yield Text(f"next: sealstream alerts {doing} {case.id[:8]}{how}", style="dim")


def _mute_words(mute: Mute) -> str:
    return f"by {mute.by} until {mute.until:%Y-%m-%d %H:%M}Z: {mute.reason}"


def _line(name: str, value: str) -> Text:
    return Text.assemble((f"{name:<12}", "dim"), told(value))
