"""One history: the plan happens in a world of its own, everything comes to rest, and the judge looks at what is there.

The processes are the product's, each run by `sealstream.cli.service.serve` as in production, and started again when
they were killed; their servers are the models. The invariant: given a plan (and the breakages that a test asks for), a
history is the same each time, on every machine.
"""

from __future__ import annotations

import base64
import gc
import json
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from functools import partial
from hashlib import sha256
from typing import Any, NamedTuple

import confluent_kafka
import confluent_kafka.admin
from tests.histories.checker import Emitted, StoredEntry, check_history
from tests.simulation import shims
from tests.simulation.disk import Disk
from tests.simulation.emitters import Application, RawApplication, SpooledApplication
from tests.simulation.kafka.admin import ModelAdmin
from tests.simulation.kafka.broker import Broker
from tests.simulation.kafka.consumer import ModelConsumer
from tests.simulation.kafka.producer import ModelProducer
from tests.simulation.plan import CHAIN, Fault, Plan
from tests.simulation.stores.installing import BUCKET, DSN, Stores
from tests.simulation.stores.judging import Found, Trimmed, check_archive, check_postgres, check_trimmed
from tests.simulation.world import EffectFault, Process, Stuck, World

from sealstream import checkpointing, sequencer
from sealstream.archive import ArchiveSettings, ArchiveSink
from sealstream.checkpointing import Checkpointing
from sealstream.cli.service import serve
from sealstream.client.delivery import warn
from sealstream.kafka import KafkaSettings
from sealstream.layout import ChainSettings, ChainTopics, Retention, SegmentLimits
from sealstream.postgres import PostgresSink
from sealstream.sealing import Signer, signer
from sealstream.sequencer import SequencerGroup

__all__ = ["Outcome", "run_plan"]

_LOG = "log.example"
_REST_WITHIN_S = 300.0
_LIMITS = SegmentLimits(entries=20, bytes=1_000_000, seconds=10)
_END_OF_MONTH_NS = 1_796_083_200_000_000_000  # 2026-12-01
_REAL_OBJECTS = 7  # of forty: Parquet as in production
_EMITTERS: Mapping[str, type[Application | RawApplication | SpooledApplication]] = {
    "app": Application,
    "raw": RawApplication,
    "spool": SpooledApplication,
}
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_SLOW_PAUSES: Mapping[tuple[str, str], Any] = {
    ("sealstream.sequencer.sequencer", "version"): lambda _name: "simulated",
    ("sealstream.sequencer.owned", "_WHILE_COMMITTING_S"): 0.2,
}


class Outcome(NamedTuple):
    """What a history came to. `faults`: in words, none when all held."""

    plan: Plan
    faults: list[str]
    injected: Mapping[str, int]
    entries: int
    emitted: int
    story: list[tuple[int, str, str]]
    digest: str


