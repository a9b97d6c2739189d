"""What a report says of a period, as values: numbers, tables and series, each with the question that gives it again.

Pure. The invariant: nothing is shown that no `Question` stands behind, so that a reader who doubts a number can ask
for it. Whoever gathers makes these (`gathering`), whoever draws takes them (`page`).
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any, NamedTuple

from sealstream.reports.periods import Period

__all__ = ["Figure", "PeriodReport", "Question", "Section", "Series", "Table"]


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
class PeriodReport:
    """The whole report of one chain's period. `made_at` is UTC; `whole`: the period had ended when it was made;
    `began`: when the chain's first entry was sealed, None where no store holds it any more. `what`: what the page is.
    """

    chain: str
    origin: str
    vkey: str
    period: Period
    made_at: datetime
    made_by: str
    source: str
    verdict: str
    verdict_holds: bool | None
    sections: list[Section]
    checkpoint: str = ""
    began: datetime | None = None
    what: str = "Audit log"

    @property
    def whole(self) -> bool:
        """Whether the period was over: a report of one that runs is a draft."""
        return self.made_at >= self.period.ends

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
            self.period.kind: str(self.period),
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
