"""`python -m tests.simulation`: run seeds, replay one, shrink what fails, break the product on purpose.

    python -m tests.simulation --seeds 0:1000 --jobs 2     a range of seeds; Ctrl-C tells what was run so far
    python -m tests.simulation --histories 5000            so many, from a seed that is told
    python -m tests.simulation --seed 292                  one, with its story
    python -m tests.simulation --seed 292 --faults 1,3 --acts 0,7    the same with these faults and acts alone
    python -m tests.simulation --breakages                 each breakage, and the first seed that shows it

Exit code 0: every history holds (every breakage was found); 1: not so.
"""

from __future__ import annotations

import argparse
import logging
import random
import signal
import sys
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from itertools import islice
from typing import NamedTuple

from tests.simulation import breakages
from tests.simulation.history import Outcome, run_plan
from tests.simulation.plan import draw_plan
from tests.simulation.shrinking import shrink
from tests.simulation.spool_breakages import BREAKAGES as OF_SPOOLS
from tests.simulation.stores.breakages import BREAKAGES as OF_STORES

_CHUNK = 25
_TOLD = 5
_WITHIN_OF_STORES = 15


class Ran(NamedTuple):
    """What a run of seeds came to."""

    histories: int
    seconds: float
    entries: int
    emitted: int
    injected: Counter[str]
    failed: dict[int, list[str]]


def _run_seeds(first: int, last: int) -> Ran:
    logging.getLogger("sealstream.client").disabled = True
    begun = time.process_time()
    injected: Counter[str] = Counter()
    entries = emitted = 0
    failed: dict[int, list[str]] = {}
    for seed in range(first, last):
        outcome = run_plan(draw_plan(seed))
        injected.update(outcome.injected)
        entries += outcome.entries
        emitted += outcome.emitted
        if outcome.faults:
            failed[seed] = outcome.faults
    return Ran(last - first, time.process_time() - begun, entries, emitted, injected, failed)


def _leave_interrupts_to_the_parent() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _chunks(first: int, last: int) -> Iterator[tuple[int, int]]:
    return ((at, min(at + _CHUNK, last)) for at in range(first, last, _CHUNK))


def run_range(first: int, last: int, jobs: int) -> int:
    """Run the seeds, tell how it goes, shrink the first that fails."""
    begun, total = time.monotonic(), Ran(0, 0.0, 0, 0, Counter(), {})
    chunks = _chunks(first, last)
    try:
        with ProcessPoolExecutor(jobs, initializer=_leave_interrupts_to_the_parent) as pool:
            waiting: set[Future[Ran]] = set()
            try:
                while True:
                    waiting |= {pool.submit(_run_seeds, *each) for each in islice(chunks, 2 * jobs - len(waiting))}
                    if not waiting:
                        break
                    done, waiting = wait(waiting, return_when=FIRST_COMPLETED)
                    for future in done:
                        total = _added(total, future.result())
                    _tell_progress(total, last - first, begun)
            except KeyboardInterrupt:
                pool.shutdown(wait=False, cancel_futures=True)
                raise
    except KeyboardInterrupt:
        print("\ninterrupted", file=sys.stderr)
    _summarise(total, time.monotonic() - begun, first)
    if total.failed:
        _explain(min(total.failed))
    return 1 if total.failed or total.histories < last - first else 0


def _added(total: Ran, ran: Ran) -> Ran:
    for seed, faults in ran.failed.items():
        print(f"\nseed {seed} fails: {faults[0]}", flush=True)
    return Ran(
        total.histories + ran.histories,
        total.seconds + ran.seconds,
        total.entries + ran.entries,
        total.emitted + ran.emitted,
        total.injected + ran.injected,
        total.failed | ran.failed,
    )


def _tell_progress(total: Ran, wanted: int, begun: float) -> None:
    rate = total.histories / max(0.001, time.monotonic() - begun)
    left_s = (wanted - total.histories) / max(0.001, rate)
    text = f"{total.histories} of {wanted} histories, {60 * rate:.0f} a minute, {left_s:.0f} s left"
    if sys.stderr.isatty():
        print(f"\r{text}, {len(total.failed)} fail    ", end="", file=sys.stderr, flush=True)
    elif total.histories % (40 * _CHUNK) == 0:
        print(f"{text}, {len(total.failed)} fail", file=sys.stderr, flush=True)


def _summarise(total: Ran, seconds: float, first: int) -> None:
    print(f"\n{total.histories} histories from seed {first} in {seconds:.0f} s, {len(total.failed)} fail")
    print(f"{60 * total.histories / max(0.001, total.seconds):.0f} histories a minute of one core's time")
    print(f"{total.emitted} events, {total.entries} entries, {total.injected.total()} faults:")
    for kind, count in total.injected.most_common():
        print(f"  {count:8} {kind}")
    for seed, faults in sorted(total.failed.items())[:50]:
        print(f"seed {seed}: {faults[0]}")


