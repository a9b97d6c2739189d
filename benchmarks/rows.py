"""What a benchmark gives: one row, with the figures of every round, and what they mean against the goal. Pure values.

A ratio is taken within each round, of two measurements that followed each other, and the row's is the median of those:
so that whatever else the machine does in one round meets both sides alike.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["FELL_SHORT", "FIRST_GOAL", "REACHED", "Row"]

REACHED, FIRST_GOAL, FELL_SHORT = "reached", "first goal reached", "fell short"


@dataclass(frozen=True)
class Row:
    """One path against one other; `name` is short. `ours` and `baseline`: each round's figure, in `unit`.

    Without a baseline the figure itself is held to the goal. `goal` is the aim; `first_goal` a lesser one on the way;
    with `at_most` smaller is better. `durability`: what each side's figure has made safe. `profile`: where ours spends
    its time; `remedy`: what would change it; both are shown when the goal is not reached.
    """

    name: str
    path: str
    against: str
    unit: str
    goal: float | None
    ours: Sequence[float]
    baseline: Sequence[float] = ()
    first_goal: float | None = None
    at_most: bool = False
    durability: str = ""
    remark: str = ""
    profile: str = ""
    remedy: str = ""

    @property
    def measured(self) -> list[float]:
        """What is held to the goal, of each round: the ratio, or the figure where there is no baseline."""
        if self.baseline:
            return [mine / theirs for mine, theirs in zip(self.ours, self.baseline, strict=True)]
        return list(self.ours)

    @property
    def median(self) -> float:
        """The median of the rounds."""
        return statistics.median(self.measured)

    @property
    def verdict(self) -> str:
        """Whether the goal was reached; empty for a row that only informs."""
        if self.goal is None:
            return ""
        if self._meets(self.goal):
            return REACHED
        if self.first_goal is not None and self._meets(self.first_goal):
            return FIRST_GOAL
        return FELL_SHORT

    def _meets(self, goal: float) -> bool:
        return self.median <= goal if self.at_most else self.median >= goal

    @property
    def goal_text(self) -> str:
        """The goal for people."""
        if self.goal is None:
            return "-"
        sign = "at most " if self.at_most else ""
        unit = "" if self.baseline else f" {self.unit}"
        first = f"{number(self.first_goal)} first, " if self.first_goal is not None else ""
        return f"{sign}{first}{number(self.goal)}{unit}"

    @property
    def measured_text(self) -> str:
        """Median and spread for people."""
        unit = "" if self.baseline else f" {self.unit}"
        values = self.measured
        spread = f" ({number(min(values))} to {number(max(values))})" if len(values) > 1 else ""
        return f"{number(self.median)}{unit}{spread}"

    @property
    def absolute_text(self) -> str:
        """The figures of both sides for people."""
        if not self.baseline:
            return ""
        mine, theirs = statistics.median(self.ours), statistics.median(self.baseline)
        return f"{number(mine)} against {number(theirs)} {self.unit}"


def number(value: float) -> str:
    """Three figures or more, never an exponent."""
    if abs(value) >= 100:
        return f"{value:,.0f}"
    if abs(value) >= 10:
        return f"{value:.1f}"
    return f"{value:.2f}" if abs(value) >= 0.1 else f"{value:.3f}"
