"""The data directory of a stack: what marks it as ours, its ports and passwords, who holds it, and room on its disk.

    stack.json (0600)   format, id, ports, passwords: written first, whole, by rename
    lock                held (flock) by the supervisor for as long as it lives; the kernel lets go, whatever kills it
    state.json          the supervisor's programs, for other shells
    kafka/ postgres/ s3/ logs/

Invariant: a directory with other people's files and no stack.json is refused and untouched. Crash story: before the
rename there is no stack and the next start makes one; after it the stack keeps its ports and passwords for ever.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import secrets
import shutil
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from sealstream.devstack.faults import AlreadyRunning, DiskFull, NotOurs, ServerFailed
from sealstream.devstack.ports import free_port, is_free
from sealstream.errors import Misconfigured, SealstreamError

__all__ = [
    "LEAST_FREE_BYTES",
    "PUBLIC_PORTS",
    "StackFile",
    "cannot_use",
    "check_space",
    "claim",
    "open_stack",
    "read_stack_file",
    "write_whole",
]

LEAST_FREE_BYTES = 500_000_000
_ALMOST_NOTHING_BYTES = 20_000_000
"""With less than this free, whatever failed failed for want of space, whether or not it said so."""
PUBLIC_PORTS = {"kafka": 19092, "postgres": 15432, "s3": 18333}
INTERNAL_PORTS = ("kafka_controller", "s3_master", "s3_volume", "s3_filer", "s3_admin", "s3_grpc")
_FORMAT = 1
_STACK_FILE = "stack.json"
_OURS = {"sealstream.toml", "keys", "logs", "lock", "state.json", "verifier", "run"}
"""What other parts of Sealstream may have put into the directory before its first stack."""


class StackFile(NamedTuple):
    """What stack.json holds. `ports`: the three public ones (kafka, postgres, s3) and the servers' internal ones."""

    id: str
    ports: Mapping[str, int]
    postgres_password: str
    s3_access_key: str
    s3_secret_key: str


def claim(data_dir: Path) -> int:
    """Take the directory for this process, made when it is missing: a file descriptor to keep open.

    Raises `NotOurs`, `DiskFull`, and `AlreadyRunning` when another process holds it.
    """
    try:
        data_dir.mkdir(parents=True, exist_ok=True)
        if not (data_dir / _STACK_FILE).exists():
            _refuse_strangers(data_dir)
        check_space(data_dir)
        return _hold(data_dir)
    except OSError as error:
        raise cannot_use(data_dir, error) from error


def open_stack(data_dir: Path, ports: Mapping[str, int] | None = None) -> StackFile:
    """The stack of a directory that is claimed, made when there is none. `ports` given replace those kept so far.

    Public ports stay what they were; internal ones that somebody took meanwhile are chosen anew (nobody was told them).
    """
    try:
        kept = read_stack_file(data_dir) if (data_dir / _STACK_FILE).exists() else None
        base = kept or StackFile(str(uuid.uuid4()), PUBLIC_PORTS, *(secrets.token_urlsafe(24) for _ in range(3)))
        stack = base._replace(ports=_choose_ports({**base.ports, **(ports or {})}))
        if stack != kept:
            write_whole(data_dir / _STACK_FILE, {"format": _FORMAT, **stack._asdict()})
    except OSError as error:
        raise cannot_use(data_dir, error) from error
    return stack


def read_stack_file(data_dir: Path) -> StackFile:
    """The stack of a directory that has one. Raises `Misconfigured`."""
    path = data_dir / _STACK_FILE
    try:
        members: dict[str, Any] = json.loads(path.read_text())
    except FileNotFoundError as error:
        raise Misconfigured(f"no stack in {data_dir}: start one there with `sealstream up`") from error
    except (OSError, ValueError) as error:
        raise Misconfigured(
            f"{path} can't be read ({error}): restore it, or delete {data_dir} to begin anew"
        ) from error
    if members.pop("format", None) != _FORMAT or set(members) != set(StackFile._fields):
        raise Misconfigured(f"{path} is of another version: use that version, or delete {data_dir} to begin anew")
    return StackFile(**members)


def _hold(data_dir: Path) -> int:
    descriptor = os.open(data_dir / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = os.pread(descriptor, 20, 0).decode().strip()
        os.close(descriptor)
        raise AlreadyRunning(data_dir, int(holder) if holder.isdigit() else 0) from None
    os.truncate(descriptor, 0)
    os.pwrite(descriptor, str(os.getpid()).encode(), 0)
    return descriptor


def check_space(data_dir: Path) -> None:
    """Raise `DiskFull` when less than `LEAST_FREE_BYTES` are free where the directory is."""
    free = shutil.disk_usage(data_dir).free
    if free < LEAST_FREE_BYTES:
        raise DiskFull(
            f"the disk of {data_dir} is full: the stack needs {LEAST_FREE_BYTES // 1_000_000} MB free, there are "
            f"{free // 1_000_000} MB; free some, or choose another data directory"
        )


def why_failed(data_dir: Path, what: str, said: str) -> DiskFull | ServerFailed:
    """The error of a program that failed: the disk's, or its own. `what`: "kafka ended ..."; `said`: its last words."""
    if shutil.disk_usage(data_dir).free < _ALMOST_NOTHING_BYTES or "No space left on device" in said:
        return DiskFull(
            f"the disk of {data_dir} is full, so {what}: free some and start again, or choose another data directory"
        )
    return ServerFailed(f"{what}: {said[-600:] or 'it said nothing'}")


def cannot_use(data_dir: Path, error: OSError) -> SealstreamError:
    """What to raise for an error of the file system below the directory."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return DiskFull(f"the disk of {data_dir} is full: free some, or choose another data directory")
    return Misconfigured(f"the data directory {data_dir} can't be used ({error.strerror}): choose another one")


def write_whole(path: Path, members: Mapping[str, Any]) -> None:
    """Write JSON that only its owner can read, whole or not at all."""
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with os.fdopen(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
            json.dump(members, file, indent=2)
            file.write("\n")
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)


def _refuse_strangers(data_dir: Path) -> None:
    strangers = sorted(
        each.name
        for each in data_dir.iterdir()
        if each.name not in _OURS and not each.name.startswith(f".{_STACK_FILE}.")
    )
    if strangers:
        raise NotOurs(
            f"{data_dir} is not a Sealstream data directory: it holds {', '.join(strangers[:3])}"
            f"{' and more' if len(strangers) > 3 else ''}, and no {_STACK_FILE}; choose an empty or a new directory"
        )


def _choose_ports(wanted: Mapping[str, int]) -> dict[str, int]:
    ports = {name: wanted[name] for name in PUBLIC_PORTS}
    taken = set(ports.values())
    for name in INTERNAL_PORTS:
        kept = wanted.get(name, 0)
        ports[name] = kept if kept and kept not in taken and is_free(kept) else free_port(taken)
        taken.add(ports[name])
    return ports
