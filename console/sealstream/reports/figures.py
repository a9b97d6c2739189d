"""What a month's report says, as values: numbers, tables and series, each with the question that gives it again.

Pure. The invariant: nothing is shown that no `Question` stands behind, so that a reader who doubts a number can ask
for it. Whoever gathers makes these (`gathering`), whoever draws takes them (`page`).
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Any, NamedTuple

from sealstream.errors import Misconfigured

__all__ = ["Figure", "Month", "MonthReport", "Question", "Section", "Series", "Table"]


class Month(NamedTuple):
    """A calendar month in UTC."""

    year: int
    number: int

    @classmethod
    def parse(cls, text: str) -> Month:
        """`2026-11`. Raises `Misconfigured` for anything else."""
        year, _, number = text.partition("-")
        if not (len(year) == 4 and year.isascii() and year.isdigit() and number.isascii() and number.isdigit()):
            raise Misconfigured(f"month {text!r}: expected a year and a month, as in 2026-11")
        if len(number) != 2 or not 1 <= int(number) <= 12 or not 1 <= int(year) <= 9998:
            raise Misconfigured(f"month {text!r}: expected a month from 01 to 12, as in 2026-11")
        return cls(int(year), int(number))

    @property
    def first(self) -> date:
        """Its first day."""
        return date(self.year, self.number, 1)

    @property
    def after(self) -> date:
        """The first day of the month after."""
        return date(self.year + self.number // 12, self.number % 12 + 1, 1)

    @property
    def days(self) -> list[date]:
        """All its days, in order."""
        return [self.first + timedelta(days=day) for day in range((self.after - self.first).days)]

    @property
    def begins(self) -> datetime:
        """Its first moment, UTC."""
        return datetime(self.year, self.number, 1, tzinfo=UTC)

    @property
    def ends(self) -> datetime:
        """The first moment after it, UTC."""
        return datetime(self.after.year, self.after.month, 1, tzinfo=UTC)

    def __str__(self) -> str:
        return f"{self.year:04d}-{self.number:02d}"


class Question(NamedTuple):
    """A `sealstream` command that a reader can run to be told the same; `arguments` without the program's name."""

    arguments: tuple[str, ...]

    def words(self) -> list[str]:
        """As a shell takes them, each quoted where it must be."""
        return [shlex.quote(word) for word in ("sealstream", *self.arguments)]

    def __str__(self) -> str:
        return " ".join(self.words())


class Figure(NamedTuple):
    """One number with its name; `note` says what it means where the name does not; `alarming`: look at it first."""

    label: str
    value: int | str
    question: Question
    note: str = ""
    alarming: bool = False


class Table(NamedTuple):
    """Rows under headings, as text or numbers. `left_out`: how many more rows the question gives."""

    title: str
    headings: Sequence[str]
    rows: Sequence[Sequence[int | str]]
    question: Question
    left_out: int = 0
    empty: str = "none"


class Series(NamedTuple):
    """One row of bars a name, over the same days, drawn as one chart; `questions` gives each name's numbers."""

    title: str
    days: Sequence[date]
    values: Mapping[str, Sequence[int]]
    questions: Mapping[str, Question]


@dataclass
class Section:
    """One heading of the report and what stands below it, in this order."""

    title: str
    says: str
    figures: list[Figure] = field(default_factory=list)
    series: list[Series] = field(default_factory=list)
    tables: list[Table] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


@dataclass
class MonthReport:
    """The whole report of one chain's month. `made_at` is UTC; `whole`: the month had ended when it was made; `began`:
    when the chain's first entry was sealed, None where no store holds it any more.
    """

    chain: str
    origin: str
    vkey: str
    month: Month
    made_at: datetime
    made_by: str
    source: str
    verdict: str
    verdict_holds: bool | None
    sections: list[Section]
    checkpoint: str = ""
    began: datetime | None = None

    @property
    def whole(self) -> bool:
        """Whether the month was over: a report of a month that runs is a draft."""
        return self.made_at >= self.month.ends

    def questions(self) -> list[Question]:
        """Each question once, in the order of its first use: the number that the page gives it is its place here."""
        seen: dict[Question, None] = {}
        for section in self.sections:
            for figure in section.figures:
                seen.setdefault(figure.question)
            for series in section.series:
                seen |= dict.fromkeys(series.questions.values())
            for table in section.tables:
                seen.setdefault(table.question)
        return list(seen)

    def to_json(self) -> dict[str, Any]:
        """The same for programs."""
        return {
            "chain": self.chain,
            "origin": self.origin,
            "vkey": self.vkey,
            "month": str(self.month),
            "whole": self.whole,
            "chain_began": self.began.isoformat() if self.began else None,
            "made_at": self.made_at.isoformat(),
            "made_by": self.made_by,
            "source": self.source,
            "verdict": self.verdict,
            "verdict_holds": self.verdict_holds,
            "checkpoint": self.checkpoint,
            "sections": [_section_json(section) for section in self.sections],
        }


def _section_json(section: Section) -> dict[str, Any]:
    return {
        "title": section.title,
        "figures": [
            {"label": figure.label, "value": figure.value, "query": str(figure.question)} for figure in section.figures
        ],
        "series": [
            {
                "title": series.title,
                "days": [day.isoformat() for day in series.days],
                "values": {name: list(values) for name, values in series.values.items()},
                "queries": {name: str(question) for name, question in series.questions.items()},
            }
            for series in section.series
        ],
        "tables": [
            {
                "title": table.title,
                "headings": list(table.headings),
                "rows": [list(row) for row in table.rows],
                "left_out": table.left_out,
                "query": str(table.question),
            }
            for table in section.tables
        ],
        "notes": section.notes,
    }
