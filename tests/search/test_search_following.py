"""`sealstream tail -f` over a broker that goes and comes back: each entry once, in order, and it is said meanwhile."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from tests.faults.program import Program
from tests.long_runs import long_run
from tests.pipeline import wait_until
from tests.rebuild.made_chain import MadeChain

from sealstream.cli.settings import write_settings
from sealstream.devstack.directory import open_stack
from sealstream.devstack.jars import kafka_class_path
from sealstream.devstack.kafka_server import KafkaServer
from sealstream.devstack.ports import HOST, free_port
from sealstream.kafka import KafkaSettings, create_topics, produce
from sealstream.layout import ChainSettings, ChainTopics, Retention, SegmentLimits
from sealstream.sealing import new_signing_key, signer

LOG = "audit.example.com/tests"
_AT = datetime(2026, 11, 24, 3, 0, tzinfo=UTC)
_EACH = 40


class Broker:
    """A broker of this test's own, which may go."""

    def __init__(self, folder: Path) -> None:
        (folder / "logs").mkdir(parents=True)
        taken: set[int] = set()
        ports = {name: free_port(taken) for name in ("kafka", "postgres", "s3")}
        self.settings = KafkaSettings(f"{HOST}:{ports['kafka']}")
        server = KafkaServer(folder, open_stack(folder, ports), kafka_class_path())
        server.prepare(lambda _: None)
        self.program = Program(server.spec(), folder / "kafka.log")
        self.start()

    def start(self) -> None:
        """Again, and until it serves."""
        self.program.start()
        ready = self.program.spec.ready
        assert ready is not None
        wait_until(lambda: self.program.pid is not None and ready(self.program.pid), 120)


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    made = Broker(tmp_path / "broker")
    yield made
    made.program.kill()


class Following:
    """The command as a person runs it, and what it has said."""

    def __init__(self, config: Path, *words: str) -> None:
        command = [
            sys.executable,
            "-m",
            "sealstream.cli.entry",
            "--config",
            str(config),
            "tail",
            "-f",
            "--json",
            *words,
        ]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        self.lines: list[bytes] = []
        self.said: list[str] = []
        self._threads = [threading.Thread(target=read, daemon=True) for read in (self._shown, self._heard)]
        for thread in self._threads:
            thread.start()

    def _shown(self) -> None:
        assert self._process.stdout is not None
        self.lines.extend(line.rstrip(b"\n") for line in self._process.stdout)

    def _heard(self) -> None:
        assert self._process.stderr is not None
        for line in self._process.stderr:
            self.said.append(line.decode())

    def stop(self) -> int:
        """Ctrl-C."""
        os.kill(self._process.pid, signal.SIGINT)
        code = self._process.wait(60)
        for thread in self._threads:
            thread.join(10)
        return code


@long_run
@pytest.mark.timeout(400)
def test_a_chain_is_followed_over_restarts_of_the_broker(broker: Broker, tmp_path: Path) -> None:
    skey = new_signing_key(f"{LOG}/main")
    settings = ChainSettings(
        "main", LOG, signer(skey).vkey, Retention("soc2", archive_days=366), SegmentLimits(1_000, 10_000_000, 3_600)
    )
    made = MadeChain(settings, signer(skey), events=3 * _EACH, when=lambda n: _AT + timedelta(seconds=n))
    topics = ChainTopics.of("main")
    create_topics(broker.settings, topics.configs())
    produce(broker.settings, topics.chain, made.values[:_EACH])
    config = tmp_path / "sealstream.toml"
    write_settings(
        config,
        {
            "log": LOG,
            "kafka": {"bootstrap": broker.settings.bootstrap},
            "chains": {"main": {"vkey": settings.vkey, "segment_entries": 1_000}},
        },
    )
    wanted = [value for value in made.values[1:] if json.loads(value)["result"] != "denied"]

    def found_until(size: int) -> list[bytes]:
        return [value for value in made.values[1:size] if value in wanted]

    following = Following(config, "-n", "1000", "-result:denied", "kind:event")
    wait_until(lambda: following.lines == found_until(_EACH), 60)
    for number, leaves in ((2, signal.SIGTERM), (3, signal.SIGKILL)):
        heard = len(following.said)
        broker.program.end(leaves)
        wait_until(lambda heard=heard: any("waiting: " in line for line in following.said[heard:]), 60)
        broker.start()
        produce(broker.settings, topics.chain, made.values[(number - 1) * _EACH : number * _EACH])
        wait_until(lambda size=number * _EACH: len(following.lines) >= len(found_until(size)), 90)
        assert following.lines == found_until(number * _EACH)
    produce(broker.settings, topics.chain, made.values[3 * _EACH :])
    wait_until(lambda: len(following.lines) >= len(wanted), 60)
    assert following.stop() == 130
    assert following.lines == wanted  # each once, byte for byte, in order, and nothing after the last
    assert sum("waiting: " in line for line in following.said) < 20  # it is said, and not every second
