"""`sealstream alerts`: what the detectors raised, why, and what people made of it.

Reading is in the log (`log.read`) before anything is shown. What a person says of an alert is a control statement, said
once however often the command is run (`saying.py`): a crash before it is sealed leaves it to the same command.
"""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Annotated

import typer
from rich.table import Table

from sealstream.alerts import ACTIONS, Book, Case, fold
from sealstream.cli.alerts_view import alert_lines, alert_members, alert_table, incident_members, incident_table
from sealstream.cli.context import context_of, counted, out
from sealstream.cli.detector_names import check_detector
from sealstream.cli.harmless import told
from sealstream.cli.person_saying import ByOption, WaitOption, say_as_person
from sealstream.cli.reading import ReadLog
from sealstream.cli.sealed import sealed_statements
from sealstream.cli.settings import Settings
from sealstream.errors import InvalidEvent, Misconfigured
from sealstream.events import format_timestamp, parse_timestamp
from sealstream.layout.alerts import SEVERITIES

__all__ = ["app", "read_book"]

app = typer.Typer(
    help="Alerts: what was raised and why; acknowledge, judge and mute them, sealed in the chain.",
    no_args_is_help=True,
)

VERDICTS = ("true-positive", "false-positive", "benign")

_SPAN = re.compile(r"([0-9]{1,5})([mhdw])")
_LONGEST_MUTE = timedelta(days=366)
_UNITS = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}

ChainsOption = Annotated[
    list[str] | None, typer.Option("--chain", help="Of this chain; repeatable. Default: of all.", show_default=False)
]
IdsArgument = Annotated[list[str], typer.Argument(help="Alerts, by the first characters of their ids (6 or more).")]


def read_book(settings: Settings, chains: Sequence[str]) -> Book:
    """What is sealed about alerts in these chains, by Postgres and, for what it does not have yet, Kafka."""
    return fold(entry for chain in chains for entry in sealed_statements(settings, chain, ACTIONS))


@app.command("list")
def list_alerts(
    context: typer.Context,
    chains: ChainsOption = None,
    all_states: Annotated[
        bool, typer.Option("--all", help="Those that are closed or muted, too. Default: what is left to do.")
    ] = False,
    severity: Annotated[str, typer.Option("--severity", help="This severe, or worse.")] = "low",
    detector: Annotated[str | None, typer.Option("--detector", help="Raised by this detector.")] = None,
    subject: Annotated[str | None, typer.Option("--subject", help="Of this actor or address.")] = None,
    since: Annotated[
        str, typer.Option("--since", help="Raised since: so long ago (7d, 24h, 30m), a date or a time.")
    ] = "30d",
    until: Annotated[
        str | None, typer.Option("--until", help="Raised before: the same. Default: now.", show_default=False)
    ] = None,
    incidents: Annotated[
        bool, typer.Option("--incidents", help="One line an incident: alerts of one subject that follow each other.")
    ] = False,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, help="The newest so many.")] = 50,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line, for programs.")] = False,
) -> None:
    """List alerts, the newest last: what was seen of whom, how severe it is, and who looks into it."""
    settings = context_of(context).settings()
    named = _chains(settings, chains)
    if severity not in SEVERITIES:
        raise Misconfigured(f"--severity {severity}: expected one of {', '.join(SEVERITIES)}")
    first = _moment(since, "--since", ago=True)
    before = _moment(until, "--until", ago=True) if until is not None else datetime.max.replace(tzinfo=UTC)
    book = read_book(settings, named)
    if detector is not None:
        check_detector(settings, detector, lambda: _raised_by(book))
    found = [
        case
        for case in book.cases.values()
        if first <= case.at < before
        and SEVERITIES.index(case.severity) >= SEVERITIES.index(severity)
        and detector in (None, case.detector)
        and subject in (None, case.subject)
        and (all_states or case.is_work)
    ]
    found = sorted(found, key=lambda case: (case.at, case.seq))
    shown = found[-limit:]
    rows = {chain: sum(case.chain == chain for case in shown) for chain in named}
    ReadLog(settings, "alerts", "list", named).counted("chain", rows)
    wanted = {case.incident for case in shown}
    grouped = [each for each in book.incidents() if incidents and each.id in wanted]
    if as_json:
        for members in map(incident_members, grouped) if incidents else map(alert_members, shown):
            print(json.dumps(members))
        return
    if not shown:
        out.print("no such alert" if all_states else "no alert is left to do")
        return
    out.print(incident_table(grouped) if incidents else alert_table(shown))
    if len(found) > len(shown):
        out.print(f"{counted(len(found) - len(shown), 'older one')} not shown: --limit {len(found)}", style="dim")


