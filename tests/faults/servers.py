"""The bench's servers: three Kafka nodes, PostgreSQL and S3, each on a disk of its own that can be full at will.

The disks are tmpfs mounts where root may mount, so that "full" is a size and not gigabytes written; a killed program's
data survives in them as in a page cache. Where nothing can be mounted the folders are plain, and no disk gets full.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

from tests.faults.kafka_cluster import KafkaCluster
from tests.faults.program import Program
from tests.faults.proxy import Network
from tests.faults.s3_proxy import S3Proxy
from tests.faults.slots import Slot

from sealstream.devstack import Endpoints, ProcessSpec
from sealstream.devstack.directory import StackFile
from sealstream.devstack.ports import HOST, free_port
from sealstream.devstack.postgres_server import PostgresServer
from sealstream.devstack.s3_server import S3Server

__all__ = ["MAX_CONNECTIONS", "Disk", "Servers", "at_port"]

MAX_CONNECTIONS = 40
_DISK_BYTES = 2 << 30
_KEY = "of-the-fault-bench"


class Disk:
    """A folder that may be a mount of its own."""

    def __init__(self, folder: Path, size_bytes: int = _DISK_BYTES) -> None:
        self.folder = folder
        self._size_bytes = size_bytes
        self._ballast = folder / "ballast"
        folder.mkdir(parents=True)
        self.can_fill = os.geteuid() == 0 and _mount("-t", "tmpfs", "-o", f"size={size_bytes}", "tmpfs", str(folder))

    def fill(self) -> None:
        """No byte more fits, from now on."""
        for more in (0, 1 << 18, 1 << 20, 1 << 22, 1 << 24):  # what is written meanwhile must fit
            used = shutil.disk_usage(self.folder).used
            if _mount("-o", f"remount,size={max(used + more, 4096)}", str(self.folder)):
                break
        else:
            raise AssertionError(f"{self.folder} can't be made smaller")
        with suppress(OSError), self._ballast.open("wb", buffering=0) as ballast:
            while True:
                ballast.write(bytes(4096))

    def empty(self) -> None:
        """There is room again."""
        self._ballast.unlink(missing_ok=True)
        assert _mount("-o", f"remount,size={self._size_bytes}", str(self.folder))

    def close(self) -> None:
        """Unmount it; also while a killed program is not quite gone."""
        if self.can_fill:
            subprocess.run(["umount", "--lazy", str(self.folder)], check=False, capture_output=True)


def _mount(*arguments: str) -> bool:
    return subprocess.run(["mount", *arguments], check=False, capture_output=True).returncode == 0


class Servers:
    """All of them, under `folder`. `clients`: who gets links of his own."""

    def __init__(self, folder: Path, clients: list[str], network: Network, heap: str) -> None:
        self.folder = folder
        self.network = network
        self._slot = Slot()
        taken = self._slot.others
        names = ("kafka-1", "kafka-2", "kafka-3", "postgres", "s3")
        self.disks = {name: Disk(folder / name) for name in names}
        ports = {
            name: free_port(taken)
            for name in ("kafka", "postgres", "s3", "s3_master", "s3_volume", "s3_filer", "s3_admin", "s3_grpc")
        }
        stack = StackFile("", ports, _KEY, _KEY, _KEY)
        self.kafka = KafkaCluster(
            [self.disks[name].folder for name in names[:3]], clients, network, taken, heap, folder
        )
        self._postgres = PostgresServer(self.disks["postgres"].folder, stack)
        self._s3 = S3Server(self.disks["s3"].folder, stack)
        self._postgres.prepare(lambda _: None)
        self._s3.prepare(lambda _: None)
        spec = self._postgres.spec()
        more = ["-c", f"max_connections={MAX_CONNECTIONS}", "-c", "superuser_reserved_connections=3"]
        spec = ProcessSpec(**{**vars(spec), "argv": [*spec.argv, *more]})
        self.postgres = Program(spec, folder / "postgres.log")
        self.s3 = Program(self._s3.spec(), folder / "s3.log")
        self.s3_proxy = S3Proxy(network, ports["s3"])
        self._ports = ports
        self.postgres_links = {name: network.listen(name, "postgres", ports["postgres"]) for name in clients}
        self.s3_links = {name: network.listen(name, "s3", self.s3_proxy.port) for name in clients}

    @property
    def programs(self) -> dict[str, Program]:
        """By the name of its disk."""
        brokers = {f"kafka-{node}": broker for node, broker in self.kafka.brokers.items()}
        return {**brokers, "postgres": self.postgres, "s3": self.s3}

    def start(self) -> None:
        """Start all; each is ready somewhat later."""
        self.postgres.start()
        self.s3.start()
        self.kafka.start()

    def ready(self) -> bool:
        """Whether all of them work."""
        return self.answers(self.postgres) and self.answers(self.s3) and self.kafka.members() == 3

    @staticmethod
    def answers(program: Program) -> bool:
        """Whether a server says that it is ready."""
        return program.pid is not None and (program.spec.ready is None or program.spec.ready(program.pid))

    def endpoints(self) -> Endpoints:
        """The servers themselves, without proxies."""
        return Endpoints(
            kafka_bootstrap=self.kafka.bootstrap("direct"),
            postgres_admin_dsn=f"postgresql://postgres:{_KEY}@{HOST}:{self._ports['postgres']}/postgres",
            s3_endpoint_url=f"http://{HOST}:{self._ports['s3']}",
            s3_region="us-east-1",
            s3_access_key=_KEY,
            s3_secret_key=_KEY,
        )

    def postgres_through(self, client: str, dsn: str) -> str:
        """The DSN, by this client's link."""
        return at_port(dsn, self.postgres_links[client])

    def s3_through(self, client: str) -> str:
        """The endpoint, by this client's link."""
        return f"http://{HOST}:{self.s3_links[client]}"

    def stop_postgres(self) -> None:
        """In order: clients are sent away."""
        self.postgres.end(signal.SIGINT)

    def copy_postgres(self, source: Path, target: Path) -> None:
        """The stopped cluster's folder to another place, or back."""
        shutil.rmtree(target, ignore_errors=True)
        subprocess.run(["cp", "-a", str(source), str(target)], check=True)

    @property
    def postgres_folder(self) -> Path:
        return self.disks["postgres"].folder / "postgres"

    def stop(self) -> None:
        """kill -9 all, and give their disks back."""
        self.kafka.stop()
        self.postgres.end(signal.SIGINT, 15)
        self.s3.kill()
        for disk in self.disks.values():
            disk.close()
        self._slot.close()


def at_port(dsn: str, port: int) -> str:
    """The same database, reached through another port of this machine."""
    parts = urlsplit(dsn)
    return urlunsplit(parts._replace(netloc=f"{parts.netloc.rpartition('@')[0]}@{HOST}:{port}"))
