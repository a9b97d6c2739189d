"""`sealstream review list`: which periods were reviewed, which are due, which are late; and reviewed spans."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Annotated

import typer

from sealstream.cli.context import context_of, out
from sealstream.cli.reading import ReadLog
from sealstream.cli.review_view import line_members, line_of, review_table
from sealstream.cli.reviewing import began_at, read_reviews
from sealstream.errors import Misconfigured
from sealstream.reports import PERIOD_KINDS, Period
from sealstream.reviews import periods_over

__all__ = ["list_reviews"]


def list_reviews(
    context: typer.Context,
    chains: Annotated[
        list[str] | None,
        typer.Option(
            "--chain",
            help="Of this chain; repeatable. Default: those that have to be reviewed, else all that are run.",
            show_default=False,
        ),
    ] = None,
    every: Annotated[
        str | None,
        typer.Option(
            "--every", help="Days, weeks or months: day, week, month. Default: as the settings say, else month."
        ),
    ] = None,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=60, help="The newest so many.")] = 12,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line, for programs.")] = False,
) -> None:
    """List periods, the newest last: who signed, who began, what is due by when, what is overdue."""
    settings, now = context_of(context).settings(), datetime.now(UTC)
    named = [settings.chain(each).name for each in chains or settings.reviews.chains or settings.open_chains()]
    usual = settings.reviews.usual()
    kind = next((each for each in PERIOD_KINDS if each == (every or usual.every)), None)
    if kind is None:
        raise Misconfigured(f"--every {every}: expected {', '.join(PERIOD_KINDS)}")
    lines = []
    for chain in named:
        reviews, cadence = read_reviews(settings, chain), settings.reviews.cadence(chain, settings.open_chains())
        found = list(periods_over(kind, now, began_at(settings, chain)))[: limit - 1]
        running = Period.holding(kind, now.date())
        first = found[-1].begins if found else running.begins
        spans = [each for of, each in reviews.found if of == chain and each.kind == "span" and each.begins >= first]
        for period in sorted([*found, running, *spans], key=lambda each: (each.ends, each.begins))[-limit:]:
            lines.append(line_of(reviews.of(chain, period), now, cadence))
    rows = {chain: sum(line.review.chain == chain for line in lines) for chain in named}
    ReadLog(settings, "review", "list", named).counted("chain", rows)
    if as_json:
        for line in lines:
            print(json.dumps(line_members(line)))
        return
    out.print(review_table(lines, chains=len(named) > 1))
    if not settings.reviews.every:
        out.print("nobody has to: the settings' section reviews does not say how often", style="dim")
