"""The local stack: Kafka, PostgreSQL and S3 with Object Lock in one data directory, and Sealstream's processes on them.

Invariants: one supervisor a data directory; everything listens on 127.0.0.1; ports and passwords are chosen once.
Crash story: whatever was interrupted (first start, running, stopping), `start()` runs the same lines: take the lock,
end what was left running, make what is not whole, start. Stored data stays.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

from sealstream.devstack.directory import PUBLIC_PORTS, StackFile, claim, open_stack, read_stack_file
from sealstream.devstack.jars import kafka_class_path
from sealstream.devstack.kafka_server import KafkaServer
from sealstream.devstack.ports import HOST, check_free
from sealstream.devstack.postgres_server import SUPERUSER, PostgresServer
from sealstream.devstack.running import end
from sealstream.devstack.s3_server import REGION, S3Server
from sealstream.devstack.specs import ProcessSpec, ProcessStatus
from sealstream.devstack.supervisor import Supervisor, end_recorded, read_statuses, recorded_supervisor
from sealstream.errors import Misconfigured

__all__ = ["Endpoints", "Stack", "endpoints_of", "status_of", "stop_stack", "supervisor_of"]

_STOP_TIMEOUT_S = 90


class Endpoints(NamedTuple):
    """Where the servers are, and their keys. `postgres_admin_dsn`: the superuser, database `postgres`."""

    kafka_bootstrap: str
    postgres_admin_dsn: str
    s3_endpoint_url: str
    s3_region: str
    s3_access_key: str
    s3_secret_key: str


class Stack:
    """A stack under the supervision of this process.

    `ports`: of kafka, postgres, s3; those not given stay what they were, at first the defaults. `progress` is told, in
    a few words, what takes time. `start()`, `start_processes()`, `step()` and `stop()` must be called from one and the
    same thread, and it must live for as long as the stack: its programs end with it.
    """

    def __init__(
        self,
        data_dir: Path,
        *,
        ports: Mapping[str, int] | None = None,
        progress: Callable[[str], None] = lambda _: None,
    ) -> None:
        unknown = sorted(set(ports or {}) - set(PUBLIC_PORTS))
        if unknown:
            raise Misconfigured(f"unknown server {unknown[0]!r} in ports: expected {', '.join(PUBLIC_PORTS)}")
        self.data_dir = data_dir.absolute()
        self._ports = ports
        self._progress = progress
        self._lock: int | None = None
        self._supervisor = Supervisor(self.data_dir)

    def start(self) -> Endpoints:
        """Start the three servers and wait until they work. Raises one of `faults`; nothing is left running then."""
        self._lock = claim(self.data_dir)
        try:
            for name in end_recorded(self.data_dir):
                self._progress(f"ended {name}, which an interrupted run had left")
            class_path = kafka_class_path(self._progress)
            stack = open_stack(self.data_dir, self._ports)
            for name in PUBLIC_PORTS:
                check_free(stack.ports[name], name, f"--{name}-port")
            servers: list[KafkaServer | PostgresServer | S3Server] = [
                KafkaServer(self.data_dir, stack, class_path),
                PostgresServer(self.data_dir, stack),
                S3Server(self.data_dir, stack),
            ]
            with ThreadPoolExecutor(len(servers)) as pool:
                for prepared in [pool.submit(server.prepare, self._progress) for server in servers]:
                    prepared.result()
            self._progress("starting Kafka, PostgreSQL and S3")
            self._supervisor.start([server.spec() for server in servers], together=True)
        except BaseException:
            self.stop()
            raise
        return _endpoints(stack)

    def start_processes(self, specs: Sequence[ProcessSpec]) -> None:
        """Start further programs, one after another as each becomes ready; the servers must have been started."""
        self._supervisor.start(specs)

    def step(self) -> bool:
        """Look after all programs once; True when something changed. Call it a few times a second."""
        return self._supervisor.step()

    def stop(self) -> None:
        """End all programs in reverse order and let go of the directory. Repeatable."""
        self._supervisor.stop()
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def status(self) -> list[ProcessStatus]:
        """How the programs are, in the order of their start."""
        return self._supervisor.statuses()

    def endpoints(self) -> Endpoints:
        """Where the servers are."""
        return endpoints_of(self.data_dir)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def endpoints_of(data_dir: Path) -> Endpoints:
    """Where the servers of a stack are, whether or not it runs. Raises `Misconfigured` when there is none."""
    return _endpoints(read_stack_file(data_dir))


def status_of(data_dir: Path) -> list[ProcessStatus]:
    """How the programs of a stack are, from any process; empty when none was ever started."""
    return read_statuses(data_dir)


def supervisor_of(data_dir: Path) -> int | None:
    """The pid of the supervisor that runs this stack; None when nobody does."""
    supervisor = recorded_supervisor(data_dir)
    return supervisor.pid if supervisor else None


def stop_stack(data_dir: Path, timeout_s: float = _STOP_TIMEOUT_S) -> bool:
    """End a stack from any process: ask its supervisor, or end what a killed one left. True when something ran."""
    supervisor = recorded_supervisor(data_dir)
    if supervisor is not None:
        end([(supervisor, signal.SIGTERM, timeout_s)])
    left = end_recorded(data_dir)
    return supervisor is not None or bool(left)


def _endpoints(stack: StackFile) -> Endpoints:
    ports = stack.ports
    return Endpoints(
        kafka_bootstrap=f"{HOST}:{ports['kafka']}",
        postgres_admin_dsn=f"postgresql://{SUPERUSER}:{stack.postgres_password}@{HOST}:{ports['postgres']}/postgres",
        s3_endpoint_url=f"http://{HOST}:{ports['s3']}",
        s3_region=REGION,
        s3_access_key=stack.s3_access_key,
        s3_secret_key=stack.s3_secret_key,
    )