@app.command("show")
def show_alert(
    context: typer.Context,
    alert: Annotated[str, typer.Argument(help="The alert, by the first characters of its id (6 or more).")],
    chains: ChainsOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON, for programs.")] = False,
) -> None:
    """Show one alert: what was seen, what is usual, the entries behind it, and what was said of it."""
    settings = context_of(context).settings()
    named = _chains(settings, chains)
    book = read_book(settings, named)
    case = _one(book, alert)
    ReadLog(settings, "alerts", f"show {case.id}", [case.chain]).counted("chain", {case.chain: 1})
    if as_json:
        print(json.dumps(alert_members(case), indent=2))
        return
    for line in alert_lines(case, book):
        out.print(line, soft_wrap=True)


@app.command("ack")
def acknowledge(
    context: typer.Context,
    alerts: IdsArgument,
    note: Annotated[str | None, typer.Option("--note", help="What you make of it so far.")] = None,
    by: ByOption = None,
    wait: WaitOption = 60,
    chains: ChainsOption = None,
) -> None:
    """Say that you look into alerts: sealed, so that nobody else needs to. Repeating it says nothing twice."""
    shared = context_of(context)
    settings = shared.settings()
    book = read_book(settings, _chains(settings, chains))
    for case in [_one(book, each) for each in alerts]:
        already = ""
        if case.state != "open" and note in (None, case.said[-1].words):
            already = f"alert {case.id[:8]} is {case.state} already, by {case.said[-1].by}"
        metadata = {"alert": case.id} | ({"note": note} if note else {})
        say_as_person(
            shared, settings, case.chain, "alert.acknowledged", "alert", case.id, metadata, by, wait, already=already
        )


@app.command("close")
def close(
    context: typer.Context,
    alerts: IdsArgument,
    verdict: Annotated[str, typer.Option("--as", help=f"How you judge it: {', '.join(VERDICTS)}.")],
    reason: Annotated[str, typer.Option("--reason", help="Why: an auditor reads it.")],
    by: ByOption = None,
    wait: WaitOption = 60,
    chains: ChainsOption = None,
) -> None:
    """Judge alerts, with a reason: sealed in the chain. Judged again, the last judgement counts; all of them stay.

    true-positive: it was what it looks like. false-positive: nothing of the sort happened, the detector should learn.
    benign: it happened, and was allowed.
    """
    if verdict not in VERDICTS:
        raise Misconfigured(f"--as {verdict}: expected one of {', '.join(VERDICTS)}")
    if not reason.strip():
        raise Misconfigured("--reason is empty: say why, an auditor reads it")
    shared = context_of(context)
    settings = shared.settings()
    book = read_book(settings, _chains(settings, chains))
    for case in [_one(book, each) for each in alerts]:
        already = ""
        if case.verdict == verdict and case.said[-1].words == reason:
            already = f"alert {case.id[:8]} is closed so already, by {case.said[-1].by}"
        metadata = {"alert": case.id, "as": verdict, "reason": reason}
        say_as_person(
            shared, settings, case.chain, "alert.closed", "alert", case.id, metadata, by, wait, already=already
        )


@app.command("mute")
def mute(
    context: typer.Context,
    until: Annotated[
        str,
        typer.Option("--until", help="When it ends: in so long (8h, 7d), a date or a time; at most 366 days ahead."),
    ],
    reason: Annotated[str, typer.Option("--reason", help="Why: an auditor reads it.")],
    chain: Annotated[str, typer.Option("--chain", help="In which chain.")] = "main",
    detector: Annotated[str | None, typer.Option("--detector", help="Alerts of this detector.")] = None,
    subject: Annotated[str | None, typer.Option("--subject", help="Alerts of this actor or address.")] = None,
    by: ByOption = None,
    wait: WaitOption = 60,
) -> None:
    """Have alerts that you expect be nobody's work: of a detector, of a subject, or of both, with a reason and an end.

    They are raised and sealed all the same, and `sealstream alerts list --all` shows them; they are neither listed as
    work nor forwarded.
    """
    if not detector and not subject:
        raise Misconfigured("a mute of everything is none: name --detector, --subject, or both")
    if not reason.strip():
        raise Misconfigured("--reason is empty: say why, an auditor reads it")
    end = _moment(until, "--until", ago=False)
    if end <= datetime.now(UTC):
        raise Misconfigured(f"--until {until} is over: give a time to come, such as 8h or 7d")
    if end > datetime.now(UTC) + _LONGEST_MUTE:
        raise Misconfigured(
            f"--until {until} is more than {_LONGEST_MUTE.days} days ahead: nobody would remember it; mute for less, "
            "and again when it ends"
        )
    shared = context_of(context)
    settings = shared.settings()
    settings.running_chain(chain)
    if detector:
        check_detector(settings, detector, lambda: _raised_by(read_book(settings, [chain])))
    mute_id = str(uuid.uuid4())
    metadata: dict[str, object] = {"mute": mute_id, "until": format_timestamp(end), "reason": reason}
    metadata |= {"detector": detector} if detector else {}
    metadata |= {"subject": subject} if subject else {}
    # Begun before and not finished, it is finished as it was: its end was reckoned then.
    key = ("alert.muted", detector, subject, reason)
    say_as_person(shared, settings, chain, "alert.muted", "mute", mute_id, metadata, by, wait, key=key)


