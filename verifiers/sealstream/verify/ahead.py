"""Looks at whole objects of an archive ahead of the walk, in processes of their own, so that all cores recompute.

A worker walks one segment as if its first entry stood where it should, and says what it found only when nothing at all
is wrong with it: no fault, no note to make, columns as the bytes say. The walk then checks the first entry against what
really comes before it, and takes the rest as walked. Whatever is in doubt, down to a worker that died, gives None, and
the walk goes through the segment itself; so a verdict never depends on how many processes looked.

Workers are started anew by `spawn`, which imports the program's main module again: only a program whose main module is
guarded (`if __name__ == "__main__"`) may ask for them. They hold nothing; a crash of either side leaves nothing behind.
"""

from __future__ import annotations

import gc
import multiprocessing
import signal
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from sealstream.archive import ColumnMaker, open_parquet, raw_hashes, read_groups
from sealstream.errors import SealstreamError
from sealstream.events import KeyRing, ProducerKey, validate_event
from sealstream.layout import decode_entry
from sealstream.layout.parquet import PARQUET_COLUMNS
from sealstream.sealing import Tip, split_sealed, tip_after
from sealstream.sealing.written import WRITTEN_START
from sealstream.verify.signatures import SignatureJudge, SignatureTally
from sealstream.verify.walk import Walk, WalkResult

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["SegmentWalked", "sealed_values", "walk_segments"]

_Item = TypeVar("_Item")


class SegmentWalked(NamedTuple):
    """A segment in which all holds: its first entry, the tip that this one claims, and what the walk of the others
    gave, with the tip behind the last. `keys_before`: producers' keys as they were taken to be before the first entry,
    `certain`: for sure; `keys`: as they are behind the last.
    """

    first: bytes
    first_tip: Tip
    results: list[WalkResult]
    tip: Tip
    certain: bool
    keys_before: list[ProducerKey]
    keys: KeyRing


def walk_segments(
    chain: str, segments: Iterator[tuple[_Item, bytes]], workers: int, judge: SignatureJudge
) -> Iterator[tuple[_Item, bytes, SegmentWalked | None]]:
    """Each segment with its object's bytes, in order, and what a worker says of it; at most `workers` + 1 are held.

    `judge`: of the walk behind which they are; what a worker finds counts if nothing is said of keys in between.
    """
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context, initializer=_begin) as pool:
        ahead: deque[tuple[_Item, bytes, Future[SegmentWalked | None]]] = deque()
        try:
            for item, data in segments:
                ahead.append((item, data, _submitted(pool, chain, data, judge)))
                if len(ahead) > workers:
                    yield _taken(ahead)
            while ahead:
                yield _taken(ahead)
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _submitted(
    pool: ProcessPoolExecutor, chain: str, data: bytes, judge: SignatureJudge
) -> Future[SegmentWalked | None]:
    try:
        return pool.submit(_walked, chain, data, judge.keys.copy(), judge.certain)
    except BrokenProcessPool:
        unknown: Future[SegmentWalked | None] = Future()
        unknown.set_result(None)
        return unknown


def _taken(
    ahead: deque[tuple[_Item, bytes, Future[SegmentWalked | None]]],
) -> tuple[_Item, bytes, SegmentWalked | None]:
    item, data, future = ahead.popleft()
    try:
        return item, data, future.result()
    except BrokenProcessPool:  # killed, or out of memory: the walk does without
        return item, data, None


def _begin() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the main process's to hear
    gc.disable()  # many small objects and no cycles: looking for some takes a tenth of the time


def _walked(chain: str, data: bytes, keys: KeyRing, certain: bool) -> SegmentWalked | None:
    """In a worker: the segment's object from its first row to its last; None when anything is not as it must be."""
    maker = ColumnMaker()
    try:
        return _walk(chain, data, maker, SignatureJudge(keys.copy(), certain=certain))
    except SealstreamError:
        return None
    finally:
        maker.close()


def _walk(chain: str, data: bytes, maker: ColumnMaker, judge: SignatureJudge) -> SegmentWalked | None:
    if set(open_parquet(data).schema_arrow.names) - {column.name for column in PARQUET_COLUMNS}:
        return None
    walk: Walk | None = None
    keys_before = judge.keys.listed()
    first, first_tip = b"", None
    results: list[WalkResult] = []
    for table in read_groups(data):
        values = sealed_values(table)
        if walk is None and values:
            first, values = values[0], values[1:]
            first_tip = tip_after(first)
            if not _begin_judging(judge, first, first_tip.size - 1):
                return None
            walk = Walk(chain, str, expected=first_tip.size, tip=first_tip, signatures=judge)
        if walk is None:
            continue
        result = walk.add(values, range(len(values)))
        if result.faults or result.notes:
            return None
        if not maker.table(table.select(["body", "prev_hash", "hash"])).equals(table):
            return None
        results.append(_smaller(result))
    if walk is None or walk.tip is None or first_tip is None or judge.pending is not None:
        return None
    return SegmentWalked(first, first_tip, results, walk.tip, judge.certain, keys_before, judge.keys)


def _begin_judging(judge: SignatureJudge, first: bytes, seq: int) -> bool:
    """Let the judge see the first entry, of which the walk itself will tell; False: it is against the rules."""
    body = split_sealed(first).body
    entry = decode_entry(body)
    if entry.written.kind == "log":
        return judge.log(entry) is None
    if entry.written.kind == "control":
        return judge.control(seq, entry) is None
    event = validate_event(body[: body.rfind(WRITTEN_START)] + b"}")
    return judge.event(SignatureTally(), seq, event, entry.written.sequenced_at) is None


def _smaller(result: WalkResult) -> WalkResult:
    """The same result with one object for texts that are equal: so it crosses to the other process in half the time."""
    same: dict[str, str] = {}
    one = same.setdefault
    result.times = {seq: one(time, time) for seq, time in result.times.items()}
    result.numbered = [(one(producer, producer), number, seq) for producer, number, seq in result.numbered]
    return result


def sealed_values(table: pa.Table) -> Sequence[bytes]:
    """Each row of an archive's table as the sealed entry that it was, by the rule of `Sealed.to_bytes`."""
    import pyarrow as pa

    bodies: list[Any] = table["body"].cast(pa.binary()).to_pylist()
    links, owns = raw_hashes(table, "prev_hash").hex().encode(), raw_hashes(table, "hash").hex().encode()
    return [
        b'%b,"prev_hash":"%b","hash":"%b"}'
        % (body[:-1] if body.endswith(b"}") else body + b"}", links[at : at + 64], owns[at : at + 64])
        for body, at in zip(bodies, range(0, 64 * len(bodies), 64), strict=True)
    ]
