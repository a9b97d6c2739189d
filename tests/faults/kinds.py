"""Every kind of fault, as a generator: what stands before a `yield` breaks something, what follows mends it.

A fault yields how many seconds it goes on for. `TOUCHES` says what a fault takes hold of, so that two that overlap
never fight over one thing. All choices come from the plan's own random numbers.
"""

from __future__ import annotations

import random
import signal
from collections.abc import Callable, Iterator
from typing import NamedTuple

from tests.faults.bench import APPLICATIONS, CHAIN, Bench
from tests.faults.clock import set_clock
from tests.faults.poison import poisoned_controls, poisoned_events
from tests.faults.program import Program
from tests.faults.proxy import Link
from tests.faults.s3_proxy import S3_FAULTS
from tests.faults.servers import MAX_CONNECTIONS
from tests.pipeline import PROCESSES

from sealstream.layout import sequencer_transactional_id

__all__ = ["KINDS", "Fault", "Kind"]

Fault = Callable[[Bench, random.Random], Iterator[float]]


class Kind(NamedTuple):
    """`touches`: what it takes hold of. `alarms`: whether our processes must stop with an alarm (and were told to go on
    by what the fault does afterwards).
    """

    name: str
    make: Fault
    touches: frozenset[str]


KINDS: dict[str, Kind] = {}


def _kind(name: str, *touches: str) -> Callable[[Fault], Fault]:
    def add(make: Fault) -> Fault:
        KINDS[name] = Kind(name, make, frozenset(touches))
        return make

    return add


# --- our processes


def _crash(program: Program) -> None:
    """kill -9, and let the supervisor start it again."""
    program.kill()
    program.wanted = True


def _add_process_faults(name: str) -> None:
    @_kind(f"{name} killed", name)
    def killed(bench: Bench, rng: random.Random) -> Iterator[float]:
        for _ in range(rng.randint(1, 3)):
            _crash(bench.process(name))
            yield rng.uniform(0.5, 4)

    @_kind(f"{name} paused", name)
    def paused(bench: Bench, rng: random.Random) -> Iterator[float]:
        bench.process(name).pause()
        yield rng.uniform(1, 14)
        bench.process(name).resume()

    @_kind(f"{name} cut from Kafka", name)
    def cut(bench: Bench, rng: random.Random) -> Iterator[float]:
        yield from _cut(bench, rng, lambda link: link.source == name and link.target.startswith("kafka"), 12)

    @_kind(f"{name} cut from one broker", name)
    def cut_from_one(bench: Bench, rng: random.Random) -> Iterator[float]:
        broker = f"kafka-{rng.randint(1, 3)}"
        yield from _cut(bench, rng, lambda link: link.source == name and link.target == broker, 15)

    @_kind(f"{name} and Kafka: delayed, reordered", name)
    def delayed(bench: Bench, rng: random.Random) -> Iterator[float]:
        yield from _delay(bench, rng, lambda link: link.source == name and link.target.startswith("kafka"))

    for hours, word in ((1, "ahead"), (-1, "behind")):

        @_kind(f"{name}'s clock an hour {word}", name)
        def clock(bench: Bench, rng: random.Random, hours: int = hours) -> Iterator[float]:
            set_clock(bench.clocks[name], 3600.0 * hours)
            yield rng.uniform(4, 10)
            set_clock(bench.clocks[name], 0)


for _name in PROCESSES:
    _add_process_faults(_name)


@_kind("all four processes killed at once", *PROCESSES)
def _all_killed(bench: Bench, rng: random.Random) -> Iterator[float]:
    for name in rng.sample(PROCESSES, len(PROCESSES)):
        _crash(bench.process(name))
    yield rng.uniform(0.5, 3)


