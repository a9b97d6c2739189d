"""Applications on a real uvicorn, and the events that their requests left in the chain's raw topic."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import pytest
import uvicorn

from sealstream.client import AuditClient
from sealstream.devstack.ports import free_port
from sealstream.events import validate_event
from sealstream.kafka import KafkaSettings, read_until_end
from sealstream.layout import ChainSettings, ChainTopics

Serve = Callable[..., str]


@contextmanager
def running(app: Any, **options: Any) -> Iterator[str]:
    """The application's URL while it is served, without any evaluation of proxies by the server itself."""
    config = uvicorn.Config(
        app, host="127.0.0.1", port=0, log_level="critical", proxy_headers=False, timeout_graceful_shutdown=3, **options
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=asyncio.run, args=(server.serve(),), daemon=True)
    thread.start()
    deadline = time.monotonic() + 20
    while not server.started and time.monotonic() < deadline:
        time.sleep(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        thread.join(20)


@pytest.fixture
def serve() -> Iterator[Serve]:
    """`serve(app)`: its URL; it is stopped when the test ends."""
    stops = []

    def start(app: Any, **options: Any) -> str:
        served = running(app, **options)
        stops.append(served)
        return served.__enter__()

    yield start
    for served in stops:
        served.__exit__(None, None, None)


@pytest.fixture
def audit(kafka: KafkaSettings, chain: ChainSettings) -> Iterator[AuditClient]:
    """A client of the test's chain."""
    client = AuditClient(chain.name, kafka.bootstrap, source={"service": "tested"})
    yield client
    client.close(5)


@pytest.fixture
def raw(kafka: KafkaSettings, chain: ChainSettings, audit: AuditClient) -> Callable[[], list[bytes]]:
    """The bytes of all events so far, in order, each valid."""

    def read() -> list[bytes]:
        assert audit.flush(10) == 0
        batches = read_until_end(kafka, ChainTopics.of(chain.name).raw)
        return [validate_event(record.value).canonical for records in batches for record in records]

    return read


@pytest.fixture
def events(raw: Callable[[], list[bytes]]) -> Callable[..., list[dict[str, Any]]]:
    """`events(count)`: all events so far, once there are `count` (a request's event comes just after its response)."""

    def read(count: int) -> list[dict[str, Any]]:
        deadline = time.monotonic() + 10
        while len(found := raw()) < count and time.monotonic() < deadline:
            time.sleep(0.05)
        assert len(found) == count
        return [json.loads(event) for event in found]

    return read


def gunicorn(app: str, folder: Path, *options: str, **environment: str) -> AbstractContextManager[str]:
    """The URL of `app` (`module:name`) on a real gunicorn, in processes of its own."""
    return _server(
        ["gunicorn", app, "--bind", "127.0.0.1:{port}", "--graceful-timeout", "5", *options], folder, environment
    )


def uvicorn_workers(app: str, folder: Path, *options: str, **environment: str) -> AbstractContextManager[str]:
    """The same on uvicorn's own worker processes."""
    command = [
        "uvicorn",
        app,
        "--port",
        "{port}",
        "--workers",
        "2",
        "--no-proxy-headers",
        "--lifespan",
        "off",
        *options,
    ]
    return _server(command, folder, environment)


def child_environment(**more: str) -> dict[str, str]:
    """For a process that imports this tree and its tests."""
    roots = os.pathsep.join([str(Path(__file__).parents[2]), *filter(None, sys.path)])
    return {**os.environ, "PYTHONPATH": roots, **more}


@contextmanager
def _server(command: list[str], folder: Path, environment: dict[str, str]) -> Iterator[str]:
    port = free_port()
    log = folder / f"{command[0]}.log"
    words = [sys.executable, "-m", *(word.format(port=port) for word in command)]
    with log.open("wb") as written:
        process = subprocess.Popen(words, stdout=written, stderr=written, env=child_environment(**environment))
    try:
        deadline = time.monotonic() + 30
        while True:
            with socket.socket() as asking:
                if asking.connect_ex(("127.0.0.1", port)) == 0:
                    break
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.05)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(20)
