"""`make bench`: every ratio and figure of benchmarks/results.md, measured anew on servers of its own.

Starts Kafka, PostgreSQL and S3 in a temporary directory on free ports and ends them, also on Ctrl-C. Each benchmark
takes turns with its baseline for several rounds. Results are written when all of them ran; with `--only` or `--quick`
they are shown and not written, so that the file never mixes runs.

    .venv/bin/python benchmarks/run.py [--only NAME ...] [--events N] [--quick] [--rounds N] [--write] [--into FILE]
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

import bench_activity
import bench_archive
import bench_checkpointing
import bench_client
import bench_collect
import bench_latency
import bench_outbox
import bench_postgres
import bench_raised
import bench_row_by_row
import bench_search
import bench_sequencer
import bench_verify
from results import as_table, write_results
from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rows import Row
from workbench import Workbench, quieten

from sealstream.devstack import Stack
from sealstream.devstack.ports import free_port

BENCHMARKS: dict[str, Callable[[Workbench], list[Row]]] = {
    "sequencer": bench_sequencer.measure,
    "checkpointing": bench_checkpointing.measure,
    "activity": bench_activity.measure,
    "row-by-row": bench_row_by_row.measure,
    "postgres": bench_postgres.measure,
    "search": bench_search.measure,
    "archive": bench_archive.measure,
    "growth": bench_sequencer.growth,
    "verify": bench_verify.measure,
    "emit": bench_client.measure,
    "collect": bench_collect.measure,
    "outbox": bench_outbox.measure,
    "latency": bench_latency.measure,
    "raised": bench_raised.measure,
}
RESULTS = Path(__file__).parent / "results.md"


class Load(threading.Thread):
    """What else the machine does: the load average, now and then; ours is part of it."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.before = os.getloadavg()[0]
        self.seen: list[float] = []

    def run(self) -> None:
        while True:
            self.seen.append(os.getloadavg()[0])
            time.sleep(5)


def main() -> int:
    """Runs what is asked for."""
    parser = argparse.ArgumentParser(description="Sealstream's benchmarks", epilog="names: " + ", ".join(BENCHMARKS))
    parser.add_argument("--only", action="append", choices=list(BENCHMARKS), metavar="NAME", help="may be repeated")
    parser.add_argument("--events", type=int, default=250_000, help="in a chain of one round (%(default)s)")
    parser.add_argument("--quick", action="store_true", help="20,000 events: to see that it works, not how fast it is")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--write", action="store_true", help="write results.md also when not everything was measured")
    parser.add_argument("--into", type=Path, metavar="FILE", help="write them into this file, whatever was measured")
    given = parser.parse_args()
    events = 20_000 if given.quick else given.events
    wanted = [name for name in BENCHMARKS if not given.only or name in given.only]
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    quieten()
    console = Console()
    rows: list[Row] = []
    load = Load()
    begun = time.time()
    taken: set[int] = set()
    ports = {name: free_port(taken) for name in ("kafka", "postgres", "s3")}
    with (
        tempfile.TemporaryDirectory(prefix="sealstream-bench-") as folder,
        Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(),
            TimeElapsedColumn(),
            console=console,
            transient=True,
        ) as progress,
    ):
        task = progress.add_task("starting Kafka, PostgreSQL and S3", total=len(wanted))

        def say(what: str) -> None:
            progress.update(task, description=what)
            if not console.is_terminal:
                print(f"{time.time() - begun:6.1f} s  {what}", flush=True)

        stack = Stack(Path(folder) / "data", ports=ports, progress=say)
        try:
            endpoints = stack.start()
            load.start()
            bench = Workbench(stack, endpoints, Path(folder), given.rounds, events, say)
            for name in wanted:
                for row in BENCHMARKS[name](bench):
                    rows.append(row)
                    progress.console.print(f"{row.name}: [bold]{row.measured_text}[/] [dim]{row.absolute_text}[/]")
                progress.advance(task)
        except KeyboardInterrupt:
            console.print("interrupted; nothing was written")
            return 130
        finally:
            say("stopping")
            stack.stop()
    console.print(as_table(rows))
    target = given.into or (RESULTS if given.write or not (given.only or given.quick) else None)
    if target is not None:
        write_results(
            target,
            rows,
            f"{events:,} events in a chain of one round, {given.rounds} rounds (`{' '.join(sys.argv)}`)",
            (load.before, load.seen),
            time.time() - begun,
        )
        console.print(f"written to {target}")
    else:
        console.print("[dim]results.md is left as it is: it is written by a whole run")
    return 0


if __name__ == "__main__":
    sys.exit(main())
