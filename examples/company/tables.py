"""A score as tables in Markdown, and a page with them between its marks. Pure."""

from __future__ import annotations

from examples.company.scoring import Score
from examples.company.stories import STRENGTHS

__all__ = ["BEGIN", "END", "tables", "written_into"]

BEGIN, END = "<!-- figures: begin -->", "<!-- figures: end -->"


def tables(scored: Score, command: str, *, events: int) -> str:
    """What was measured, by detector and by attack."""
    attacks = sum(each.told for each in scored.stories)
    found = sum(each.found for each in scored.stories)
    lines = [
        f"`{command}`: {scored.actors:,} actors, {events:,} events, {scored.days} scored days, {attacks} attacks.",
        "",
        f"**Recall {scored.recall:.3f}** ({found} of {attacks} attacks). "
        f"**{scored.false_rate:.2f} false alarms per 1,000 actors and day** ({len(scored.false)} in all; "
        f"{scored.false_incidents:.2f} where an incident counts once).",
        "",
        "| detector | right | false | precision | meant for it | found | recall | false per 1,000 actors and day |",
        "|---|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for each in scored.detectors:
        cells = (each.right, each.false, _share(each.precision), each.meant, each.found, _share(each.recall))
        lines.append(f"| `{each.name}` | {' | '.join(str(cell) for cell in cells)} | {each.false_rate:.3f} |")
    lines += ["", "| attack | weak | medium | strong | found after (median) |", "|---|---:|---:|---:|---|"]
    for name in dict.fromkeys(each.name for each in scored.stories):
        of_name = [
            each for strength in STRENGTHS for each in scored.stories if (each.name, each.strength) == (name, strength)
        ]
        shares = " | ".join(f"{each.found}/{each.told}" for each in of_name)
        delays = ", ".join("-" if each.delay_s is None else _lasting(each.delay_s) for each in of_name)
        lines.append(f"| {name} | {shares} | {delays} |")
    return "\n".join(lines) + "\n"


def written_into(page: str, text: str) -> str:
    """The page with these tables instead of those that it has. Raises `ValueError` where the marks are missing."""
    before, begin, rest = page.partition(BEGIN)
    _old, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"the page has no place for figures: expected the lines {BEGIN} and {END}")
    return f"{before}{BEGIN}\n\n{text}\n{END}{after}"


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def _lasting(seconds: int) -> str:
    if seconds < 120:
        return f"{seconds} s"
    if seconds < 7_200:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3_600:.0f} h" if seconds < 172_800 else f"{seconds / 86_400:.0f} days"
