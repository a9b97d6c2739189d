"""A pipeline whose processes are watched, and what systemd would hear of each."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from prometheus_client.parser import text_string_to_metric_families
from tests.pipeline import Pipeline, make_pipeline, pipeline_roles, wait_until

from sealstream.cli.settings import write_settings
from sealstream.devstack import ProcessSpec
from sealstream.devstack.running import spawn
from sealstream.layout import DEFAULT_OUTBOX, Figure, OutboxTables, SegmentLimits
from sealstream.relaying import make_outbox

__all__ = ["Answer", "Away", "Watched", "make_pipeline", "pipeline_roles"]

PROCESSES = ("sequencer", "checkpointing", "postgres-sink", "archive-sink", "activity", "outbox-relay")


class Answer(NamedTuple):
    """What a probe said."""

    code: int
    said: dict[str, Any]


class Away(NamedTuple):
    """Settings whose servers are all away, with what `Watched` needs of a pipeline."""

    folder: Path
    name: str
    config: Path
    admin_dsn: str
    running: dict[str, subprocess.Popen[bytes]]


class Watched:
    """One process with a free metrics port and a service manager that listens."""

    def __init__(self, pipeline: Pipeline | Away, name: str) -> None:
        self.name = name
        self._log = pipeline.folder / f"{name}.log"
        self._log_from = self._log.stat().st_size if self._log.exists() else 0
        self._manager = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._manager.bind(f"\0sealstream-tests-{pipeline.name}-{name}")
        self.heard: list[str] = []
        threading.Thread(target=self._listen, daemon=True).start()  # the kernel keeps ten words for who is slow
        words = ["run", name, "--chain", pipeline.name]
        if name == "outbox-relay":
            words = ["outbox", "relay", "--chain", pipeline.name]
        command = [sys.executable, "-m", "sealstream.cli.entry", "--config", str(pipeline.config), *words]
        environment = {
            "NOTIFY_SOCKET": f"@sealstream-tests-{pipeline.name}-{name}",
            "WATCHDOG_USEC": "3000000",
            "SEALSTREAM_OUTBOX_DSN": pipeline.admin_dsn,
        }
        spec = ProcessSpec(name=name, argv=[*command, "--metrics-port", "0"], env=environment)
        pipeline.running[name] = self.process = spawn(spec, self._log)

    def log(self) -> str:
        return self._log.read_text(errors="replace")[self._log_from :]

    def url(self) -> str:
        """As its log says it."""
        said = [json.loads(line) for line in self.log().splitlines() if '"metrics are served"' in line]
        return said[-1]["url"].removesuffix("/metrics") if said else ""

    def _listen(self) -> None:
        with suppress(OSError):  # closed
            while words := self._manager.recv(65_536):
                self.heard += words.decode().split("\n")

    def get(self, path: str) -> tuple[int, str]:
        try:
            with urllib.request.urlopen(f"{self.url()}{path}", timeout=5) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    def probe(self, path: str) -> Answer:
        code, body = self.get(path)
        return Answer(code, json.loads(body))

    def figures(self) -> dict[str, list[tuple[dict[str, str], float]]]:
        """The samples by name."""
        found: dict[str, list[tuple[dict[str, str], float]]] = {}
        for family in text_string_to_metric_families(self.get("/metrics")[1]):
            for sample in family.samples:
                found.setdefault(sample.name, []).append((sample.labels, sample.value))
        return found

    def figure(self, figure: Figure, **labels: str) -> float | None:
        """The one value with these labels."""
        for has, value in self.figures().get(figure.name, []):
            if labels.items() <= has.items():
                assert has["process"] == self.name
                return value
        return None

    def wait_ready(self) -> None:
        def ready() -> bool:
            assert self.process.poll() is None, self.log()
            return bool(self.url()) and self.probe("/readyz").code == 200

        wait_until(ready, 60, self.log)

    def close(self) -> None:
        with suppress(OSError):
            self._manager.shutdown(socket.SHUT_RDWR)
        self._manager.close()


@pytest.fixture(scope="module")
def watched(make_pipeline: Callable[..., Pipeline]) -> Iterator[tuple[Pipeline, dict[str, Watched]]]:
    """All processes of one chain, ready; the archive's first segment ends with 500 entries."""
    pipeline = make_pipeline(SegmentLimits(entries=500, bytes=10_000_000, seconds=300))
    write_settings(pipeline.config, {"metrics": {"ask_every_seconds": 0.5}})
    make_outbox(pipeline.admin_dsn, OutboxTables.of(DEFAULT_OUTBOX))
    processes = {name: Watched(pipeline, name) for name in PROCESSES}
    for each in processes.values():
        each.wait_ready()
    write_settings(
        pipeline.config,
        {"metrics": {"targets": {_target(name, pipeline): each.url() for name, each in processes.items()}}},
    )
    yield pipeline, processes
    for each in processes.values():
        each.close()


def _target(name: str, pipeline: Pipeline) -> str:
    return name if name in ("sequencer", "activity", "outbox-relay") else f"{name}-{pipeline.name}"