class History:
    """A plan as it happens."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.world = World(f"world {plan.seed}")
        if plan.before_midnight_s is not None:
            self.world.epoch_ns = _END_OF_MONTH_NS - int(plan.before_midnight_s * 1e9)
        self.broker = Broker(self.world)
        self.stores = Stores(self.world, real_objects=plan.seed % 40 == _REAL_OBJECTS)
        self.topics = ChainTopics.of(CHAIN)
        self.signer = _signer()
        retention = Retention("soc2", 366, online_days=1 if plan.trims_chain else None)
        self.chain = ChainSettings(CHAIN, _LOG, self.signer.vkey, retention, _LIMITS)
        self.kafka = KafkaSettings("simulated:9092")
        self.running: dict[str, Process] = {}
        self.stops: dict[str, shims.Event] = {}
        self.codes: dict[str, int] = {}
        self.alarms: list[str] = []
        self._down_s: dict[str, float] = {}
        self._offsets_ns: dict[str, int] = {}
        self._sent: list[tuple[str, bytes]] = []
        self._acknowledged: set[bytes] = set()
        self._due_alarms: set[str] = set()
        self._over = False
        self.emitters: dict[str, Application | RawApplication | SpooledApplication] = {}
        self.disk = Disk(self.world) if plan.spool_bytes else None
        self.driver: dict[Any, Any] = {
            confluent_kafka.Producer: partial(ModelProducer, self.broker),
            confluent_kafka.Consumer: partial(ModelConsumer, self.broker),
            confluent_kafka.admin.AdminClient: partial(ModelAdmin, self.broker),
            **self.stores.driver(),
            **(self.disk.driver() if self.disk else {}),
            warn: lambda message, *args: self.world.tell(message % args),
        }
        self.broker.observer = self._observe
        self.world.on_death(self._died)

    # --- processes

    def _main_of(self, name: str) -> Callable[[], Any]:
        if name in self.emitters:
            return self.emitters[name].main
        build = self._builder_of(name)
        stop = self.stops[name] = shims.Event()

        def main() -> None:
            self._ended(name, serve(name, build, stop))  # type: ignore[arg-type]

        return main

    def _builder_of(self, name: str) -> Callable[[], Any]:
        world, kafka, chain = self.world, self.kafka, self.chain
        if name.startswith("sequencer"):
            # A statement of the archive sink's is said again by a second sink, and relies on the real memory.
            archived = any(each.startswith("archive-sink") for each in self.plan.processes)
            pace = sequencer.Pace(
                poll_s=0.4,
                heartbeat_s=20.0,
                review_s=30.0,
                recent_entries=30 if self.plan.small_memory and not archived else 200_000,
            )
            return lambda: SequencerGroup(
                kafka, {CHAIN: chain}, clock=shims.clock_ns, randomness=world.rng.randbytes, pace=pace
            )
        if name.startswith("checkpointing"):
            pace_of_signing = checkpointing.Pace(interval_s=1.0, wait_s=0.5)
            return lambda: Checkpointing(kafka, chain, self.signer, clock=shims.monotonic, pace=pace_of_signing)
        if name.startswith("postgres-sink"):
            return lambda: PostgresSink(kafka, chain, DSN, wait_s=0.5)
        assert name.startswith("archive-sink")
        settings = ArchiveSettings(BUCKET)
        return lambda: ArchiveSink(
            kafka,
            chain,
            settings,
            clock=lambda: _EPOCH + timedelta(microseconds=shims.clock_ns() // 1000),
            poll_s=0.5,
            seal_timeout_s=60.0,
            trim_every_s=1.0 if self.plan.trims else None,
        )

    def start(self, name: str) -> None:
        """A new life of this process."""
        self.world.tell(f"{name} starts")
        self.running[name] = self.world.start(name, self._main_of(name), clock_offset_ns=self._offsets_ns.get(name, 0))

    def _died(self, process: Process) -> None:
        if not self._over:
            self.running.pop(process.name, None)
            down_s = self._down_s.pop(process.name, 0.2 + 2 * self.world.rng.random())
            self.world.after(down_s, lambda: self.start(process.name))

    def _ended(self, name: str, code: int) -> None:
        self.world.tell(f"{name} ends with {code}")
        self.codes[name] = code
        self.running.pop(name, None)
        if code == 1 and name.startswith("archive-sink") and self.stores.s3.foreign:
            self._due_alarms.add(name)
        elif code:
            said = [text for _, task, text in self.world.story if task.startswith(name)]
            self.alarms.append(f"{name} ended with exit code {code}: {said[-2] if len(said) > 1 else ''}")
        elif not self._over:
            self.world.after(self._down_s.pop(name, 1.0), lambda: self.start(name))

    # --- faults

    def strike(self, fault: Fault) -> None:
        """Now."""
        world = self.world
        if fault.kind == "effect":
            world.armed.append(EffectFault(fault.where, fault.how, "", fault.seconds))
            return
        world.count(fault.kind)
        process = self.running.get(fault.where)
        if fault.kind == "kafka down":
            self.broker.go_down(fault.seconds)
        elif fault.kind == "rebalance":
            for group in self.broker.groups.values():
                group.move(world.rng.choice)
        elif fault.kind == "compact":
            self.broker.topics[self.topics.producers].compact()
        elif fault.kind == "forget checkpoints":
            topic = self.broker.topics[self.topics.checkpoints]
            # Retention takes what is a week old, never what its writer is about to read back.
            topic.trim(world.rng.randint(topic.start, max(topic.start, topic.stable - 8)))
        elif fault.kind == "clock":
            self._offsets_ns[fault.where] = int(fault.seconds * 1e9)
            if process is not None:
                process.clock_offset_ns = self._offsets_ns[fault.where]
            world.tell(f"the clock of {fault.where} jumps by {fault.seconds:.0f} s")
        elif fault.kind.startswith("postgres"):
            getattr(self.stores.postgres, fault.how)(fault.seconds)
        elif fault.kind == "s3":
            getattr(self.stores.s3, fault.how)(BUCKET)
        elif fault.kind == "s3 trouble":
            self.stores.s3.make_trouble(fault.how, fault.seconds)
        elif process is not None and process.alive:
            self._strike_process(fault, process)

    def _strike_process(self, fault: Fault, process: Process) -> None:
        if fault.kind == "kill":
            self._down_s[fault.where] = fault.seconds
            self.world.kill(process)
        elif fault.kind == "pause":
            self.world.pause(process, fault.seconds)
        elif fault.kind == "stop" and fault.where in self.stops:
            self.world.tell(f"{fault.where} is told to stop")
            self._down_s[fault.where] = fault.seconds
            self.stops[fault.where].set()

    # --- what is known of every record

    def _observe(self, process: Process, topic: str, value: bytes | None, what: str) -> None:
        if topic == self.topics.raw and value is not None:
            if what == "sent":
                self._sent.append((process.name, value))
            elif what == "acknowledged":
                self._acknowledged.add(value)

    def emitted(self) -> list[Emitted]:
        """Every valid event that was handed to a driver."""
        found = []
        for order, (name, value) in enumerate(self._sent):
            emitter = self.emitters[name]
            if isinstance(emitter, RawApplication) and value in emitter.garbage:
                continue
            fields = json.loads(value)
            found.append(
                Emitted(
                    fields["id"],
                    fields.get("producer_id"),
                    fields.get("producer_seq"),
                    value,
                    value in self._acknowledged,
                    order,
                )
            )
        return found

    # --- the course of it

    def run(self) -> list[str]:
        """Faults, in words."""
        plan, world = self.plan, self.world
        for config in self.topics.configs():
            self.broker.create(config.name, dict(config.config))
        make_producer = partial(ModelProducer, self.broker)
        for name in sorted({act.emitter for act in plan.acts}):
            acts = [act for act in plan.acts if act.emitter == name]
            of = _EMITTERS[name.partition("-")[0]]
            self.emitters[name] = emitter = of(world, name, acts, make_producer)
            if isinstance(emitter, SpooledApplication):
                assert self.disk is not None
                emitter.directory, emitter.max_bytes = self.disk.folder, plan.spool_bytes
        for name in (*plan.processes, *self.emitters):
            world.after(0.5 * world.rng.random(), lambda name=name: self.start(name))  # type: ignore[misc]
        for fault in plan.faults:
            world.after(fault.at_s, lambda fault=fault: self.strike(fault))  # type: ignore[misc]
        try:
            world.run(lambda: False, plan.length_s + 1)
            world.tell("faults end")
            world.armed.clear()
            self._offsets_ns.clear()
            for process in self.running.values():
                process.clock_offset_ns = 0
            rested = world.run(self._at_rest, _REST_WITHIN_S)
        except Stuck as error:
            return [str(error), *self._unrest()]
        faults = [*self.alarms, *(f"{task.name} ended by {error!r}" for task, error in world.crashes)]
        if not rested:
            faults += self._unrest()
        faults += self.judge(complete=rested)
        if rested:
            faults += self._lost_from_spools()
        if not faults:
            world.tell("all is sealed, signed and stored; everybody is told to stop")
            self._over = True
            self.codes.clear()
            for stop in self.stops.values():
                stop.set()
            if not world.run(
                lambda: all(name in self.codes or name in self._due_alarms for name in plan.processes), 60
            ):
                faults.append(f"told to stop, these did not end: {sorted(set(plan.processes) - set(self.codes))}")
            faults += [*self.alarms, *self.judge(complete=False)]
        return faults

    def _at_rest(self) -> bool:
        return bool(self.alarms) or not self._unrest()

    def _unrest(self) -> list[str]:
        """What has not yet come to its end."""
        busy = [f"{name} has not done all it should" for name, one in self.emitters.items() if not one.idle]
        busy += [f"{each.name} waits in the spool" for each in (self.disk.streams() if self.disk else ())]
        busy += [f"{name} is not running" for name in self.plan.processes if not self._runs(name)]
        ending = [name for name, known in self.broker.transactions.items() if known.state == "ending"]
        busy += [f"a transaction of {name} is decided and not yet seen" for name in ending]
        values = self._chain()
        if not values:
            return [*busy, "nothing is sealed"]
        written = json.loads(values[-1])["written"]
        for topic, field in ((self.topics.raw, "raw_offset"), (self.topics.control, "control_offset")):
            held = self.broker.topics[topic].held
            if held and held[-1].offset > written[field]:
                busy.append(f"{topic} is sealed up to {written[field]}, but holds {held[-1].offset}")
        signed = self._notes(committed=True)
        newest = max((size for size, _ in signed), default=0)
        if newest < len(values):
            busy.append(f"{newest} of {len(values)} entries are signed")
        if not busy:  # what is asked of the stores costs more
            busy += self._unrest_of_stores(values, newest)
        return busy

    def _runs(self, name: str) -> bool:
        """Whether a life of this process is under way, or has ended with the alarm that was due."""
        if name in self._due_alarms:
            return True
        process = self.running.get(name)
        return process is not None and process.alive and process.paused_until_ns <= self.world.now_ns

    def _unrest_of_stores(self, values: list[bytes], newest: int) -> list[str]:
        stored = len(self.stores.postgres.committed.rows.get(CHAIN, ()))
        if "postgres-sink" in self.plan.processes and stored < len(values):
            return [f"Postgres holds {stored} of {len(values)} entries"]
        return self._look_at_stores(values, newest).missing

    def _look_at_stores(self, values: list[bytes], newest: int) -> Found:
        segments: dict[int, set[bytes]] = {}
        for note in self._note_values(committed=True, of=(self.topics.segments,)):
            segments.setdefault(int(note.split(b"\n", 2)[1]), set()).add(note)
        missing, wrong = list[str](), list[str]()
        if "postgres-sink" in self.plan.processes:
            missing, wrong = check_postgres(self.stores.postgres.committed, CHAIN, segments, newest)
        if foreign := self.stores.s3.foreign:
            silent = {each for each in self.plan.processes if each.startswith("archive-sink")} - self._due_alarms
            missing += [f"{name} raised no alarm about {sorted(foreign)}" for name in sorted(silent)]
            joined = b"".join(values)
            wrong += [f"{key} is sealed as archived, but is other entries" for key in foreign if key.encode() in joined]
        elif "archive-sink" in self.plan.processes:
            objects = self.stores.s3.buckets[BUCKET]
            found = check_archive(objects, values, segments, self.chain.retention.archive_days)
            topics = self.broker.topics
            chain = topics[self.topics.chain].committed()
            begins = json.loads(chain[0].value or b"")["written"]["seq"] if chain else len(values)
            trimmed = Trimmed(topics[self.topics.raw].start, topics[self.topics.control].start, begins)
            missing += found.missing
            wrong += [*found.wrong, *check_trimmed(trimmed, values, [row.body for row in self._archived()])]
        return Found(missing, wrong)

    def _lost_from_spools(self) -> list[str]:
        """What an application was told is safe, and is not sealed."""
        if not self.plan.spools_all:
            return []
        sealed = {json.loads(value)["id"] for value in self._chain()}
        return [
            f"{name} was told that {event_id} is in the spool, and it is not sealed"
            for name, emitter in self.emitters.items()
            if isinstance(emitter, SpooledApplication)
            for event_id in sorted(emitter.accepted - sealed)
        ]

    def _chain(self) -> list[bytes]:
        """Every entry that was ever committed, also what was trimmed since."""
        return [held.value or b"" for held in self.broker.ever.get(self.topics.chain, ()) if _is_committed(held)]

    def _note_values(self, *, committed: bool, of: tuple[str, ...]) -> Iterator[bytes]:
        for name in of:
            for held in self.broker.ever.get(name, ()):
                if not committed or (held.transaction is not None and held.transaction.state == "committed"):
                    yield held.value or b""

    def _notes(self, *, committed: bool) -> list[tuple[int, bytes]]:
        found = []
        for note in self._note_values(committed=committed, of=(self.topics.checkpoints, self.topics.segments)):
            _, size, root = note.decode().split("\n")[:3]
            found.append((int(size), base64.b64decode(root)))
        return found

    def _archived(self) -> list[StoredEntry]:
        objects = self.stores.s3.buckets[BUCKET]
        rows = []
        for key in sorted(objects):
            bodies = [version.body for version in objects[key] if version.body is not None]
            if key.startswith("entries/") and bodies:
                for body, prev_hash, own_hash in self.stores.rows_of(bodies[0]):
                    rows.append(StoredEntry(json.loads(body)["written"]["seq"], body, prev_hash, own_hash))
        return rows

    def judge(self, *, complete: bool) -> list[str]:
        """The judge's own words."""

        def held(name: str) -> dict[int, bytes | None]:
            return {one.offset: one.value for one in self.broker.ever.get(name, ()) if _is_committed(one)}

        stored = [StoredEntry(*row[:1], *row[2:5]) for row in self.stores.postgres.committed.entries(CHAIN)]
        of_stores = self._look_at_stores(self._chain(), 0).wrong
        return of_stores + check_history(
            origin=self.chain.origin,
            chain=self._chain(),
            emitted=self.emitted(),
            raw=held(self.topics.raw),
            control=held(self.topics.control),
            dead_letters=None if self.plan.torn else held(self.topics.deadletter),
            notes=self._notes(committed=False),
            stores={"Postgres": stored, "the archive": [] if self.stores.s3.foreign else self._archived()},
            complete=complete,
        )


