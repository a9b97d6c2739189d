"""`sealstream report`: a month of the log as one page for an auditor, each number with the query behind it.

Reads only, and is recorded in the log (`log.read`) before anything is written. The file is written beside its place and
renamed into it, so a crash or Ctrl-C leaves the old one or none.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.text import Text

from sealstream.access import person_at_this_machine
from sealstream.cli.context import context_of, internal_error, out
from sealstream.cli.policies import sealed_retention
from sealstream.cli.reading import ReadLog
from sealstream.cli.settings import Settings
from sealstream.cli.stores import archive_settings
from sealstream.cli.verify import STORES, StateOption, VerificationRequest, verify_store
from sealstream.cli.whole_file import write_whole
from sealstream.errors import Misconfigured, SealstreamError
from sealstream.events import parse_timestamp
from sealstream.layout import Retention, longest_retention
from sealstream.reports import PRIVILEGED, Month, MonthReport, Section, month_sections, verdict_of
from sealstream.search import SOURCES, SearchSource, Stores, choose_source, parse
from sealstream.verify import ChainIdentity, Report, default_state_dir

__all__ = ["report_command"]

_PATIENCE_S = 900.0  # counting a month of a busy log takes a while; it is a month's report, not a page of a search


class _Searched:
    """A log that answers by a search source."""

    def __init__(self, source: SearchSource, now: datetime) -> None:
        self._source = source
        self._now = now

    def count_by(self, text: str, field: str) -> Sequence[tuple[str, int]]:
        found = self._source.count_by(parse(text, now=self._now), field)
        return [(count.value or "", count.entries) for count in found]

    def entries(self, text: str) -> Iterator[Mapping[str, Any]]:
        for batch in self._source.stream(parse(text, now=self._now), sort="seq"):
            for found in batch:
                yield found.entry


def report_command(
    context: typer.Context,
    month: Annotated[
        str,
        typer.Option("--month", help="Which month, as in 2026-11: what was sealed in it, by UTC.", metavar="YYYY-MM"),
    ],
    chain: Annotated[str, typer.Option("--chain", help="The chain.")] = "main",
    file: Annotated[
        Path | None,
        typer.Option("--file", "-f", help="Where the page goes. Default: audit-CHAIN-MONTH.html.", show_default=False),
    ] = None,
    pdf: Annotated[
        bool, typer.Option("--pdf", help="Print a PDF beside it as well; needs Chromium or Chrome on this machine.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the same as JSON instead of writing a page.")] = False,
    source: Annotated[
        str,
        typer.Option(
            "--source",
            help="Which store answers: auto (Postgres, and the archive for what left it), postgres, archive.",
        ),
    ] = "auto",
    verify: Annotated[
        list[str] | None,
        typer.Option(
            "--verify",
            help="Which stores to verify for it: kafka, postgres, archive, none. Default: all there are.",
            show_default=False,
        ),
    ] = None,
    state_dir: StateOption = None,
) -> None:
    """Write a month of the log as one HTML file for an auditor, which prints well.

    Volume by day, actors, denials, privileged actions, who read the log, the verdict of a verification that is made
    now, gaps, retention and locks. Each number has the `sealstream search` behind it, to be asked again.

    Exit codes as `verify`'s: 0 all holds, 1 tampering found, 2 could not verify; the page is written in each case.

    Examples: `sealstream report --month 2026-11`, `sealstream report --month 2026-11 --pdf --file november.html`
    """
    wanted = Month.parse(month)
    settings = context_of(context).settings()
    known = settings.chain(chain)
    now = datetime.now(UTC)
    if wanted.begins > now:
        raise Misconfigured(f"month {wanted} has not begun: nothing was sealed in it yet")
    stores = _stores(verify, STORES if settings.archive.bucket else [store for store in STORES if store != "archive"])
    verified = _verified(settings, chain, stores, state_dir or default_state_dir(), quiet=as_json)
    with (
        closing(_source(settings, chain, wanted, source)) as log,
        Console(stderr=True).status(f"asking {log.name} for {wanted}"),
    ):
        sections = month_sections(
            _Searched(log, now),
            chain,
            wanted,
            now=now,
            began=(began := _began(log, chain)),
            privileged=settings.report.privileged or PRIVILEGED,
            verified=verified,
            retention=_promised(settings, chain),
        )
        ReadLog(settings, "report", f"sealed_after:{wanted.first} sealed_before:{wanted.after}", [chain]).counted(
            log.name, {chain: _rows(sections)}
        )
    verdict, holds = verdict_of(verified)
    made = MonthReport(
        chain=chain,
        origin=known.origin,
        vkey=known.vkey,
        month=wanted,
        made_at=now,
        made_by=person_at_this_machine().id,
        source=log.name,
        verdict=verdict,
        verdict_holds=holds,
        sections=sections,
        checkpoint=_newest_note(verified),
        began=began,
    )
    if as_json:
        print(json.dumps(made.to_json(), indent=2, ensure_ascii=False))
    else:
        _write(made, file or Path(f"audit-{chain}-{wanted}.html"), pdf=pdf)
    codes = [2 if isinstance(found, str) else found.exit_code for found in verified.values()]
    raise typer.Exit(1 if 1 in codes else max(codes, default=0))


def _began(log: SearchSource, chain: str) -> datetime | None:
    """When entry 0 was sealed; None where this store does not hold it."""
    first = log.entry(f"{chain}/0")
    return parse_timestamp(first.entry["written"]["sequenced_at"]) if first is not None else None


def _promised(settings: Settings, chain: str) -> Retention:
    """The policy in force: what the settings say, and what the chain itself has promised, the longest of each."""
    configured, sealed = settings.chain(chain).retention, sealed_retention(settings, chain).retention
    return configured if sealed is None else longest_retention(configured, sealed)


def _rows(sections: Sequence[Section]) -> int:
    """How many lines of tables it has, as a search that counts is recorded."""
    return sum(len(table.rows) for section in sections for table in section.tables)


def _stores(asked: Sequence[str] | None, there: Sequence[str]) -> list[str]:
    """The stores to verify: those that are asked for, else those that there are."""
    names = [name for each in asked or there for name in each.split(",") if name]
    if names == ["none"]:
        return []
    for name in names:
        if name not in STORES:
            raise Misconfigured(f"--verify {name}: expected {', '.join(STORES)} or none")
    return list(dict.fromkeys(names))


def _source(settings: Settings, chain: str, month: Month, source: str) -> SearchSource:
    """Who answers: Postgres, the archive, or both where Postgres no longer has all of the month."""
    if source not in SOURCES:
        raise Misconfigured(f"--source {source}: expected {', '.join(SOURCES)}")
    asked = parse(f"sealed_after:{month.first} sealed_before:{month.after}", now=month.ends)
    archive = archive_settings(settings) if settings.archive.bucket else None
    stores = Stores(settings.postgres.reader_dsn, archive, timeout_s=_PATIENCE_S)
    said = Console(stderr=True, soft_wrap=True)
    return choose_source(stores, [chain], asked, source=source, say=lambda text: said.print(Text(text, style="dim")))


def _verified(
    settings: Settings, chain: str, stores: Sequence[str], state_dir: Path, *, quiet: bool
) -> dict[str, Report | str]:
    """Each store's report, or why it could not be verified."""
    known = settings.chain(chain)
    request = VerificationRequest(
        settings,
        ChainIdentity(known.name, known.origin, known.vkey),
        None,
        None,
        quiet,
        state_dir,
    )
    found: dict[str, Report | str] = {}
    for store in stores:
        try:
            found[store] = verify_store(request, store)
        except SealstreamError as error:
            found[store] = str(error)
        except Exception as error:  # noqa: BLE001 - one store that defeats us must not hide what the others hold
            found[store] = internal_error(error)
    return found


