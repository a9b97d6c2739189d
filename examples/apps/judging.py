"""What people read of a comparison: a table of all applications, and whatever is not as it must be, in words."""

from __future__ import annotations

from collections.abc import Mapping

from examples.apps.asking import Asked
from examples.apps.comparing import Compared
from examples.apps.plans import Plan
from rich.table import Table
from rich.text import Text

__all__ = ["complaints_of", "table_of"]

_MOST_UNANSWERED = 12
"""What can be on its way to an application while it ends."""


def complaints_of(plans: Mapping[str, Plan], asked: Mapping[str, Asked], compared: Mapping[str, Compared]) -> list[str]:
    """Whatever differs from what it must be, in words; nothing when all held."""
    complaints = []
    for name, plan in plans.items():
        found, judged = asked[name], compared.get(plan.service, Compared(0, [], [], []))
        complaints += found.unexpected
        if found.requests < len(plan.logins) + len(plan.asks):
            complaints.append(f"only {found.requests} of {len(plan.logins) + len(plan.asks)} requests were made")
        if len(found.unanswered) > _MOST_UNANSWERED:
            complaints.append(f"{len(found.unanswered)} requests had no answer")
        complaints += [f"missing: {event}" for event in judged.missing]
        complaints += [f"doubled: {event}" for event in judged.doubled]
        complaints += [f"unexpected: {event}" for event in judged.unexpected]
    return complaints


def table_of(plans: Mapping[str, Plan], asked: Mapping[str, Asked], compared: Mapping[str, Compared]) -> Table:
    """By framework: what was asked, what came of it, and what is wrong in the log."""
    table = Table(box=None, padding=(0, 3, 0, 0))
    for heading in ("", "requests", "refused", "unanswered", "events", "missing", "doubled", "unexpected"):
        table.add_column(heading, justify="left" if not heading else "right")
    for name, plan in plans.items():
        judged = compared.get(plan.service, Compared(0, [], [], []))
        counts = [asked[name].requests, asked[name].refused, len(asked[name].unanswered), judged.expected]
        faults = [len(judged.missing), len(judged.doubled), len(judged.unexpected)]
        cells = [Text(f"{n:,}", style="bold red" if n else "green") for n in faults]
        table.add_row(plan.framework, *(f"{n:,}" for n in counts), *cells)
    return table
