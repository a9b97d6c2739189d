"""`python -m tests.faults [--seed N] [--minutes M]`: the bench of real faults (`make faults`).

Three Kafka nodes, PostgreSQL, S3 and every process of ours run for real; a seeded plan breaks one thing after another,
often several at once. In the end everything that was acknowledged must be sealed once, and every store must verify.
Exit 0: so it was. Results: `results-<seed>.json` and `.md` in the folder that `--results` names.
"""

from __future__ import annotations

import argparse
import faulthandler
import random
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path

from tests.faults.bench import Bench
from tests.faults.kinds import KINDS
from tests.faults.results import merged_table, read_rounds
from tests.faults.running import Run


def main() -> int:
    """Parse, run, tell."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.faults",
        description="Real faults against the whole pipeline: nothing may be lost, doubled or left unverified.",
        epilog="Ctrl-C ends a run and leaves nothing running. The same seed gives the same plan; the moments at which "
        "faults meet the programs are the machine's.",
    )
    parser.add_argument("--seed", type=int, default=None, help="of the plan (default: a new one)")
    parser.add_argument("--minutes", type=float, default=60, help="how long faults go on (default: 60)")
    parser.add_argument("--rate", type=float, default=60, help="events a second in all (default: 60)")
    parser.add_argument("--only", action="append", default=[], metavar="TEXT", help="only kinds whose name holds this")
    parser.add_argument("--results", type=Path, default=Path("build/faults"), help="folder (default: build/faults)")
    parser.add_argument("--list", action="store_true", help="list the kinds of faults and end")
    parser.add_argument("--table", type=Path, nargs="+", metavar="JSON", help="print one table of several runs and end")
    asked = parser.parse_args()
    if asked.list:
        print("\n".join(KINDS))
        return 0
    if asked.table:
        print(merged_table(read_rounds(asked.table)), end="")
        return 0
    chosen = [name for name in KINDS if not asked.only or any(text in name for text in asked.only)]
    if not chosen:
        parser.error(f"no kind of fault holds {asked.only}; --list shows them")
    faulthandler.register(signal.SIGUSR1)
    seed = asked.seed if asked.seed is not None else random.SystemRandom().randrange(1_000_000)
    asked.results.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix="sealstream-faults-"))
    begun = time.monotonic()

    def say(what: str) -> None:
        print(f"[{time.monotonic() - begun:7.1f}] {what}", flush=True)

    say(f"seed {seed}, {asked.minutes:g} minutes, {len(chosen)} kinds of faults, logs in {folder}")
    bench = Bench(folder, rate=asked.rate)
    # Not an exception from here: one that is raised in a callback of Kafka's driver is lost.
    signal.signal(signal.SIGTERM, lambda *_: bench.stopping.set())
    run = Run(bench, seed, say, chosen)
    well = False
    try:
        bench.start()
        say("everything runs")
        well = run.go_on(asked.minutes, asked.results)
    except KeyboardInterrupt:
        say("stopped")
        return 130
    finally:
        bench.stop()
        if well:
            shutil.rmtree(folder, ignore_errors=True)
    verdict = run.verdict
    if verdict is not None:
        say(f"{verdict.events} events, {verdict.acknowledged} acknowledged, {verdict.entries} entries")
        say(f"checker: {'nothing lost, nothing doubled, every store is the chain' if not verdict.faults else ''}")
        for fault in verdict.faults:
            say(f"  {fault}")
        say(f"verify all: exit {verdict.verify_code}\n{verdict.verify_said}")
    say("all is well" if well else f"NOT well: logs are in {folder}")
    return 0 if well else 1


if __name__ == "__main__":
    sys.exit(main())