def _newest_note(verified: Mapping[str, Report | str]) -> str:
    reports = [found for found in verified.values() if isinstance(found, Report) and found.checkpoint_note]
    newest = max(reports, key=lambda report: report.size, default=None)
    return newest.checkpoint_note.decode(errors="replace") if newest else ""


def _write(made: MonthReport, file: Path, *, pdf: bool) -> None:
    try:
        from sealstream.reports.page import render
        from sealstream.reports.pdf import print_pdf
    except ModuleNotFoundError as error:
        raise Misconfigured(
            f"a report is drawn with {error.name}, which is not installed: pip install 'sealstream[console]'; --json "
            "prints the same numbers without it"
        ) from error
    try:
        write_whole(file, render(made).encode())
    except OSError as error:
        raise Misconfigured(f"{file} can't be written: {error.strerror}") from error
    style = {True: "green", False: "bold red", None: "yellow"}[made.verdict_holds]
    out.print(Text(made.verdict, style=style), soft_wrap=True)
    out.print(Text(f"wrote {file}" + ("" if made.whole else ": a draft, since the month is not over")), soft_wrap=True)
    if pdf:
        paper = file.with_suffix(".pdf")
        print_pdf(file, paper)
        out.print(Text(f"printed {paper}"), soft_wrap=True)
