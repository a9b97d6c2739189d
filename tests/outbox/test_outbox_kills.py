"""Real processes and a real Postgres of its own, ended by kill -9 while an application writes: what the application's
tables hold at the end is what the log holds, each once, in order.

The application commits asynchronously (`synchronous_commit = off`), so that a killed Postgres forgets its last
transactions: the log must not hold their events either. `SEALSTREAM_OUTBOX_KILLS=100` makes it last for minutes, and
puts a snapshot of the server's disk back.
"""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import psycopg
import pytest
from tests.long_runs import long_run
from tests.pipeline import Pipeline, make_pipeline, pipeline_roles, wait_until

from sealstream.client import Outbox
from sealstream.devstack.directory import open_stack
from sealstream.devstack.ports import free_port
from sealstream.devstack.postgres_server import SUPERUSER, PostgresServer, _program
from sealstream.devstack.running import spawn
from sealstream.devstack.specs import ProcessSpec
from sealstream.layout import OutboxTables
from sealstream.relaying import make_outbox, outbox_status

__all__ = ["make_pipeline", "pipeline_roles"]

FEW = 2
KILLS = int(os.environ.get("SEALSTREAM_OUTBOX_KILLS", FEW))
TABLES = OutboxTables.of()


class OwnPostgres:
    """A server that nobody else uses, in a folder that can be copied and put back."""

    def __init__(self, folder: Path, original: OwnPostgres | None = None) -> None:
        """`original`: this one is its standby, which copies what it commits, a moment later."""
        taken: set[int] = set()
        folder.mkdir(0o755)
        self._folder = folder
        self._log = folder.with_suffix(".log")
        stack = open_stack(folder, {name: free_port(taken) for name in ("kafka", "postgres", "s3")})
        password = quote(stack.postgres_password)
        self.address = f"127.0.0.1:{stack.ports['postgres']}"
        self.dsn = f"postgresql://{SUPERUSER}:{password}@{self.address}/postgres"
        self._server = PostgresServer(folder, stack)
        if original is None:
            self._server.prepare(lambda _: None)
        else:
            self._follow(original)
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        spec = self._server.spec()
        self._process = process = spawn(spec, self._log)
        wait_until(self._answers, 60, lambda: f"{process.poll()}: {self._log.read_text()[-2_000:]}")

    def _answers(self) -> bool:
        try:
            psycopg.connect(self.dsn).close()
        except psycopg.OperationalError:
            return False
        return True

    def _follow(self, original: OwnPostgres) -> None:
        self.dsn = original.dsn.replace(original.address, self.address)
        cluster = self._folder / "postgres" / "cluster"
        cluster.parent.mkdir()
        subprocess.run([_program("pg_basebackup"), "-D", cluster, "-d", original.dsn, "-R", "-c", "fast"], check=True)
        (self._folder / "postgres").chmod(0o755)
        self._server.prepare(lambda _: None)

    def ask(self, statement: str) -> Any:
        """The first value of the answer."""
        with psycopg.connect(self.dsn, autocommit=True) as connection:
            cursor = connection.execute(statement)  # type: ignore[call-overload]
            return cursor.fetchone()[0] if cursor.description else None

    def kill(self) -> None:
        """kill -9 of the postmaster; its backends see that and end."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()
        self._process = None
        time.sleep(0.2)

    def back_up(self, to: Path) -> None:
        """A copy of all files, as a snapshot of the disk is one: the server recovers from it as from a crash."""
        self.kill()
        shutil.copytree(self._folder / "postgres", to)
        self.start()

    def restore(self, backup: Path) -> None:
        if self._process is not None:
            self.kill()
        shutil.rmtree(self._folder / "postgres")
        shutil.copytree(backup, self._folder / "postgres")
        self._server.prepare(lambda _: None)  # the files get their owner back
        self.start()

    def stop(self) -> None:
        if self._process is not None:
            self.kill()


@pytest.fixture
def postgres() -> Iterator[OwnPostgres]:
    with tempfile.TemporaryDirectory(prefix="sealstream-tests-") as folder:
        Path(folder).chmod(0o755)  # PostgreSQL may run as another account
        server = OwnPostgres(Path(folder) / "data")
        server.start()
        yield server
        server.stop()


class Application(threading.Thread):
    """Sells and rolls back at random in a thread of its own, and comes back when its database was away."""

    def __init__(self, dsn: str, seed: int) -> None:
        super().__init__(daemon=True)
        self._dsn = dsn
        self._chance = random.Random(seed)
        self._outbox = Outbox(source={"service": f"shop-{seed}"})
        self._numbers = iter(range(seed, 100_000_000, 10))
        self.ending = threading.Event()
        self.failed: BaseException | None = None

    def run(self) -> None:
        try:
            while not self.ending.is_set():
                try:
                    with psycopg.connect(self._dsn) as connection:
                        connection.execute("SET synchronous_commit = off")
                        connection.commit()
                        while not self.ending.is_set():
                            self._sell(connection)
                except psycopg.OperationalError:
                    time.sleep(0.05)
        except BaseException as error:  # noqa: BLE001 - told by the test
            self.failed = error

    def _sell(self, connection: psycopg.Connection[Any]) -> None:
        for _ in range(self._chance.randint(1, 5)):
            n = next(self._numbers)
            connection.execute("INSERT INTO sale VALUES (%s)", (n,))
            self._outbox.emit(connection, "sell", actor_id="shop", resource_type="sale", resource_id=n)
        if self._chance.random() < 0.2:
            connection.rollback()
        else:
            connection.commit()


class Relay:
    """`sealstream outbox relay`, as a process."""

    def __init__(self, pipeline: Pipeline, dsn: str, name: str) -> None:
        command = [sys.executable, "-m", "sealstream.cli.entry", "--config", str(pipeline.config), "outbox", "relay"]
        self._log = pipeline.folder / f"{name}.log"
        self._spec = ProcessSpec(
            name=name, argv=[*command, "--chain", pipeline.name], env={"SEALSTREAM_OUTBOX_DSN": dsn}
        )
        self.process = spawn(self._spec, self._log)

    def kill_and_start(self) -> None:
        assert self.process.poll() is None, f"the relay ended by itself: {self.log()}"
        self.process.kill()
        self.process.wait()
        self.process = spawn(self._spec, self._log)

    def log(self) -> str:
        return self._log.read_text()[-3_000:]


@pytest.fixture
def pipeline(make_pipeline: Callable[..., Pipeline]) -> Iterator[Pipeline]:
    made = make_pipeline()
    made.start("sequencer")
    yield made
    made.kill_all()


@pytest.fixture
def relays(pipeline: Pipeline, postgres: OwnPostgres) -> Iterator[list[Relay]]:
    with psycopg.connect(postgres.dsn) as connection:
        connection.execute("CREATE TABLE sale (n bigint)")
    make_outbox(postgres.dsn, TABLES)
    running = [Relay(pipeline, postgres.dsn, f"relay-{n}") for n in range(2)]
    yield running
    for relay in running:
        relay.process.kill()
        relay.process.wait()


def sold(pipeline: Pipeline) -> list[int]:
    """The sales in the chain; a gap, a conflict or a doubt about a number fails the test."""
    entries = pipeline.entries()
    statements = [
        entry for entry in entries if entry["action"] in ("producer.gap", "producer.conflict", "producer.unsure")
    ]
    assert not statements, statements[0]
    return [int(entry["resource_id"]) for entry in entries if entry["action"] == "sell"]


def in_the_table(postgres: OwnPostgres) -> list[int]:
    with psycopg.connect(postgres.dsn) as connection:
        return [n for (n,) in connection.execute("SELECT n FROM sale ORDER BY n").fetchall()]


def wait_relayed(pipeline: Pipeline, postgres: OwnPostgres, relays: list[Relay]) -> None:
    wait_until(lambda: outbox_status(postgres.dsn, TABLES).waiting == 0, 60, lambda: relays[0].log() + relays[1].log())
    pipeline.wait_sealed()


@long_run
def test_killed_relays_and_a_killed_postgres_lose_and_double_nothing(
    pipeline: Pipeline, postgres: OwnPostgres, relays: list[Relay]
) -> None:
    chance = random.Random(7)
    applications = [Application(postgres.dsn, seed) for seed in range(4)]
    for application in applications:
        application.start()
    wait_until(lambda: outbox_status(postgres.dsn, TABLES).relayed > 0, 60, relays[0].log)
    for kill in range(KILLS):
        time.sleep(chance.uniform(0.2, 1.5))
        if kill % 3 == 1:
            postgres.kill()
            postgres.start()
        else:
            chance.choice(relays).kill_and_start()
    time.sleep(0.5)
    for application in applications:
        application.ending.set()
        application.join()
        assert application.failed is None, application.failed
    wait_relayed(pipeline, postgres, relays)
    log = sold(pipeline)
    assert sorted(log) == in_the_table(postgres)
    assert len(log) > 100 * KILLS
    for seed in range(4):
        of_one = [n for n in log if n % 10 == seed]
        assert of_one == sorted(of_one), "one connection's events stand in its order"


@pytest.mark.slow
@pytest.mark.skipif(KILLS == FEW, reason="tables restored in place say the same in a tenth of the time")
def test_a_snapshot_of_the_disk_is_put_back(
    pipeline: Pipeline, postgres: OwnPostgres, relays: list[Relay], tmp_path: Path
) -> None:
    """Nothing in such a database tells that it was set back: the same cluster, the same timeline."""
    outbox = Outbox()

    def sell(*numbers: int) -> None:
        with psycopg.connect(postgres.dsn) as connection:
            for n in numbers:
                connection.execute("INSERT INTO sale VALUES (%s)", (n,))
                outbox.emit(connection, "sell", resource_type="sale", resource_id=n)

    sell(1, 2)
    wait_relayed(pipeline, postgres, relays)
    for relay in relays:
        relay.process.kill()
        relay.process.wait()
    sell(3)
    postgres.back_up(tmp_path / "backup")
    relays[:] = [Relay(pipeline, postgres.dsn, f"again-{n}") for n in range(2)]
    sell(4, 5)
    wait_relayed(pipeline, postgres, relays)
    postgres.restore(tmp_path / "backup")
    sell(6)
    wait_relayed(pipeline, postgres, relays)
    assert sold(pipeline) == [1, 2, 3, 4, 5, 6]
    assert in_the_table(postgres) == [1, 2, 3, 6]
    assert [entry["action"] for entry in pipeline.entries()].count("outbox.behind") == 1


@pytest.mark.slow
@pytest.mark.skipif(KILLS == FEW, reason="another server and its standby take their time")
def test_a_failover_that_loses_the_last_commits(pipeline: Pipeline, postgres: OwnPostgres) -> None:
    """The relay follows the primary by itself; the standby that becomes it does not know what was sent last."""
    with tempfile.TemporaryDirectory(prefix="sealstream-tests-") as folder:
        Path(folder).chmod(0o755)
        standby = OwnPostgres(Path(folder) / "data", postgres)
        standby.start()
        hosts = postgres.dsn.replace(postgres.address, f"{postgres.address},{standby.address}")
        relays = [Relay(pipeline, f"{hosts}?target_session_attrs=primary", f"relay-{n}") for n in range(2)]
        try:
            fail_over(pipeline, postgres, standby, relays)
        finally:
            for relay in relays:
                relay.process.kill()
                relay.process.wait()
            standby.stop()


def fail_over(pipeline: Pipeline, postgres: OwnPostgres, standby: OwnPostgres, relays: list[Relay]) -> None:
    outbox = Outbox()

    def sell(server: OwnPostgres, *numbers: int) -> None:
        with psycopg.connect(server.dsn) as connection:
            for n in numbers:
                connection.execute("INSERT INTO sale VALUES (%s)", (n,))
                outbox.emit(connection, "sell", resource_type="sale", resource_id=n)

    make_outbox(postgres.dsn, TABLES)
    postgres.ask("CREATE TABLE sale (n bigint)")
    sell(postgres, 1, 2)
    wait_relayed(pipeline, postgres, relays)
    caught_up = "SELECT coalesce(bool_and(replay_lsn >= pg_current_wal_lsn()), false) FROM pg_stat_replication"
    wait_until(lambda: postgres.ask(caught_up), 60)
    standby.ask("ALTER SYSTEM SET primary_conninfo = ''")
    standby.ask("SELECT pg_reload_conf()")
    wait_until(lambda: postgres.ask("SELECT count(*) FROM pg_stat_replication") == 0, 60)
    sell(postgres, 3)
    sell(postgres, 4)
    wait_relayed(pipeline, postgres, relays)
    postgres.kill()
    assert standby.ask("SELECT pg_promote()")
    sell(standby, 5)
    wait_relayed(pipeline, standby, relays)
    assert sold(pipeline) == [1, 2, 3, 4, 5]
    assert in_the_table(standby) == [1, 2, 5]
    assert [entry["action"] for entry in pipeline.entries()].count("outbox.behind") == 1
