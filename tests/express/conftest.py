"""The npm package `sealstream-express`, built here with what its tests need."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from tests.collect.conftest import collected, make_pipeline, pipeline_roles

__all__ = ["PACKAGE", "built_package", "collected", "make_pipeline", "npm", "pipeline_roles"]

PACKAGE = Path(__file__).parents[2] / "producers" / "express"
_OLDEST_NODE = 18
_INSTALLED = PACKAGE / "node_modules" / ".package-lock.json"


@pytest.fixture(scope="session")
def package() -> Path:
    """`built_package`."""
    return built_package()


def built_package() -> Path:
    """Its folder, with `node_modules` and `dist`; skips where there is no Node, or npm can't fetch what tests need."""
    if shutil.which("node") is None or shutil.which("npm") is None:
        pytest.skip("node and npm are not installed here")
    version = subprocess.run(["node", "--version"], capture_output=True, text=True, check=True).stdout.strip()
    if int(version.lstrip("v").split(".")[0]) < _OLDEST_NODE:
        pytest.skip(f"node is {version}: the package needs {_OLDEST_NODE} or newer")
    if not _INSTALLED.exists() or _INSTALLED.stat().st_mtime < (PACKAGE / "package.json").stat().st_mtime:
        command = ["npm", "install", "--no-audit", "--no-fund"]
        done = subprocess.run(command, cwd=PACKAGE, capture_output=True, text=True, timeout=300, check=False)
        if done.returncode != 0:
            pytest.skip(f"npm can't install what the package's tests need: {done.stderr[-300:]}")
        _INSTALLED.touch()
    npm("run", "build")
    return PACKAGE


def npm(*arguments: str, timeout_s: float = 300, **environment: str) -> str:
    """What it said. Fails when it fails."""
    done = subprocess.run(
        ["npm", *arguments],
        cwd=PACKAGE,
        env={**_environment(), **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=timeout_s,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-20_000:]
    return done.stdout


def _environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith("SEALSTREAM_")}
