"""Writes benchmarks/results.md, and shows the same rows in a terminal. Whole or not at all: written beside, renamed."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from machine import described
from rich.table import Table
from rows import FELL_SHORT, FIRST_GOAL, REACHED, Row

__all__ = ["as_table", "write_results"]

_STYLE = {REACHED: "green", FIRST_GOAL: "yellow", FELL_SHORT: "red"}


def as_table(rows: Sequence[Row]) -> Table:
    """The rows for a terminal."""
    table = Table("what", "goal", "measured", "figures", "verdict", box=None)
    for row in rows:
        verdict = f"[{_STYLE[row.verdict]}]{row.verdict}" if row.verdict else ""
        table.add_row(row.name, row.goal_text, row.measured_text, row.absolute_text, verdict)
    return table


def write_results(
    path: Path, rows: Sequence[Row], sizes: str, load: tuple[float, Sequence[float]], took_s: float
) -> None:
    """The whole file. `sizes`: of this run, in words; `load`: before it, and while it ran."""
    before, seen = load
    lines = [
        "# Measured",
        "",
        "Written by `benchmarks/run.py`; all figures are from one run. A ratio is taken within each round, ours over",
        "the baseline that ran right before or after it; the table has the median of the rounds and the spread (least",
        "to most). Goals are ratios, since absolute figures are the machine's.",
        "",
        "| | |",
        "|---|---|",
        *(f"| {label} | {text} |" for label, text in described()),
        f"| date | {datetime.now(UTC):%Y-%m-%d %H:%M} UTC, {took_s / 60:.1f} minutes; {sizes} |",
        f"| load average (1 minute) | {before:.1f} before the run; {min(seen):.1f} to {max(seen):.1f}, median "
        f"{statistics.median(seen):.1f}, while it ran, this run's own load included |",
        "",
    ]
    if before > 0.5:
        lines += [
            "**The machine was not quiet**: other work ran on the same cores, so latencies are worse than they would",
            "be alone and spreads are wide. Ratios suffer less, as both sides of each met the same.",
            "",
        ]
    lines += [
        "| what | against | at least | measured (spread) | figures | verdict | durability |",
        "|---|---|---|---|---|---|---|",
        *(_line(row) for row in rows),
        "",
    ]
    remarks = [row for row in rows if row.remark]
    if remarks:
        lines += ["## Remarks", "", *(f"- {row.path}: {row.remark}." for row in remarks), ""]
    short = [row for row in rows if row.verdict in (FELL_SHORT, FIRST_GOAL)]
    lines += ["## What fell short", ""]
    if not short:
        lines += ["Nothing, in this run.", ""]
    for row in short:
        lines += [f"### {row.path}", "", f"{row.verdict}: {row.measured_text}, goal {row.goal_text}. {row.remedy}", ""]
        if row.profile:
            lines += ["```", row.profile, "```", ""]
    beside = path.with_suffix(".new")
    beside.write_text("\n".join(lines))
    beside.replace(path)


def _line(row: Row) -> str:
    cells = [row.path, row.against, row.goal_text, row.measured_text, row.absolute_text, row.verdict, row.durability]
    return "| " + " | ".join(cell.replace("|", "\\|") or "-" for cell in cells) + " |"
