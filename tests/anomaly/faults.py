"""Workers killed, frozen and shared out anew at random; then the alerts must be those of a run without faults.

    python -m tests.anomaly.faults --minutes 10 --seed 3

Two to three processes, each with its worker, over one stream of activity with attacks in it, of which some comes again
and some is aborted. `SEALSTREAM_TEST_STACK` names a stack whose Kafka is used; without it one is started.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

import psutil
from tests.anomaly.bench import Story, WatchBench, freeze

from sealstream.devstack import Stack, endpoints_of
from sealstream.devstack.ports import free_port
from sealstream.kafka import KafkaSettings

__all__ = ["Outcome", "run", "running_kafka"]

_MOST = 3
_SETTLE_S = 240.0


class Outcome(NamedTuple):
    """What a run was like: it raises where what came of it is wrong."""

    records: int
    alerts: int
    repeats: int
    faults: Counter[str]


class _Run:
    def __init__(self, bench: WatchBench, seed: int) -> None:
        self.bench = bench
        self.rng = random.Random(seed)
        self.faults: Counter[str] = Counter()
        self.records = 0
        self._story = Story(seed)
        self._sent: list[list[object]] = []
        self._thaw: list[tuple[float, list[psutil.Process]]] = []
        self._made = 0

    def feed(self) -> None:
        """A few seconds of the story, some twice, some as an aborted transaction before."""
        batches = list(self._story.seconds(self.rng.randrange(1, 6)))
        for batch in batches:
            if self.rng.random() < 0.1:
                self.bench.send(Story(self.rng.randrange(10**6)).seconds(1).__next__(), commit=False)
            self.bench.send(batch)
            self.records += len(batch)
            self._sent.append(list(batch))
            if self.rng.random() < 0.1:
                self.bench.send(self.rng.choice(self._sent[-50:]))  # type: ignore[arg-type]

    def one_more(self) -> None:
        """Another process, which is patient with its worker or not."""
        self._made += 1
        self.bench.write_settings(*((60, 60) if self.rng.random() < 0.5 else (5, 12)))
        self.bench.start(f"anomaly-{self._made}")

    def fault(self) -> None:
        """One at random."""
        kinds: list[Callable[[str], None]] = [self._kill_worker, self._kill, self._stop, self._freeze, self._freeze_all]
        names = list(self.bench.running)
        if len(names) < 2 or (len(names) < _MOST and self.rng.random() < 0.4):
            self.faults["one more"] += 1
            self.one_more()
            return
        kind = self.rng.choice(kinds)
        self.faults[kind.__name__.strip("_").replace("_", " ")] += 1
        kind(self.rng.choice(names))

    def thaw(self, *, all_of_them: bool = False) -> None:
        """Let those go on whose time has come."""
        now = time.monotonic()
        for at, processes in list(self._thaw):
            if all_of_them or now > at:
                self._thaw.remove((at, processes))
                for process in processes:
                    with suppress(ProcessLookupError, psutil.NoSuchProcess):
                        freeze(process, thaw=True)

    def _kill_worker(self, name: str) -> None:
        for worker in self._workers(name):
            worker.kill()

    def _kill(self, name: str) -> None:
        self.bench.kill(name)

    def _stop(self, name: str) -> None:
        self.thaw(all_of_them=True)
        code = self.bench.stop(name, timeout_s=20)
        assert code in (0, -signal.SIGTERM), f"{name} ended with exit code {code}: {self.bench.log(name)}"  # early

    def _freeze(self, name: str) -> None:
        self._freeze_for(self._workers(name), self.rng.uniform(1, 16))

    def _freeze_all(self, name: str) -> None:
        """As a machine that stands and comes back: nobody there sees that time has passed."""
        process = psutil.Process(self.bench.running[name].pid)
        self._freeze_for([process, *self._workers(name)], self.rng.uniform(11, 18))

    def _freeze_for(self, processes: list[psutil.Process], seconds: float) -> None:
        for process in processes:
            with suppress(ProcessLookupError):
                freeze(process)
        self._thaw.append((time.monotonic() + seconds, processes))

    def _workers(self, name: str) -> list[psutil.Process]:
        return psutil.Process(self.bench.running[name].pid).children()


def run(
    kafka: KafkaSettings,
    *,
    seconds: float,
    seed: int,
    say: Callable[[str], None] = lambda _: None,
    keep: Path | None = None,
) -> Outcome:
    """Raises `AssertionError` when alerts or states are not those of a run without faults; logs are left in `keep`."""
    with tempfile.TemporaryDirectory(prefix="sealstream-watch-") as folder:
        bench = WatchBench(kafka, Path(folder))
        try:
            return _run(bench, seconds, seed, say)
        except AssertionError:
            if keep is not None:
                shutil.copytree(folder, keep / bench.prefix)
            for log in sorted(Path(folder).glob("*.log")):
                say(f"--- {log.stem}\n{bench.log(log.stem, lines=60)}")
            raise
        finally:
            bench.close()


def _run(bench: WatchBench, seconds: float, seed: int, say: Callable[[str], None]) -> Outcome:
    state = _Run(bench, seed)
    state.one_more()
    end = time.monotonic() + seconds
    next_fault = time.monotonic() + 8
    while time.monotonic() < end:
        begun = time.monotonic()
        state.feed()
        state.thaw()
        if time.monotonic() > next_fault:
            state.fault()
            next_fault = time.monotonic() + state.rng.uniform(2, 12)
            say(f"{state.records:,} records; {dict(state.faults)}; {len(bench.running)} run")
        time.sleep(max(0.0, 0.3 - (time.monotonic() - begun)))
    state.thaw(all_of_them=True)
    if not bench.running:
        state.one_more()
    state.feed()
    bench.wait_done(_SETTLE_S)
    alerts = bench.check()
    return Outcome(state.records, alerts, len(bench.alerts()) - alerts, state.faults)


@contextmanager
def running_kafka() -> Iterator[KafkaSettings]:
    """The broker of the stack that `SEALSTREAM_TEST_STACK` names, or one of its own."""
    if shared := os.environ.get("SEALSTREAM_TEST_STACK"):
        yield KafkaSettings(endpoints_of(Path(shared)).kafka_bootstrap)
        return
    taken: set[int] = set()
    ports = {name: free_port(taken) for name in ("kafka", "postgres", "s3")}
    with tempfile.TemporaryDirectory(prefix="sealstream-watch-") as folder:
        stack = Stack(Path(folder) / "data", ports=ports, progress=print)
        try:
            yield KafkaSettings(stack.start().kafka_bootstrap)
        finally:
            stack.stop()


def main() -> int:
    """The exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.anomaly.faults")
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--seed", type=int, default=random.randrange(10**6))
    parser.add_argument("--keep", type=Path, help="where logs are left when something is wrong")
    arguments = parser.parse_args()
    print(f"seed {arguments.seed}", flush=True)
    with running_kafka() as kafka:
        outcome = run(
            kafka,
            seconds=60 * arguments.minutes,
            seed=arguments.seed,
            say=lambda line: print(line, flush=True),
            keep=arguments.keep,
        )
    print(
        f"{outcome.records:,} records, {outcome.alerts} alerts (as in a run without faults), written once more "
        f"{outcome.repeats} times; faults: {dict(outcome.faults)}"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
