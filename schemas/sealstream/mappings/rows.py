"""A mapping as a table: each row says where something goes, where it comes from, and gives it. Pure.

One table makes the documents and the page about them, so neither can say what the other does not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple, TypeVar

__all__ = ["Row", "Rows", "filled", "markdown"]

T = TypeVar("T")


class Row(NamedTuple):
    """`path`: names with dots between. `says`: where it comes from, in Markdown. `give`: None, empty: left out."""

    path: str
    says: str
    give: Callable[[Any], Any]


Rows = tuple[Row, ...]


def filled(rows: Iterable[Row]) -> Callable[[Any], dict[str, Any]]:
    """What makes a document of what the rows are asked with."""
    steps = [(row.path.split("."), row.give) for row in rows]
    placed = [(tuple(names[:-1]), names[-1], give) for names, give in steps]

    def document(asked: Any) -> dict[str, Any]:
        made: dict[str, Any] = {}
        for parents, name, give in placed:
            value = give(asked)
            if not value and not isinstance(value, int):  # 0 and false are something
                continue
            place = made
            for parent in parents:
                inner = place.get(parent)
                if inner is None:
                    inner = place[parent] = {}
                place = inner
            place[name] = value
        return made

    return document


def markdown(heading: str, rows: Iterable[Row]) -> str:
    """The table as a page shows it."""
    lines = [f"| {heading} | is |", "|---|---|", *(f"| `{row.path}` | {row.says} |" for row in rows)]
    return "\n".join(lines) + "\n"
