"""The watch on a real broker, with topics of its own: processes that are killed at will, and what should come of it.

What should come of it is said by a pure run over the records that a reader sees in the topics.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import psutil
from confluent_kafka import Producer

from sealstream.anomaly.detecting import second_at
from sealstream.anomaly.raising import alert_statement
from sealstream.anomaly.watching import Subject
from sealstream.anomaly.worker_handling import Taken, counted_by, decoded, watches_of
from sealstream.devstack import ProcessSpec
from sealstream.devstack.running import spawn
from sealstream.kafka import (
    CommittedReader,
    KafkaSettings,
    Place,
    Record,
    committed_offsets,
    create_topics,
    end_offsets,
    first_offsets,
    first_record,
    partition_counts,
)
from sealstream.layout import ChainTopics
from sealstream.layout.activity import (
    Activity,
    ActivityTopics,
    AddressActivity,
    AddressCell,
    Cell,
    encode_activity,
)
from sealstream.layout.alerts import encode_alert
from sealstream.layout.workers import WorkerTopics, parse_counted, worker_group

__all__ = ["CHAIN", "Story", "WatchBench", "logins", "read_all"]

CHAIN = "main"
BEGIN_S = 1_793_610_000  # 2026-11-02T09:00:00Z
_WORKER = "sealstream.cli.anomaly_worker"


class WatchBench:
    """Topics under a prefix that nobody else has. `silent_s`, `still_s`: the watchdog's patience."""

    def __init__(
        self, kafka: KafkaSettings, folder: Path, *, partitions: int = 4, silent_s: float = 8, still_s: float = 15
    ) -> None:
        self.kafka = kafka
        self.folder = folder
        self.prefix = f"w{uuid.uuid4().hex[:12]}"
        self.topics = ActivityTopics.of(self.prefix)
        self.states = WorkerTopics.of(self.prefix)
        self.control = ChainTopics.of(CHAIN, self.prefix).control
        self.running: dict[str, subprocess.Popen[bytes]] = {}
        self.config = folder / "sealstream.toml"
        self.more_settings = ""
        self.write_settings(silent_s, still_s)
        create_topics(
            kafka,
            self.topics.configs(partitions)
            + self.states.configs(partitions)
            + [each for each in ChainTopics.of(CHAIN, self.prefix).configs() if each.name == self.control],
        )
        self.places = [Place(topic, n) for topic in self.topics[:2] for n in range(partitions)]
        self._producer: Producer | None = None

    def write_settings(self, silent_s: float, still_s: float) -> None:
        """For processes that are started from now on."""
        self.config.write_text(
            f'[kafka]\nbootstrap = "{self.kafka.bootstrap}"\nprefix = "{self.prefix}"\n'
            f"[anomaly]\nworker_silent_seconds = {silent_s}\n"
            f"worker_still_seconds = {still_s}\n{self.more_settings}"
        )

    # --- processes

    def start(self, name: str = "anomaly", *options: str) -> None:
        """`sealstream run anomaly`."""
        command = [sys.executable, "-m", "sealstream.cli.entry", "--config", str(self.config), "run", "anomaly"]
        self.running[name] = spawn(ProcessSpec(name=name, argv=[*command, *options]), self.folder / f"{name}.log")

    def worker(self, name: str = "anomaly", timeout_s: float = 30) -> psutil.Process:
        """The worker that this process looks after now."""
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            for child in psutil.Process(self.running[name].pid).children():
                try:
                    if _WORKER in child.cmdline():
                        return child
                except psutil.NoSuchProcess:
                    continue
            time.sleep(0.05)
        raise AssertionError(f"{name} has no worker: {self.log(name)}")

    def kill(self, name: str = "anomaly") -> None:
        """kill -9 of who looks after the worker, and so of both."""
        process = self.running.pop(name)
        process.kill()
        process.wait()

    def stop(self, name: str = "anomaly", timeout_s: float = 10) -> int:
        """SIGTERM; the exit code."""
        process = self.running.pop(name)
        process.terminate()
        return process.wait(timeout_s)

    def close(self) -> None:
        """Leave nothing behind."""
        for process in self.running.values():
            for each in [*psutil.Process(process.pid).children(), process]:
                each.send_signal(signal.SIGCONT)
            process.kill()
            process.wait()
        self.running.clear()

    def log(self, name: str = "anomaly", lines: int = 30) -> str:
        """The last lines of a process's log, and of its workers'."""
        return "\n".join((self.folder / f"{name}.log").read_text(errors="replace").splitlines()[-lines:])

    # --- what goes in

    def send(self, records: Iterable[Activity | AddressActivity], *, commit: bool = True) -> None:
        """One transaction, as the roll-up writes them."""
        self.send_raw(
            [
                (self.topics.activity, encode_activity(record), record.actor_id.encode())
                if isinstance(record, Activity)
                else (self.topics.addresses, encode_activity(record), record.ip_address.encode())
                for record in records
            ],
            commit=commit,
        )

    def send_raw(self, records: Iterable[tuple[str, bytes | None, bytes | None]], *, commit: bool = True) -> None:
        """The same for any topic, value and key."""
        if self._producer is None:
            self._producer = Producer(
                {
                    "bootstrap.servers": self.kafka.bootstrap,
                    "transactional.id": f"rollup-{self.prefix}",
                    "compression.type": "lz4",
                    "partitioner": "murmur2_random",
                    "log_level": 0,
                }
            )
            self._producer.init_transactions(30)
        self._producer.begin_transaction()
        for topic, value, key in records:
            self._producer.produce(topic, value, key)
        assert self._producer.flush(30) == 0
        if commit:
            self._producer.commit_transaction(30)
        else:
            self._producer.abort_transaction(30)

    # --- what comes out

    def alerts(self) -> list[bytes]:
        """The values of `audit.alerts`, by partition."""
        return [record.value or b"" for record in read_all(self.kafka, self.topics.alerts)]

    def statements(self) -> list[bytes]:
        """What the sequencer would read."""
        return [record.value or b"" for record in read_all(self.kafka, self.control)]

    def stored(self) -> dict[bytes, bytes]:
        """The state of each subject that counts most."""
        newest: dict[bytes, tuple[int, bytes]] = {}
        for topic in self.states:
            for record in read_all(self.kafka, topic):
                counted = parse_counted(record.headers)
                if record.key and counted >= newest.get(record.key, (-1, b""))[0]:
                    newest[record.key] = counted, record.value or b""
        return {key: value for key, (_, value) in newest.items()}

    def expected(self) -> tuple[dict[str, bytes], dict[bytes, bytes]]:
        """A pure run over what stands in the topics: alerts by id, and states by subject."""
        watches = watches_of({})
        alerts: dict[str, bytes] = {}
        states: dict[bytes, bytes] = {}
        for kind, topic in zip(watches, self.topics, strict=False):
            subjects: dict[bytes, Subject[Any]] = {}
            for record in read_all(self.kafka, topic):
                try:
                    seen = decoded(Taken(kind, 0, record.offset, record.key, record.value))
                except Exception:  # noqa: BLE001 - what no worker understands either
                    continue
                subject = subjects.setdefault(record.key or b"", Subject())
                for alert in watches[kind].see(subject, seen):
                    alerts[alert.id] = encode_alert(alert)
            states |= {key: watches[kind].encode(each) for key, each in subjects.items() if counted_by(each)}
        return alerts, states

    def done(self) -> bool:
        """Whether every record was handled and committed."""
        committed = committed_offsets(self.kafka, worker_group(self.prefix), self.places)
        ends = end_offsets(self.kafka, self.places)
        behind = [place for place in self.places if committed.get(place, -1) < ends[place]]
        return all(place in committed and first_record(self.kafka, place, committed[place]) is None for place in behind)

    def wait_done(self, timeout_s: float = 60) -> None:
        """Until `done`."""
        self.wait(self.done, timeout_s)

    def wait(self, condition: Callable[[], bool], timeout_s: float = 60) -> None:
        """Until it holds; says all logs when it does not."""
        deadline = time.monotonic() + timeout_s
        while not condition():
            logs = "\n".join(f"--- {name}\n{self.log(name)}" for name in self.running)
            assert time.monotonic() < deadline, f"not within {timeout_s} s: {logs}"
            time.sleep(0.3)

    def check(self) -> int:
        """Alerts, statements and states are those of a run without faults; how many alerts."""
        alerts, states = self.expected()
        assert set(self.alerts()) == set(alerts.values())
        assert sorted(set(self.statements())) == sorted(_statements(alerts.values()))
        stored = self.stored()
        assert {key: stored.get(key) for key in states} == states
        return len(alerts)