def _explain(seed: int) -> None:
    print(f"\nshrinking seed {seed} ...", flush=True)
    shrunk = shrink(draw_plan(seed))
    tell(shrunk.outcome)
    print(f"({shrunk.tries} tries) the same again:\n  {_command(seed, shrunk.faults, shrunk.acts)}")


def _command(seed: int, faults: list[int], acts: list[int]) -> str:
    def listed(numbers: list[int]) -> str:
        return ",".join(map(str, numbers)) or "none"

    return f"python -m tests.simulation --seed {seed} --faults {listed(faults)} --acts {listed(acts)}"


def tell(outcome: Outcome) -> None:
    """The story of a history, for a person."""
    plan = outcome.plan
    print(f"\nseed {plan.seed}, {plan.length_s:.0f} s, then at most 300 s of rest: {', '.join(plan.processes)}")
    print("planned:")
    for fault in plan.faults:
        print(f"  {fault}")
    for emitter in sorted({act.emitter for act in plan.acts}):
        acts = [f"{act.what} at {act.at_s}" for act in plan.acts if act.emitter == emitter]
        print(f"  {emitter}: {', '.join(acts)}")
    print("what happened:")
    for at_ns, task, text in outcome.story:
        print(f"  {at_ns / 1e9:9.3f} {task or '(the world)':32} {text}")
    print(f"{outcome.emitted} events, {outcome.entries} entries; {outcome.digest[:16]}")
    for fault in outcome.faults or ["all holds"]:
        print(f"=> {fault}")


def run_breakages() -> int:
    """Each breakage and what shows it."""
    missed = 0
    for name in breakages.BREAKAGES:
        missed += _tell_breakage(name, breakages.found(name), breakages.WITHIN)
    for name, broken in OF_STORES.items():
        plans = islice(broken.plans(name.split(":", maxsplit=1)[0]), _WITHIN_OF_STORES)
        outcomes = (run_plan(plan, broken.seams) for plan in plans)
        missed += _tell_breakage(name, next((one for one in outcomes if one.faults), None), _WITHIN_OF_STORES)
    for name, broken in OF_SPOOLS.items():
        outcomes = (run_plan(plan, broken.seams) for plan in islice(broken.plans(), _WITHIN_OF_STORES))
        missed += _tell_breakage(name, next((one for one in outcomes if one.faults), None), _WITHIN_OF_STORES)
    return 1 if missed else 0


def _tell_breakage(name: str, outcome: Outcome | None, within: int) -> bool:
    if outcome is None:
        print(f"NOT FOUND in {within} histories: {name}", flush=True)
    else:
        print(f"found by seed {outcome.plan.seed}: {name}\n    {outcome.faults[0][:160]}", flush=True)
    return outcome is None


def _indices(text: str | None) -> list[int] | None:
    if text is None:
        return None
    return [] if text == "none" else [int(one) for one in text.split(",")]


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.simulation", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", metavar="FIRST:LAST", help="a range; the last is left out")
    parser.add_argument("--histories", type=int, metavar="N", help="so many seeds, from a random one (or --from)")
    parser.add_argument("--from", type=int, dest="first", metavar="SEED", help="where --histories begins")
    parser.add_argument("--jobs", type=int, default=1, help="processes at once (default: 1)")
    parser.add_argument("--seed", type=int, help="one history, with its story")
    parser.add_argument(
        "--faults", metavar="I,J,...", help="with --seed: these of its faults alone (none: without any)"
    )
    parser.add_argument("--acts", metavar="I,J,...", help="with --seed: these of its acts alone")
    parser.add_argument("--shrink", action="store_true", help="with --seed: make it small first")
    parser.add_argument("--breakages", action="store_true", help="break the product on purpose, one promise at a time")
    asked = parser.parse_args()
    logging.getLogger("sealstream.client").disabled = True
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # `timeout` and supervisors get the summary, too
    if asked.breakages:
        return run_breakages()
    if asked.seed is not None:
        if asked.shrink:
            _explain(asked.seed)
            return 0
        outcome = run_plan(draw_plan(asked.seed).only(_indices(asked.faults), _indices(asked.acts)))
        tell(outcome)
        return 1 if outcome.faults else 0
    if asked.seeds:
        first, _, last = asked.seeds.partition(":")
        if not (first.isdigit() and last.isdigit() and int(first) < int(last)):
            parser.error(f"--seeds {asked.seeds}: expected FIRST:LAST, such as 0:1000")
        return run_range(int(first), int(last), asked.jobs)
    first_seed = asked.first if asked.first is not None else random.randrange(1_000_000, 1_000_000_000)
    histories = asked.histories or 1_000
    print(f"seeds {first_seed}:{first_seed + histories}")
    return run_range(first_seed, first_seed + histories, asked.jobs)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