@_kind("processes' disk full", "logs")
def _logs_full(bench: Bench, rng: random.Random) -> Iterator[float]:
    if not bench.logs.can_fill:
        return
    bench.logs.fill()
    name = rng.choice(PROCESSES)
    yield rng.uniform(1, 3)
    _crash(bench.process(name))
    yield rng.uniform(4, 8)
    bench.logs.empty()


@_kind("an application killed", "applications")
def _application_killed(bench: Bench, rng: random.Random) -> Iterator[float]:
    name = rng.choice(APPLICATIONS)
    bench.applications[name].kill()
    yield rng.uniform(0.5, 3)
    bench.start_application(name)


@_kind("an application paused", "applications")
def _application_paused(bench: Bench, rng: random.Random) -> Iterator[float]:
    name = rng.choice(APPLICATIONS)
    bench.applications[name].pause()
    yield rng.uniform(2, 15)
    bench.applications[name].resume()


@_kind("applications cut from Kafka", "applications")
def _applications_cut(bench: Bench, rng: random.Random) -> Iterator[float]:
    yield from _cut(bench, rng, lambda link: link.source == "applications", 15)


@_kind("applications and Kafka: delayed, reordered", "applications")
def _applications_delayed(bench: Bench, rng: random.Random) -> Iterator[float]:
    yield from _delay(bench, rng, lambda link: link.source == "applications")


def _two_sequencers(bench: Bench) -> Iterator[float]:
    """A standby that has joined; whoever of the two has the chain is the owner."""
    standby = bench.process("sequencer-2")
    standby.start()
    yield 6.0


def _owner(bench: Bench) -> Program:
    """Whose log says last that it has taken the chain."""
    found = [
        (line, program)
        for program in (bench.process("sequencer"), bench.process("sequencer-2"))
        for line in [_last_taken(program)]
    ]
    return max(found, key=lambda each: each[0])[1]


def _last_taken(program: Program) -> str:
    import json

    try:
        lines = program.log.read_text(errors="replace").splitlines()
    except OSError:
        return ""
    for line in reversed(lines):
        if '"chain taken"' in line:
            return str(json.loads(line)["timestamp"])
    return ""


@_kind("two sequencers, the owner paused; it wakes up after its successor", "sequencer")
def _paused_owner(bench: Bench, rng: random.Random) -> Iterator[float]:
    yield from _two_sequencers(bench)
    owner = _owner(bench)
    owner.pause()
    yield rng.uniform(8, 14)  # beyond the group's session timeout of 6 s
    owner.resume()
    yield rng.uniform(3, 8)
    bench.process("sequencer-2").end(signal.SIGTERM)


@_kind("two sequencers, the owner killed", "sequencer")
def _killed_owner(bench: Bench, rng: random.Random) -> Iterator[float]:
    yield from _two_sequencers(bench)
    _crash(_owner(bench))
    yield rng.uniform(3, 9)
    bench.process("sequencer-2").end(signal.SIGTERM)


@_kind("two sequencers, the owner cut from Kafka and back", "sequencer")
def _cut_owner(bench: Bench, rng: random.Random) -> Iterator[float]:
    yield from _two_sequencers(bench)
    name = _owner(bench).name
    yield from _cut(bench, rng, lambda link: link.source == name, 14, least_s=8)
    yield rng.uniform(2, 5)
    bench.process("sequencer-2").end(signal.SIGTERM)


# --- Kafka


def _node(rng: random.Random) -> int:
    return rng.randint(1, 3)


def _broker_down(bench: Bench, node: int, seconds: float) -> Iterator[float]:
    bench.servers.kafka.brokers[node].kill()
    yield seconds
    bench.servers.kafka.brokers[node].start()
    yield from _until_whole(bench)


def _until_whole(bench: Bench) -> Iterator[float]:
    """Until all brokers are in the cluster and every replica is in sync; this is the broker's own time, not ours."""
    for _ in range(360):
        kafka = bench.servers.kafka
        if kafka.all_listen() and kafka.members() == 3 and kafka.is_whole(bench.pipeline.topics):
            return
        for broker in kafka.brokers.values():
            if broker.pid is None:  # a node that can't register in time gives up; its supervisor starts it again
                broker.start()
        yield 0.5
    raise AssertionError("Kafka did not become whole within 180 s")


