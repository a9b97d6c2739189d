"""A real collector on a free port, before a chain of its own on the session's Kafka."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import httpx
import pytest
from tests.pipeline import Pipeline, make_pipeline, pipeline_roles, wait_until

from sealstream.cli.settings import write_settings
from sealstream.devstack.ports import free_port

__all__ = ["Collected", "make_pipeline", "pipeline_roles"]


class Collected(NamedTuple):
    """The collector, and a key of each kind by its name."""

    pipeline: Pipeline
    url: str
    keys: dict[str, str]
    process: subprocess.Popen[bytes]

    def post(self, content: bytes | str, key: str | None = "any", path: str = "/v1/events", **headers: str) -> Any:
        """One answer. `headers`: with `_` for `-`; JSON unless told."""
        given = {"content-type": "application/json"}
        if key is not None:
            given["authorization"] = f"Bearer {self.keys.get(key, key)}"
        given |= {name.replace("_", "-"): value for name, value in headers.items()}
        return httpx.post(self.url + path, content=content, headers=given, timeout=60)

    def written(self) -> dict[str, list[dict[str, Any]]]:
        """What stands in the raw topic, by id."""
        found: dict[str, list[dict[str, Any]]] = {}
        for record in self.pipeline.records(self.pipeline.topics.raw):
            event = json.loads(record.value or b"")
            found.setdefault(event["id"], []).append(event)
        return found


def make_key(pipeline: Pipeline, name: str, *options: str) -> str:
    """A key, as a person gets it."""
    said = pipeline.command("collect", "keys", "create", name, "--chain", pipeline.name, *options)
    assert said.code == 0, said.err
    assert re.fullmatch(r"slk_[0-9a-f]{12}_[0-9a-f]{48}\n", said.out)
    return said.out.strip()


def start_collector(
    pipeline: Pipeline, *options: str, port: int = 0, **client: Any
) -> tuple[str, subprocess.Popen[bytes]]:
    """`sealstream collect` as a process; its URL once it answers."""
    port = port or free_port(set())
    command = [sys.executable, "-m", "sealstream.cli.entry", "--config", str(pipeline.config), "collect"]
    log = (pipeline.folder / "collect.log").open("ab")
    process = subprocess.Popen(
        [*command, "--port", str(port), *options], stdout=log, stderr=subprocess.STDOUT, env=dict(os.environ)
    )
    url = f"{'https' if '--tls-cert' in options else 'http'}://127.0.0.1:{port}"

    def answers() -> bool:
        assert process.poll() is None, (pipeline.folder / "collect.log").read_text()
        try:
            return httpx.get(f"{url}/healthz", **client).status_code == 200
        except httpx.TransportError:
            return False

    wait_until(answers, 60)
    return url, process


@pytest.fixture(scope="session")
def collected(make_pipeline: Callable[..., Pipeline]) -> Iterator[Collected]:
    """One collector for all tests; what they send stays."""
    pipeline = make_pipeline()
    section = {"failures_per_minute": 100_000, "body_bytes": 100_000, "unpacked_bytes": 1_000_000}
    write_settings(
        pipeline.config, {"kafka": {"prefix": pipeline.prefix}, "collect": section | {"events_per_request": 1_000}}
    )
    types = [word for each in ("user", "service", "admin", "system", "anonymous") for word in ("--actor-type", each)]
    keys = {
        "any": make_key(pipeline, "any", *types),
        "acme": make_key(pipeline, "acme", "--tenant", "acme", "--actor-type", "user"),
    }
    url, process = start_collector(pipeline)
    yield Collected(pipeline, url, keys, process)
    process.terminate()
    assert process.wait(15) == 0
