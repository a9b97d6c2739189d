"""A period's report as these settings' stores give it: who answers, what was verified, what is promised. Reads only.

Whoever shows it records that it was read, first (`ReadLog`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from datetime import datetime
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.text import Text

from sealstream.access import person_at_this_machine
from sealstream.cli.context import internal_error
from sealstream.cli.policies import sealed_retention
from sealstream.cli.settings import Settings
from sealstream.cli.stores import archive_settings
from sealstream.cli.verify import STORES, VerificationRequest, kafka_passed_over, verify_store
from sealstream.cli.whole_file import write_whole
from sealstream.errors import Misconfigured, SealstreamError
from sealstream.events import parse_timestamp
from sealstream.layout import Retention, longest_retention
from sealstream.reports import PRIVILEGED, Asker, Period, PeriodReport, Section, period_sections, verdict_of
from sealstream.search import SOURCES, SearchSource, Stores, choose_source, parse
from sealstream.verify import ChainIdentity, Report, default_state_dir

__all__ = ["drawn_page", "made_report", "rows_of", "stores_to_verify", "verified_stores", "write_page"]

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


def made_report(
    settings: Settings,
    chain: str,
    period: Period,
    *,
    now: datetime,
    source: str,
    verified: Mapping[str, Report | str],
    what: str = "Audit log",
    more: Callable[[Asker], Sequence[Section]] = lambda _: (),
) -> PeriodReport:
    """The report, as of `now`. `source`: one of `SOURCES`; `more`: sections that stand behind the first."""
    known = settings.chain(chain)
    with (
        closing(_source(settings, chain, period, source)) as log,
        Console(stderr=True).status(f"asking {log.name} for {period}"),
    ):
        ask = Asker(_Searched(log, now), chain, period, now)
        began = _began(log, chain)
        first, *rest = period_sections(
            ask,
            period,
            began=began,
            privileged=settings.report.privileged or PRIVILEGED,
            verified=verified,
            retention=_promised(settings, chain),
        )
        sections = [first, *more(ask), *rest]
        answered_by = log.name
    verdict, holds = verdict_of(verified)
    return PeriodReport(
        chain=chain,
        origin=known.origin,
        vkey=known.vkey,
        period=period,
        made_at=now,
        made_by=person_at_this_machine().id,
        source=answered_by,
        verdict=verdict,
        verdict_holds=holds,
        sections=sections,
        checkpoint=_newest_note(verified),
        began=began,
        what=what,
    )


def _began(log: SearchSource, chain: str) -> datetime | None:
    """When entry 0 was sealed; None where this store does not hold it."""
    first = log.entry(f"{chain}/0")
    return parse_timestamp(first.entry["written"]["sequenced_at"]) if first is not None else None


def _promised(settings: Settings, chain: str) -> Retention:
    """The policy in force: what the settings say, and what the chain itself has promised, the longest of each."""
    configured, sealed = settings.chain(chain).retention, sealed_retention(settings, chain).retention
    return configured if sealed is None else longest_retention(configured, sealed)


def rows_of(sections: Sequence[Section]) -> int:
    """How many lines of tables it has, as a search that counts is recorded."""
    return sum(len(table.rows) for section in sections for table in section.tables)


def stores_to_verify(settings: Settings, asked: Sequence[str] | None) -> list[str]:
    """The stores that are asked for (`--verify`), else those that there are."""
    there = STORES if settings.archive.bucket else [store for store in STORES if store != "archive"]
    names = [name for each in asked or there for name in each.split(",") if name]
    if names == ["none"]:
        return []
    for name in names:
        if name not in STORES:
            raise Misconfigured(f"--verify {name}: expected {', '.join(STORES)} or none")
    return list(dict.fromkeys(names))


def _source(settings: Settings, chain: str, period: Period, source: str) -> SearchSource:
    """Who answers: Postgres, the archive, or both where Postgres no longer has all of the period."""
    if source not in SOURCES:
        raise Misconfigured(f"--source {source}: expected {', '.join(SOURCES)}")
    asked = parse(f"sealed_after:{period.since} sealed_before:{period.until}", now=period.ends)
    archive = archive_settings(settings) if settings.archive.bucket else None
    stores = Stores(settings.postgres.reader_dsn, archive, timeout_s=_PATIENCE_S)
    said = Console(stderr=True, soft_wrap=True)
    return choose_source(stores, [chain], asked, source=source, say=lambda text: said.print(Text(text, style="dim")))


def verified_stores(
    settings: Settings, chain: str, stores: Sequence[str], *, quiet: bool, state_dir: Path | None = None
) -> dict[str, Report | str]:
    """Each store's report, or why it could not be verified."""
    known, closed_at = settings.chain(chain), settings.chains[chain].closed_at
    request = VerificationRequest(
        settings,
        ChainIdentity(known.name, known.origin, known.vkey),
        None,
        parse_timestamp(closed_at) if closed_at else None,  # a closed chain grows no older
        quiet,
        state_dir or default_state_dir(),
    )
    found: dict[str, Report | str] = {}
    why = kafka_passed_over(settings, chain, stores)
    for store in stores:
        if why and store == "kafka":
            continue
        try:
            found[store] = verify_store(request, store)
        except SealstreamError as error:
            found[store] = str(error)
        except Exception as error:  # noqa: BLE001 - one store that defeats us must not hide what the others hold
            found[store] = internal_error(error)
    first = next((report for report in found.values() if isinstance(report, Report)), None)
    if why and first is not None:
        first.notes.append(why)
    return found


def _newest_note(verified: Mapping[str, Report | str]) -> str:
    reports = [found for found in verified.values() if isinstance(found, Report) and found.checkpoint_note]
    newest = max(reports, key=lambda report: report.size, default=None)
    return newest.checkpoint_note.decode(errors="replace") if newest else ""


def drawn_page(made: PeriodReport) -> bytes:
    """As HTML. Raises `Misconfigured` when what draws it is not installed."""
    try:
        from sealstream.reports.page import render
    except ModuleNotFoundError as error:
        raise Misconfigured(
            f"a report is drawn with {error.name}, which is not installed: pip install 'sealstream[console]'; --json "
            "prints the same numbers without it"
        ) from error
    return render(made).encode()


def write_page(made: PeriodReport, file: Path) -> None:
    """As HTML, whole or not at all. Raises `Misconfigured` when it can't be drawn or written."""
    page = drawn_page(made)
    try:
        write_whole(file, page)
    except OSError as error:
        raise Misconfigured(f"{file} can't be written: {error.strerror}") from error
