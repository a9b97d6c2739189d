"""Legal holds: what must be kept whatever a policy says, from `hold.set` until `hold.lifted`. Pure.

A hold covers the entries of its chain that were sealed on its UTC days, or all of them. Days, because a day's segments
are told by their keys. Which holds stand follows from the chain's statements in order, and from nothing else.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import date
from typing import Any, NamedTuple

from sealstream.errors import NotCanonical

__all__ = ["HOLD_LIFTED", "HOLD_SET", "MAX_HOLDS", "Hold", "after_statement", "covering", "hold_members", "read_hold"]

MAX_HOLDS = 200
"""So many may stand at once; one beyond counts for nothing. A manifest carries all that stand."""

HOLD_SET = "hold.set"
HOLD_LIFTED = "hold.lifted"


class Hold(NamedTuple):
    """Entries sealed from `first_day` to `last_day` (`YYYY-MM-DD`); empty: without a beginning, without an end."""

    id: str
    first_day: str = ""
    last_day: str = ""

    def covers(self, day: str) -> bool:
        """Whether entries of that day are held."""
        return self.first_day <= day and (not self.last_day or day <= self.last_day)

    def covers_any(self, first_day: str, last_day: str) -> bool:
        """Whether any day from one to the other is."""
        return self.first_day <= last_day and (not self.last_day or first_day <= self.last_day)

    @property
    def days(self) -> str:
        """Which days, in words."""
        if not self.first_day and not self.last_day:
            return "everything"
        begin = f"from {self.first_day} " if self.first_day else ""
        return f"sealed {begin}{f'up to {self.last_day}' if self.last_day else 'on'}"


def hold_members(hold: Hold) -> dict[str, object]:
    """As statements and manifests carry it."""
    members: dict[str, object] = {"hold": hold.id}
    if hold.first_day:
        members["first_day"] = hold.first_day
    if hold.last_day:
        members["last_day"] = hold.last_day
    return members


def read_hold(members: Mapping[str, Any]) -> Hold:
    """The reverse. Raises `NotCanonical` for what is no hold."""
    values = [members.get("hold"), members.get("first_day", ""), members.get("last_day", "")]
    if not values[0] or not all(isinstance(value, str) for value in values):
        raise NotCanonical(f"no hold: expected hold, first_day and last_day, got {dict(members)!r}")
    for day in values[1:]:
        try:
            if day and date.fromisoformat(day).isoformat() != day:
                raise ValueError(day)
        except ValueError as error:
            raise NotCanonical(f"no hold: expected a day as YYYY-MM-DD, got {day[:20]!r}") from error
    return Hold(*values)


def after_statement(holds: tuple[Hold, ...], action: str, metadata: Mapping[str, Any]) -> tuple[Hold, ...]:
    """The holds that stand after one sealed `control` statement; an id that is known already is not set again."""
    try:
        hold = read_hold(metadata)
    except NotCanonical:
        return holds  # against the rules: counts for nothing
    if action == HOLD_SET and len(holds) < MAX_HOLDS and all(known.id != hold.id for known in holds):
        return (*holds, hold)
    if action == HOLD_LIFTED:
        return tuple(known for known in holds if known.id != hold.id)
    return holds


def covering(holds: Iterable[Hold], day: str) -> tuple[Hold, ...]:
    """Those that cover a day."""
    return tuple(hold for hold in holds if hold.covers(day))
