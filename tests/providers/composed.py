"""docker-compose.yml under a project name, ports and secrets of its own; nothing of it is left at the end."""

from __future__ import annotations

import json
import os
import secrets
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from sealstream.devstack.ports import free_port

__all__ = ["ROOT", "Composed", "composed"]

ROOT = Path(__file__).parents[2]
_UP_S = 900
_PORTS = ("KAFKA", "KAFKA_1", "KAFKA_2", "KAFKA_3", "COLLECT", "API", "CLINIC", "POSTGRES", "S3")


class Composed(NamedTuple):
    """A project of Docker Compose that runs, or is about to. `beside`: further files, laid over docker-compose.yml."""

    project: str
    environment: Mapping[str, str]
    secrets: Path
    beside: Sequence[Path] = ()

    def port(self, name: str) -> int:
        """Where a port of the stack is on this machine: `KAFKA`, `API`."""
        return int(self.environment[f"{name}_PORT"])

    def run(self, *words: str, stdin: str = "", timeout: float = 300, check: bool = True) -> str:
        """What `docker compose` prints; a failure shows it."""
        files = [word for file in (ROOT / "docker-compose.yml", *self.beside) for word in ("--file", str(file))]
        done = subprocess.run(
            ["docker", "compose", *files, "--project-directory", str(ROOT), *words],
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


@contextmanager
def composed(folder: Path, profile: str, *beside: Path, **more: str) -> Iterator[Composed]:
    """A stack of a profile that is up, its secrets in `folder`. Variables such as POSTGRES_IMAGE are taken from the
    environment of the tests; `more` stand over them."""
    taken: set[int] = set()
    project = f"sealstream-test-{secrets.token_hex(4)}"
    environment = os.environ | {
        "COMPOSE_PROJECT_NAME": project,
        "COMPOSE_PROFILES": profile,
        "SEALSTREAM_SECRETS": str(folder),
        **{f"{port}_PORT": str(free_port(taken)) for port in _PORTS},
        **more,
    }
    made = Composed(project, environment, folder, beside)
    try:
        made.run("build", "secrets", "clinic", timeout=1_500)
        made.up()
        yield made
    finally:
        made.run("--profile", "*", "down", "--volumes", "--remove-orphans", "--timeout", "45", check=False)
        emptying = ["--network", "none", "--user", "0", "--volume", f"{folder}:/emptied", "--entrypoint", "find"]
        image = environment.get("SEALSTREAM_IMAGE", "sealstream:local")
        command = ["docker", "run", "--rm", *emptying, image, "/emptied", "-mindepth", "1", "-delete"]
        subprocess.run(command, check=False, timeout=60)
