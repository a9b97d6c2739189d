"""Apache Kafka, one KRaft node: format its folder, its command line, and when it is ready.

Invariant: `<data>/kafka/prepared` is written last; a folder without it is an interrupted first start and is made anew.
Crash story: one node survives kill -9 (what it acknowledged is in the page cache), not a power loss.
"""

from __future__ import annotations

import base64
import subprocess
import time
import uuid
from collections.abc import Callable
from pathlib import Path

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from sealstream.devstack.directory import StackFile
from sealstream.devstack.faults import NoJava, ServerFailed
from sealstream.devstack.jars import java_executable, kafka_class_path
from sealstream.devstack.ports import HOST
from sealstream.devstack.preparing import prepare_once
from sealstream.devstack.specs import ProcessSpec

__all__ = ["KafkaServer"]

_HEAP = "1g"
_LOGGING = """\
status = warn
appender.out.type = Console
appender.out.name = out
appender.out.layout.type = PatternLayout
appender.out.layout.pattern = %d{ISO8601} %p %m (%c{1})%n
rootLogger.level = info
rootLogger.appenderRef.out.ref = out
logger.config.name = org.apache.kafka.common.config.AbstractConfig
logger.config.level = error
logger.clean.name = org.apache.kafka.storage.internals.log.LogCleaner
logger.clean.level = warn
"""


class KafkaServer:
    """Kafka of one stack."""

    def __init__(self, data_dir: Path, stack: StackFile) -> None:
        self._folder = data_dir / "kafka"
        self._stack = stack
        self._port = stack.ports["kafka"]
        self._java: list[str] = []

    def prepare(self, progress: Callable[[str], None]) -> None:
        """Resolve the jars, write the configuration, format the log folder once. Raises `NoJava`, `ServerFailed`."""
        class_path = kafka_class_path(progress)
        self._java = [
            str(java_executable()),
            *("-XX:+ExitOnOutOfMemoryError", "-XX:-UsePerfData", "-Djava.awt.headless=true"),
            *(
                f"-Djava.io.tmpdir={self._folder / 'tmp'}",
                f"-Dlog4j2.configurationFile={self._folder / 'log4j2.properties'}",
            ),
            *("-cp", class_path),
        ]
        prepare_once(self._folder, self._format)
        self._write_configuration()  # each time: ports may be others

    def spec(self) -> ProcessSpec:
        """The broker's process, once prepared."""
        return ProcessSpec(
            name="kafka",
            argv=[
                *(self._java[0], f"-Xms{_HEAP}", f"-Xmx{_HEAP}", *self._java[1:]),
                *("kafka.Kafka", str(self._folder / "server.properties")),
            ],
            ready=self._is_ready,
            ready_timeout_s=120,
            stop_timeout_s=30,
            alarm_exit_codes=frozenset(),
            cwd=self._folder,
        )

    def _format(self) -> None:
        self._write_configuration()
        cluster_id = base64.urlsafe_b64encode(uuid.UUID(self._stack.id).bytes).decode().rstrip("=")
        command = [
            *(
                self._java[0],
                "-Xmx256m",
                "-XX:TieredStopAtLevel=1",
                *self._java[1:],
                "kafka.tools.StorageTool",
                "format",
            ),
            *("--standalone", "--cluster-id", cluster_id, "--config", str(self._folder / "server.properties")),
        ]
        try:
            done = subprocess.run(
                command, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=120, check=False
            )
        except OSError as error:
            raise NoJava(f"no Java: {self._java[0]} can't be run here ({error.strerror})") from error
        except subprocess.TimeoutExpired as error:
            raise ServerFailed("Kafka's storage format did not end within 120 s") from error
        if done.returncode != 0:
            raise ServerFailed(f"Kafka's storage format failed: {(done.stderr or done.stdout).strip()[-500:]}")

    def _write_configuration(self) -> None:
        controller = f"{HOST}:{self._stack.ports['kafka_controller']}"
        properties = {
            "process.roles": "broker,controller",
            "node.id": "1",
            "controller.quorum.bootstrap.servers": controller,
            "listeners": f"PLAINTEXT://{HOST}:{self._port},CONTROLLER://{controller}",
            "advertised.listeners": f"PLAINTEXT://{HOST}:{self._port},CONTROLLER://{controller}",
            "controller.listener.names": "CONTROLLER",
            "inter.broker.listener.name": "PLAINTEXT",
            "log.dirs": str(self._folder / "log"),
            "auto.create.topics.enable": "false",
            # One node: nothing can be replicated.
            "offsets.topic.replication.factor": "1",
            "transaction.state.log.replication.factor": "1",
            "transaction.state.log.min.isr": "1",
            "share.coordinator.state.topic.replication.factor": "1",
            "share.coordinator.state.topic.min.isr": "1",
            # Few clients: fewer internal partitions load faster after a start.
            "offsets.topic.num.partitions": "4",
            "transaction.state.log.num.partitions": "4",
            "share.coordinator.state.topic.num.partitions": "1",
            "group.initial.rebalance.delay.ms": "0",
            "log.cleaner.dedupe.buffer.size": str(16 * 1024 * 1024),  # half of the default would be 1/16 of the heap
        }
        for folder in (self._folder, self._folder / "log", self._folder / "tmp"):
            folder.mkdir(parents=True, exist_ok=True)
        lines = (f"{name}={value}\n" for name, value in properties.items())
        (self._folder / "server.properties").write_text("".join(lines))
        (self._folder / "log4j2.properties").write_text(_LOGGING)

    def _is_ready(self, pid: int) -> bool:
        """A listing of topics is answered, and there is a broker in it."""
        client = AdminClient({"bootstrap.servers": f"{HOST}:{self._port}", "log_level": 0})
        deadline = time.monotonic() + 1
        try:
            return bool(client.list_topics(timeout=max(0.1, deadline - time.monotonic())).brokers)
        except KafkaException:
            return False
