"""Apache Kafka, one KRaft node: format its folder, its command line, and when it is ready.

Invariant: `<data>/kafka` is formatted or not there (`preparing.py`). Crash story: one node survives kill -9 (what it
acknowledged is in the page cache), not a power loss.
"""

from __future__ import annotations

import base64
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from sealstream.devstack.directory import StackFile
from sealstream.devstack.jars import java_executable
from sealstream.devstack.ports import HOST, is_free
from sealstream.devstack.preparing import make_whole
from sealstream.devstack.running import run_once
from sealstream.devstack.specs import ProcessSpec

__all__ = ["LOGGING", "KafkaServer", "java_command"]

_HEAP = "1g"
LOGGING = """\
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


def java_command(class_path: str, folder: Path, *options: str) -> list[str]:
    """The beginning of a command line that runs a program of Kafka's for the node whose folder this is."""
    return [
        *(str(java_executable()), *options),
        *("-XX:+ExitOnOutOfMemoryError", "-XX:-UsePerfData", "-Djava.awt.headless=true"),
        *("-Djava.net.preferIPv4Stack=true", f"-Djava.io.tmpdir={folder / 'tmp'}"),
        *(f"-Dlog4j2.configurationFile={folder / 'log4j2.properties'}", "-cp", class_path),
    ]


class KafkaServer:
    """Kafka of one stack. `properties`: more of the broker's own, or others, as for listeners with TLS."""

    def __init__(
        self, data_dir: Path, stack: StackFile, class_path: str, properties: Mapping[str, str] = MappingProxyType({})
    ) -> None:
        self._folder = data_dir / "kafka"
        self._stack = stack
        self._port = stack.ports["kafka"]
        self._class_path = class_path
        self._properties = properties

    def prepare(self, progress: Callable[[str], None]) -> None:
        """Format the log folder once, write the configuration. Raises `NoJava`, `ServerFailed`, `DiskFull`."""
        make_whole(self._folder, self._format)
        self._write_configuration(self._folder)  # each time: ports may be others

    def spec(self) -> ProcessSpec:
        """The broker's process, once prepared."""
        return ProcessSpec(
            name="kafka",
            argv=[*self._java(self._folder, f"-Xms{_HEAP}", f"-Xmx{_HEAP}"), "kafka.Kafka", _properties(self._folder)],
            ready=self._is_ready,
            ready_timeout_s=120,
            stop_timeout_s=30,
            alarm_exit_codes=frozenset(),
            cwd=self._folder,
        )

    def _java(self, folder: Path, *options: str) -> list[str]:
        return java_command(self._class_path, folder, *options)

    def _format(self, folder: Path) -> None:
        self._write_configuration(folder)
        # As one word with its option, since it may begin with a hyphen.
        cluster_id = base64.urlsafe_b64encode(uuid.UUID(self._stack.id).bytes).decode().rstrip("=")
        run_once(
            ProcessSpec(
                name="Kafka's storage format",
                argv=[
                    *(*self._java(folder, "-Xmx256m", "-XX:TieredStopAtLevel=1"), "kafka.tools.StorageTool", "format"),
                    *("--standalone", f"--cluster-id={cluster_id}", "--config", _properties(folder)),
                ],
            ),
            folder,
        )

    def _write_configuration(self, folder: Path) -> None:
        controller = f"{HOST}:{self._stack.ports['kafka_controller']}"
        properties = {
            "process.roles": "broker,controller",
            "node.id": "1",
            "controller.quorum.bootstrap.servers": controller,
            "listeners": f"PLAINTEXT://{HOST}:{self._port},CONTROLLER://{controller}",
            "advertised.listeners": f"PLAINTEXT://{HOST}:{self._port},CONTROLLER://{controller}",
            "controller.listener.names": "CONTROLLER",
            "inter.broker.listener.name": "PLAINTEXT",
            "log.dirs": str(folder / "log"),
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
            **self._properties,
        }
        for each in (folder / "log", folder / "tmp"):
            each.mkdir(parents=True, exist_ok=True)
        Path(_properties(folder)).write_text("".join(f"{name}={value}\n" for name, value in properties.items()))
        (folder / "log4j2.properties").write_text(LOGGING)

    def _is_ready(self, pid: int) -> bool:
        """A listing of topics is answered, and there is a broker in it."""
        if is_free(self._port):
            return False  # asked first, because the client reports each refused connection on stderr
        client = AdminClient({"bootstrap.servers": f"{HOST}:{self._port}", "log_level": 0})
        try:
            return bool(client.list_topics(timeout=1).brokers)
        except KafkaException:
            return False


def _properties(folder: Path) -> str:
    return str(folder / "server.properties")
