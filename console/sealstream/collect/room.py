"""How much memory the bodies under way may take together, and how much each of them has taken.

The invariant: what is taken never exceeds `most`, and each request gives back all that it took when its answer has left
or failed. For one event loop: no lock.
"""

from __future__ import annotations

from sealstream.web.problems import Problem

__all__ = ["Held", "Room"]

_WAIT_S = 1.0


class Room:
    """`most`: bytes in all."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.taken = 0

    def held(self) -> Held:
        """What one request takes of it: nothing yet."""
        return Held(self)


class Held:
    """One request's part."""

    def __init__(self, room: Room) -> None:
        self._room = room
        self._bytes = 0

    def take(self, size_bytes: int) -> None:
        """Take more. Raises a `Problem`: 503 when there is none left now, 413 when all of it would not do."""
        if self._bytes + size_bytes > self._room.most:
            detail = "the body needs more memory than there is for all: send fewer events at a time"
            raise Problem(413, "too-large", detail)
        if self._room.taken + size_bytes > self._room.most:
            detail = "too many bytes of other requests wait for Kafka: send the same request again later"
            raise Problem.wait("overloaded", detail, _WAIT_S, status=503)
        self._room.taken += size_bytes
        self._bytes += size_bytes

    def give_back(self) -> None:
        """All of it. May be called twice."""
        self._room.taken -= self._bytes
        self._bytes = 0
