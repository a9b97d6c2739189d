"""When a message is tried again: twice as long after each failure, with jitter, up to a minute. Pure but for the dice.

Half of the pause is fixed and half is thrown, so that targets that failed together do not come back together. What a
receiver asks for (Retry-After) is the least that it gets.
"""

from __future__ import annotations

from collections.abc import Callable

__all__ = ["Pace"]

_FIRST_S = 0.5
_LONGEST_S = 60.0


class Pace:
    """Of one target. `now`: seconds that only rise; `dice`: between 0 and 1."""

    def __init__(self, now: Callable[[], float], dice: Callable[[], float], first_s: float = _FIRST_S) -> None:
        self._now = now
        self._dice = dice
        self._first_s = first_s
        self._not_before = 0.0
        self._failing_since = 0.0
        self.failures = 0

    @property
    def waits_s(self) -> float:
        """How long until the next attempt."""
        return max(self._not_before - self._now(), 0.0) if self.failures else 0.0

    @property
    def failing_s(self) -> float:
        """For how long nothing was taken; 0 while all is well."""
        return self._now() - self._failing_since if self.failures else 0.0

    def failed(self, after_s: float = 0.0) -> float:
        """An attempt failed; how long the pause is."""
        if not self.failures:
            self._failing_since = self._now()
        pause_s = min(self._first_s * 2.0 ** min(self.failures, 20), _LONGEST_S)
        pause_s = max(pause_s * (0.5 + 0.5 * self._dice()), after_s)
        self.failures += 1
        self._not_before = self._now() + pause_s
        return pause_s

    def well(self) -> None:
        """It worked, or another message is tried."""
        self.failures = 0
