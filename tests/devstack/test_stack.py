"""The local stack through all that happens to it on somebody's machine: interruptions, full disks, taken ports."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import asyncpg
import boto3
import pytest
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic
from tests.long_runs import long_run

from sealstream.devstack import (
    AlreadyRunning,
    DiskFull,
    Endpoints,
    NoJava,
    NotOurs,
    PortTaken,
    Stack,
    endpoints_of,
    status_of,
    stop_stack,
    supervisor_of,
)
from sealstream.devstack import directory as directory_module
from sealstream.devstack.directory import read_stack_file
from sealstream.devstack.jars import kafka_class_path
from sealstream.devstack.ports import free_port
from sealstream.devstack.running import identity_of
from sealstream.errors import Misconfigured

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

KEY = "kept"


def wait_for(what: Callable[[], object], timeout_s: float = 60) -> None:
    deadline = time.monotonic() + timeout_s
    while not what():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)


@pytest.fixture
def ports() -> dict[str, int]:
    taken: set[int] = set()
    return {name: free_port(taken) for name in ("kafka", "postgres", "s3")}


def start_elsewhere(data_dir: Path, ports: dict[str, int]) -> subprocess.Popen[str]:
    """Another process that runs the stack."""
    command = [sys.executable, "-m", "sealstream.devstack", str(data_dir), "--ports", *map(str, ports.values())]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def wait_until_ready(running: subprocess.Popen[str]) -> None:
    """Until it has said so; fails when it ends instead."""
    assert running.stdout is not None
    assert any(line.startswith("ready") for line in running.stdout)


def _s3(at: Endpoints) -> S3Client:
    return boto3.client(
        "s3",
        endpoint_url=at.s3_endpoint_url,
        region_name=at.s3_region,
        aws_access_key_id=at.s3_access_key,
        aws_secret_access_key=at.s3_secret_key,
    )


async def _sql(at: Endpoints, statement: str) -> object:
    connection = await asyncpg.connect(at.postgres_admin_dsn)
    try:
        return await connection.fetchval(statement)
    finally:
        await connection.close()


def store_something(at: Endpoints) -> None:
    """One thing in each server, acknowledged."""
    client = AdminClient({"bootstrap.servers": at.kafka_bootstrap})
    for made in client.create_topics([NewTopic(KEY, 1, 1)]).values():
        made.result(10)
    producer = Producer({"bootstrap.servers": at.kafka_bootstrap, "transactional.id": "one"})
    producer.init_transactions(10)
    producer.begin_transaction()
    producer.produce(KEY, b"in kafka")
    producer.commit_transaction(10)
    asyncio.run(_sql(at, f"CREATE TABLE {KEY} (what text)"))
    asyncio.run(_sql(at, f"INSERT INTO {KEY} VALUES ('in postgres')"))
    s3 = _s3(at)
    s3.create_bucket(Bucket=KEY, ObjectLockEnabledForBucket=True)
    s3.put_object(Bucket=KEY, Key=KEY, Body=b"in s3")


def assert_all_kept(at: Endpoints) -> None:
    """What was stored can be read, and each server takes more."""
    consumer = Consumer({"bootstrap.servers": at.kafka_bootstrap, "group.id": "x", "isolation.level": "read_committed"})
    consumer.assign([TopicPartition(KEY, 0, 0)])
    message = consumer.poll(20)
    assert message is not None
    assert message.value() == b"in kafka"
    consumer.close()
    assert asyncio.run(_sql(at, f"SELECT string_agg(what, ',') FROM {KEY}")) == "in postgres"
    s3 = _s3(at)
    assert s3.get_object(Bucket=KEY, Key=KEY)["Body"].read() == b"in s3"
    s3.put_object(Bucket=KEY, Key="more", Body=b"more")
    assert s3.get_object_lock_configuration(Bucket=KEY)["ObjectLockConfiguration"]["ObjectLockEnabled"] == "Enabled"


@long_run
def test_what_was_stored_survives_stopping_kill_9_and_interrupted_first_starts(
    tmp_path: Path, ports: dict[str, int]
) -> None:
    data_dir = tmp_path / "data"
    # A first start is killed while it makes the servers' folders.
    with start_elsewhere(data_dir, ports) as first:
        wait_for(lambda: list(data_dir.glob(".making-postgres-*/cluster/PG_VERSION")))
        first.kill()
    assert not (data_dir / "postgres").exists()

    # The same start once more goes through; then `down` in another shell ends it.
    with start_elsewhere(data_dir, ports) as running:
        wait_until_ready(running)
        at = endpoints_of(data_dir)
        assert at.kafka_bootstrap.endswith(f":{ports['kafka']}")
        store_something(at)
        with pytest.raises(AlreadyRunning) as other:
            Stack(data_dir).start()
        assert other.value.pid == running.pid == supervisor_of(data_dir)
        assert [each.state for each in status_of(data_dir)] == ["running"] * 3  # the refused start disturbed nothing
        assert stop_stack(data_dir)
        assert running.wait(5) == 0
    assert [each.state for each in status_of(data_dir)] == ["stopped"] * 3
    assert not stop_stack(data_dir)
    assert list(data_dir.glob(".making-*")) == []
    assert (data_dir / "stack.json").stat().st_mode & 0o077 == 0  # it holds passwords

    # Somebody took two internal ports meanwhile; it starts on others, and is killed by signal 9.
    internal = read_stack_file(data_dir).ports
    with socket.socket() as one, socket.socket() as two:
        for taker, name in ((one, "kafka_controller"), (two, "s3_master")):
            taker.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            taker.bind(("127.0.0.1", internal[name]))
            taker.listen()
        with start_elsewhere(data_dir, ports) as second:
            wait_until_ready(second)
            assert_all_kept(endpoints_of(data_dir))
            pids = [each.pid for each in status_of(data_dir)]
            assert supervisor_of(data_dir) == second.pid
            second.kill()

    # At once again: the killed one's servers are gone before new ones start.
    with Stack(data_dir) as again:
        assert not any(identity_of(pid or 0) for pid in pids)
        assert again.endpoints() == at
        assert_all_kept(at)
        # One server is killed: it comes back by itself, with its data.
        victim = next(each.pid for each in again.status() if each.name == "postgres")
        os.kill(victim or 0, signal.SIGKILL)
        wait_for(lambda: again.step() and all(each.state == "running" for each in again.status()))
        assert_all_kept(at)


def test_a_port_of_somebody_else_is_named_with_its_owner(tmp_path: Path, ports: dict[str, int]) -> None:
    # `create_server` binds also when the port is in TIME_WAIT.
    with socket.create_server(("127.0.0.1", ports["postgres"])), pytest.raises(PortTaken) as refused:
        Stack(tmp_path, ports=ports).start()
    assert f"port {ports['postgres']}, which postgres needs, is taken by" in str(refused.value)
    assert f"(process {os.getpid()})" in str(refused.value)
    assert "--postgres-port" in str(refused.value)
    with pytest.raises(Misconfigured, match="unknown server 'mysql'"):
        Stack(tmp_path, ports={"mysql": 1})


def test_somebody_elses_directory_is_refused_and_untouched(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(NotOurs, match=r"holds thesis\.tex, and no stack\.json"):
        Stack(tmp_path).start()
    assert [each.name for each in tmp_path.iterdir()] == ["thesis.tex"]
    (tmp_path / "stack.json").write_text("{}")
    with pytest.raises(Misconfigured, match="of another version"):
        Stack(tmp_path).start()
    (tmp_path / "stack.json").write_text("{")
    with pytest.raises(Misconfigured, match="can't be read"):
        Stack(tmp_path).start()
    with pytest.raises(Misconfigured, match=r"can't be used \(Not a directory\)"):
        Stack(tmp_path / "thesis.tex" / "below").start()
    with pytest.raises(Misconfigured, match="no stack in"):
        endpoints_of(tmp_path / "nowhere")


def test_without_jars_and_network_one_sentence_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")  # nobody answers there
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    said: list[str] = []
    with pytest.raises(NoJava, match=r"are not in .*cache/sealstream/kafka-4.* connect this machine to the network"):
        kafka_class_path(said.append)
    assert said == ["fetching Kafka 4.3.1 from Maven Central (45 MB, the first time only)"]
    assert list((tmp_path / "cache" / "sealstream").iterdir()) == []  # nothing that looks like a class path


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 300 MB."""
    if os.geteuid() != 0:
        pytest.skip("mounting a small disk needs root")
    mounted = tmp_path / "disk"
    mounted.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=300m", "tmpfs", str(mounted)], check=False)
    if done.returncode != 0:
        pytest.skip("this container may not mount a disk")
    yield mounted
    subprocess.run(["umount", "--lazy", str(mounted)], check=True)