@_kind("broker killed", "kafka")
def _broker_killed(bench: Bench, rng: random.Random) -> Iterator[float]:
    yield from _broker_down(bench, _node(rng), rng.uniform(1, 15))


@_kind("leader of the chain killed", "kafka")
def _leader_killed(bench: Bench, rng: random.Random) -> Iterator[float]:
    node = bench.servers.kafka.leader(bench.pipeline.topics.chain) or _node(rng)
    yield from _broker_down(bench, node, rng.uniform(1, 15))


@_kind("leader of the raw topic paused", "kafka")
def _leader_paused(bench: Bench, rng: random.Random) -> Iterator[float]:
    yield from _broker_stopped(bench, rng, bench.servers.kafka.leader(bench.pipeline.topics.raw) or _node(rng))


@_kind("transaction coordinator killed", "kafka")
def _coordinator_killed(bench: Bench, rng: random.Random) -> Iterator[float]:
    node = bench.servers.kafka.coordinator(sequencer_transactional_id(CHAIN)) or _node(rng)
    yield from _broker_down(bench, node, rng.uniform(1, 15))


@_kind("transaction coordinator paused", "kafka")
def _coordinator_paused(bench: Bench, rng: random.Random) -> Iterator[float]:
    node = bench.servers.kafka.coordinator(sequencer_transactional_id(CHAIN)) or _node(rng)
    yield from _broker_stopped(bench, rng, node)


@_kind("broker paused", "kafka")
def _broker_paused(bench: Bench, rng: random.Random) -> Iterator[float]:
    yield from _broker_stopped(bench, rng, _node(rng))


def _broker_stopped(bench: Bench, rng: random.Random, node: int) -> Iterator[float]:
    bench.servers.kafka.brokers[node].pause()
    yield rng.uniform(2, 20)
    bench.servers.kafka.brokers[node].resume()
    yield from _until_whole(bench)


@_kind("broker restarted in order", "kafka")
def _broker_restarted(bench: Bench, rng: random.Random) -> Iterator[float]:
    broker = bench.servers.kafka.brokers[_node(rng)]
    broker.end(signal.SIGTERM)
    yield rng.uniform(0, 3)
    broker.start()
    yield from _until_whole(bench)


@_kind("two brokers killed", "kafka")
def _two_killed(bench: Bench, rng: random.Random) -> Iterator[float]:
    yield from _several_killed(bench, rng, 2)


@_kind("all brokers killed", "kafka")
def _three_killed(bench: Bench, rng: random.Random) -> Iterator[float]:
    yield from _several_killed(bench, rng, 3)


def _several_killed(bench: Bench, rng: random.Random, count: int) -> Iterator[float]:
    brokers = [bench.servers.kafka.brokers[node] for node in rng.sample([1, 2, 3], count)]
    for broker in brokers:
        broker.kill()
    yield rng.uniform(1, 10)
    for broker in brokers:
        broker.start()
    yield from _until_whole(bench)


@_kind("broker cut from the other brokers", "kafka")
def _broker_cut(bench: Bench, rng: random.Random) -> Iterator[float]:
    name = f"kafka-{_node(rng)}"

    def inner(link: Link) -> bool:
        return name in (link.source, link.target) and link.source.startswith("kafka")

    yield from _cut(bench, rng, inner, 15)
    yield from _until_whole(bench)


@_kind("brokers among each other: delayed, reordered", "kafka")
def _brokers_delayed(bench: Bench, rng: random.Random) -> Iterator[float]:
    yield from _delay(bench, rng, lambda link: link.source.startswith("kafka"))
    yield from _until_whole(bench)


