"""When a finding is told: once, when it begins, and not again while it goes on. Pure."""

from __future__ import annotations

import msgspec

__all__ = ["Episode"]

_AGAIN_S = 86_400


class Episode(msgspec.Struct, array_like=True):
    """One that goes on or the last one. `told_s`: when it was told, 0: never; `last_s`: when it was last so.

    `level`: what a detector makes of it, 0 when it begins.
    """

    told_s: int = 0
    last_s: int = 0
    level: int = 0

    def tells(self, second: int, quiet_s: int) -> bool:
        """It is so in this second: whether that is to be told. Once more each day while it goes on.

        After `quiet_s` without it, it is over.
        """
        due = not self.goes_on(second, quiet_s) or second - self.told_s >= _AGAIN_S
        if due:
            self.told_s, self.level = second, 0
        self.last_s = max(self.last_s, second)
        return due

    def goes_on(self, second: int, quiet_s: int) -> bool:
        """Whether it was told and is not over."""
        return self.told_s != 0 and second - self.last_s <= quiet_s

    @staticmethod
    def key_s(second: int, quiet_s: int) -> int:
        """The second that names an episode that is told now: no two have the same, since they are `quiet_s` apart."""
        return second - second % quiet_s
