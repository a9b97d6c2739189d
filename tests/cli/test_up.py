"""`sealstream up` as a person uses it: in the background, twice, after kill -9, on a taken port; `down` ends it."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
from confluent_kafka import Producer
from tests.long_runs import long_run
from tests.pipeline import Said, say, sql, wait_until

from sealstream.cli.settings import load_settings, write_settings
from sealstream.devstack import stop_stack, supervisor_of
from sealstream.devstack.ports import free_port
from sealstream.events import canonical_event, new_event_id

pytestmark = long_run

PROCESSES = {
    *("kafka", "postgres", "s3", "sequencer", "checkpointing", "postgres-sink", "archive-sink", "activity", "anomaly"),
    "watch",
}
EVENTS = 200


class Laptop:
    """A data directory with free ports, and the command as a shell runs it."""

    def __init__(self, folder: Path) -> None:
        self.data_dir = folder / "data"
        self.config = self.data_dir / "sealstream.toml"
        taken: set[int] = set()
        self.ports = {name: free_port(taken) for name in ("kafka", "postgres", "s3")}

    def run(self, *arguments: str) -> Said:
        """In this process, which takes a second less for each."""
        return say(self.config, *arguments)

    def run_apart(self, *arguments: str) -> Said:
        """In a process of its own: what starts and stops others."""
        command = [sys.executable, "-m", "sealstream.cli.entry", "--config", str(self.config), *arguments]
        ended = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
        return Said(ended.returncode, ended.stdout, ended.stderr)

    def up(self, *arguments: str) -> Said:
        ports = [word for name, port in self.ports.items() for word in (f"--{name}-port", str(port))]
        return self.run_apart("up", "--detach", "--segment-seconds", "5", *ports, *arguments)

    def status(self) -> dict[str, Any]:
        said = self.run("status", "--json")
        assert said.out, said.err
        document: dict[str, Any] = json.loads(said.out)
        return document

    def pids(self) -> set[int]:
        return {process["pid"] for process in self.status()["processes"]}


@pytest.fixture
def laptop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Laptop]:
    made = Laptop(tmp_path)
    monkeypatch.setenv("SEALSTREAM_HOME", str(made.data_dir))
    monkeypatch.setenv("COLUMNS", "200")
    yield made
    stop_stack(made.data_dir)


def emit(laptop: Laptop, count: int) -> None:
    """Events into the chain `main`."""
    producer = Producer({"bootstrap.servers": f"127.0.0.1:{laptop.ports['kafka']}", "enable.idempotence": True})
    for n in range(count):
        producer.produce("audit.raw.main", canonical_event(event(n)), partition=0)
    assert producer.flush(30) == 0


def event(n: int) -> dict[str, Any]:
    """A new event."""
    return {
        "id": new_event_id(),
        "timestamp": "2026-11-24T03:00:00Z",
        "actor_id": f"user-{n}",
        "actor_type": "user",
        "action": "read",
        "resource_type": "patient_record",
        "resource_id": "patient-1",
        "result": "success",
    }


def ready(laptop: Laptop, name: str) -> bool:
    """Whether `status` says that this process is ready."""
    return any(each["name"] == name and each["ready"] for each in laptop.status()["processes"])


def stored(laptop: Laptop) -> int:
    """How many events Postgres holds."""
    reader = load_settings(laptop.config).postgres.reader_dsn
    return int(sql(reader, "SELECT count(*) FROM audit_log WHERE kind = 'event'")[0][0])


@pytest.mark.slow
@pytest.mark.timeout(480)
def test_up_down_and_up_again(laptop: Laptop) -> None:
    nothing = laptop.run("status")
    assert nothing.code == 2
    assert "no stack was ever started" in nothing.err
    assert laptop.run("down").code == 0

    first = laptop.up()
    assert first.code == 0, first.err
    assert "running in the background" in first.out
    assert f"--data-dir {laptop.data_dir}" in first.out
    status = laptop.status()
    assert {process["name"]: process["state"] for process in status["processes"]} == dict.fromkeys(PROCESSES, "running")
    assert [chain["chain"] for chain in status["chains"]] == ["main"]

    log = load_settings(laptop.config).log
    assert re.fullmatch(r"localhost/sealstream-[0-9a-f]{8}", log)
    pids = laptop.pids()
    again = laptop.up()
    assert again.code == 0
    assert load_settings(laptop.config).log == log
    assert "running already" in again.out
    assert laptop.pids() == pids

    emit(laptop, EVENTS)
    wait_until(lambda: stored(laptop) == EVENTS, 60)
    verified = laptop.run("verify", "kafka", "--state-dir", str(laptop.data_dir / "state"))
    assert verified.code == 0, verified.out

    logs = laptop.run("logs")
    assert set(logs.out.split()) >= PROCESSES
    assert "chain taken" in laptop.run("logs", "sequencer", "-n", "20").out
    unknown = laptop.run("logs", "nonsense")
    assert (unknown.code, "sequencer" in unknown.err) == (2, True)

    repeated = laptop.run("migrate")
    assert (repeated.code, "up to date" in repeated.out) == (0, True)
    assert "passwords of 3 roles set" in repeated.out
    assert laptop.run("chain", "create", "main", "--segment-seconds", "5").code == 0
    assert laptop.run("chain", "create", "second", "--retention", "90d").code == 0
    assert "second" in laptop.run("chain", "list").out

    supervisor = supervisor_of(laptop.data_dir)
    assert supervisor is not None
    os.kill(supervisor, signal.SIGKILL)
    wait_until(lambda: not any(psutil.pid_exists(pid) for pid in pids), 30)
    assert laptop.run("status").code == 2
    port = free_port()
    write_settings(laptop.config, {"collect": {"port": port}})  # with such a section, there is a collector
    after = laptop.up()
    assert after.code == 0, after.err
    names = {process["name"] for process in laptop.status()["processes"]}
    assert names == PROCESSES | {"checkpointing-second", "postgres-sink-second", "archive-sink-second", "collect"}
    emit(laptop, EVENTS)
    key = laptop.run("collect", "keys", "create", "shop", "--chain", "main").out.strip()
    headers = {"authorization": f"Bearer {key}", "content-type": "application/json"}
    answer = httpx.post(f"http://127.0.0.1:{port}/v1/events", json=event(0), headers=headers, timeout=30)
    assert answer.status_code == 202, answer.text
    wait_until(lambda: stored(laptop) == 2 * EVENTS + 1, 60)
    wait_until(lambda: ready(laptop, "collect"), 30)
    for chain in ("main", "second"):
        verified = laptop.run("verify", "kafka", "--chain", chain, "--state-dir", str(laptop.data_dir / "state"))
        assert verified.code == 0, verified.out

    pids = laptop.pids()
    down = laptop.run_apart("down")
    assert (down.code, "stopped" in down.out) == (0, True)
    assert not any(psutil.pid_exists(pid) for pid in pids)
    assert supervisor_of(laptop.data_dir) is None
    assert laptop.run("status").code == 2
    assert "nothing was running" in laptop.run("down").out


def test_a_port_that_somebody_has_is_one_clear_sentence(laptop: Laptop) -> None:
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        other.bind(("127.0.0.1", laptop.ports["postgres"]))
        other.listen()
        said = laptop.up()
    assert said.code == 2
    assert f"port {laptop.ports['postgres']}" in said.err
    assert str(os.getpid()) in said.err
    assert "Traceback" not in said.err
    assert supervisor_of(laptop.data_dir) is None