class Story:
    """Seconds of a company in which now and then somebody guesses passwords; always the same for a seed.

    Everybody fails at a login now and then, so that each record leaves its mark in a state.
    """

    def __init__(self, seed: int = 1, actors: int = 300) -> None:
        self._rng = random.Random(seed)
        self._actors = [f"user-{n}" for n in range(actors)]
        self._seq = 0
        self._second = BEGIN_S
        self._attacked: dict[str, int] = {}

    def seconds(self, count: int) -> Iterator[list[Activity | AddressActivity]]:
        """The next `count` seconds: records of actors and addresses."""
        for _ in range(count):
            yield self._next()

    def _next(self) -> list[Activity | AddressActivity]:
        rng = self._rng
        self._second += 1
        if rng.random() < 0.2:
            self._attacked[rng.choice(self._actors)] = self._second + rng.randrange(3, 20)
        records: list[Activity | AddressActivity] = []
        for actor in self._actors:
            attacked = self._attacked.get(actor, 0) >= self._second
            if attacked or rng.random() < 0.05:
                records += self._of(actor, rng.randrange(1, 5) if attacked else 1)
        return records

    def _of(self, actor: str, count: int) -> list[Activity | AddressActivity]:
        first, self._seq = self._seq, self._seq + count
        seqs, second, address = [[first, first + count - 1]], second_at(self._second), f"10.9.{first % 50}.{count}"
        return [
            Activity(CHAIN, second, actor, [Cell("login", "session", "failure", "user", count, seqs, address)]),
            AddressActivity(CHAIN, second, address, [AddressCell(actor, "login", "failure", count, seqs)]),
        ]


