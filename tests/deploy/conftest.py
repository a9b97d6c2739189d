"""docker-compose.yml in containers, once for the tests of a file; and a pipeline for what the chart starts."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from tests.pipeline import make_pipeline, pipeline_roles
from tests.providers.composed import Composed, composed

__all__ = ["make_pipeline", "pipeline_roles"]


def _docker_or_skip() -> None:
    if shutil.which("docker") is None:
        pytest.skip("no docker on this machine")
    for words in (["docker", "version"], ["docker", "compose", "version"]):
        asked = subprocess.run(words, check=False, capture_output=True, text=True, timeout=60)
        if asked.returncode:
            pytest.skip(f"`{' '.join(words)}` fails: {asked.stderr.strip() or asked.stdout.strip()}")


@pytest.fixture(scope="module")
def make_composed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Makes a stack of a profile, with variables of its own."""
    _docker_or_skip()
    with ExitStack() as stacks:

        def make(profile: str, **more: str) -> Composed:
            return stacks.enter_context(composed(tmp_path_factory.mktemp("secrets"), profile, **more))

        yield make
