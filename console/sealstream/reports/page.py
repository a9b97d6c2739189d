"""A report as one HTML file: no script, nothing fetched, every text escaped, and fit for paper.

The page forbids itself scripts and requests (Content-Security-Policy), since what it shows was written by strangers.
"""

from __future__ import annotations

import itertools

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from sealstream.reports.charts import bars
from sealstream.reports.figures import PeriodReport, Question, Series

__all__ = ["render"]


def render(report: PeriodReport) -> str:
    """The whole page."""
    questions = report.questions()
    places = {question: place for place, question in enumerate(questions, 1)}
    names = (f"chart{count}" for count in itertools.count(1))

    def number(question: Question) -> int:
        return places[question]

    def chart(series: Series) -> Markup:
        return Markup(bars(series, next(names)))  # made by matplotlib, which escapes its labels

    environment = Environment(
        loader=PackageLoader("sealstream.reports", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"shown": _shown, "css_text": _css_text}
    return environment.get_template("page.html.j2").render(
        report=report, questions=questions, number=number, chart=chart
    )


def _shown(value: int | str) -> str:
    """A number with its thousands; a text with what can't be printed made visible."""
    if isinstance(value, int):
        return f"{value:,}"
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode() for character in value
    )


def _css_text(text: str) -> Markup:
    """Inside a CSS string: a log's name has only a-z, 0-9, `.`, `_`, `/` and `-`, whatever else is left out."""
    return Markup("".join(character for character in text if character.isalnum() or character in "._/-"))
