"""What is to happen in a history: who emits what when, and which faults strike. A value, drawn from the seed.

A plan is what shrinking makes smaller: `only(faults, acts)` keeps some of both, and everything else about the history
follows from the seed again.
"""

from __future__ import annotations

import random
from collections.abc import Collection
from typing import NamedTuple

from tests.simulation.stores.faults import draw_store_fault

__all__ = ["AMPLE_SPOOL", "Act", "Fault", "Plan", "draw_plan"]

CHAIN = "main"
_EVENTS = ("event", "event", "event", "event", "burst", "repeat", "garbage", "skip", "late", "conflict", "control")
AMPLE_SPOOL = 600 * 1024
_DISK = ("disk", "disk.write", "disk.write", "disk.rename", "disk.unlink", "disk.open", "disk.sync", "disk.allocate")
_REFUSED = ("before", "during", "after")
_NEVER_FAR_BEHIND = ("checkpointing", "archive-sink")
_OPERATIONS = ("kafka.init_txn", *2 * ("kafka.end_txn",), "kafka.admin", "kafka.fetch", "kafka.group", "kafka")
_TOPICS = ("raw", "control", "chain", "producers", "checkpoints", "segments")


class Act(NamedTuple):
    """One emitter does something."""

    at_s: float
    emitter: str
    what: str


class Fault(NamedTuple):
    """Something goes wrong. `where`: a process, or an operation of a server; `how`: of an operation."""

    at_s: float
    kind: str
    where: str = ""
    how: str = ""
    seconds: float = 0.0

    def __str__(self) -> str:
        parts = (self.kind, self.where, self.how, f"{self.seconds:.2f} s" if self.seconds else "")
        return f"at {self.at_s:.2f} s: " + " ".join(part for part in parts if part)


class Plan(NamedTuple):
    """`processes`: those that run beside the emitters. `trims`: the archive sink trims inputs of what is archived;
    `trims_chain`: and the chain's topic, which nobody must be reading from far behind.
    `spool_bytes`: what the spool of those emitters that have one may take; 0: nobody has one.
    `before_midnight_s`: how long after its beginning a month ends (UTC); None: on another day.
    """

    seed: int
    length_s: float
    processes: tuple[str, ...]
    acts: tuple[Act, ...]
    faults: tuple[Fault, ...]
    small_memory: bool = False
    trims: bool = False
    trims_chain: bool = False
    before_midnight_s: float | None = None
    spool_bytes: int = 0

    def only(self, faults: Collection[int] | None = None, acts: Collection[int] | None = None) -> Plan:
        """With these faults and acts alone (by index; None: all)."""
        kept_faults = self.faults if faults is None else tuple(self.faults[i] for i in sorted(faults))
        kept_acts = self.acts if acts is None else tuple(self.acts[i] for i in sorted(acts))
        return self._replace(faults=kept_faults, acts=kept_acts)

    @property
    def spools_all(self) -> bool:
        """Whether whatever the spool's client accepts is on disk: there is room, and the disk refuses nothing."""
        refused = any(fault.where.startswith("disk") and fault.how in _REFUSED for fault in self.faults)
        return self.spool_bytes >= AMPLE_SPOOL and not refused

    @property
    def torn(self) -> bool:
        """Whether a transaction may be answered as committed and be lost."""
        return any(fault.how in ("absent", "torn") for fault in self.faults)


def draw_plan(seed: int, *, stores: bool = True) -> Plan:
    """The plan of this seed. `stores`: whether the sinks take part where the seed says so."""
    rng = random.Random(f"plan {seed}")
    length_s = rng.choice((6.0, 10.0, 16.0))
    processes = ["sequencer-a", "checkpointing"]
    if rng.random() < 0.7:
        processes.append("sequencer-b")
    if rng.random() < 0.15:
        processes.append("checkpointing-b")
    with_stores = rng.random()
    if stores and with_stores < 0.5:
        processes.append("postgres-sink")
    if stores and with_stores < 0.35:
        processes.append("archive-sink")
    sinks = random.Random(f"sinks {seed}")
    processes += [f"{name}-b" for name in processes if name.endswith("-sink") and sinks.random() < 0.4]
    emitters = rng.sample(("app-1", "app-2", "raw-1", "raw-2"), rng.randint(1, 3))
    acts = [
        Act(round(rng.random() * length_s, 3), emitter, rng.choice(_EVENTS) if emitter.startswith("raw") else "event")
        for emitter in emitters
        for _ in range(rng.choice((3, 10, 25)))
    ]
    faults = [_draw_fault(rng, length_s, processes, emitters) for _ in range(rng.choice((0, 1, 2, 3, 4, 6, 9)))]
    if with_sinks := [name for name in processes if "-sink" in name]:
        for _ in range(sinks.choice((0, 1, 2, 4, 7))):
            faults.append(Fault(round(sinks.random() * length_s, 3), *draw_store_fault(sinks, with_sinks)))
    doubled = [fault for fault in faults if fault.how == "doubled"]
    if doubled:  # a broker that loses what it has answered, and doubles as well, keeps no promise to build on
        faults = [fault for fault in faults if fault.how not in ("absent", "torn")]
    plan = Plan(
        seed,
        length_s,
        tuple(processes),
        tuple(sorted(acts)),
        tuple(sorted(faults)),
        small_memory=rng.random() < 0.3,
        trims=sinks.random() < 0.4,
        before_midnight_s=_draw_midnight(seed, length_s),
    )
    if "archive-sink" in processes and random.Random(f"chain trimming {seed}").random() < 0.2:
        kept = tuple(name for name in processes if name.startswith("sequencer") or name in _NEVER_FAR_BEHIND)
        # States that a torn transaction left ahead of the chain can't be made again from a chain that was trimmed.
        untorn = tuple(fault for fault in plan.faults if fault.how not in ("absent", "torn"))
        return plan._replace(processes=kept, faults=untorn, small_memory=True, trims=True, trims_chain=True)
    return _with_spools(_with_forgetting(_with_standstills(plan)))


