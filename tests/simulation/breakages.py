"""The sequencer and checkpointing broken on purpose, one promise at a time: the simulation must find each.

Each is a mistake that somebody could make in a change that looks harmless; those of the sinks are in
`stores/breakages.py`. `found(name)` looks for the first seed that shows it.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping
from hashlib import sha256
from typing import Any, NamedTuple

from tests.simulation.history import Outcome, run_plan
from tests.simulation.plan import Fault, Plan, draw_plan

from sealstream.checkpointing import Checkpointing
from sealstream.events import ValidEvent
from sealstream.kafka import CommittedReader
from sealstream.sequencer import Sequencer
from sealstream.sequencer.account import Account
from sealstream.sequencer.batch import Scribe, sealed_time
from sealstream.sequencer.deduplication import Deduplication, Verdict
from sealstream.sequencer.producers import AsOf
from sealstream.sequencer.publishing import Publication, Publisher
from sealstream.sequencer.replay import Memory

__all__ = ["BREAKAGES", "WITHIN", "Breakage", "found"]

WITHIN = 150
"""Histories, at most, until a breakage is found."""


class _Uncommitted(CommittedReader):
    """Reads what is not decided yet as well."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._consumer._committed = False


class _FromGroup(CommittedReader):
    """Reads on from the group's committed offset."""

    def seek(self, offset: int) -> None:
        broker = self._consumer._broker
        if self._topic.startswith("audit.raw."):
            offset = broker.offsets.get(("audit-sequencer", self._topic), offset)
        super().seek(offset)


def _opening(of: type, **readers: Any) -> Callable[..., None]:
    """`__init__` with other ways to open what it opens."""
    genuine = of.__init__  # type: ignore[misc]

    def __init__(self: Any, *arguments: Any, **options: Any) -> None:
        genuine(self, *arguments, **{**options, **readers})

    return __init__


def _not_read_back(_self: Any, _records: Any) -> None:
    pass


_commit = Publisher._commit
_bury = Scribe._bury
_judge = Deduplication.judge


def _commit_at_once(self: Publisher, publication: Publication, _seen_before: Any) -> None:
    _commit(self, publication, None)


def _never_judged(_self: Deduplication, _event: ValidEvent, _digest: bytes) -> None:
    return None


def _judged_by_id(self: Deduplication, event: ValidEvent, digest: bytes) -> Verdict | None:
    verdict = _judge(self, event, digest)
    if verdict is not None and verdict.what == "conflict" and verdict.of is not None and verdict.of.id == event.id:
        return Verdict("repeat", verdict.of)
    return verdict


def _without_gap(self: Scribe, event: ValidEvent, digest: bytes, seq: int, verdict: Any, _missing: Any) -> None:
    _remark(self, event, digest, seq, verdict, None)


_remark = Scribe._remark


def _refused_is_empty(self: Account, offset: int, _record_sha256: bytes, _reason: str) -> None:
    self.skip_to(offset + 1)


