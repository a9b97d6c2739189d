"""How many records of activity a worker handles in a second, with every detector there is.

    python -m tests.anomaly.rate --records 60000

A company of 2,000 at work, as the roll-up tells it: mostly reads of some resources, some writes, now and then a login,
some of which fail. Timed by the group's committed offsets, from the first tenth to the end, with a real broker and a
real worker on the same machine; beside it, by the worker's own processor time, which others on the machine do not slow.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from tests.anomaly.bench import BEGIN_S, CHAIN, WatchBench
from tests.anomaly.faults import running_kafka

from sealstream.anomaly.detecting import second_at
from sealstream.anomaly.worker_handling import watches_of
from sealstream.errors import Unavailable
from sealstream.kafka import KafkaSettings, committed_offsets, end_offsets
from sealstream.layout.activity import Activity, AddressActivity, AddressCell, Cell
from sealstream.layout.workers import worker_group

__all__ = ["measure"]

_AT_ONCE = 2_000
_ACTORS = 2_000


def company(records: int, seed: int = 1) -> Iterator[Activity | AddressActivity]:
    """So many records, 200 a second."""
    rng = random.Random(seed)
    seq = 0
    for n in range(records):
        actor = rng.randrange(_ACTORS)
        name, address = f"user-{actor}", f"10.1.{actor // 250}.{actor % 250}"
        second, count, kind = second_at(BEGIN_S + n // 200), rng.randrange(1, 7), rng.random()
        seqs = [[seq, seq + count - 1]]
        seq += count
        if kind < 0.9:
            resources = [f"{rng.getrandbits(32):08x}" for _ in range(count)]
            action, result = ("read", "success") if kind < 0.7 else ("write", "success" if kind < 0.88 else "denied")
            cell = Cell(action, "patient_record", result, "user", count, seqs, address, resources=resources)
            yield Activity(CHAIN, second, name, [cell])
        elif kind < 0.97:
            result = "failure" if kind < 0.92 else "success"
            yield Activity(CHAIN, second, name, [Cell("login", "session", result, "user", count, seqs, address)])
        else:
            yield AddressActivity(CHAIN, second, address, [AddressCell(name, "login", "failure", count, seqs)])


def measure(kafka: KafkaSettings, records: int) -> tuple[float, float]:
    """Records a second, and a second of the worker's processor time."""
    with tempfile.TemporaryDirectory(prefix="sealstream-watch-") as folder:
        bench = WatchBench(kafka, Path(folder), partitions=8)
        try:
            batch: list[Activity | AddressActivity] = []
            for record in company(records):
                batch.append(record)
                if len(batch) == _AT_ONCE:
                    bench.send(batch)
                    batch.clear()
            bench.send(batch)
            end = sum(end_offsets(kafka, bench.places).values())
            bench.start()
            bench.wait(lambda: _committed(bench) > end / 10, 120)
            worker = bench.worker()
            begun, spent, first = time.monotonic(), sum(worker.cpu_times()[:2]), _committed(bench)
            bench.wait(lambda: _committed(bench) >= end - len(bench.places), 900)  # a marker stands at each end
            took, used = time.monotonic() - begun, sum(worker.cpu_times()[:2]) - spent
            return (end - first) / took, (end - first) / used
        finally:
            bench.close()


def _committed(bench: WatchBench) -> int:
    try:
        return sum(committed_offsets(bench.kafka, worker_group(bench.prefix), bench.places).values())
    except Unavailable:  # a new broker finds a new group's coordinator only after a while
        return 0


def main() -> int:
    """The exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.anomaly.rate")
    parser.add_argument("--records", type=int, default=60_000)
    arguments = parser.parse_args()
    with running_kafka() as kafka:
        rate, of_processor = measure(kafka, arguments.records)
    detectors = sum(len(watch._detectors) for watch in watches_of({}).values())
    print(f"{rate:,.0f} records/s, {of_processor:,.0f} a second of the worker's processor time; {detectors} detectors")
    return 0


if __name__ == "__main__":
    sys.exit(main())
