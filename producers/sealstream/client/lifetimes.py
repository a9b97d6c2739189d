"""Forks and the end of the interpreter: every open client of this process hears of both.

After a fork the child's clients begin anew, so that a child never sends what its parent is about to send. At the end,
clients that nobody closed are closed, each within its `exit_timeout_s`: best effort, since a kill or `os._exit` asks
nobody. A client is kept alive here until it is closed: one that were collected would lose what it holds in silence.

No fork happens while the driver makes or frees a producer: the child would inherit the driver's global locks as taken,
by a thread that it does not have. And a child closes the files of its parent's spools: a lock must end with its holder.
"""

from __future__ import annotations

import atexit
import os
import sys
from contextlib import suppress
from threading import RLock
from typing import Protocol

__all__ = ["OpenClient", "forget", "inherited", "no_fork", "open_clients", "register", "register_in_worker"]

no_fork = RLock()
"""Forks wait for whoever holds it."""

inherited: set[int] = set()
"""Open files that a forked child closes before it does anything else; to be changed only while holding `no_fork`."""


class OpenClient(Protocol):
    """What is told to a client."""

    exit_timeout_s: float

    def after_fork(self) -> None:
        """This is a child: begin anew."""

    def close(self, timeout_s: float) -> object:
        """This is the end."""


_open: set[OpenClient] = set()


def register(client: OpenClient) -> None:
    """Tell this client of forks and of the end."""
    _open.add(client)


def forget(client: OpenClient) -> None:
    """It was closed."""
    _open.discard(client)


def open_clients() -> list[OpenClient]:
    """All that are registered."""
    return list(_open)


def register_in_worker() -> None:
    """For a process in which a stream has just begun: `multiprocessing` ends its children without `atexit`."""
    util = sys.modules.get("multiprocessing.util")
    if util is not None:
        util.Finalize(None, _close_all, exitpriority=0)


def _close_all() -> None:
    for client in list(_open):
        client.close(client.exit_timeout_s)


def _after_fork() -> None:
    no_fork.release()
    for descriptor in inherited:
        with suppress(OSError):
            os.close(descriptor)
    inherited.clear()
    for client in _open:
        client.after_fork()


atexit.register(_close_all)
os.register_at_fork(before=no_fork.acquire, after_in_parent=no_fork.release, after_in_child=_after_fork)