@_kind("disk full under a broker", "kafka")
def _broker_full(bench: Bench, rng: random.Random) -> Iterator[float]:
    node = _node(rng)
    disk, broker = bench.servers.disks[f"kafka-{node}"], bench.servers.kafka.brokers[node]
    if not disk.can_fill:
        return
    disk.fill()
    yield rng.uniform(5, 12)
    disk.empty()
    broker.kill()  # most often it has ended by itself
    broker.start()
    yield from _until_whole(bench)


# --- Postgres


@_kind("Postgres killed", "postgres")
def _postgres_killed(bench: Bench, rng: random.Random) -> Iterator[float]:
    bench.servers.postgres.kill()
    yield rng.uniform(0.5, 8)
    yield from _start_postgres(bench)


@_kind("Postgres restarted", "postgres")
def _postgres_restarted(bench: Bench, rng: random.Random) -> Iterator[float]:
    bench.servers.stop_postgres()
    yield rng.uniform(0, 4)
    yield from _start_postgres(bench)


@_kind("Postgres paused", "postgres")
def _postgres_paused(bench: Bench, rng: random.Random) -> Iterator[float]:
    pids = _postgres_processes(bench)
    for pid in pids:
        _send(pid, signal.SIGSTOP)
    yield rng.uniform(2, 12)
    for pid in pids:
        _send(pid, signal.SIGCONT)


@_kind("Postgres out of connections", "postgres")
def _postgres_crowded(bench: Bench, rng: random.Random) -> Iterator[float]:
    from tests.faults.crowd import Crowd

    with Crowd(bench.servers.endpoints().postgres_admin_dsn, bench.pipeline.reader_dsn, MAX_CONNECTIONS):
        yield rng.uniform(3, 8)


@_kind("Postgres replaced by an older backup", "postgres")
def _postgres_older(bench: Bench, rng: random.Random) -> Iterator[float]:
    servers = bench.servers
    backup = servers.disks["postgres"].folder / "backup"
    servers.stop_postgres()
    servers.copy_postgres(servers.postgres_folder, backup)
    yield from _start_postgres(bench)
    yield rng.uniform(6, 15)
    servers.stop_postgres()
    servers.copy_postgres(backup, servers.postgres_folder)
    yield from _start_postgres(bench)


@_kind("disk full under Postgres", "postgres")
def _postgres_full(bench: Bench, rng: random.Random) -> Iterator[float]:
    disk = bench.servers.disks["postgres"]
    if not disk.can_fill:
        return
    disk.fill()
    yield rng.uniform(4, 10)
    disk.empty()
    if not bench.servers.answers(bench.servers.postgres):
        bench.servers.postgres.kill()
        yield from _start_postgres(bench)


def _start_postgres(bench: Bench) -> Iterator[float]:
    postgres = bench.servers.postgres
    postgres.start()
    for _ in range(300):
        if bench.servers.answers(postgres):
            return
        if postgres.pid is None:  # a killed one's last children hold its memory for a moment
            postgres.start()
        yield 0.2
    raise AssertionError(f"Postgres did not start: {postgres.last_words()}")


def _postgres_processes(bench: Bench) -> list[int]:
    import psutil

    postmaster = psutil.Process(bench.servers.postgres.pid)
    return [postmaster.pid, *(child.pid for child in postmaster.children(recursive=True))]


def _send(pid: int, number: signal.Signals) -> None:
    import contextlib
    import os

    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


# --- S3


def _add_s3_fault(fault: str) -> None:
    @_kind(f"S3: {fault}", "s3")
    def answers(bench: Bench, rng: random.Random) -> Iterator[float]:
        proxy = bench.servers.s3_proxy
        proxy.share = rng.choice([0.5, 1.0])
        proxy.fault = fault
        yield rng.uniform(12, 24)  # a segment ends every ten seconds
        proxy.fault = None


for _fault in S3_FAULTS:
    _add_s3_fault(_fault)


