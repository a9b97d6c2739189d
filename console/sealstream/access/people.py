"""Who sits at this machine, as the kernel knows it: no variable of the environment that anybody may set counts."""

from __future__ import annotations

import os
import pwd
import socket
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from sealstream.access.statements import Reader

__all__ = ["component", "person_at_this_machine"]

_NOBODY_LOGGED_IN = 2**32 - 1


def person_at_this_machine() -> Reader:
    """`user@host`: who logged in where the kernel remembers it (also behind sudo), else whose process this is."""
    effective = os.geteuid()
    login = _login_uid()
    name = _name(effective if login is None else login)
    acting = _name(effective)
    host = socket.gethostname()
    return Reader(f"{name}@{host}"[:512], "user", component("cli") | {"host": host, "authenticated_as": acting})


def component(name: str) -> dict[str, str]:
    """`source` of what this program says: `sealstream cli`, `sealstream serve`."""
    try:
        released = version("sealstream")
    except PackageNotFoundError:
        released = "unknown"
    return {"service": f"sealstream {name}", "version": released}


def _login_uid() -> int | None:
    """The audit session's user (Linux sets it once, at login; a process without that right can't change it)."""
    try:
        uid = int(Path("/proc/self/loginuid").read_text())
    except (OSError, ValueError):
        return None
    return None if uid == _NOBODY_LOGGED_IN else uid


def _name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)
