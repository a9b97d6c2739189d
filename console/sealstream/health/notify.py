"""What systemd is told (sd_notify(3)): ready, how it goes, still alive, stopping. Without systemd, nothing happens.

One datagram for each word, to the socket that `NOTIFY_SOCKET` names; nothing is waited for, and a word that can't be
sent is dropped: the manager's socket must never hold up or end a process. Nothing to lose in a crash.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from contextlib import suppress

__all__ = ["ServiceManager"]

_MICROSECONDS = 1_000_000


class ServiceManager:
    """`watchdog_s`: how often it wants to hear that we are alive; None: it does not ask."""

    def __init__(self, environment: Mapping[str, str] | None = None) -> None:
        given = os.environ if environment is None else environment
        address = given.get("NOTIFY_SOCKET", "")
        # A leading @ stands for the NUL of Linux's abstract namespace.
        self._address = "\0" + address[1:] if address.startswith("@") else address
        meant_for_us = given.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
        asked = given.get("WATCHDOG_USEC", "")
        watched = bool(self._address) and meant_for_us and asked.isdigit() and int(asked) > 0
        self.watchdog_s = int(asked) / _MICROSECONDS if watched else None

    @property
    def listens(self) -> bool:
        """Whether there is one."""
        return bool(self._address)

    def tell(self, *words: str) -> None:
        """Such as `READY=1`, `STATUS=...`."""
        if self._address:
            with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as notify:
                notify.setblocking(False)
                notify.sendto("\n".join(word.replace("\n", " ") for word in words).encode(), self._address)
