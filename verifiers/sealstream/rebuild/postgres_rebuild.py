"""Builds months of Postgres anew from a source, verifies them, swaps them in, and has the chain seal that it was done.

Month by month, each in this order: build (resumed where an earlier life left it), copy what others have, hash all of it
again in the database and fold it to the signed sizes, swap, say `store.repaired`. A crash between any two of them
leaves the months before done and this one as it was; the same command goes on. What was swapped in and not yet said is
said by the next life: `audit_repair` remembers it, and the statement's id is the swap's own, so a repeat is one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple

from sealstream.errors import ChainBroken, SealstreamError
from sealstream.events import control_statement, format_timestamp
from sealstream.kafka import KafkaSettings, produce
from sealstream.layout import ChainSettings, ChainTopics
from sealstream.rebuild.entries import EntrySource, Run
from sealstream.rebuild.months import Keeper, MonthBuild, Swapped
from sealstream.rebuild.spans import Span
from sealstream.sealing import EMPTY_RANGE, SEAL_BYTES, CompactRange, extend, genesis_hash, read_written

__all__ = ["MonthDone", "MonthsRebuild", "month_of", "seal_repairs"]

Say = Callable[[str], None]
Progress = Callable[[int, int | None], None]


class MonthDone(NamedTuple):
    """A month that stands now: entries `first` to `stop` - 1. `replaced`: the table that the old one is kept as."""

    month: str
    first: int
    stop: int
    replaced: str | None


class MonthsRebuild:
    """How months are rebuilt: from `source`, held to `spans`; `keep`: the months that are replaced are kept."""

    def __init__(
        self,
        keeper: Keeper,
        chain: ChainSettings,
        source: EntrySource,
        spans: Sequence[Span],
        *,
        reason: str,
        keep: bool = True,
        workers: int = 2,
        wait_s: float = 600.0,
        say: Say = lambda _: None,
        progress: Progress = lambda _done, _total: None,
    ) -> None:
        self._keeper = keeper
        self._chain = chain
        self._source = source
        self._ranges = {0: EMPTY_RANGE} | {span.first: span.start for span in spans}
        self._ranges |= {span.stop: span.end for span in spans}
        self._reason = reason
        self._keep = keep
        self._workers = workers
        self._wait_s = wait_s
        self._say = say
        self._progress = progress

    def run(self, first: int, stop: int, months: Sequence[str] | None = None) -> Iterator[MonthDone]:
        """Rebuilds the entries `first` (which begins a month) to `stop` - 1, as each month is done.

        `months`: only these, ascending; one that has none of the entries ends up without any of this chain.
        """
        wanted = None if months is None else set(months)
        current: MonthBuild | None = None
        seq, prev_hash = first, genesis_hash(self._chain.origin) if first == 0 else b""
        while seq < stop:
            for part in self._parts(seq, prev_hash, stop):
                month = month_of(part.values[0])
                seq, prev_hash = part.stop, part.hashes[-1]
                self._progress(seq - first, stop - first)
                if current is not None and month != current.month:
                    yield self._finish(current)
                    current = None
                if wanted is not None and month not in wanted:
                    if month > max(wanted):
                        seq = stop
                        break
                    continue
                if current is None:
                    current = MonthBuild(self._keeper, self._chain.name, month, part.first)
                    held = current.go_on()
                    if held is not None:
                        self._say(f"month {month}: going on behind entry {held.stop - 1}, which is built already")
                        seq, prev_hash = held.stop, held.hash
                        break  # the source is opened anew, behind what is built
                current.add(part)
        if current is not None:
            yield self._finish(current)

    def empty(self, month: str, stop: int) -> MonthDone:
        """A month that has no entry of the chain, and some row that says otherwise: swapped for one without."""
        return self._finish(MonthBuild(self._keeper, self._chain.name, month, stop))

    def _finish(self, build: MonthBuild) -> MonthDone:
        build.fill()
        build.check(self._covering(build.first, build.stop), self._workers)
        replaced = build.swap(
            self._reason,
            keep=self._keep,
            move_position=self._keeper.position(self._chain.name) < build.stop,
            wait_s=self._wait_s,
            waiting=self._say,
        )
        return MonthDone(build.month, build.first, build.stop, replaced)

    def _parts(self, first: int, prev_hash: bytes, stop: int) -> Iterator[Run]:
        """The source's runs, cut where a month ends."""
        for run in self._source.runs(first, prev_hash, stop):
            start = 0
            while start < len(run.values):
                month, end = month_of(run.values[start]), len(run.values)
                if month_of(run.values[-1]) != month:
                    low = start
                    while end - low > 1:
                        middle = (low + end) // 2
                        low, end = (middle, end) if month_of(run.values[middle]) == month else (low, middle)
                yield run.part(start, end)
                start = end

    def _covering(self, first: int, stop: int) -> list[Span]:
        """Spans over just these entries: between signed sizes where there are any, else as the source's hashes grow."""
        if first == stop:
            return []
        marks = [first, *(size for size in sorted(self._ranges) if first < size < stop), stop]
        ranges = [self._range_at(size) for size in marks]
        return [Span(before, after) for before, after in pairwise(ranges)]

    def _range_at(self, size: int) -> CompactRange:
        if size not in self._ranges:
            compact_range = self._ranges[max(known for known in self._ranges if known <= size)]
            link = genesis_hash(self._chain.origin) if compact_range.size == 0 else b""
            for run in self._source.runs(compact_range.size, link, size):
                compact_range = extend(compact_range, run.hashes)
            self._ranges[size] = compact_range
        return self._ranges[size]


def seal_repairs(keeper: Keeper, kafka: KafkaSettings, chain: ChainSettings) -> list[Swapped]:
    """Says `store.repaired` of each month that was swapped in and not said yet. Raises `Unavailable`: say it later."""
    said = []
    for swapped in keeper.unsealed(chain.name):
        statement = control_statement(
            "store.repaired",
            id=swapped.id,
            timestamp=format_timestamp(swapped.swapped_at),
            actor_id="sealstream/rebuild",
            resource_type="store",
            resource_id="postgres",
            metadata={
                "store": "postgres",
                "first_seq": swapped.first_seq,
                "last_seq": max(swapped.last_seq, swapped.first_seq - 1, 0),
                "reason": swapped.reason,
            },
        )
        topics = ChainTopics.of(chain.name, chain.prefix)
        produce(kafka, topics.control, [statement], repeatable=True)
        keeper.sealed(swapped)
        said.append(swapped)
    return said


def month_of(value: bytes) -> str:
    """The month (`YYYY-MM`, by `sequenced_at`) of a sealed entry."""
    try:
        return read_written(value[:-SEAL_BYTES] + b"}").sequenced_at[:7]
    except SealstreamError as error:
        raise ChainBroken(f"an entry whose time can't be read: {error}") from error