def logins(actor: str, count: int, *, first_seq: int = 0, at_s: int = 0, each_s: int = 2) -> list[Activity]:
    """So many failed logins of an actor, one in each of so many seconds."""
    return [
        Activity(
            CHAIN,
            second_at(BEGIN_S + at_s + n * each_s),
            actor,
            [Cell("login", "session", "failure", "user", 1, [[first_seq + n, first_seq + n]], "10.0.0.9")],
        )
        for n in range(count)
    ]


def read_all(kafka: KafkaSettings, topic: str, partitions: Sequence[int] = ()) -> list[Record]:
    """What a reader of committed records sees of these partitions, or of all, one after another."""
    places = [Place(topic, n) for n in partitions or range(partition_counts(kafka, [topic])[topic])]
    firsts, ends = first_offsets(kafka, places), end_offsets(kafka, places)
    found: list[Record] = []
    for place in places:
        with CommittedReader(kafka, topic, firsts[place], partition=place.partition, fetch_wait_s=0.01) as reader:
            while reader.position() < ends[place]:
                found += reader.read(10_000, 0.1)
    return found


def freeze(process: psutil.Process, *, thaw: bool = False) -> None:
    """SIGSTOP, or SIGCONT."""
    os.kill(process.pid, signal.SIGCONT if thaw else signal.SIGSTOP)


def _statements(alerts: Iterable[bytes]) -> Sequence[bytes]:
    from sealstream.layout.alerts import decode_alert

    return [alert_statement(decode_alert(alert)) for alert in alerts]
