"""A real service on a free port, before a chain whose processes run: 60 events of two tenants."""

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
from sealstream.layout import SegmentLimits

__all__ = ["Served", "make_pipeline", "pipeline_roles"]

EVENTS = 60
TENANTS = ("acme", "umbrella")


class Served(NamedTuple):
    """The service, and a token of each kind by its name."""

    pipeline: Pipeline
    url: str
    tokens: dict[str, str]
    process: subprocess.Popen[bytes]

    def client(self, token: str | None = "auditor") -> httpx.Client:
        """Somebody with a token of that name."""
        headers = {} if token is None else {"authorization": f"Bearer {self.tokens[token]}"}
        return httpx.Client(base_url=self.url, headers=headers, timeout=60)

    def get(self, path: str, token: str | None = "auditor", **parameters: Any) -> httpx.Response:
        """One answer."""
        with self.client(token) as client:
            return client.get(path, params=parameters)

    def reads(self, name: str | None = None) -> list[dict[str, Any]]:
        """The `log.read` in the control topic, of one token's name."""
        values = [json.loads(record.value or b"") for record in self.pipeline.records(self.pipeline.topics.control)]
        reads = [value for value in values if value["action"] == "log.read"]
        return [value for value in reads if name is None or value["actor_id"] == name]


def make_token(pipeline: Pipeline, name: str, *options: str) -> str:
    """A token, as a person gets it."""
    said = pipeline.command("tokens", "create", name, *options)
    assert said.code == 0, said.err
    assert re.fullmatch(r"slt_[0-9a-f]{12}_[0-9a-f]{48}\n", said.out)
    return said.out.strip()


def start_service(pipeline: Pipeline, *options: str) -> tuple[str, subprocess.Popen[bytes]]:
    """`sealstream serve` as a process; its URL once it answers."""
    port = free_port(set())
    command = [sys.executable, "-m", "sealstream.cli.entry", "--config", str(pipeline.config), "serve"]
    log = (pipeline.folder / "serve.log").open("wb")
    process = subprocess.Popen(
        [*command, "--port", str(port), *options], stdout=log, stderr=subprocess.STDOUT, env=dict(os.environ)
    )
    scheme = "https" if "--tls-cert" in options else "http"
    url = f"{scheme}://127.0.0.1:{port}"

    def answers() -> bool:
        assert process.poll() is None, (pipeline.folder / "serve.log").read_text()
        try:
            return httpx.get(f"{url}/healthz", verify=False).status_code == 200
        except httpx.TransportError:
            return False

    wait_until(answers, 60)
    return url, process


@pytest.fixture(scope="session")
def served(make_pipeline: Callable[..., Pipeline]) -> Iterator[Served]:
    """One service for all tests; what they send stays."""
    pipeline = make_pipeline(SegmentLimits(entries=500, bytes=1_000_000, seconds=60))
    write_settings(
        pipeline.config,
        {
            "kafka": {"prefix": pipeline.prefix},
            "serve": {"requests_per_minute": 100_000, "failures_per_minute": 100_000, "page_size": 100},
        },
    )
    pipeline.start("sequencer", "checkpointing", "postgres-sink")
    pipeline.send([pipeline.event(n, tenant=TENANTS[n % 2], producer="p") for n in range(EVENTS)])
    chain = ("--chain", pipeline.name)
    tokens = {
        "auditor": make_token(pipeline, "auditor", *chain, "--role", "auditor"),
        "reader": make_token(pipeline, "reader", "--chain", "*"),
        "acme": make_token(pipeline, "acme", *chain, "--tenant", "acme", "--role", "exporter"),
    }
    url, process = start_service(pipeline)
    pipeline.wait_stored(pipeline.wait_sealed())
    yield Served(pipeline, url, tokens, process)
    process.terminate()
    assert process.wait(15) == 0