@app.command("unmute")
def unmute(
    context: typer.Context,
    mute_id: Annotated[str, typer.Argument(metavar="MUTE", help="The mute, by the first characters of its id.")],
    reason: Annotated[str, typer.Option("--reason", help="Why: an auditor reads it.")],
    by: ByOption = None,
    wait: WaitOption = 60,
    chains: ChainsOption = None,
) -> None:
    """End a mute before its time."""
    shared = context_of(context)
    settings = shared.settings()
    book = read_book(settings, _chains(settings, chains))
    found = [each for key, each in book.mutes.items() if key.startswith(mute_id.lower())]
    if len(found) != 1:
        raise Misconfigured(f"{len(found) or 'no'} mutes begin with {mute_id!r}: `sealstream alerts mutes` lists them")
    if not found[0].in_force(datetime.now(UTC)):
        out.print(f"mute {found[0].id[:8]} is over already")
        return
    metadata = {"mute": found[0].id, "reason": reason}
    say_as_person(shared, settings, found[0].chain, "alert.unmuted", "mute", found[0].id, metadata, by, wait)


@app.command("mutes")
def list_mutes(
    context: typer.Context,
    chains: ChainsOption = None,
    all_mutes: Annotated[bool, typer.Option("--all", help="Those that are over, too.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line, for programs.")] = False,
) -> None:
    """List what is muted, until when, by whom and why."""
    settings = context_of(context).settings()
    named, now = _chains(settings, chains), datetime.now(UTC)
    mutes = [each for each in read_book(settings, named).mutes.values() if all_mutes or each.in_force(now)]
    rows = {chain: sum(each.chain == chain for each in mutes) for chain in named}
    ReadLog(settings, "alerts", "mutes", named).counted("chain", rows)
    if as_json:
        for each in mutes:
            members = each._asdict() | {"since": format_timestamp(each.since), "until": format_timestamp(each.until)}
            print(json.dumps(members | {"ended": None if each.ended is None else format_timestamp(each.ended)}))
        return
    if not mutes:
        out.print("nothing is muted")
        return
    table = Table("mute", "detector", "subject", "until", "by", "reason", box=None, padding=(0, 2, 0, 0))
    for each in mutes:
        end = min(each.until, each.ended or each.until)
        table.add_row(
            each.id[:8], told(each.detector or "all"), told(each.subject or "all"), f"{end:%Y-%m-%d %H:%M}Z",
            told(each.by), told(each.reason),
        )  # fmt: skip
    out.print(table)


# --- what they share --------------------------------------------------------------------------------------------------


def _chains(settings: Settings, chains: Iterable[str] | None) -> list[str]:
    return [settings.chain(name).name for name in chains or sorted(settings.chains)]


def _raised_by(book: Book) -> set[str]:
    return {case.detector for case in book.cases.values()}


def _one(book: Book, wanted: str) -> Case:
    if len(wanted) < 6:
        raise Misconfigured(f"{wanted!r} is too short for an alert's id: give its first 6 characters or more")
    found = book.find(wanted)
    if len(found) == 1:
        return found[0]
    if not found:
        raise Misconfigured(f"no alert begins with {wanted!r}: `sealstream alerts list --all` shows them")
    raise Misconfigured(f"{len(found)} alerts begin with {wanted!r}: give more of the id")


def _moment(text: str, option: str, *, ago: bool) -> datetime:
    span = _SPAN.fullmatch(text)
    if span:
        length = timedelta(**{_UNITS[span[2]]: int(span[1])})
        return datetime.now(UTC) - length if ago else datetime.now(UTC) + length
    try:
        return parse_timestamp(f"{text}T00:00:00Z" if len(text) == 10 else text)
    except InvalidEvent as error:
        raise Misconfigured(f"{option} {text}: expected 8h, 7d, a UTC date or a time: {error}") from error
