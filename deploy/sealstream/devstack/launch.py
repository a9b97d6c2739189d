"""Starts one program of the stack so that it can't outlive the supervisor: a small script, run by path, that execs.

Invariant: whatever kills the supervisor (kill -9 included), the kernel sends the program `--death-signal` (Linux
PR_SET_PDEATHSIG). The signal belongs to the thread that started the program, so a supervisor starts programs from the
thread that it lives in.

With `--user` a root supervisor drops to that account: PostgreSQL refuses to run as root. Of root's rights the program
keeps one, CAP_DAC_OVERRIDE, so that a data directory or a virtual environment below /root (mode 0700) works without
opening anybody's home directory to everyone. Crash story: nothing is written; a crash before the exec is an exit.
"""

from __future__ import annotations

import argparse
import ctypes
import os
import pwd
import signal
import sys

_PR_SET_PDEATHSIG, _PR_SET_KEEPCAPS, _PR_SET_SECUREBITS = 1, 8, 28
_SECBIT_NO_SETUID_FIXUP = 1 << 2
_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_RAISE = 47, 2
_CAP_DAC_OVERRIDE = 1
_CAPABILITY_VERSION_3 = 0x20080522


def main() -> None:
    """Parse, drop, bind the life to the parent's, exec."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--parent", type=int, required=True, help="pid of the supervisor")
    parser.add_argument("--death-signal", type=int, default=int(signal.SIGTERM))
    parser.add_argument("--user", default="", help="account to drop to when root")
    parser.add_argument("argv", nargs="+")
    arguments = parser.parse_args()
    libc = ctypes.CDLL(None, use_errno=True)
    if arguments.user and os.geteuid() == 0:
        _drop_to(libc, arguments.user)
    # After the drop: a change of credentials clears it.
    _check(libc.prctl(_PR_SET_PDEATHSIG, arguments.death_signal, 0, 0, 0), "PR_SET_PDEATHSIG")
    if os.getppid() != arguments.parent:
        sys.exit("the supervisor is gone")
    os.execvp(arguments.argv[0], arguments.argv)


def _drop_to(libc: ctypes.CDLL, user: str) -> None:
    account = pwd.getpwnam(user)
    # access(2), by which initdb looks for its programs, disregards capabilities of those who aren't root, but for this.
    libc.prctl(_PR_SET_SECUREBITS, _SECBIT_NO_SETUID_FIXUP, 0, 0, 0)
    libc.prctl(_PR_SET_KEEPCAPS, 1, 0, 0, 0)
    os.setgroups([])
    os.setresgid(account.pw_gid, account.pw_gid, account.pw_gid)
    os.setresuid(account.pw_uid, account.pw_uid, account.pw_uid)
    if _keep_only(libc, 1 << _CAP_DAC_OVERRIDE):
        libc.prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_RAISE, _CAP_DAC_OVERRIDE, 0, 0)
    elif not _keep_only(libc, 0):  # a container may withhold it: then it reaches what its account reaches
        raise OSError(ctypes.get_errno(), "root's rights can't be given up")


def _keep_only(libc: ctypes.CDLL, capabilities: int) -> bool:
    header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION_3, 0)
    lower, upper = (capabilities,) * 3, (0,) * 3  # each: effective, permitted, inheritable
    return bool(libc.capset(header, (ctypes.c_uint32 * 6)(*lower, *upper)) == 0)


def _check(result: int, what: str) -> None:
    if result != 0:
        raise OSError(ctypes.get_errno(), f"prctl {what} failed")


if __name__ == "__main__":
    main()
