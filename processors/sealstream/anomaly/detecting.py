"""What a detector is: state and activity in, state and findings out. No clock, no I/O, no randomness.

The only time is the second of the records, which comes from the chain; so the same records give the same findings, on
any worker and in any replay. Late and repeated records are the caller's to keep away (`news_of`).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any, ClassVar, Literal, NamedTuple, Protocol, TypeVar

import msgspec

from sealstream.layout.activity import Activity, AddressActivity, AddressCell, Cell, Received
from sealstream.layout.alerts import Severity

__all__ = [
    "Detector",
    "Finding",
    "Thresholds",
    "epoch_of",
    "merged_ranges",
    "news_of",
    "quoted",
    "second_at",
    "window_query",
]


class Thresholds(msgspec.Struct, frozen=True, forbid_unknown_fields=True, cache_hash=True):
    """A detector's settings, each with a default that was tuned (docs/detection.md). Subclasses add fields."""


class Finding(NamedTuple):
    """What a detector says; `Alert` explains each member. `window`: first and last second as epoch seconds, inclusive.

    `key_s`: the second that names the window, so that the same finding made from a colder state gets the same id.
    """

    severity: Severity
    confidence: float
    summary: str
    window: tuple[int, int]
    key_s: int
    query: str
    score: float
    seen: dict[str, int | float | str]
    usual: dict[str, int | float | str]
    seqs: list[list[int]]


State = TypeVar("State", bound=msgspec.Struct)
Seen = TypeVar("Seen", Activity, AddressActivity)
_Seen_contra = TypeVar("_Seen_contra", Activity, AddressActivity, contravariant=True)


class Detector(Protocol[State, _Seen_contra]):
    """One kind of anomaly, of one subject at a time.

    `name`: as settings and alerts call it, in snake case. `says`: one sentence for a person. `subject`: whose records
    it reads. `state`: a `msgspec.Struct` whose defaults are the state of a subject never seen; it is kept as JSON, so
    what it holds stays small: at most some kilobytes at any history.

    `concerns`, where a detector of actors has it: traits (`sealstream.anomaly.actions.traits_of`). With a record that
    has none of them `detect` would change nothing and find nothing, and is not called.

    `ahead(state, run)`, where a detector of actors has it: given all entries of a stretch (`sealstream.anomaly.runs`),
    it yields the seconds at which `detect` has to be called, in order, and goes on when that was done; what lies
    between it takes into `state` itself. The state and the findings must be those of `detect` called for each record;
    such a detector's `detect` returns the state that it was given.
    """

    name: ClassVar[str]
    says: ClassVar[str]
    subject: ClassVar[Literal["actor", "address"]]
    state: ClassVar[type[msgspec.Struct]]
    thresholds: Any

    def detect(self, state: State, seen: _Seen_contra, second: int) -> tuple[State, Sequence[Finding]]:
        """What follows from one record. `second`: the record's, in epoch seconds, never below the one before of the
        same chain by more than what other chains are apart.

        `state` is used up: the caller goes on with the one that is returned, which may be the same object.
        """
        ...


@lru_cache(maxsize=32_768)
def epoch_of(second: str) -> int:
    """`YYYY-MM-DDTHH:MM:SSZ` as epoch seconds."""
    return int(datetime.fromisoformat(second).timestamp())


def second_at(epoch_s: int) -> str:
    """The reverse of `epoch_of`."""
    return _minute(epoch_s // 60) + _SECONDS[epoch_s % 60]


@lru_cache(maxsize=4_096)
def _minute(minute: int) -> str:
    return (_EPOCH + timedelta(minutes=minute)).isoformat()[:17]


def merged_ranges(ranges: Iterable[Sequence[int]], limit: int = 100) -> list[list[int]]:
    """Closed ranges, ascending and apart; beyond `limit` of them the last one reaches to the end."""
    merged: list[list[int]] = []
    for first, last in sorted((each[0], each[1]) for each in ranges):
        if merged and (first <= merged[-1][1] + 1 or len(merged) >= limit):
            merged[-1][1] = max(merged[-1][1], last)
        else:
            merged.append([first, last])
    return merged


def quoted(value: str) -> str:
    """A value as the query language takes it: in quotes where it holds more than plain characters."""
    if value and _PLAIN.fullmatch(value):
        return value
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'


def window_query(chains: str | Sequence[str], first_s: int, last_s: int, *terms: str) -> str:
    """What `sealstream search` finds a window's entries with, in one chain or several. Both seconds inclusive."""
    named = (chains,) if isinstance(chains, str) else chains
    times = f"sealed_after:{second_at(first_s)} sealed_before:{second_at(last_s + 1)}"
    return " ".join((*(f"chain:{chain}" for chain in named), *terms, times))


def news_of(record: Seen, earlier: Seen | None) -> Seen | None:
    """What `record` counts beyond `earlier`, the last record of its chain and subject that was counted before.

    None: nothing, it is a repeat. A record stands for its whole second so far, and its cells only grow, in their order.
    """
    if earlier is None or record.second > earlier.second:
        return record
    if record.second < earlier.second or record.last_seq <= earlier.last_seq:
        return None
    if isinstance(record, AddressActivity):
        grown = _grown(record.cells, earlier.cells, _fewer)
        return msgspec.structs.replace(record, cells=grown)
    cells = _grown(record.cells, earlier.cells, _fewer_of_cell)
    received = _grown(record.received, earlier.received, _fewer)
    return msgspec.structs.replace(record, cells=cells, received=received)


_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_SECONDS = [f"{second:02d}Z" for second in range(60)]
_PLAIN = re.compile(r"[A-Za-z0-9_.@/:+-]+")
_Counts = TypeVar("_Counts", Cell, Received, AddressCell)


def _grown(cells: list[_Counts], before: list[_Counts], fewer: Callable[[_Counts, _Counts], _Counts]) -> list[_Counts]:
    grown = [fewer(cell, old) for cell, old in zip(cells, before, strict=False) if cell.count > old.count]
    return grown + cells[len(before) :]


def _fewer(cell: _Counts, before: _Counts) -> _Counts:
    last = before.seqs[-1][1]
    seqs = [[max(first, last + 1), end] for first, end in cell.seqs if end > last]
    return msgspec.structs.replace(cell, count=cell.count - before.count, seqs=seqs)


def _fewer_of_cell(cell: Cell, before: Cell) -> Cell:
    return msgspec.structs.replace(
        _fewer(cell, before),
        resources=cell.resources[len(before.resources) :],
        unlisted=cell.unlisted - before.unlisted,
        reasons=cell.reasons - before.reasons,
        browsers=cell.browsers - before.browsers,
        behalf=cell.behalf - before.behalf,
    )
