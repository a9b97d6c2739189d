"""Which periods have to be reviewed, by when, and which are late. Pure; the time is given.

A period is due so many days after its end. Only periods that are over, and that begin no earlier than the settings
and the chain itself, are anybody's duty.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, datetime, timedelta
from typing import Literal, NamedTuple

from sealstream.reports import Period, PeriodKind
from sealstream.reviews.statements import Review, Reviews

__all__ = ["DUE_DAYS", "Cadence", "Overdue", "PeriodState", "overdue", "periods_over", "state_of"]

DUE_DAYS: dict[PeriodKind, int] = {"day": 1, "week": 3, "month": 10}
"""Where the settings say nothing: PCI DSS 10.4.1 wants a day's review daily."""

_LOOKED_BACK = 60

PeriodState = Literal["running", "signed", "overdue", "started", "due", "open"]
"""Open: nobody has to, and nobody has begun."""


class Cadence(NamedTuple):
    """How often somebody has to review, within how many days after a period's end, from which day on (None: all)."""

    every: PeriodKind
    due_days: int
    since: date | None = None

    def due_at(self, period: Period) -> datetime:
        """The moment from which on it is late."""
        return period.ends + timedelta(days=self.due_days)


class Overdue(NamedTuple):
    """A period whose review is late. `started_by`: who has begun it; empty: nobody."""

    period: Period
    due_at: datetime
    started_by: str = ""


def periods_over(kind: PeriodKind, now: datetime, began: datetime | None) -> Iterator[Period]:
    """The periods of this kind that are over, the newest first, back to the one in which the chain began (None: it has
    not, and there are none); at most 60.
    """
    if began is None:
        return
    period = Period.holding(kind, now.date()).previous
    for _ in range(_LOOKED_BACK):
        if period.ends <= began:
            return
        yield period
        period = period.previous


def overdue(reviews: Reviews, chain: str, cadence: Cadence, now: datetime, began: datetime | None) -> list[Overdue]:
    """What is late, the oldest first; at most 60 periods are looked back. `began` None: the chain has no entry yet, and
    owes nothing. Who can't tell when it began must not ask: that nothing is late is not what they know.
    """
    late = []
    for period in periods_over(cadence.every, now, began):
        review = reviews.of(chain, period)
        if state_of(review, now, cadence) == "overdue":
            starter = review.started[-1].by if review.started else ""
            late.append(Overdue(period, cadence.due_at(period), starter))
    return late[::-1]


def state_of(review: Review, now: datetime, cadence: Cadence | None = None) -> PeriodState:
    """How a period's review stands. `cadence` None, or of another kind: nobody has to."""
    if now < review.period.ends:
        return "running"
    if review.signatures:
        return "signed"
    duty = cadence is not None and cadence.every == review.period.kind
    if cadence is not None and cadence.since is not None and review.period.first < cadence.since:
        duty = False
    if duty and cadence is not None and now >= cadence.due_at(review.period):
        return "overdue"
    if review.started:
        return "started"
    return "due" if duty else "open"
