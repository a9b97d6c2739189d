"""Three Kafka nodes, each broker and controller, replication 3 and min ISR 2, with every connection through a proxy.

Each kind of client has a listener of its own on every broker, advertised as the proxies of that client, so the network
between any client and any broker can be cut alone. Brokers reach each other and the controllers through proxies too;
who connects there is told by the connecting port. `direct` is the listener of the bench's own questions, never cut.
"""

from __future__ import annotations

import base64
import os
import uuid
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from confluent_kafka import KafkaException, TopicCollection
from confluent_kafka.admin import AdminClient
from tests.faults.program import Program
from tests.faults.proxy import Link, Network

from sealstream.devstack import ProcessSpec
from sealstream.devstack.jars import kafka_class_path
from sealstream.devstack.kafka_server import LOGGING, java_command
from sealstream.devstack.ports import HOST, free_port, is_free
from sealstream.devstack.running import run_once

__all__ = ["DIRECT", "KafkaCluster", "broker_name"]

DIRECT = "direct"
_NODES = (1, 2, 3)
_TRANSACTION_PARTITIONS = 4


def broker_name(node: int) -> str:
    """How links and plans call a broker."""
    return f"kafka-{node}"


class KafkaCluster:
    """`folders`: one a node. `clients`: the kinds of clients, each with its own links."""

    def __init__(
        self, folders: Sequence[Path], clients: Sequence[str], network: Network, taken: set[int], heap: str, logs: Path
    ) -> None:
        self._folders = dict(zip(_NODES, folders, strict=True))
        self._clients = (*clients, DIRECT)
        self._network = network
        self._heap = heap
        self._class_path = kafka_class_path(lambda _: None)
        self._cluster_id = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
        self._own: dict[tuple[str, int], int] = {}
        self._advertised: dict[tuple[str, int], int] = {}
        for node in _NODES:
            for listener in (*self._clients, "broker", "controller"):
                self._own[listener, node] = port = free_port(taken)
                source = listener if listener in clients else self._owner_of
                self._advertised[listener, node] = (
                    port if listener == DIRECT else network.listen(source, broker_name(node), port)
                )
        self.brokers = {node: Program(self._spec(node), logs / f"{broker_name(node)}.log") for node in _NODES}

    def bootstrap(self, client: str) -> str:
        """The brokers as this client must see them."""
        return ",".join(f"{HOST}:{self._advertised[client, node]}" for node in _NODES)

    def start(self) -> None:
        """Format and start all three, and wait until each is in the cluster."""
        for node, folder in self._folders.items():
            self._configure(node, folder)
            run_once(
                ProcessSpec(
                    name="Kafka's storage format",
                    argv=[
                        *java_command(self._class_path, folder, "-Xmx256m", "-XX:TieredStopAtLevel=1"),
                        *("kafka.tools.StorageTool", "format", f"--cluster-id={self._cluster_id}"),
                        *("--config", str(folder / "server.properties")),
                    ],
                ),
                folder,
            )
        for broker in self.brokers.values():
            broker.start()

    def all_listen(self) -> bool:
        """Whether all three serve clients; the cluster counts a killed one for some seconds more."""
        return not any(is_free(self._own[DIRECT, node]) for node in _NODES)

    def members(self) -> int:
        """How many brokers the cluster counts now; 0 when nobody answers."""
        try:
            return len(self._admin().list_topics(timeout=2).brokers)
        except KafkaException:
            return 0

    def leader(self, topic: str, partition: int = 0) -> int | None:
        """The node that leads a partition; None when nobody does, or says so."""
        try:
            (described,) = self._describe([topic])
        except (KafkaException, TimeoutError):
            return None
        leader = described.partitions[partition].leader
        return None if leader is None else int(leader.id)

    def is_whole(self, topics: Sequence[str]) -> bool:
        """Whether every partition of the topics has all its replicas in sync."""
        try:
            described = self._describe(topics)
        except (KafkaException, TimeoutError):
            return False
        return all(len(each.isr) == len(_NODES) for topic in described for each in topic.partitions)

    def coordinator(self, transactional_id: str) -> int | None:
        """The node that coordinates this id's transactions: the leader of its partition (by Java's String hash)."""
        code = 0
        for letter in transactional_id:
            code = (31 * code + ord(letter)) & 0xFFFFFFFF
        code = abs(code - (1 << 32) if code >= 1 << 31 else code)
        return self.leader("__transaction_state", code % _TRANSACTION_PARTITIONS)

    def links_of(self, node: int) -> list[Link]:
        """Everybody's links to this broker, and its own to the others."""
        name = broker_name(node)
        return self._network.links(lambda link: name in (link.source, link.target))

    def stop(self) -> None:
        """End all of them."""
        for broker in self.brokers.values():
            broker.kill()

    def _describe(self, topics: Sequence[str]) -> list[Any]:
        admin = self._admin()  # held until the answers are there: the driver drops the questions of who is gone
        found = admin.describe_topics(TopicCollection(list(topics)), request_timeout=5)
        return [each.result(10) for each in found.values()]

    def _admin(self) -> AdminClient:
        return AdminClient({"bootstrap.servers": self.bootstrap(DIRECT), "log_level": 0, "socket.timeout.ms": 5_000})

    def _owner_of(self, port: int) -> str:
        """Which broker has the connection from this port."""
        socket = _socket_at(port)
        for node, broker in self.brokers.items():
            if socket and broker.pid and _has_open(broker.pid, socket):
                return broker_name(node)
        return "unknown"

    def _spec(self, node: int) -> ProcessSpec:
        folder = self._folders[node]
        return ProcessSpec(
            name=broker_name(node),
            argv=[
                *java_command(self._class_path, folder, f"-Xms{self._heap}", f"-Xmx{self._heap}"),
                # Small and short-lived nodes on few cores: neither the second compiler nor a concurrent collector.
                *("-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "kafka.Kafka", str(folder / "server.properties")),
            ],
            cwd=folder,
        )

    def _configure(self, node: int, folder: Path) -> None:
        def name(listener: str) -> str:
            return listener.upper().replace("-", "_")

        def addresses(ports: dict[tuple[str, int], int], *, controller: bool) -> str:
            names = [*self._clients, "broker", *(["controller"] if controller else [])]
            return ",".join(f"{name(each)}://{HOST}:{ports[each, node]}" for each in names)

        properties = {
            "process.roles": "broker,controller",
            "node.id": str(node),
            "controller.quorum.voters": ",".join(f"{n}@{HOST}:{self._advertised['controller', n]}" for n in _NODES),
            "listeners": addresses(self._own, controller=True),
            "advertised.listeners": addresses(self._advertised, controller=False),
            "listener.security.protocol.map": ",".join(
                f"{name(each)}:PLAINTEXT" for each in (*self._clients, "broker", "controller")
            ),
            "controller.listener.names": "CONTROLLER",
            "inter.broker.listener.name": "BROKER",
            "log.dirs": str(folder / "log"),
            "auto.create.topics.enable": "false",
            "unclean.leader.election.enable": "false",
            "default.replication.factor": "3",
            "min.insync.replicas": "2",
            "offsets.topic.replication.factor": "3",
            "transaction.state.log.replication.factor": "3",
            "transaction.state.log.min.isr": "2",
            "share.coordinator.state.topic.replication.factor": "3",
            "share.coordinator.state.topic.min.isr": "2",
            "offsets.topic.num.partitions": "4",
            "transaction.state.log.num.partitions": str(_TRANSACTION_PARTITIONS),
            "share.coordinator.state.topic.num.partitions": "1",
            "group.initial.rebalance.delay.ms": "0",
            # A busy machine is no fault: the defaults, 1 s and 2 s, elect a new controller for every hiccup.
            "controller.quorum.election.timeout.ms": "3000",
            "controller.quorum.fetch.timeout.ms": "6000",
            "num.network.threads": "1",
            "num.io.threads": "4",
            "log.cleaner.dedupe.buffer.size": str(8 * 1024 * 1024),
        }
        for each in (folder / "log", folder / "tmp"):
            each.mkdir(parents=True, exist_ok=True)
        (folder / "server.properties").write_text("".join(f"{key}={value}\n" for key, value in properties.items()))
        (folder / "log4j2.properties").write_text(LOGGING)


def _socket_at(port: int) -> str:
    """The kernel's name of the TCP socket at this local port, "" when there is none.

    Asked by the network's own loop at every connection of a broker: psutil's answer takes ten times as long.
    """
    own = f":{port:04X}"
    for table in ("/proc/net/tcp6", "/proc/net/tcp"):
        with suppress(OSError):
            for line in Path(table).read_text().splitlines()[1:]:
                fields = line.split()
                if fields[1].endswith(own) and fields[9] != "0":  # which those have that wait for their end
                    return f"socket:[{fields[9]}]"
    return ""


def _has_open(pid: int, name: str) -> bool:
    with suppress(OSError), os.scandir(f"/proc/{pid}/fd") as files:
        for file in files:
            with suppress(OSError):
                if os.readlink(file) == name:
                    return True
    return False
