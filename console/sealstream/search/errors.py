"""What can be wrong with a search, placed under a caret where it stands in the text.

A `QueryError` knows its place (`start`, `end`), what was expected and the nearest right word, so that a terminal can
draw it and an API can send it. Pure.
"""

from __future__ import annotations

import unicodedata

from sealstream.errors import SealstreamError

__all__ = ["BadCursor", "BadPlace", "QueryError", "SearchTooBroad", "render"]


class QueryError(SealstreamError):
    """A query that can't be understood: `text[start:end]` is at fault. `nearest`: a right word like the wrong one."""

    def __init__(self, problem: str, text: str, start: int, end: int, *, expected: str = "", nearest: str = "") -> None:
        self.problem = problem
        self.text = text
        self.start = start
        self.end = max(end, start + 1)
        self.expected = expected
        self.nearest = nearest
        super().__init__(f"{self.told()} (at character {start + 1} of the query)")

    def told(self) -> str:
        """The problem in one sentence, with what to write instead."""
        told = self.problem
        if self.nearest:
            return f"{told}: did you mean {self.nearest}?"
        return f"{told}: expected {self.expected}" if self.expected else told


class BadCursor(SealstreamError):
    """A cursor that no page of this search has given."""


class BadPlace(SealstreamError):
    """What was to name one entry names none: expected an entry's id, or `chain/seq`."""


class SearchTooBroad(SealstreamError):
    """The search took longer, or needs more memory, than it may: the message says what would narrow it."""


def render(error: QueryError) -> str:
    """The query, a caret under what is wrong, and the sentence. Characters that could move the cursor are shown as ?"""
    before = _width(error.text[: error.start])
    marked = max(_width(error.text[error.start : error.end]), 1)
    line = "".join(character if character.isprintable() else "?" for character in error.text)
    return f"{line}\n{' ' * before}{'^' * marked}\n{error.told()}"


def _width(text: str) -> int:
    """How many columns a terminal gives it."""
    return sum(
        2 if unicodedata.east_asian_width(character) in "WF" else int(not unicodedata.combining(character))
        for character in text
    )
