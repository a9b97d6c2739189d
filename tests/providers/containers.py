"""Kafka of three brokers, Postgres and SeaweedFS in containers that testcontainers starts and ends.

The brokers talk to each other in a network of Docker's and to the tests through published ports, so a broker that is
taken from that network is alone, and what it is asked from here is not answered either: `iptables` is not needed.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient
from testcontainers.core.container import DockerContainer
from testcontainers.core.network import Network
from tests.providers.provided import Provided

from sealstream.devstack import Endpoints
from sealstream.devstack.ports import free_port

__all__ = ["IMAGES", "containers"]

IMAGES = {"kafka": "apache/kafka:4.3.1", "postgres": "postgres:18", "s3": "chrislusf/seaweedfs:4.48"}
_HOST = "127.0.0.1"
_KEY = "of-the-tests"
_NODES = (1, 2, 3)
_READY_S = 180
_OUTSIDE, _S3_PORT, _POSTGRES_PORT = 9092, 8333, 5432
_BROKER = {
    "PROCESS_ROLES": "broker,controller",
    "LISTENERS": "INSIDE://:19092,OUTSIDE://:9092,CONTROLLER://:9093",
    "LISTENER_SECURITY_PROTOCOL_MAP": "INSIDE:PLAINTEXT,OUTSIDE:PLAINTEXT,CONTROLLER:PLAINTEXT",
    "INTER_BROKER_LISTENER_NAME": "INSIDE",
    "CONTROLLER_LISTENER_NAMES": "CONTROLLER",
    "CONTROLLER_QUORUM_VOTERS": ",".join(f"{node}@kafka-{node}:9093" for node in _NODES),
    "AUTO_CREATE_TOPICS_ENABLE": "false",
    "DEFAULT_REPLICATION_FACTOR": "3",
    "MIN_INSYNC_REPLICAS": "2",
    "OFFSETS_TOPIC_REPLICATION_FACTOR": "3",
    "OFFSETS_TOPIC_NUM_PARTITIONS": "4",
    "TRANSACTION_STATE_LOG_REPLICATION_FACTOR": "3",
    "TRANSACTION_STATE_LOG_MIN_ISR": "2",
    "TRANSACTION_STATE_LOG_NUM_PARTITIONS": "4",
    "GROUP_INITIAL_REBALANCE_DELAY_MS": "0",
    "HEAP_OPTS": "-Xms256m -Xmx512m",
}


class ContainerFaults:
    """Faults of the brokers in these containers."""

    def __init__(self, network: Network, made: Mapping[int, DockerContainer]) -> None:
        self._network = network
        self._made = made

    @contextmanager
    def cut_off(self, node: int) -> Iterator[None]:
        container = self._made[node].get_wrapped_container()
        container.client.networks.get(self._network.id).disconnect(container)
        try:
            yield
        finally:
            self._network.connect(container.id, [f"kafka-{node}"])

    @contextmanager
    def killed(self, node: int) -> Iterator[None]:
        container = self._made[node].get_wrapped_container()
        container.kill()
        try:
            yield
        finally:
            container.start()


@contextmanager
def containers(folder: Path) -> Iterator[Provided]:
    """All of them, ready; removed with their data at the end. What they must read is in `folder`."""
    with ExitStack() as stack:
        network = stack.enter_context(Network())
        taken: set[int] = set()
        ports = {node: free_port(taken) for node in _NODES}
        brokers = {node: _broker(node, ports[node], network) for node in _NODES}
        postgres_port, s3_port = free_port(taken), free_port(taken)
        postgres, s3 = _postgres(postgres_port), _s3(folder, s3_port)
        for container in (*brokers.values(), postgres, s3):
            stack.enter_context(container)
        bootstrap = ",".join(f"{_HOST}:{port}" for port in ports.values())
        _wait("Kafka", lambda: _members(bootstrap) == len(_NODES), brokers[1])
        _wait("Postgres", lambda: _succeeds(postgres, "pg_isready", f"--host={_HOST}"), postgres)
        _wait("S3", lambda: _succeeds(s3, "curl", "-fsS", f"http://{_HOST}:{_S3_PORT}/healthz"), s3)
        yield Provided(
            Endpoints(
                kafka_bootstrap=bootstrap,
                postgres_admin_dsn=f"postgresql://postgres:{_KEY}@{_HOST}:{postgres_port}/postgres",
                s3_endpoint_url=f"http://{_HOST}:{s3_port}",
                s3_region="us-east-1",
                s3_access_key=_KEY,
                s3_secret_key=_KEY,
            ),
            kafka={"replication": 3},
            faults=ContainerFaults(network, brokers),
        )


def _broker(node: int, port: int, network: Network) -> DockerContainer:
    container = DockerContainer(IMAGES["kafka"]).with_network(network).with_network_aliases(f"kafka-{node}")
    settings = _BROKER | {
        "NODE_ID": str(node),
        "ADVERTISED_LISTENERS": f"INSIDE://kafka-{node}:19092,OUTSIDE://{_HOST}:{port}",
    }
    for name, value in settings.items():
        container.with_env(f"KAFKA_{name}", value)
    container.with_env("CLUSTER_ID", "dGVzdHMtb2Ytc2VhbHN0cg")
    return container.with_bind_ports(_OUTSIDE, port)


def _postgres(port: int) -> DockerContainer:
    container = DockerContainer(IMAGES["postgres"]).with_env("POSTGRES_PASSWORD", _KEY)
    return container.with_bind_ports(_POSTGRES_PORT, port)


def _s3(folder: Path, port: int) -> DockerContainer:
    identity = {
        "name": "tests",
        "credentials": [{"accessKey": _KEY, "secretKey": _KEY}],
        "actions": ["Admin", "Read", "Write", "List"],
    }
    file = folder / "identities.json"
    file.write_text(json.dumps({"identities": [identity]}))
    file.chmod(0o644)
    container = DockerContainer(IMAGES["s3"]).with_env("WEED_MASTER_VOLUME_GROWTH_COPY_1", "1")
    container.with_volume_mapping(str(file), "/etc/identities.json", "ro")
    container.with_command(
        "server -s3 -s3.config=/etc/identities.json -s3.iam=false -s3.port.iceberg=0 -s3.port.lance=0 "
        "-master.telemetry=false -master.volumePreallocate=false -volume.max=200 -volume.preStopSeconds=1"
    )
    return container.with_bind_ports(_S3_PORT, port)


def _members(bootstrap: str) -> int:
    try:
        return len(AdminClient({"bootstrap.servers": bootstrap, "log_level": 0}).list_topics(timeout=5).brokers)
    except KafkaException:
        return 0


def _succeeds(container: DockerContainer, *words: str) -> bool:
    return container.get_wrapped_container().exec_run(list(words)).exit_code == 0


def _wait(name: str, ready: Callable[[], bool], container: DockerContainer) -> None:
    deadline = time.monotonic() + _READY_S
    while not ready():
        if time.monotonic() > deadline:
            said = container.get_wrapped_container().logs(tail=20).decode(errors="replace")
            raise TimeoutError(f"{name} is not ready after {_READY_S} s:\n{said}")
        time.sleep(0.5)