def _by_the_clock(self: Scribe, now_ns: int) -> None:
    self._now_ns = now_ns
    self._sequenced_at = sealed_time(now_ns // 1000)


def _remembers_nothing(_kafka: Any, _topics: Any, _tail: Any, _tip: Any, recent_entries: int, _log: Any) -> Memory:
    return Memory(AsOf(0, "", ""), recent_entries=recent_entries)


def _by_number(_kafka: Any, _topic: str, as_of: AsOf, _tail: Any, tip: Any) -> bool:
    return as_of.size <= tip.size


def _to_nowhere(*_arguments: Any) -> None:
    pass


def _own_name() -> Callable[[str], str]:
    lives = iter(range(1_000_000))
    return lambda chain: f"sequencer-{chain}-{next(lives)}"


def _wrong_digest(self: Account, what: str, offset: int, record_sha256: bytes, reason: Any, of: Any) -> None:
    self.skip_to(offset)
    self._note(what, offset, reason, of).digests.update(sha256(record_sha256).digest())
    self.records += 1


class Breakage(NamedTuple):
    """`seams`: what is put where. `at`: more faults (kind or operation, how) under which the mistake shows."""

    seams: Mapping[tuple[str, str], Any]
    at: tuple[tuple[str, str], ...] = ()

    def plans(self) -> Iterator[Plan]:
        """The plans of seeds from 0 on, with more of these faults."""
        for seed in range(WITHIN):
            rng = random.Random(f"broken {seed}")
            plan = draw_plan(seed, stores=False)
            faults = [*plan.faults]
            if any(how == "doubled" for _, how in self.at):
                faults = [fault for fault in faults if fault.how not in ("absent", "torn")]
            elif self.at:
                faults = [fault for fault in faults if fault.how != "doubled"]
            for where, how in self.at:
                at_s = round(rng.random() * plan.length_s, 3)
                seconds = {"pause": 9.0, "clock": -70.0}.get(where, 0.02 * rng.random())
                faults.append(Fault(at_s, "effect" if how else where, where if how else "sequencer-a", how, seconds))
            yield plan._replace(faults=tuple(sorted(faults)))


_BATCH, _SEQUENCER = "sealstream.sequencer.batch", "sealstream.sequencer.sequencer"
BREAKAGES: Mapping[str, Breakage] = {
    "a transaction is not read back": Breakage(
        {("sealstream.sequencer.publishing", "ReadBack.expect"): _not_read_back}, (("kafka.end_txn", "absent"),)
    ),
    "a transaction is committed before the one before was seen": Breakage(
        {("sealstream.sequencer.publishing", "Publisher._commit"): _commit_at_once}, (("kafka.end_txn", "absent"),)
    ),
    "checkpointing signs what is not committed": Breakage(
        {
            ("sealstream.checkpointing.checkpointing", "Checkpointing.__init__"): _opening(
                Checkpointing, open_reader=_Uncommitted
            )
        },
        (("kafka.end_txn", "absent"),),
    ),
    "a start reads on from the group's offsets": Breakage(
        {(_SEQUENCER, "Sequencer.__init__"): _opening(Sequencer, open_reader=_FromGroup)},
        (("kafka.end_txn", "torn"), ("kill", "")),
    ),
    "nothing is deduplicated": Breakage({("sealstream.sequencer.deduplication", "Deduplication.judge"): _never_judged}),
    "an id alone makes a repeat": Breakage(
        {("sealstream.sequencer.deduplication", "Deduplication.judge"): _judged_by_id}
    ),
    "a gap in a producer's numbers is not stated": Breakage({(_BATCH, "Scribe._remark"): _without_gap}),
    "a refused record is accounted for as none": Breakage(
        {("sealstream.sequencer.account", "Account.refused"): _refused_is_empty}
    ),
    "the digest of what was passed over is of something else": Breakage(
        {("sealstream.sequencer.account", "Account._record"): _wrong_digest}
    ),
    "refused bytes are not kept": Breakage({(_BATCH, "Scribe._bury"): _to_nowhere}),
    "the owner before is not fenced": Breakage(
        {(_SEQUENCER, "sequencer_transactional_id"): _own_name()}, (("pause", ""), ("rebalance", ""))
    ),
    "sealed times follow the clock": Breakage({(_BATCH, "Scribe.begin"): _by_the_clock}, (("clock", ""),)),
    "a start remembers nothing": Breakage({("sealstream.sequencer.taking", "remember"): _remembers_nothing}),
    "a group that has forgotten us is waited for": Breakage(
        {("sealstream.sequencer.ownership", "Ownership._look"): lambda _self: None},
        (("kafka.group.poll", "forgets the brokers"),),
    ),
    "states of a torn transaction are believed": Breakage(
        {("sealstream.sequencer.remembering", "_is_of_chain"): _by_number},
        (("kafka.end_txn", "torn"),) * 4,
    ),
}


def found(name: str) -> Outcome | None:
    """The first history that shows this breakage; None when none of `WITHIN` does."""
    breakage = BREAKAGES[name]
    for plan in breakage.plans():
        outcome = run_plan(plan, breakage.seams)
        if outcome.faults:
            return outcome
    return None
