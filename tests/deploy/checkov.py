"""Where checkov is: in `$CHECKOV`, on the path, or where `make checkov` installs it, apart from our own packages."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

_OURS = Path(__file__).parents[2] / ".checkov/bin/checkov"


def checkov() -> str:
    """The program; skips the test that asks where there is none."""
    program = os.environ.get("CHECKOV") or shutil.which("checkov") or str(_OURS)
    if not Path(program).exists():
        pytest.skip("checkov is not installed (90 packages, other versions than ours): `make checkov` does it")
    return program
