"""What every sender is."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

from sealstream.forward.messages import Message
from sealstream.forward.outcomes import Outcome

__all__ = ["Pause", "Prepared", "Sender", "waiting"]

Pause = Callable[[float], bool]
"""Waits so many seconds; True: the process is told to stop, so wait no longer."""


def waiting(seconds: float) -> bool:
    """A pause that nobody ends early."""
    time.sleep(seconds)
    return False


class Prepared(NamedTuple):
    """A message in its receiver's form."""

    message: Message
    body: bytes


class Sender(Protocol):
    """One target's. `most`, `most_bytes`: of one attempt; a single message may have more bytes."""

    most: int
    most_bytes: int

    def prepare(self, message: Message) -> Prepared:
        """The message in the receiver's form; whatever it raises means that the message can't be."""
        ...

    def send(self, messages: Sequence[Prepared]) -> Outcome:
        """One attempt; for all of them together."""
        ...

    def try_out(self) -> str:
        """Whether the receiver could be reached, without a message: what it said. Raises a `SealstreamError`."""
        ...

    def close(self) -> None:
        """Ends the connection; can be called twice, and the next attempt opens another."""
        ...
