"""`sealstream review`: a person looks at a period of the log, says what of it, and signs; the log seals it.

Reading is in the log (`log.read`) before anything is written or shown. `start` writes the document, the page before it,
and then has `review.started` sealed with the document's SHA-256: a crash between leaves files that no statement names,
and the same command writes them anew. A statement that was begun is finished by the same command, as it was
(`person_saying.py`), so each is sealed once.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Annotated, Any

import typer

from sealstream.access import person_at_this_machine
from sealstream.cli.alerts import read_book
from sealstream.cli.context import context_of, out
from sealstream.cli.harmless import told
from sealstream.cli.person_saying import ByOption, WaitOption, say_as_person, say_what_was_begun
from sealstream.cli.reading import ReadLog
from sealstream.cli.report import SourceOption, VerifyOption
from sealstream.cli.reporting import drawn_page, made_report, rows_of, stores_to_verify, verified_stores
from sealstream.cli.review_files import ReviewFiles, check_unchanged, check_worked_off, start_again
from sealstream.cli.review_view import (
    document_lines,
    review_members,
    statement_lines,
)
from sealstream.cli.reviewing import began_at, not_whole, read_reviews
from sealstream.cli.settings import Settings
from sealstream.errors import Misconfigured, Unavailable
from sealstream.events import format_timestamp
from sealstream.health.asking import signed
from sealstream.reports import Period, PeriodReport
from sealstream.reviews import (
    Review,
    Reviews,
    alerts_of,
    alerts_section,
    changes,
    document_bytes,
    document_sha256,
    letters_section,
    periods_over,
    read_document,
    review_document,
    review_id,
)
from sealstream.reviews.alerts_section import Alerts
from sealstream.verify import Report

__all__ = ["app"]

app = typer.Typer(
    help="Reviews: look at a day, a week, a month or any span of the log, say what of it, and sign; all sealed.",
    no_args_is_help=True,
)

PeriodOption = Annotated[
    str | None,
    typer.Option(
        "--period",
        help="2026-11 (a month), 2026-W48 (a week), 2026-11-29 (a day), or a span of time such as an incident's, "
        "2026-11-29T20:10:00Z..2026-11-29T21:00:00Z. Default: the newest that is over and not "
        "signed, of the kind that the settings' section reviews names, else of months.",
        show_default=False,
    ),
]
ChainOption = Annotated[str, typer.Option("--chain", help="The chain.")]
JsonOption = Annotated[bool, typer.Option("--json", help="As JSON, for programs.")]


@app.command("start")
def start(
    context: typer.Context,
    period: PeriodOption = None,
    chain: ChainOption = "main",
    source: SourceOption = "auto",
    verify: VerifyOption = None,
    by: ByOption = None,
    wait: WaitOption = 60,
) -> None:
    """Begin a review: verify the stores, and write what there is to see of the period.

    Writes two files into the folder that the settings name (reviews): the document, which a signature names by its
    SHA-256, and a page for people, which the document names by its own. Alerts and how they were judged, failures and
    denials, privileged actions, who read the log, verification, gaps, dead letters. Run again, it writes them anew
    where something changed, and says nothing twice.

    Examples: `sealstream review start`, `sealstream review start --period 2026-11-29 --verify postgres`
    """
    shared = context_of(context)
    settings = shared.settings()
    origin = settings.running_chain(chain).origin
    reviews, now = read_reviews(settings, chain), datetime.now(UTC)
    wanted = _wanted(settings, chain, reviews, period, now, lambda review: not review.signatures)
    identity = review_id(origin, wanted)
    key = ("review.started", identity)
    if say_what_was_begun(shared, settings, chain, "review.started", by, wait, key):
        reviews = read_reviews(settings, chain)
    _check_whole(settings, chain, wanted, now)
    verified = verified_stores(settings, chain, stores_to_verify(settings, verify), quiet=False)
    made, _ = _made(settings, chain, wanted, now, source, verified)
    _record(settings, f"start {wanted}", chain, made)
    size = signed(settings.kafka_settings(), settings.chain(chain)).size
    files, review = ReviewFiles.of(settings, chain, wanted), reviews.of(chain, wanted)
    data = files.still_right(review, review_document(made, identity, size))
    if data is None:
        page = drawn_page(made)
        data = document_bytes(review_document(made, identity, size) | {"page_sha256": document_sha256(page)})
        files.write(data, page)
    sha256, document = document_sha256(data), read_document(data)
    said = next((each for each in review.started if each.document_sha256 == sha256), None)
    say_as_person(
        shared,
        settings,
        chain,
        "review.started",
        "review",
        identity,
        {
            "review": identity,
            "period": str(wanted),
            "first": format_timestamp(wanted.begins),
            "before": format_timestamp(wanted.ends),
            "document_sha256": sha256,
            "size": document["size"],
        },
        by,
        wait,
        key=key,
        already=f"started already with this document, by {said.by} (entry {said.seq})" if said else "",
    )
    for line in document_lines(document):
        out.print(line)
    out.print()
    for written in (files.document, files.page):
        out.print(told(str(written)), soft_wrap=True)
    step = f"sealstream review sign --period {wanted} --chain {chain} --note '...'"
    out.print(told(f"next: look at the page, work off its alerts, then {step}", "dim"), soft_wrap=True)


@app.command("show")
def show(
    context: typer.Context,
    period: PeriodOption = None,
    chain: ChainOption = "main",
    source: SourceOption = "auto",
    as_json: JsonOption = False,
) -> None:
    """Show a review: its document, who began and signed it, and what the stores say otherwise now."""
    settings = context_of(context).settings()
    origin = settings.chain(chain).origin
    reviews, now = read_reviews(settings, chain), datetime.now(UTC)
    wanted = _wanted(settings, chain, reviews, period, now, lambda _: True)
    review, files = reviews.of(chain, wanted), ReviewFiles.of(settings, chain, wanted)
    made, _ = _made(settings, chain, wanted, now, source, {})
    fresh = review_document(
        made, review_id(origin, wanted), signed(settings.kafka_settings(), settings.chain(chain)).size
    )
    data = files.read()
    document = fresh if data is None else files.document_in(data)
    moved = changes(document, fresh)
    is_said = data is not None and document_sha256(data) in {each.document_sha256 for each in review.started}
    _record(settings, f"show {wanted}", chain, made)
    if as_json:
        members = {"document": document, "is_of_a_review": is_said, "changes": moved}
        print(json.dumps(review_members(review) | members, indent=2, ensure_ascii=False))
        return
    for line in document_lines(document):
        out.print(line)
    out.print()
    for statement in statement_lines(review):
        out.print(statement, soft_wrap=True)
    if data is None:
        begun = "its document is not on this machine" if review.started else "nobody has begun it"
        out.print(told(f"{begun}: this is what the stores say now", "yellow"), soft_wrap=True)
    elif not is_said:
        out.print(told(f"{files.document} was changed: no statement names it", "bold red"), soft_wrap=True)
    elif moved:
        out.print(told("since it was made, the stores have come to say otherwise:", "yellow"))
        for each in moved:
            out.print(told(f"  {each}"), soft_wrap=True)
    else:
        out.print(told("the stores say the same now", "green"))


@app.command("sign")
def sign(
    context: typer.Context,
    note: Annotated[str, typer.Option("--note", help="What you make of the period: an auditor reads it.")],
    period: PeriodOption = None,
    chain: ChainOption = "main",
    with_open_alerts: Annotated[
        bool,
        typer.Option(
            "--with-open-alerts", help="Sign although alerts are left to do; the signature says how many they are."
        ),
    ] = False,
    source: SourceOption = "auto",
    by: ByOption = None,
    wait: WaitOption = 60,
) -> None:
    """Sign a review, as who you are on this machine: what you saw (the document's SHA-256), and your note, are sealed.

    Refused while the period runs, and when the document, or what the stores say, is no longer what was seen. Several
    people may sign one review, each once.
    """
    if not note.strip():
        raise Misconfigured("--note is empty: say what you make of the period, an auditor reads it")
    shared = context_of(context)
    settings = shared.settings()
    origin = settings.running_chain(chain).origin
    reviews, now = read_reviews(settings, chain), datetime.now(UTC)
    wanted = _wanted(settings, chain, reviews, period, now, lambda each: bool(each.started) and not each.signatures)
    if now < wanted.ends:
        raise Misconfigured(f"{wanted} is not over: it can be signed from {wanted.ends:%Y-%m-%d %H:%M:%S}Z on")
    identity, review = review_id(origin, wanted), reviews.of(chain, wanted)
    files = ReviewFiles.of(settings, chain, wanted)
    data = files.read()
    if data is None:
        raise Misconfigured(f"there is no {files.document}: {start_again(chain, wanted)} makes it, to be looked at")
    sha256 = document_sha256(data)
    key = ("review.signed", identity, sha256, note)
    if say_what_was_begun(shared, settings, chain, "review.signed", by, wait, key):
        return
    me = person_at_this_machine().id
    own = next((each for each in review.signatures if (each.person, each.document_sha256) == (me, sha256)), None)
    metadata: dict[str, Any] = {}
    if own is None:
        document = files.checked(data, sha256, review, chain)
        _check_whole(settings, chain, wanted, now)
        made, alerts = _made(settings, chain, wanted, now, source, {})
        _record(settings, f"sign {wanted}", chain, made)
        check_unchanged(document, review_document(made, identity, document["size"]), chain, wanted)
        check_worked_off(alerts, wanted, allowed=with_open_alerts)
        metadata = {
            "review": identity,
            "period": str(wanted),
            "note": note,
            "document_sha256": sha256,
            "size": document["size"],
            "figures": document["figures"],
            "open_alerts": len(alerts.left_to_do),
        }
    already = f"signed already with this document, by {own.by} (entry {own.seq}): {own.note}" if own else ""
    say_as_person(
        shared, settings, chain, "review.signed", "review", identity, metadata, by, wait, key=key, already=already
    )


# --- what they share --------------------------------------------------------------------------------------------------


def _wanted(
    settings: Settings,
    chain: str,
    reviews: Reviews,
    text: str | None,
    now: datetime,
    fits: Callable[[Review], bool],
) -> Period:
    if text is not None:
        period = Period.parse(text)
        if period.begins > now:
            raise Misconfigured(f"{period} has not begun: nothing was sealed in it yet")
        return period
    kind = settings.reviews.usual().every
    for period in periods_over(kind, now, began_at(settings, chain)):
        if fits(reviews.of(chain, period)):
            return period
    raise Misconfigured(
        f"no {kind} of chain {chain} that is over is left to do this with: `sealstream review list` shows them, "
        "--period names one"
    )


def _made(
    settings: Settings,
    chain: str,
    period: Period,
    now: datetime,
    source: str,
    verified: Mapping[str, Report | str],
) -> tuple[PeriodReport, Alerts]:
    """What the stores say, and the period's alerts."""
    alerts = alerts_of(read_book(settings, [chain]), chain, period)
    made = made_report(
        settings,
        chain,
        period,
        now=now,
        source=source,
        verified=verified,
        what="Review",
        more=lambda ask: [alerts_section(alerts, chain, period), letters_section(ask)],
    )
    return made, alerts


def _record(settings: Settings, doing: str, chain: str, made: PeriodReport) -> None:
    ReadLog(settings, "review", doing, [chain]).counted(made.source, {chain: rows_of(made.sections)})


def _check_whole(settings: Settings, chain: str, period: Period, now: datetime) -> None:
    if now >= period.ends and (why := not_whole(settings, chain, period)):
        raise Unavailable(why)