def run_plan(plan: Plan, breakages: Mapping[tuple[str, str], Any] | None = None) -> Outcome:
    """Let it happen. `breakages`: (module, attribute) of the product to what it shall be instead."""
    enabled = gc.isenabled()
    gc.disable()  # a collection at a moment of its own would close a dead reader in somebody else's time
    history = History(plan)
    world = history.world
    try:
        disk = history.disk
        seams = {**_seams(plan), **(disk.seams() if disk else {}), **(breakages or {})}
        with shims.installed(world, history.driver, seams, disk.functions() if disk else {}):
            try:
                faults = history.run()
            finally:
                history._over = True
                world.end(list(history.running.values()))
        digest = sha256(repr((world.story, history._chain(), faults)).encode()).hexdigest()
        return Outcome(plan, faults, world.injected, len(history._chain()), len(history.emitted()), world.story, digest)
    finally:
        if history.disk is not None:
            history.disk.end()
        if enabled:
            gc.enable()


def _seams(plan: Plan) -> Mapping[tuple[str, str], Any]:
    """Some histories look as often as production does while a commit is under way; most, ten times less."""
    if plan.seed % 8:
        return _SLOW_PAUSES
    return {**_SLOW_PAUSES, ("sealstream.sequencer.owned", "_WHILE_COMMITTING_S"): 0.02}


def _is_committed(held: Any) -> bool:
    return not held.is_marker and (held.transaction is None or held.transaction.state == "committed")


def _signer() -> Signer:
    """The key of every simulated chain: made from its name, so that seeds mean the same everywhere."""
    seed = sha256(b"the simulated chain's key").digest()
    return signer(_private_key(f"{_LOG}/{CHAIN}", seed))


def _private_key(name: str, seed: bytes) -> str:
    """C2SP signed-note private key text: name, key id over name and public key, algorithm 1 and seed."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    public = Ed25519PrivateKey.from_private_bytes(seed).public_key().public_bytes_raw()
    key_id = sha256(name.encode() + b"\n\x01" + public).digest()[:4]
    return f"PRIVATE+KEY+{name}+{key_id.hex()}+{base64.b64encode(bytes([1]) + seed).decode()}"
