"""A live systemd, on a machine where another, or none, is the first process: in namespaces of its own (`boot.sh`).

It needs root, a kernel with overlayfs and cgroup v2, and systemd's own program; it has the machine's network, and so
reaches the servers of the tests.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["Machine", "live_systemd", "why_not_here"]

ROOT = Path(__file__).parents[2]
_BOOT = Path(__file__).with_name("boot.sh")
_SYSTEMD = Path("/lib/systemd/systemd")
_NEEDED = ("unshare", "nsenter", "mount", "useradd", "systemctl")
_BOOT_S, _ANSWER_S = 60, 90
_FOLDERS = ("schemas", "producers", "processors", "sinks", "verifiers", "deploy", "console")


class Machine:
    """What systemd runs on, seen from inside."""

    def __init__(self, first: int) -> None:
        self._enter = ["nsenter", "-t", str(first), "-m", "-p", "-u", "-i", "-C", "-r", "-w"]

    def run(self, command: str, *, code: int = 0, given: str = "", folder: str = "/") -> str:
        """A line of bash as root; what it says on both outputs. `given`: its input."""
        try:
            done = self._bash(f"cd {folder}; {command}", given, _ANSWER_S)
        except subprocess.TimeoutExpired as error:
            journal = self._bash("journalctl --no-pager --lines=60 --output=cat", "", 10).stdout
            raise AssertionError(f"$ {command}\nnot done in {_ANSWER_S} s\n{journal}") from error
        assert done.returncode == code, f"$ {command}\nexit code {done.returncode}\n{done.stdout}"
        return done.stdout

    def _bash(self, command: str, given: str, timeout_s: float) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*self._enter, "bash", "-euc", command],
            input=given,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=timeout_s,
            check=False,
        )

    def write(self, path: str, text: str, *, owner: str = "root:root", mode: str = "644") -> None:
        """A file with these rights."""
        self.run(f"cat > {path}; chown {owner} {path}; chmod {mode} {path}", given=text)

    def state(self, unit: str, name: str) -> str:
        """One of a unit's properties, such as `ActiveState` or `NRestarts`."""
        return self.run(f"systemctl show --property={name} --value {unit}").strip()

    def log(self, unit: str) -> str:
        """The last of a unit's journal."""
        return self.run(f"journalctl --no-pager --unit={unit} --lines=25 --output=cat")


def why_not_here() -> str:
    """Why no systemd can be started on this machine; empty when it can."""
    if os.geteuid() != 0:
        return "a live systemd needs root"
    if not _SYSTEMD.exists():
        return f"there is no {_SYSTEMD}"
    if missing := [name for name in _NEEDED if shutil.which(name) is None]:
        return f"there is no {', '.join(missing)}"
    if _cgroups() is None:
        return "cgroup v2 is not mounted"
    return "" if _may_mount() else "this process may not mount an overlay of the root file system"


def _may_mount() -> bool:
    tried = (
        "mount --make-rprivate /; mount -t tmpfs t /mnt; mkdir /mnt/u /mnt/w /mnt/r; "
        "mount -t overlay -o lowerdir=/,upperdir=/mnt/u,workdir=/mnt/w o /mnt/r; mount -t cgroup2 c /mnt/r/sys"
    )
    command = ["unshare", "--mount", "--cgroup", "--pid", "--fork", "bash", "-euc", tried]
    return subprocess.run(command, capture_output=True, timeout=30, check=False).returncode == 0


def _cgroups() -> Path | None:
    for line in Path("/proc/self/mounts").read_text().splitlines():
        _, where, kind, options, *_ = line.split()
        if kind == "cgroup2" and "rw" in options.split(","):
            return Path(where)
    return None


@contextmanager
def live_systemd(folder: Path) -> Iterator[Machine]:
    """One that runs, with this tree installed in `/opt/sealstream` and nothing of it started. `folder`: empty."""
    cgroups = _cgroups()
    assert cgroups is not None
    group = cgroups / f"sealstream-tests-{os.getpid()}"
    group.mkdir()
    given = [str(folder), sys.base_prefix, sysconfig.get_path("purelib"), str(ROOT)]
    unshare = "exec unshare --fork --pid --mount --uts --ipc --cgroup --kill-child"
    log = folder.parent / f"{folder.name}.log"
    with log.open("wb") as file:
        process = subprocess.Popen(
            ["bash", "-c", f'echo $$ > "$1"; shift; {unshare} bash "$@"', "-", group / "cgroup.procs", _BOOT, *given],
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=file,
        )
    try:
        machine = Machine(_first(process, log))
        _install(machine)
        yield machine
    finally:
        process.kill()
        process.wait()
        _remove(group)


def _first(process: subprocess.Popen[bytes], log: Path) -> int:
    """The pid, as it is here, of the systemd that has booted."""
    deadline = time.monotonic() + _BOOT_S
    while time.monotonic() < deadline:
        assert process.poll() is None, log.read_text()
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        if children and Path(f"/proc/{children[0]}/comm").read_text() == "systemd\n":
            machine = Machine(int(children[0]))
            if machine.run("systemctl is-system-running || true").strip() in ("running", "degraded"):
                return int(children[0])
        time.sleep(0.3)
    raise AssertionError(f"systemd did not boot in {_BOOT_S} s: {log.read_text()}")


def _install(machine: Machine) -> None:
    """As pip does it, with the packages of the tests' own environment."""
    packages = [*(f"/opt/source/{name}" for name in _FOLDERS), "/opt/packages"]
    site = machine.run("echo /opt/sealstream/lib/python3*/site-packages").strip()
    machine.write(f"{site}/of-the-tests.pth", "".join(f"{path}\n" for path in packages))
    program = "#!/opt/sealstream/bin/python\nimport sys\nfrom sealstream.cli.entry import main\nsys.exit(main())\n"
    machine.write("/opt/sealstream/bin/sealstream", program, mode="755")


def _remove(group: Path) -> None:
    deadline = time.monotonic() + 10
    for folder, _, _ in sorted(os.walk(group), reverse=True):
        while True:
            try:
                os.rmdir(folder)
                break
            except OSError:  # what was killed takes a moment to go
                if time.monotonic() > deadline:
                    return
                time.sleep(0.1)
