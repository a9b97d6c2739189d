"""What became of one attempt, and what an HTTP answer means. Pure.

Four ends, and what the loop does with each:

- **taken**: the receiver has it;
- **later**: nobody is there, or it asks for patience: tried again for ever;
- **unsure**: the receiver answers, and not as one that takes messages (a wrong credential or address, a redirect, an
  error of its own): that may be about the target or about this one message, so it is tried again for a limited time,
  and then counts as refused. So a wrong password does not empty the stream into the dead letters in a minute, and one
  message that a receiver chokes on does not hold the others up for ever;
- **refused**: for good, and about the message.
"""

from __future__ import annotations

import math
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Literal, NamedTuple

__all__ = ["Outcome", "later", "of_status", "refused", "retry_after_s", "taken", "unsure"]

_PATIENCE = frozenset({408, 425, 429, 502, 503, 504})
_ABOUT_THE_TARGET = frozenset({401, 403, 404, 405, 407, 410, 421, 426})
_LONGEST_WAIT_S = 3600.0


class Outcome(NamedTuple):
    """`said`: the answer, or why there was none, in words. `after_s`: how long the receiver asks to wait, at least.

    `whole`: of a refusal, that a batch is not tried again one by one.
    """

    end: Literal["taken", "later", "unsure", "refused"]
    said: str
    after_s: float = 0.0
    whole: bool = False


def taken(said: str) -> Outcome:
    """The receiver has it."""
    return Outcome("taken", said)


def later(said: str, after_s: float = 0.0) -> Outcome:
    """Again, for ever."""
    return Outcome("later", said, after_s)


def unsure(said: str, after_s: float = 0.0) -> Outcome:
    """Again, for a limited time."""
    return Outcome("unsure", said, after_s)


def refused(said: str) -> Outcome:
    """Never again by itself."""
    return Outcome("refused", said)


def of_status(status: int, said: str, retry_after: str | None, now: datetime) -> Outcome:
    """The meaning of an HTTP status (RFC 9110 section 15). `said`: what the body says, or where it redirects to.

    `retry_after`: the header, for any status (RFC 9110 section 10.2.3).
    """
    words = f"{status}: {said}" if said else str(status)
    after_s = retry_after_s(retry_after, now)
    if 200 <= status < 300:
        return taken(words)
    if status in _PATIENCE:
        return later(words, after_s)
    if 300 <= status < 400:
        return unsure(f"{words}; redirects are not followed: put the final address into the settings", after_s)
    if status in _ABOUT_THE_TARGET or status >= 500 or status < 200:
        return unsure(words, after_s)
    return refused(words)


def retry_after_s(header: str | None, now: datetime) -> float:
    """Seconds, of a number or of an HTTP date; 0 where it says nothing; at most an hour."""
    if not header:
        return 0.0
    text = header.strip()
    try:
        seconds = float(text)
    except ValueError:
        try:
            until = parsedate_to_datetime(text)
        except ValueError:
            return 0.0
        seconds = ((until if until.tzinfo else until.replace(tzinfo=UTC)) - now).total_seconds()
    return min(max(seconds, 0.0), _LONGEST_WAIT_S) if math.isfinite(seconds) else 0.0