def _with_standstills(plan: Plan) -> Plan:
    """In one history of ten a driver's consumer stops fetching, without a word."""
    rng = random.Random(f"standstill {plan.seed}")
    if rng.random() >= 0.1:
        return plan
    stills = [
        Fault(
            round(rng.random() * plan.length_s, 3), "effect", f"kafka.fetch.audit.{rng.choice(_TOPICS)}", "stands still"
        )
        for _ in range(rng.choice((1, 1, 2)))
    ]
    return plan._replace(faults=tuple(sorted((*plan.faults, *stills))))


def _with_forgetting(plan: Plan) -> Plan:
    """In one history of ten a sequencer's consumer forgets all brokers, and never finds its group again."""
    rng = random.Random(f"forgetting {plan.seed}")
    if rng.random() >= 0.1:
        return plan
    forgets = [
        Fault(round(rng.random() * plan.length_s, 3), "effect", "kafka.group.poll", "forgets the brokers")
        for _ in range(rng.choice((1, 1, 2, 3)))
    ]
    return plan._replace(faults=tuple(sorted((*plan.faults, *forgets))))


def _with_spools(plan: Plan) -> Plan:
    """One history in five has one or two applications with a spool, and what may befall them and their disk."""
    rng = random.Random(f"spool {plan.seed}")
    if rng.random() >= 0.2:
        return plan
    names = ["spool-1", "spool-2"][: rng.choice((1, 2))]
    acts = [
        Act(round(rng.random() * plan.length_s, 3), name, "event")
        for name in names
        for _ in range(rng.choice((3, 15, 40)))
    ]
    faults = []
    for _ in range(rng.choice((0, 1, 2, 4, 7))):
        at_s, drawn = round(rng.random() * plan.length_s, 3), rng.random()
        if drawn < 0.25:
            faults.append(Fault(at_s, "kill", rng.choice(names), seconds=round(rng.random() * 4, 2)))
        elif drawn < 0.35:
            faults.append(Fault(at_s, "pause", rng.choice(names), seconds=round(9 * rng.random(), 2)))
        elif drawn < 0.5:
            faults.append(Fault(at_s, "kafka down", seconds=round(8 * rng.random(), 2)))
        else:
            how = rng.choice(("kill_before", "kill_after", "kill_before", "kill_after", *_REFUSED))
            faults.append(Fault(at_s, "effect", rng.choice(_DISK), how))
    return plan._replace(
        acts=tuple(sorted((*plan.acts, *acts))),
        faults=tuple(sorted((*plan.faults, *faults))),
        spool_bytes=rng.choice((AMPLE_SPOOL, AMPLE_SPOOL, 3 * 20 * 1024)),
    )


def _draw_midnight(seed: int, length_s: float) -> float | None:
    """One history in five passes the end of a month: segments end there, and Postgres needs a new month."""
    rng = random.Random(f"midnight {seed}")
    return round(rng.random() * length_s, 2) if rng.random() < 0.2 else None


def _draw_fault(rng: random.Random, length_s: float, processes: list[str], emitters: list[str]) -> Fault:
    at_s = round(rng.random() * length_s, 3)
    anybody = rng.choice([*processes, *processes, *emitters])
    drawn = rng.random()
    if drawn < 0.16:
        return Fault(at_s, "kill", anybody, seconds=round(rng.random() * 4, 2))
    if drawn < 0.20:
        return Fault(at_s, "stop", rng.choice(processes), seconds=round(rng.random() * 4, 2))
    if drawn < 0.30:
        return Fault(at_s, "pause", anybody, seconds=round(rng.choice((0.5, 3, 9, 14)) * (0.5 + rng.random()), 2))
    if drawn < 0.34:
        return Fault(at_s, "clock", anybody, seconds=rng.choice((-3600, -70, -5, 5, 50, 70, 3600)))
    if drawn < 0.39:
        return Fault(at_s, "kafka down", seconds=round(rng.choice((1, 4, 12)) * (0.5 + rng.random()), 2))
    if drawn < 0.44:
        return Fault(at_s, "rebalance")
    if drawn < 0.47:
        return Fault(at_s, "compact")
    if drawn < 0.50:
        return Fault(at_s, "forget checkpoints")
    if drawn < 0.72:
        how = rng.choice(
            (
                "doubled",
                "doubled",
                "absent",
                "torn",
                "hidden",
                "lost",
                "unanswered",
                "timed_out_before",
                "timed_out_after",
            )
        )
        return Fault(
            at_s, "effect", "kafka.end_txn", how, round(rng.choice((0.01, 0.05, 1, 7)) * (0.5 + rng.random()), 3)
        )
    if drawn < 0.78:
        how = rng.choice(("lost", "unreported"))
        topic = rng.choice(_TOPICS)
        return Fault(at_s, "effect", f"kafka.produce.audit.{topic}", how)
    operation = rng.choice(_OPERATIONS)
    how = rng.choice(("before", "after", "slow", "kill_before", "kill_after"))
    return Fault(
        at_s, "effect", operation, how, round(rng.choice((0.2, 2, 8)) * rng.random(), 2) if how == "slow" else 0.0
    )
