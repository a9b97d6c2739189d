"""A mapping as a table: each row says where something goes, where it comes from, and gives it. Pure.

One table makes the documents and the page about them, so neither can say what the other does not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import groupby
from typing import Any, NamedTuple

__all__ = ["Row", "Rows", "filled"]


class Row(NamedTuple):
    """`path`: names with dots between. `says`: where it comes from, in Markdown. `give`: None, empty: left out."""

    path: str
    says: str
    give: Callable[[Any], Any]


Rows = tuple[Row, ...]


def filled(rows: Iterable[Row]) -> Callable[[Any], dict[str, Any]]:
    """What makes a document of what the rows are asked with."""
    names = [(tuple(row.path.split(".")), row.give) for row in rows]
    groups = [
        (parents, [(path[-1], give) for path, give in members])
        for parents, members in groupby(names, key=lambda each: each[0][:-1])
    ]

    def document(asked: Any) -> dict[str, Any]:
        made: dict[str, Any] = {}
        for parents, members in groups:
            place: dict[str, Any] = {} if parents else made
            for name, give in members:
                value = give(asked)
                if value or isinstance(value, int):  # 0 and false are something
                    place[name] = value
            if parents and place:
                _at(made, parents).update(place)
        return made

    return document


def _at(made: dict[str, Any], parents: tuple[str, ...]) -> dict[str, Any]:
    for parent in parents:
        made = made.setdefault(parent, {})
    return made
