"""How many different values are counted at most: every one of them is held in memory. Pure."""

from __future__ import annotations

from sealstream.search.errors import SearchTooBroad
from sealstream.search.found import Count

__all__ = ["MOST_VALUES", "at_most", "none_left_out"]

MOST_VALUES = 1_000_000


def at_most(limit: int | None) -> int:
    """How many counts a store is asked for: one more than can be held shows that there are more."""
    return MOST_VALUES + 1 if limit is None else min(limit, MOST_VALUES + 1)


def none_left_out(counts: list[Count], field: str) -> list[Count]:
    """These counts, unless there are too many: then raises `SearchTooBroad`."""
    if len(counts) <= MOST_VALUES:
        return counts
    raise SearchTooBroad(
        f"counting by {field}: more than {MOST_VALUES:,} different values: narrow the search, by after: and before: or "
        "by what else is known of the entries, or count by something that has fewer values"
    )
