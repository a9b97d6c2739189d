"""The client's spool broken on purpose: the simulation must find each."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from itertools import count
from types import SimpleNamespace
from typing import Any, NamedTuple

from tests.simulation.plan import AMPLE_SPOOL, Fault, Plan, draw_plan

from sealstream.client.spool_feed import Feed
from sealstream.client.spool_journal import Journal
from sealstream.client.spool_stream import SpooledStream

__all__ = ["BREAKAGES"]

_append = Journal.append
_hand = Feed.hand
_finish = Journal.finish


def _believed_when_handed_over(self: Feed, number: int, value: bytes, on_loss: Any = None) -> bool:
    taken = _hand(self, number, value, on_loss)
    if taken:
        self.acknowledged = self.fed
    return taken


def _two_numbers_later(self: Journal, number: int, value: bytes, *, own: bool = False) -> bool:
    """An event goes to disk two numbers later."""
    held = vars(self).setdefault("held", [])
    held.append((number, value, own))
    if len(held) > 2:
        return all(_append(self, *each[:2], own=each[2]) for each in [held.pop(0)])
    return True


def _takes_all_with_it(self: Journal, acknowledged: int, lost: int) -> bool:
    """A client that ends removes its files, whatever Kafka has."""
    return _finish(self, max(acknowledged, self.end), 0)


def _nobody_looks(self: SpooledStream) -> None:
    """What dead processes have left is not looked for."""


class Broken(NamedTuple):
    """`seams`: what is put where; `at`: faults (operation or kind, how) under which the mistake shows."""

    seams: Mapping[tuple[str, str], Any]
    at: tuple[tuple[str, str], ...] = (("kill", ""),)

    def plans(self) -> Iterator[Plan]:
        """Plans with a spool that has room, on a disk that refuses nothing, with more of these faults."""
        for seed in count():
            rng = random.Random(f"broken spool {seed}")
            plan = draw_plan(seed)
            spools = sorted({act.emitter for act in plan.acts if act.emitter.startswith("spool")})
            if not spools:
                continue
            faults = [fault for fault in plan.faults if not fault.where.startswith("disk")]
            for where, how in self.at * 3:
                at_s, seconds = round(rng.random() * plan.length_s, 3), round(4 * rng.random(), 2)
                faults.append(
                    Fault(at_s, "effect" if how else where, where if how else rng.choice(spools), how, seconds)
                )
            yield plan._replace(faults=tuple(sorted(faults)), spool_bytes=AMPLE_SPOOL)


_FEED, _JOURNAL = "sealstream.client.spool_feed", "sealstream.client.spool_journal"
BREAKAGES: Mapping[str, Broken] = {
    "spool: what was handed over is taken for acknowledged": Broken(
        {(_FEED, "Feed.hand"): _believed_when_handed_over}, (("kill", ""), ("kafka down", ""))
    ),
    "spool: an event goes to disk after it was accepted": Broken(
        {(_JOURNAL, "Journal.append"): _two_numbers_later}, (("kill", ""), ("kafka down", ""))
    ),
    "spool: a client that ends takes its files with it": Broken(
        {(_JOURNAL, "Journal.finish"): _takes_all_with_it}, (("kafka down", ""),)
    ),
    "spool: nobody asks for a stream's lock": Broken(
        {
            ("sealstream.client.spool_directory", "fcntl"): SimpleNamespace(
                flock=lambda *_: None, LOCK_EX=0, LOCK_NB=0, LOCK_SH=0
            )
        },
        (("kafka down", ""),),
    ),
    "spool: nobody looks for what dead processes have left": Broken(
        {("sealstream.client.spool_stream", "SpooledStream._adopt"): _nobody_looks}
    ),
}