@_kind("S3 killed", "s3")
def _s3_killed(bench: Bench, rng: random.Random) -> Iterator[float]:
    bench.servers.s3.kill()
    yield rng.uniform(2, 12)
    yield from _start_s3(bench)


@_kind("S3 paused", "s3")
def _s3_paused(bench: Bench, rng: random.Random) -> Iterator[float]:
    bench.servers.s3.pause()
    yield rng.uniform(2, 15)
    bench.servers.s3.resume()


@_kind("disk full under S3", "s3")
def _s3_full(bench: Bench, rng: random.Random) -> Iterator[float]:
    disk = bench.servers.disks["s3"]
    if not disk.can_fill:
        return
    disk.fill()
    yield rng.uniform(12, 20)
    disk.empty()
    bench.servers.s3.kill()  # SeaweedFS has made its volumes read-only, and looks at the disk when it starts
    yield from _start_s3(bench)


def _start_s3(bench: Bench) -> Iterator[float]:
    bench.servers.s3.start()
    for _ in range(150):
        if bench.servers.answers(bench.servers.s3):
            return
        yield 0.4
    raise AssertionError(f"S3 did not start: {bench.servers.s3.last_words()}")


# --- the network


def _cut(
    bench: Bench, rng: random.Random, chosen: Callable[[Link], bool], most_s: float, least_s: float = 1
) -> Iterator[float]:
    """Reset and refused, or, as when a cable is drawn, silent."""
    links = bench.network.links(chosen)
    silent = rng.random() < 0.5
    for link in links:
        if silent:
            link.stalled = True
        else:
            bench.network.cut(link)
    yield rng.uniform(least_s, most_s)
    for link in links:
        bench.network.heal(link)


def _delay(bench: Bench, rng: random.Random, chosen: Callable[[Link], bool]) -> Iterator[float]:
    """Each piece of each connection by another time, so that connections overtake one another."""
    links = bench.network.links(chosen)
    most_s = rng.choice([0.1, 0.5, 2.0])
    for link in links:
        link.delay_s = (0.0, most_s)
    yield rng.uniform(5, 12)
    for link in links:
        bench.network.heal(link)


@_kind("Postgres sink cut from Postgres", "postgres-sink", "postgres")
def _sink_cut(bench: Bench, rng: random.Random) -> Iterator[float]:
    yield from _cut(bench, rng, lambda link: link.target == "postgres", 12)


@_kind("Postgres sink and Postgres: delayed", "postgres-sink", "postgres")
def _sink_delayed(bench: Bench, rng: random.Random) -> Iterator[float]:
    yield from _delay(bench, rng, lambda link: link.target == "postgres")


@_kind("archive sink cut from S3", "archive-sink", "s3")
def _archive_cut(bench: Bench, rng: random.Random) -> Iterator[float]:
    yield from _cut(bench, rng, lambda link: link.target == "s3", 20)


@_kind("archive sink and S3: delayed", "archive-sink", "s3")
def _archive_delayed(bench: Bench, rng: random.Random) -> Iterator[float]:
    yield from _delay(bench, rng, lambda link: link.target == "s3")


# --- the input


@_kind("poisoned events", "input", "kafka")  # they are sent, and must arrive
def _poisoned(bench: Bench, rng: random.Random) -> Iterator[float]:
    poison = poisoned_events(rng)
    rng.shuffle(poison)
    bench.pipeline.send(poison)
    bench.pipeline.send(poisoned_controls(rng), bench.pipeline.topics.control)
    yield 1.0


def _add_recreation(kind: str) -> None:
    @_kind(f"{kind} topic recreated", "sequencer", "applications", "archive-sink", "input", "kafka", "logs")
    def recreated(bench: Bench, rng: random.Random) -> Iterator[float]:
        from tests.faults.recreating import recreate_input

        yield from recreate_input(bench, kind)


for _topic in ("raw", "control"):
    _add_recreation(_topic)
