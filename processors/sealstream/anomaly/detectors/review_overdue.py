"""A period of the log was to be reviewed by a person, and nobody has signed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import msgspec

from sealstream.anomaly.detecting import Finding, Thresholds, second_at
from sealstream.anomaly.pipeline import ReviewsObserved
from sealstream.anomaly.wording import counted

__all__ = ["ReviewOverdue"]

_PLACE = {"day": 0, "week": 1, "month": 2}


class _Thresholds(Thresholds, frozen=True):
    """With `older_periods` overdue besides, it is high."""

    older_periods: int = 1


class _State(msgspec.Struct):
    """`told_due_s`: when the newest period was due that was told."""

    told_due_s: int = 0


class ReviewOverdue:
    """Each period once, when its review becomes overdue; those that are found so together, in one."""

    name: ClassVar[str] = "review_overdue"
    says: ClassVar[str] = "a periodic review of the log is overdue"
    reads = ReviewsObserved
    state = _State
    thresholds = _Thresholds()

    def detect(self, state: _State, seen: ReviewsObserved) -> tuple[_State, Sequence[Finding]]:
        if not seen.overdue or seen.overdue[-1].due_s <= state.told_due_s:
            return state, ()
        *others, newest = seen.overdue
        state.told_due_s = newest.due_s
        older = ""
        if others:
            verb = "is" if len(others) == 1 else "are"
            older = f"; {counted(len(others), 'older one')} {verb} overdue, too, since {second_at(others[0].due_s)}"
        begun = f"begun by {newest.started_by} and not signed" if newest.started_by else "nobody has begun it"
        finding = Finding(
            severity="high" if len(others) >= self.thresholds.older_periods else "medium",
            confidence=1.0,
            summary=(
                f"the review of {newest.period} of chain {seen.chain} is overdue since {second_at(newest.due_s)}, "
                f"{begun}{older}"
            ),
            window=(newest.first_s, newest.due_s),
            # A day, a week and a month may be due in the same second.
            key_s=newest.due_s + _PLACE[seen.every],
            query=f"chain:{seen.chain} kind:control action:review.*",
            score=1.0 + len(others),
            seen={"overdue": len(seen.overdue), "newest": newest.period},
            usual={"overdue": 0},
            seqs=[],
        )
        return state, (finding,)
