"""A run: rounds of faults by a seeded plan, each with its recovery, then rest, then the verdict."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from tests.faults.bench import Bench, NotRecovered
from tests.faults.judging import Verdict, judge
from tests.faults.kinds import KINDS, Kind
from tests.faults.results import Round, write_results
from tests.pipeline import PROCESSES

__all__ = ["Run", "planned_rounds"]

_OVERLAPPING = (0.55, 0.35, 0.10)
"""How often a round has one fault, two, three."""
_RECOVERY_S = 180.0
_MOST_FAILURES = 5


def planned_rounds(rng: random.Random, kinds: Sequence[Kind]) -> Iterator[list[Kind]]:
    """For ever: every kind once in random order, then again; kinds that share nothing may overlap."""
    deck: list[Kind] = []
    while True:
        if not deck:
            deck = rng.sample(list(kinds), len(kinds))
        count = rng.choices((1, 2, 3), _OVERLAPPING)[0]
        chosen = [deck.pop(0)]
        for kind in list(deck):
            if len(chosen) == count:
                break
            if all(not kind.touches & other.touches for other in chosen):
                chosen.append(kind)
                deck.remove(kind)
        yield chosen


class Run:
    """`kinds`: names, all by default. `say`: told what happens."""

    def __init__(self, bench: Bench, seed: int, say: Callable[[str], None], kinds: Sequence[str] = ()) -> None:
        self.bench = bench
        self.seed = seed
        self.rounds: list[Round] = []
        self.verdict: Verdict | None = None
        self._say = say
        self._rng = random.Random(seed)
        self._acknowledged: list[int] = []
        self._kinds = [KINDS[name] for name in (kinds or KINDS)]

    def go_on(self, minutes: float, results: Path) -> bool:
        """Faults for so many minutes, then the verdict; whether all was well. Results are written after every round."""
        begun = time.monotonic()
        for number, kinds in enumerate(planned_rounds(self._rng, self._kinds), 1):
            if time.monotonic() - begun > 60 * minutes:
                break
            this = Round(number, [kind.name for kind in kinds])
            self.rounds.append(this)
            self._say(f"{number:>4} begins: {' + '.join(this.kinds)}")
            self._round(this, kinds)
            write_results(results, self.seed, (time.monotonic() - begun) / 60, self.rounds, None)
            if sum(bool(each.failure) for each in self.rounds) == _MOST_FAILURES:
                self._say("too many rounds failed: giving up, without a verdict")
                break
        if sum(bool(each.failure) for each in self.rounds) < _MOST_FAILURES:
            self._say("resting, and judging")
            bench, also_sent = self.bench, self.bench.rest()
            self._count_lost()
            self.verdict = judge(bench.pipeline, bench.journals, also_sent, bench.earlier)
        write_results(results, self.seed, (time.monotonic() - begun) / 60, self.rounds, self.verdict)
        return self.is_well

    @property
    def is_well(self) -> bool:
        """Nothing lost or doubled, no alarm that was not due, all recovered, all verified."""
        return (
            self.verdict is not None
            and not self.verdict.faults
            and self.verdict.verify_code == 0
            and not any(each.failure or each.lost or each.doubled or each.alarms for each in self.rounds)
        )

    def _round(self, this: Round, kinds: list[Kind]) -> None:
        bench = self.bench
        repeated, sealed = len(bench.watcher.repeated), len(bench.watcher.sealed)
        begun = time.monotonic()
        try:
            self._break(kinds)
            self._recover(this, begun)
        except Exception as failure:  # noqa: BLE001 - whatever it is, it is this round's, and others follow
            this.failure = f"{type(failure).__name__}: {failure}"
            this.alarms = bench.alarms()  # mending starts them again
            self._mend()
        self._acknowledged.append(len(bench.journals.acknowledged))
        this.events = len(bench.watcher.sealed) - sealed
        this.doubled = len(bench.watcher.repeated) - repeated
        this.alarms |= bench.alarms()
        for name in bench.alarms():  # an alarm that was not due; a person would look, the bench notes it and goes on
            bench.processes[name].start()
        self._say(
            f"{this.number:>4} {' + '.join(this.kinds)}: sealed {this.sealed_s:.1f} s, stored {this.stored_s:.1f} s, "
            f"archived {this.archived_s:.1f} s, behind {this.outage_s:.1f} s, {this.events} events, "
            f"late {this.late}, doubled {this.doubled}"
            + (f"\n     ALARM {this.alarms}" if this.alarms else "")
            + (f"\n     FAILED {this.failure}" if this.failure else "")
        )

    def _count_lost(self) -> None:
        """By round, in the order in which the driver told of them."""
        acknowledged, begin = list(self.bench.journals.acknowledged), 0
        for this, end in zip(self.rounds, self._acknowledged, strict=True):
            this.lost = sum(digest not in self.bench.watcher.sealed for digest in acknowledged[begin:end])
            begin = end

    def _break(self, kinds: list[Kind]) -> None:
        """Run the faults beside one another until all are mended; then raise what one of them did not foresee."""
        unforeseen: list[Exception] = []
        now = time.monotonic()
        active = [
            [now + (self._rng.uniform(0, 4) if at else 0.0), kind.make(self.bench, self._rng)]  # type: ignore[list-item]
            for at, kind in enumerate(kinds)
        ]
        while active:
            for each in list(active):
                if time.monotonic() >= each[0]:  # type: ignore[operator]
                    try:
                        each[0] = time.monotonic() + next(each[1])  # type: ignore[call-overload]
                    except StopIteration:
                        active.remove(each)
                    except Exception as failure:  # noqa: BLE001 - the others must mend what they have broken
                        unforeseen.append(failure)
                        active.remove(each)
            self.bench.wait(0.1)
        if unforeseen:
            raise unforeseen[0]

    def _recover(self, this: Round, begun: float) -> None:
        bench = self.bench
        mended = time.monotonic()
        owed = bench.owed()
        try:
            bench.until(lambda: bench.is_sealed(owed), _RECOVERY_S, "everything handed over is sealed")
        except NotRecovered:
            this.late = sum(digest in bench.journals.acknowledged for digest in owed)
            raise
        this.sealed_s = time.monotonic() - mended
        size = bench.pipeline.size()
        bench.until(lambda: bench.is_stored(size), _RECOVERY_S, f"{size} entries are stored and signed")
        this.stored_s, this.outage_s = time.monotonic() - mended, time.monotonic() - begun
        segment = bench.newest_segment()
        bench.until(lambda: bench.is_archived(segment), _RECOVERY_S, f"{segment} entries are archived")
        this.archived_s = time.monotonic() - mended

    def _mend(self) -> None:
        """What a failed round may have left: paused programs, broken links, applications that never caught up."""
        bench = self.bench
        for program in (*bench.processes.values(), *bench.applications.values(), *bench.servers.programs.values()):
            program.resume()
        for link in bench.network.links(lambda _: True):
            bench.network.heal(link)
        for name, application in list(bench.applications.items()):
            application.kill()
            bench.start_application(name)
        for server in bench.servers.programs.values():
            if server.pid is None:
                server.start()
        for name, process in bench.processes.items():
            if process.pid is None and name in PROCESSES:
                process.start()
