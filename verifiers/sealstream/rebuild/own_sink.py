"""A sink of the user's own, filled from Kafka or the archive: what such a class must have, and what drives it.

A sink is a class of three methods. It keeps its position with its data, in one transaction, and everything else
follows: a kill at any moment leaves what was stored, and the next life asks for the position and goes on.

    class MySink:
        def __init__(self, target: str) -> None: ...                # a file, a DSN: what --to says
        def position(self) -> int: ...                              # the entry that comes next; 0 at first
        def store(self, entries: Sequence[SinkEntry]) -> None: ...  # all of them and the position, or nothing
        def close(self) -> None: ...

Two more are used where they are there: `hashes(first, stop)`, the stored hashes of these entries in order, lets replay
prove that the sink holds what was signed; and `swap(beside, live)`, a static method, puts a target that was filled
beside the live one in its place, atomically.

The invariant: every entry handed over was hashed and found to follow the one before it, and at every signed size on the
way the Merkle root was the signed one before the entries below it were handed over.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import Any, NamedTuple, Protocol

import msgspec

from sealstream.errors import ChainBroken, Forked, Misconfigured
from sealstream.layout import ChainSettings
from sealstream.rebuild.entries import EntrySource, Run
from sealstream.rebuild.spans import Span
from sealstream.sealing import EMPTY_RANGE, SEAL_BYTES, extend, genesis_hash

__all__ = ["OwnSink", "SinkEntry", "fill_sink", "load_sink", "prove_sink"]

Progress = Callable[[int, int | None], None]


class SinkEntry(NamedTuple):
    """An entry as a sink gets it. `body`: canonical JSON in UTF-8; `hash` and `prev_hash`: 32 bytes."""

    seq: int
    body: bytes
    prev_hash: bytes
    hash: bytes

    @property
    def fields(self) -> dict[str, Any]:
        """The event's fields, and `written`, what the log wrote beside them (docs/format.md)."""
        decoded: dict[str, Any] = msgspec.json.decode(self.body)
        return decoded


class OwnSink(Protocol):
    """What a user's sink must have."""

    def position(self) -> int:
        """The entry that comes next: how many are stored."""
        ...

    def store(self, entries: Sequence[SinkEntry]) -> None:
        """Stores all of them together with the new position, or nothing."""
        ...

    def close(self) -> None:
        """Gives everything back."""
        ...


def load_sink(path: str) -> Callable[[str], OwnSink]:
    """The class that `module:Class` names; the working directory is looked into as well. Raises `Misconfigured`."""
    module_name, _, class_name = path.partition(":")
    if not module_name or not class_name:
        raise Misconfigured(
            f"sink {path!r}: expected postgres, archive or module:Class, such as sqlite_sink:SqliteSink"
        )
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    try:
        found = getattr(importlib.import_module(module_name), class_name)
    except (ImportError, AttributeError) as error:
        raise Misconfigured(
            f"sink {path!r} can't be loaded: {error}; run from the folder of {module_name}.py"
        ) from error
    missing = [name for name in ("position", "store", "close") if not callable(getattr(found, name, None))]
    if missing:
        raise Misconfigured(f"sink {path!r} lacks {', '.join(missing)}: expected position, store and close")
    sink: Callable[[str], OwnSink] = found
    return sink


def fill_sink(
    sink: OwnSink,
    chain: ChainSettings,
    source: EntrySource,
    spans: Sequence[Span],
    stop: int,
    *,
    batch_entries: int = 5_000,
    progress: Progress = lambda _done, _total: None,
) -> int:
    """Hands over the entries from the sink's position to `stop` - 1; how many. Raises `Forked` before a forged one."""
    begin = sink.position()
    if not 0 <= begin <= stop:
        raise ChainBroken(
            f"the sink's position is {begin}, but {source.name} has {stop} entries: it is another chain's"
        )
    handed = 0
    for run in _signed(chain, source, spans, begin, stop):
        for at in range(0, len(run.values), batch_entries):
            part = run.part(at, min(at + batch_entries, len(run.values)))
            sink.store(_entries(part))
            handed += len(part.values)
            progress(handed, stop - begin)
            if sink.position() != part.stop:
                raise ChainBroken(
                    f"after storing the entries {part.first} to {part.stop - 1} the sink's position is "
                    f"{sink.position()}: expected {part.stop}; it must keep its position with its data"
                )
    return handed


def prove_sink(sink: OwnSink, chain: ChainSettings, source: EntrySource, spans: Sequence[Span]) -> int | None:
    """Folds the hashes that the sink holds to every signed size; the newest. None: it can't tell its hashes."""
    hashes = getattr(sink, "hashes", None)
    if hashes is None:
        return None
    stop = sink.position()
    reached = EMPTY_RANGE
    for span in spans:
        if span.stop > stop:
            break
        if extend(reached, hashes(span.first, span.stop)) != span.end:
            raise Forked(
                f"the sink's entries {span.first} to {span.stop - 1} do not hash to the root that chain {chain.name} "
                "has signed: fill it anew"
            )
        reached = span.end
    return reached.size


def _signed(chain: ChainSettings, source: EntrySource, spans: Sequence[Span], begin: int, stop: int) -> Iterator[Run]:
    """The entries from `begin` on, each signed size compared before the entries below it are given."""
    compact_range, link = EMPTY_RANGE, genesis_hash(chain.origin)
    for span in spans:
        if span.stop <= begin:
            compact_range, link = span.end, b""
    for span in spans:
        if span.first < compact_range.size or span.stop > stop:
            continue
        held: list[Run] = []
        for run in source.runs(span.first, link, span.stop):
            compact_range = extend(compact_range, run.hashes)
            held.append(run)
        if compact_range != span.end:
            raise Forked(
                f"{source.name}: the entries {span.first} to {span.stop - 1} do not hash to the root that was signed"
            )
        link = held[-1].hashes[-1]
        yield from _from(held, begin)
    if compact_range.size < stop:
        yield from _from(source.runs(compact_range.size, link, stop), begin)


def _from(runs: Iterator[Run] | Sequence[Run], begin: int) -> Iterator[Run]:
    for run in runs:
        if run.stop > begin:
            yield run.part(max(begin - run.first, 0), len(run.values))


def _entries(run: Run) -> list[SinkEntry]:
    links = [run.prev_hash, *islice(run.hashes, len(run.hashes) - 1)]
    return [
        SinkEntry(run.first + index, value[:-SEAL_BYTES] + b"}", link, own)
        for index, (value, link, own) in enumerate(zip(run.values, links, run.hashes, strict=True))
    ]
