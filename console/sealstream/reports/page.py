"""A report as one HTML file: no script, nothing fetched, every text escaped, and fit for paper.

The page forbids itself scripts and requests (Content-Security-Policy), since what it shows was written by strangers.
"""

from __future__ import annotations

import itertools
import re

from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from sealstream.reports.charts import bars
from sealstream.reports.figures import PeriodReport, Question, Series

__all__ = ["page_environment", "render"]

# A term of a search, whole with what it has in quotes; a quote that is never closed is a character like others.
_TERM = re.compile(r'(?:[^\s"]|"(?:\\.|[^"\\])*"|")+')
_CODE = re.compile(r"`([^`]+)`")


def render(report: PeriodReport) -> str:
    """The whole page."""
    questions = report.questions()
    places = {question: place for place, question in enumerate(questions, 1)}
    names = (f"chart{count}" for count in itertools.count(1))

    def number(question: Question) -> int:
        return places[question]

    def chart(series: Series) -> Markup:
        return Markup(bars(series, next(names)))  # made by matplotlib, which escapes its labels

    return (
        page_environment("sealstream.reports")
        .get_template("page.html.j2")
        .render(report=report, questions=questions, number=number, chart=chart)
    )


def page_environment(package: str) -> Environment:
    """What draws a page for an auditor: the templates of this package, and the style that all pages share
    (`style.html.j2`; it wants a `footer`).
    """
    environment = Environment(
        loader=ChoiceLoader([PackageLoader(package, "."), PackageLoader("sealstream.reports", ".")]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"shown": _shown, "css_text": _css_text, "told": _told, "command": _command}
    return environment


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


def _terms(text: str, before: str = "") -> Markup:
    """Text of which no line ends within a term: what is copied from paper is what was printed."""
    first, *others = _TERM.findall(text) or [""]
    return Markup(" ").join(Markup('<span class="term">{}</span>').format(term) for term in (before + first, *others))


def _command(question: Question) -> Markup:
    """A command that can be copied: a line ends within its quoted search, where it is as good as a space, or after a
    backslash, and nowhere else.
    """
    words = question.words()
    if words[1] != "search":
        return _terms(" ".join(words))
    options = Markup('<span class="term">{}</span>').format(" ".join(words[3:]))
    return _terms(words[2], before="sealstream search ") + Markup(" \\<br>") + options


def _told(text: str) -> Markup:
    """Words with what stands between backticks as code."""
    pieces = _CODE.split(_shown(text))
    return Markup("").join(
        Markup("<code>{}</code>").format(_terms(piece)) if place % 2 else escape(piece)
        for place, piece in enumerate(pieces)
    )
