"""How alerts word numbers: spans, rates, plurals. Pure."""

from __future__ import annotations

__all__ = ["counted", "listed", "rate", "span"]


def span(seconds: float) -> str:
    """`45 s`, `10 min`, `1 h`, `90 min`, `40 days`: whole units, rounded."""
    if seconds < 120:
        return f"{max(round(seconds), 1)} s"
    if seconds < 7_200 and seconds % 3_600:
        return f"{round(seconds / 60)} min"
    if seconds < 3 * 86_400:
        return f"{round(seconds / 3_600)} h"
    return f"{round(seconds / 86_400)} days"


def rate(an_hour: float) -> str:
    """`3.4 an hour`, `0.3 a day`, `none`."""
    if an_hour >= 0.1:
        return f"{an_hour:.1f} an hour"
    a_day = an_hour * 24
    return f"{a_day:.1f} a day" if a_day >= 0.05 else "none"


def counted(count: int, one: str, many: str = "") -> str:
    """`1 address`, `2 addresses`."""
    return f"{count} {one if count == 1 else many or one + 's'}"


def listed(names: list[str], most: int = 3, *, of: int | None = None) -> str:
    """`a, b, c and 4 more`. `of`: how many there are where `names` are only some of them."""
    count = len(names) if of is None else of
    shown = names[: min(most, count)]
    return ", ".join(shown) + (f" and {count - len(shown)} more" if count > len(shown) else "")
