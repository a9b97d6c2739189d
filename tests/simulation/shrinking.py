"""A failing history made small: the fewest faults and acts, as far as a few hundred tries find them, that still fail.

Halves are left out, then quarters, and so on down to single ones (delta debugging); everything else follows from the
seed again. The result names its seed and what was kept, so that one command tells the story again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from tests.simulation.history import Outcome, run_plan
from tests.simulation.plan import Plan

__all__ = ["Shrunk", "shrink"]


class Shrunk:
    """`faults`, `acts`: indices into the plan's own."""

    def __init__(self, plan: Plan, breakages: Mapping[tuple[str, str], Any] | None, most_tries: int) -> None:
        self.plan = plan
        self.faults = list(range(len(plan.faults)))
        self.acts = list(range(len(plan.acts)))
        self.tries = 0
        self._breakages = breakages
        self._most = most_tries
        self.outcome: Outcome = run_plan(plan, breakages)

    def reduce(self) -> None:
        """Acts first, since they make histories long; then faults, and again while anything goes."""
        size = -1
        while size != len(self.faults) + len(self.acts) and self.tries < self._most:
            size = len(self.faults) + len(self.acts)
            self.faults = self._fewer(self.faults, lambda kept: self.plan.only(kept, self.acts))
            self.acts = self._fewer(self.acts, lambda kept: self.plan.only(self.faults, kept))

    def _fewer(self, kept: list[int], plan_of: Callable[[list[int]], Plan]) -> list[int]:
        width = max(1, len(kept) // 2)
        while kept and self.tries < self._most:
            at, shorter = 0, False
            while at < len(kept) and self.tries < self._most:
                tried = kept[:at] + kept[at + width :]
                self.tries += 1
                outcome = run_plan(plan_of(tried), self._breakages)
                if outcome.faults:
                    kept, self.outcome, shorter = tried, outcome, True
                else:
                    at += width
            if width == 1 and not shorter:
                break
            width = max(1, width // 2)
        return kept


def shrink(plan: Plan, breakages: Mapping[tuple[str, str], Any] | None = None, most_tries: int = 300) -> Shrunk:
    """The smallest that was found. The plan itself must fail."""
    shrunk = Shrunk(plan, breakages, most_tries)
    if shrunk.outcome.faults:
        shrunk.reduce()
    return shrunk
