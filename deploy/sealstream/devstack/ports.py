"""Ports on 127.0.0.1: which are free, and who has one that is not. Holds nothing.

A port that was found free may be taken a moment later; whoever binds it then reports it by `owner_of`. Free ports are
looked for below the range that the kernel hands out to outgoing connections, so that none of those takes it meanwhile.
"""

from __future__ import annotations

import random
import socket

from sealstream.devstack.faults import PortTaken

__all__ = ["HOST", "LOWEST", "PORTS", "check_free", "free_port", "is_free", "owner_of"]

HOST = "127.0.0.1"
LOWEST, PORTS = 20_000, 2_000
"""Where free ports are looked for."""
GRPC_OFFSET = 10_000
"""SeaweedFS's habit: a component's gRPC port is its HTTP port plus this; some of its parts rely on it."""


def is_free(port: int) -> bool:
    """Whether a server could listen on the port now."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # connections in TIME_WAIT are no listener
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True


def free_port(taken: set[int] | None = None) -> int:
    """A port that is free, as is the one `GRPC_OFFSET` above it, and neither in `taken`, to which both are added."""
    taken = set() if taken is None else taken
    candidates = list(range(LOWEST, LOWEST + PORTS))
    random.shuffle(candidates)
    for port in candidates:
        pair = {port, port + GRPC_OFFSET}
        if not pair & taken and all(is_free(each) for each in pair):
            taken |= pair
            return port
    raise PortTaken(f"no free port between {LOWEST} and {LOWEST + PORTS} on {HOST}")


def check_free(port: int, wanted_by: str, setting: str) -> None:
    """Raise `PortTaken`, naming port and owner, unless the port is free."""
    if not is_free(port):
        raise PortTaken(
            f"port {port}, which {wanted_by} needs, is taken by {owner_of(port)}: "
            f"stop that program, or choose another port with {setting}"
        )


def owner_of(port: int) -> str:
    """Who listens on the port, as far as this user may know."""
    import psutil  # of the extra 'devstack': a command that starts no server runs without it

    try:
        listeners = [
            each
            for each in psutil.net_connections("tcp")
            if each.status == psutil.CONN_LISTEN and each.laddr.port == port
        ]
        pid = next((each.pid for each in listeners if each.pid), None)
        if pid is not None:
            return f"{psutil.Process(pid).name()} (process {pid})"
    except psutil.Error:
        pass  # it ended meanwhile, or its name is not ours to know: the port is taken all the same
    return "another user's program"
