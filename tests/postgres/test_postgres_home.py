"""A process whose user's home may not be read, as in a container that runs as another user, is told so."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = """
import os, sys
import asyncpg
from sealstream.errors import Misconfigured
from sealstream.postgres.driver import Session
os.seteuid(65534)
try:
    Session(sys.argv[1], "tests")
except Misconfigured as error:
    print(error)
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="another user can be taken on by root alone")
def test_a_home_that_may_not_be_read_is_named(postgres_admin_dsn: str, tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir(mode=0o700)
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, postgres_admin_dsn],
        env={**os.environ, "HOME": str(home)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert f"{home}/.postgresql/postgresql.key can't be read: Permission denied" in done.stdout
    assert "in the home of this process's user" in done.stdout
