"""`sealstream report`: a period of the log as one page for an auditor, each number with the query behind it.

Reads only, and is recorded in the log (`log.read`) before anything is written. The file is written beside its place and
renamed into it, so a crash or Ctrl-C leaves the old one or none.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text

from sealstream.cli.context import context_of, out
from sealstream.cli.reading import ReadLog
from sealstream.cli.reporting import made_report, rows_of, stores_to_verify, verified_stores, write_page
from sealstream.cli.verify import StateOption
from sealstream.errors import Misconfigured
from sealstream.reports import Period, PeriodReport

__all__ = ["SourceOption", "VerifyOption", "report_command"]

SourceOption = Annotated[
    str,
    typer.Option(
        "--source",
        help="Which store answers: auto (Postgres, and the archive for what left it), postgres, archive.",
    ),
]
VerifyOption = Annotated[
    list[str] | None,
    typer.Option(
        "--verify",
        help="Which stores to verify for it: kafka, postgres, archive, none. Default: all there are.",
        show_default=False,
    ),
]


def report_command(
    context: typer.Context,
    month: Annotated[
        str | None,
        typer.Option(
            "--month",
            help="Which month, as in 2026-11: what was sealed in it, by UTC.",
            metavar="YYYY-MM",
            show_default=False,
        ),
    ] = None,
    period: Annotated[
        str | None,
        typer.Option(
            "--period",
            help="Instead of a month a week, a day or a span of time (UTC), as in 2026-W48, 2026-11-29 or "
            "2026-11-29T20:10:00Z..2026-11-29T21:00:00Z.",
            show_default=False,
        ),
    ] = None,
    chain: Annotated[str, typer.Option("--chain", help="The chain.")] = "main",
    file: Annotated[
        Path | None,
        typer.Option("--file", "-f", help="Where the page goes. Default: audit-CHAIN-PERIOD.html.", show_default=False),
    ] = None,
    pdf: Annotated[
        bool, typer.Option("--pdf", help="Print a PDF beside it as well; needs Chromium or Chrome on this machine.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the same as JSON instead of writing a page.")] = False,
    source: SourceOption = "auto",
    verify: VerifyOption = None,
    state_dir: StateOption = None,
) -> None:
    """Write a month of the log (or a week, a day, a span of time) as one HTML file for an auditor, which prints well.

    Volume by day, actors, denials, privileged actions, who read the log, the verdict of a verification that is made
    now, gaps, retention and locks. Each number has the `sealstream search` behind it, to be asked again.

    Exit codes as `verify`'s: 0 all holds, 1 tampering found, 2 could not verify; the page is written in each case.

    Examples: `sealstream report --month 2026-11`, `sealstream report --month 2026-11 --pdf --file november.html`
    """
    wanted = _wanted(month, period)
    settings = context_of(context).settings()
    settings.chain(chain)
    now = datetime.now(UTC)
    if wanted.begins > now:
        raise Misconfigured(f"{wanted.kind} {wanted} has not begun: nothing was sealed in it yet")
    stores = stores_to_verify(settings, verify)
    verified = verified_stores(settings, chain, stores, state_dir=state_dir, quiet=as_json)
    made = made_report(settings, chain, wanted, now=now, source=source, verified=verified)
    asked = f"sealed_after:{wanted.since} sealed_before:{wanted.until}"
    ReadLog(settings, "report", asked, [chain]).counted(made.source, {chain: rows_of(made.sections)})
    if as_json:
        print(json.dumps(made.to_json(), indent=2, ensure_ascii=False))
    else:
        _write(made, file or Path(f"audit-{chain}-{wanted.file_name}.html"), pdf=pdf)
    codes = [2 if isinstance(found, str) else found.exit_code for found in verified.values()]
    raise typer.Exit(1 if 1 in codes else max(codes, default=0))


def _wanted(month: str | None, period: str | None) -> Period:
    if (month is None) == (period is None):
        raise Misconfigured(
            "expected --month (2026-11) or --period (2026-11, 2026-W48, 2026-11-29, or a span of time), and one of the "
            "two"
        )
    return Period.parse_month(month) if month is not None else Period.parse(period or "")


def _write(made: PeriodReport, file: Path, *, pdf: bool) -> None:
    write_page(made, file)
    style = {True: "green", False: "bold red", None: "yellow"}[made.verdict_holds]
    out.print(Text(made.verdict, style=style), soft_wrap=True)
    draft = "" if made.whole else f": a draft, since the {made.period.kind} is not over"
    out.print(Text(f"wrote {file}{draft}"), soft_wrap=True)
    if pdf:
        from sealstream.reports.pdf import print_pdf

        paper = file.with_suffix(".pdf")
        print_pdf(file, paper)
        out.print(Text(f"printed {paper}"), soft_wrap=True)