@long_run
def test_a_disk_that_is_full_before_is_refused_and_one_that_fills_up_is_named(
    small_disk: Path, ports: dict[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(DiskFull, match=r"needs 500 MB free, there are \d+ MB; free some"):
        Stack(small_disk, ports=ports).start()
    # The check is passed, and then the space goes while the servers are made.
    monkeypatch.setattr(directory_module, "LEAST_FREE_BYTES", 0)
    filler = small_disk / ".stack.json.filler"
    filler.write_bytes(b"\0" * (small_disk_free(small_disk) - 30_000_000))
    with pytest.raises(DiskFull, match="is full"):
        Stack(small_disk, ports=ports).start()
    # With space again, the same start goes through.
    filler.unlink()
    with Stack(small_disk, ports=ports) as stack:
        assert {each.state for each in stack.status()} == {"running"}
        # It fills up while they run, and Kafka gives up.
        with filler.open("wb") as file, contextlib.suppress(OSError):
            while True:
                file.write(b"\0" * 1_000_000)
        client = AdminClient({"bootstrap.servers": stack.endpoints().kafka_bootstrap, "log_level": 0})
        client.create_topics([NewTopic("too-much", 8, 1)])
        with pytest.raises(DiskFull, match=r"is full, so kafka ended with exit code"):
            wait_for(lambda: stack.step() and False)
        pids = [each.pid for each in stack.status()]
    assert not any(identity_of(pid or 0) for pid in pids)  # all were ended although nothing could be written


def small_disk_free(folder: Path) -> int:
    return os.statvfs(folder).f_bavail * os.statvfs(folder).f_frsize
