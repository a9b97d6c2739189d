"""What the detectors cost: a record of activity through all of them, and through each alone.

Records are those of a working day: people who read and write a few things a minute, services that do one thing all day,
now and then a login, a failure, a denial. Records are made before the clock runs; what counts is detecting, with and
without what `Watch` adds (what is new in a record, the time in its second, keeping states apart), in one process on one
core.

By itself: `python benchmarks/bench_detectors.py [RECORDS]`
"""

from __future__ import annotations

import random
import sys
import time
from collections.abc import Mapping
from statistics import median
from typing import Any

from sealstream.anomaly.detecting import epoch_of, second_at
from sealstream.anomaly.detectors import DETECTORS
from sealstream.anomaly.watching import Subject, Watch, chosen
from sealstream.layout.activity import Activity, Cell

__all__ = ["day", "measure"]

BEGIN_S = epoch_of("2026-11-02T06:00:00Z")
ACTORS = 500
ROUNDS = 5


def day(records: int, seed: int = 1) -> list[Activity]:
    """A day's records of people and services, in the order of their seconds: people come for a while, do something
    every quarter of a minute, and go; services go on all day.
    """
    chance = random.Random(seed)
    moments: list[tuple[int, int]] = []
    while len(moments) < records:
        actor = chance.randrange(ACTORS)
        second, pause_s = chance.randrange(11 * 3_600), 600.0 if actor % 10 == 0 else 15.0
        for _ in range(40):
            moments.append((second, actor))
            second += 1 + int(chance.expovariate(1 / pause_s))
    return [_record(chance, BEGIN_S + second, actor, seq) for seq, (second, actor) in enumerate(sorted(moments))]


def _record(chance: random.Random, second: int, actor: int, seq: int) -> Activity:
    is_service = actor % 10 == 0
    kind = "service" if is_service else "user"
    action, resource_type, result = "read", "patient_record", "success"
    draw = chance.random()
    if is_service:
        action, resource_type = "invoice.create", "invoice"
    elif draw < 0.02:
        action, resource_type, result = "login", "user_account", chance.choice(["success"] * 9 + ["failure"])
    elif draw < 0.04:
        result = "denied"
    elif draw < 0.3:
        action = "write"
    resource = f"{chance.randrange(2_000) * 2_654_435_761 % 2**32:08x}"
    cell = Cell(
        action,
        resource_type,
        result,
        kind,
        1,
        [[seq, seq]],
        f"10.{actor % 7}.{actor % 250}.9",
        None,
        [resource],
        browsers=int(not is_service),
    )
    return Activity("main", second_at(second), f"{kind}-{actor}", [cell], [], "clinic")


def measure(records: int = 200_000) -> dict[str, float]:
    """Microseconds a record: `watch` for all that `Watch.see` does, `all` for the detectors, and each by its name."""
    made = day(records)
    timed = [(record, epoch_of(record.second)) for record in made]
    detectors = [each for each in chosen(DETECTORS, {}) if each.subject == "actor"]
    found = {"watch": _watched(detectors, made), "all": _detected(detectors, timed)}
    return found | {each.name: _detected([each], timed) for each in detectors}


def _watched(detectors: list[Any], records: list[Activity]) -> float:
    watch = Watch(detectors, Activity)
    subjects: dict[str, Subject[Activity]] = {}
    begin = time.process_time()
    for record in records:
        subject = subjects.get(record.actor_id)
        if subject is None:
            subject = subjects[record.actor_id] = Subject()
        watch.see(subject, record)
    return (time.process_time() - begin) / len(records) * 1e6


def _detected(detectors: list[Any], timed: list[tuple[Activity, int]]) -> float:
    states: dict[str, list[Any]] = {}
    begin = time.process_time()
    for record, second in timed:
        mine = states.get(record.actor_id)
        if mine is None:
            mine = states[record.actor_id] = [each.state() for each in detectors]
        for place, detector in enumerate(detectors):
            mine[place], _ = detector.detect(mine[place], record, second)
    return (time.process_time() - begin) / len(timed) * 1e6


def _told(rounds: list[Mapping[str, float]]) -> str:
    lines = [f"{name:28} {median(each[name] for each in rounds):7.2f} us a record" for name in rounds[0]]
    return "\n".join(lines)


if __name__ == "__main__":
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 100_000
    print(_told([measure(count) for _ in range(ROUNDS)]))
