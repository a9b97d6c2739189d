"""The stack of docker-compose.yml in containers, once for all tests that ask for it; nothing of it is left."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from tests.deploy.compose_file import ROOT
from tests.pipeline import make_pipeline, pipeline_roles

from sealstream.devstack.ports import free_port

__all__ = ["make_pipeline", "pipeline_roles"]

_INSIDE = (Path(__file__).parent / "inside.py").read_text()
_UP_S = 900
PORTS = ("KAFKA", "KAFKA_1", "KAFKA_2", "KAFKA_3", "COLLECT", "API", "CLINIC")


class Composed(NamedTuple):
    """A project of Docker Compose that runs."""

    project: str
    environment: Mapping[str, str]
    secrets: Path

    def run(self, *words: str, stdin: str = "", timeout: float = 300, check: bool = True) -> str:
        """What `docker compose` prints; a failure shows it."""
        done = subprocess.run(
            ["docker", "compose", "--file", str(ROOT / "docker-compose.yml"), "--project-directory", str(ROOT), *words],
            check=False,
            text=True,
            input=stdin,
            capture_output=True,
            env=self.environment,
            timeout=timeout,
        )
        if check:
            assert done.returncode == 0, f"docker compose {' '.join(words)}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def inside(self, service: str, *words: str, timeout: float = 150) -> str:
        """What inside.py says there."""
        return self.run("exec", "-T", service, "python", "-", *words, stdin=_INSIDE, timeout=timeout).strip()

    def states(self) -> dict[str, str]:
        """Health, or state where there is none, by service."""
        shown = self.run("ps", "--all", "--format", "json")
        rows: list[dict[str, Any]] = [json.loads(line) for line in shown.splitlines()]
        return {row["Service"]: row["Health"] or f"{row['State']} {row['ExitCode']}" for row in rows}

    def up(self) -> None:
        """Start it and wait; what went wrong is shown with the services' last words."""
        try:
            self.run("up", "--wait", "--wait-timeout", str(_UP_S), "--quiet-pull", timeout=_UP_S + 60)
        except AssertionError as error:
            said = self.run("logs", "--no-color", "--tail", "15", check=False)
            raise AssertionError(f"{error}\n{self.states()}\n{said}") from None


def _docker_or_skip() -> None:
    if shutil.which("docker") is None:
        pytest.skip("no docker on this machine")
    for words in (["docker", "version"], ["docker", "compose", "version"]):
        asked = subprocess.run(words, check=False, capture_output=True, text=True, timeout=60)
        if asked.returncode:
            pytest.skip(f"`{' '.join(words)}` fails: {asked.stderr.strip() or asked.stdout.strip()}")


@pytest.fixture(scope="module")
def make_composed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Makes a stack of a profile. Variables such as POSTGRES_IMAGE are taken from the environment of the tests."""
    _docker_or_skip()
    made: list[Composed] = []

    def make(profile: str, **more: str) -> Composed:
        taken: set[int] = set()
        project = f"sealstream-test-{secrets.token_hex(4)}"
        folder = tmp_path_factory.mktemp("secrets")
        environment = os.environ | {
            "COMPOSE_PROJECT_NAME": project,
            "COMPOSE_PROFILES": profile,
            "SEALSTREAM_SECRETS": str(folder),
            **{f"{port}_PORT": str(free_port(taken)) for port in PORTS},
            **more,
        }
        composed = Composed(project, environment, folder)
        made.append(composed)
        composed.run("build", "secrets", "clinic", timeout=1_500)
        composed.up()
        return composed

    yield make
    for composed in made:
        composed.run("--profile", "*", "down", "--volumes", "--remove-orphans", "--timeout", "45", check=False)
        image = composed.environment.get("SEALSTREAM_IMAGE", "sealstream:local")
        emptying = [
            "docker",
            "run",
            "--rm",
            "--network",
            "none",
            "--user",
            "0",
            "--volume",
            f"{composed.secrets}:/emptied",
        ]
        subprocess.run(
            [*emptying, "--entrypoint", "find", image, "/emptied", "-mindepth", "1", "-delete"], check=False, timeout=60
        )
