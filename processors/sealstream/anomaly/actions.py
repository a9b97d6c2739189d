"""What holds of a record of activity: the traits of its actions, added up, with what is known of a record alone. Pure.

What the words of an action can't tell (`sealstream.layout.actions`), settings can: detectors that rest on this take
further names (`is_named`).
"""

from __future__ import annotations

from collections.abc import Iterable

from sealstream.layout.actions import BREAK_GLASS, ENABLE, EXPORT, GRANT, LOGIN, POWER, READ, traits, words_of
from sealstream.layout.activity import Activity

__all__ = [
    "ALL",
    "BREAK_GLASS",
    "DENIED",
    "ENABLE",
    "EXPORT",
    "GRANT",
    "LATE",
    "LOGIN",
    "POWER",
    "READ",
    "RECEIVED",
    "is_named",
    "traits",
    "traits_of",
    "words_of",
]

DENIED = 128
"""Of a record alone: something in it was denied."""
LATE = 256
"""Of a record alone: something in it happened long before it was sealed."""

RECEIVED = 1 << 16
"""Of a record alone: others did something to the account."""
ALL = -1
"""As what concerns a detector: any record."""


def traits_of(record: Activity) -> int:
    """What holds of any of a record's own cells, added up; with `DENIED`, `LATE` and `RECEIVED`.

    Each detector asks it first, one after the other of the same record: so the last answer is kept.
    """
    global _answer  # noqa: PLW0603 - a memo of one: the record and what holds of it, put and read in one step
    asked, found = _answer
    if asked is record:
        return found
    found = RECEIVED if record.received else 0
    for cell in record.cells:
        found |= traits(cell.action)
        if cell.result == "denied":
            found |= DENIED
        if cell.hour is not None:
            found |= LATE
    _answer = record, found
    return found


_answer: tuple[Activity | None, int] = (None, 0)


def is_named(action: str, names: Iterable[str]) -> bool:
    """Whether it is one of these; a name that ends with `*` stands for all that begin so."""
    return any(action.startswith(name[:-1]) if name.endswith("*") else action == name for name in names)
