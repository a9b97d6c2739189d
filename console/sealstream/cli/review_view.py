"""Reviews as a person sees them on a terminal, and as programs do."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from sealstream.cli.harmless import told
from sealstream.events import format_timestamp
from sealstream.reviews import Cadence, Review, state_of
from sealstream.reviews.due import PeriodState

__all__ = ["Line", "document_lines", "line_members", "line_of", "review_members", "review_table", "statement_lines"]

_STYLES: dict[PeriodState, str] = {"overdue": "bold red", "signed": "green", "started": "yellow", "due": "yellow"}
_SHOWN_TABLES = {
    "Alerts, what is left to do first",
    "Verdict by store",
    "Faults",
    "Who was denied",
    "Who failed",
    "What the log noticed",
    "Why records were refused",
    "Who read",
}
_ROWS = 10


class Line(NamedTuple):
    """One period in a list. `due_at` None: nobody has to."""

    review: Review
    state: PeriodState
    due_at: datetime | None


def line_of(review: Review, now: datetime, cadence: Cadence | None) -> Line:
    """What a list says of a period. A span is nobody's duty, whoever began to review it."""
    period, due_at = review.period, None
    if cadence is not None and cadence.every == period.kind and (not cadence.since or period.first >= cadence.since):
        due_at = cadence.due_at(period)
    return Line(review, state_of(review, now, cadence), due_at)


def document_lines(document: Mapping[str, Any]) -> Iterator[RenderableType]:
    """A document: its figures, and the tables that a reviewer looks at first."""
    style = {True: "green", False: "bold red", None: "yellow"}[document["verdict_holds"]]
    draft = "" if document["whole"] else f", a draft: the {_kind(document)} was not over"
    yield told(f"review of {document['period']} of chain {document['chain']}{draft}", "bold")
    yield told(f"made {document['made_at'][:19]}Z by {document['made_by']}, from {document['source']}", "dim")
    yield told(document["verdict"], style)
    for section in document["sections"]:
        if section["figures"]:
            yield Text()
            yield Text(section["title"], style="bold")
            grid = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
            for figure in section["figures"]:
                value = figure["value"]
                grid.add_row(f"  {figure['label']}", told(f"{value:,}" if isinstance(value, int) else str(value)))
            yield grid
        for table in section["tables"]:
            if table["title"] in _SHOWN_TABLES and table["rows"]:
                yield Text(f"\n  {table['title']}", style="dim")
                yield _rows(table)


def _kind(document: Mapping[str, Any]) -> str:
    return next((kind for kind in ("day", "week", "month") if kind in document), "period")


def _rows(table: Mapping[str, Any]) -> Table:
    shown = Table(*(f"  {heading}" for heading in table["headings"]), box=None, padding=(0, 2, 0, 0))
    for row in table["rows"][:_ROWS]:
        shown.add_row(*(told(f"  {cell:,}" if isinstance(cell, int) else f"  {cell}") for cell in row))
    more = len(table["rows"]) - _ROWS + table["left_out"]
    if more > 0:
        shown.caption, shown.caption_justify = f"  and {more:,} more: {table['query']}", "left"
    return shown


def statement_lines(review: Review) -> Iterator[Text]:
    """Who began it and who signed."""
    for each in review.started:
        yield told(
            f"started {format_timestamp(each.at)[:19]}Z by {each.by} (entry {each.seq}), document "
            f"{each.document_sha256[:16] or '-'}",
            "dim",
        )
    for signed in review.signatures:
        left = f", with {signed.open_alerts} alerts left to do" if signed.open_alerts else ""
        yield told(
            f"signed  {format_timestamp(signed.at)[:19]}Z by {signed.by} (entry {signed.seq}), document "
            f"{signed.document_sha256[:16]}{left}: {signed.note}",
            "green",
        )


def review_members(review: Review) -> dict[str, Any]:
    """What was said of a period, for programs."""
    return {
        "chain": review.chain,
        "period": str(review.period),
        "review": review.id or None,
        "started": [each._asdict() | {"at": format_timestamp(each.at)} for each in review.started],
        "signatures": [each._asdict() | {"at": format_timestamp(each.at)} for each in review.signatures],
    }


def line_members(line: Line) -> dict[str, Any]:
    """One period of a list, for programs."""
    due = None if line.due_at is None else format_timestamp(line.due_at)
    return {"state": line.state, "due_at": due, **review_members(line.review)}


def review_table(lines: Sequence[Line], *, chains: bool) -> Table:
    """One line a period. `chains`: of several chains."""
    named = ["chain"] if chains else []
    table = Table("period", *named, "state", "due", "started by", "signed by", "note", box=None, padding=(0, 2, 0, 0))
    for line in lines:
        review = line.review
        signed = review.signatures[-1] if review.signatures else None
        more = f" and {len(review.signatures) - 1} more" if len(review.signatures) > 1 else ""
        table.add_row(
            str(review.period),
            *([review.chain] if chains else []),
            Text(line.state, style=_STYLES.get(line.state, "dim")),
            "-" if line.due_at is None else f"{line.due_at:%Y-%m-%d}",
            told(review.started[-1].by if review.started else "-"),
            told(f"{signed.by} (entry {signed.seq}){more}" if signed else "-"),
            told(signed.note if signed else ""),
        )
    return table
