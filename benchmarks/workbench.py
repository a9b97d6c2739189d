"""What every benchmark gets: the servers, how many events and rounds, a folder, and chains that are sealed on demand.

A sealed chain is made once for each round and shared by the benchmarks that read it, since what they measure begins
where sealing ends. Its topics have names that nobody else has; with the stack's folder they go.
"""

from __future__ import annotations

import cProfile
import gc
import io
import logging
import pstats
import random
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import structlog
from confluent_kafka import Producer

from sealstream.devstack import Endpoints, Stack
from sealstream.events import canonical_event, new_event_id
from sealstream.kafka import KafkaSettings, create_topics
from sealstream.layout import ChainSettings, ChainTopics, Retention, SegmentLimits
from sealstream.sealing import Signer, new_signing_key, signer
from sealstream.sequencer import Sequencer

__all__ = [
    "HEAD_START_S",
    "LONG",
    "BenchChain",
    "Workbench",
    "example_event",
    "preload",
    "profiled",
    "quieten",
    "seal_until",
    "sealing",
]

LONG = -1
"""The round that has the long chain."""

HEAD_START_S = 0.5
"""Between opening a reader and starting the clock, ours and the baseline's: what the driver fetches meanwhile is there
for both."""

_chance = random.Random(1)
_ACTIONS = ("patient.read", "patient.write", "login.check")
_SESSIONS = [f"{_chance.getrandbits(64):016x}" for _ in range(5_000)]


class BenchChain(NamedTuple):
    """A chain and its key."""

    settings: ChainSettings
    signer: Signer

    @property
    def topics(self) -> ChainTopics:
        """Its topics."""
        return ChainTopics.of(self.settings.name)


def example_event(number: int) -> dict[str, Any]:
    """An event of about 470 bytes, once it is canonical, with as much chance in it as a real one has."""
    chance = _chance.random()
    few, many = int(chance * 900), int(chance * 1e9)
    return {
        "id": new_event_id(),
        "timestamp": f"2026-11-24T03:{number // 60_000 % 60:02}:{number // 1_000 % 60:02}.{many % 1_000_000:06}Z",
        "actor_id": f"user-{many % 3_000}",
        "actor_type": "user",
        "action": _ACTIONS[few % 3],
        "resource_type": "patient",
        "resource_id": f"patient-{many % 50_000:06}",
        "result": "success" if few % 10 else "denied",
        "ip_address": f"10.20.{few % 256}.{many % 256}",
        "session_id": _SESSIONS[many % len(_SESSIONS)],
        "tenant": f"clinic-{few % 20}",
        "source": {"service": "clinic", "version": "1.0.0", "host": "web-1"},
        "metadata": {"http_status": 200, "duration_ms": few},
        "producer_id": "web-1/4711/0193a8f2",
        "producer_seq": number,
    }


def preload(kafka: KafkaSettings, topic: str, count: int) -> None:
    """So many events into a raw topic, as the client sends them, before any clock runs."""
    producer = Producer(
        {
            "bootstrap.servers": kafka.bootstrap,
            "enable.idempotence": True,
            "linger.ms": 20,
            "batch.num.messages": 10_000,
            "queue.buffering.max.messages": 1_100_000,
            "queue.buffering.max.kbytes": 1_000_000,
        }
    )
    for number in range(count):
        producer.produce(topic, canonical_event(example_event(number)), partition=0)
        if number % 10_000 == 0:
            producer.poll(0)
    producer.flush(120)


def seal_until(sequencer: Sequencer, count: int) -> None:
    """Step until so many records of the raw topic are sealed (not all committed yet)."""
    while (tip := sequencer.tip) is None or tip.raw_offset < count - 1:
        sequencer.step()


def sealing(kafka: KafkaSettings, chain: BenchChain, count: int) -> float:
    """Seconds that the sequencer takes for so many events, from its first batch to the last one read back."""
    sequencer = Sequencer(kafka, chain.settings)
    sequencer.step()
    gc.collect()
    time.sleep(HEAD_START_S)
    begun = time.perf_counter()
    seal_until(sequencer, count)
    sequencer.finish()
    took = time.perf_counter() - begun
    sequencer.close()
    return took


@dataclass
class Workbench:
    """The servers and the sizes: how many `events` a chain of one round has. `say` tells what is being done."""

    stack: Stack
    endpoints: Endpoints
    folder: Path
    rounds: int
    events: int
    say: Callable[[str], object] = lambda _: None
    signed: set[str] = field(default_factory=set)
    archived: dict[int, tuple[BenchChain, Path]] = field(default_factory=dict)
    _sealed: dict[int, BenchChain] = field(default_factory=dict)

    @property
    def kafka(self) -> KafkaSettings:
        """The broker."""
        return KafkaSettings(self.endpoints.kafka_bootstrap)

    def new_chain(self) -> BenchChain:
        """A new chain; its topics exist and are empty."""
        name = f"bench-{uuid.uuid4().hex[:12]}"
        key = signer(new_signing_key(f"bench.example/{name}"))
        limits = SegmentLimits(entries=min(100_000, self.events // 2 - 1))
        chain = BenchChain(ChainSettings(name, "bench.example", key.vkey, Retention("soc2", 366), limits), key)
        create_topics(self.kafka, chain.topics.configs())
        return chain

    def each_round(self, name: str) -> Iterator[int]:
        """0, 1, ...: odd rounds measure ours first."""
        for number in range(self.rounds):
            self.say(f"{name}, round {number + 1} of {self.rounds}")
            gc.collect()
            yield number

    def sealed_chain(self, number: int) -> BenchChain:
        """The sealed chain of this round, or the long one."""
        if number == LONG:
            return self.long_chain()
        if number not in self._sealed:
            chain = self.new_chain()
            preload(self.kafka, chain.topics.raw, self.events)
            sealing(self.kafka, chain, self.events)
            self._sealed[number] = chain
        return self._sealed[number]

    @property
    def long_events(self) -> int:
        """How many events the long chain has at least."""
        return 4 * self.events

    def long_chain(self) -> BenchChain:
        """A sealed chain of at least `long_events` events."""
        if LONG not in self._sealed:
            self.say(f"sealing a chain of {self.long_events:,} events")
            chain = self.new_chain()
            preload(self.kafka, chain.topics.raw, self.long_events)
            sealing(self.kafka, chain, self.long_events)
            self._sealed[LONG] = chain
        return self._sealed[LONG]

    def keep_long(self, chain: BenchChain) -> None:
        """A chain of at least `long_events` events that a benchmark has sealed is as good as any."""
        self._sealed.setdefault(LONG, chain)

    def keep_sealed(self, number: int, chain: BenchChain) -> None:
        """A chain of `events` events that a benchmark has sealed is as good as any."""
        self._sealed.setdefault(number, chain)


def quieten() -> None:
    """The processes' log lines are not wanted here, unless they are warnings."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))


def profiled(work: Callable[[], object], lines: int = 14) -> str:
    """Where `work` spends its time: the functions that themselves take most, by cProfile (which makes calls dearer)."""
    profile = cProfile.Profile()
    profile.enable()
    try:
        work()
    finally:
        profile.disable()
    text = io.StringIO()
    stats = pstats.Stats(profile, stream=text).strip_dirs().sort_stats("tottime")
    stats.print_stats(lines)
    kept = [line.rstrip() for line in text.getvalue().splitlines() if line.strip()]
    return "\n".join(line for line in kept if not line.startswith(("   Ordered", "   List")))
