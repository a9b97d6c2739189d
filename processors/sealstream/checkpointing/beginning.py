"""Where the tree begins to grow: with entry 0, or behind a signed size.

The invariant: segments are cut by the limits that entry 0 has sealed, and entry 0 is of the chain, and names the key,
that we sign for. Nothing is written here.
"""

from __future__ import annotations

from typing import Any

import msgspec

from sealstream.checkpointing.growing import Growing
from sealstream.checkpointing.locating import entry_number, go_to_entry
from sealstream.checkpointing.signed import Signed
from sealstream.errors import ChainBroken, Forked, HistoryLost, NotCanonical, Unavailable
from sealstream.kafka import CommittedReader, Record
from sealstream.layout import ChainSettings, ChainTopics, SegmentCutter, SegmentLimits
from sealstream.sealing import EMPTY_RANGE, Tip, split_sealed, start_tip

__all__ = ["begin_with_entry_0", "read_entry", "resume"]

_ANSWER_S = 30.0
_NEW_ACTION = "chain.created"


class _Created(msgspec.Struct):
    action: str
    metadata: dict[str, Any]


def begin_with_entry_0(record: Record, chain: ChainSettings, signed: Signed) -> Growing:
    """A tree of nothing, for the chain whose first record this is; the record itself is added by the caller."""
    topic = ChainTopics.of(chain.name, chain.prefix).chain
    if (seq := entry_number(topic, record)) != 0:
        raise HistoryLost(
            f"{topic} begins with entry {seq} and no two segments are signed behind which to go on: its beginning, or "
            "the chain's segment notes, were deleted"
        )
    limits = _sealed_limits(record, chain)
    return Growing(
        chain.name, start_tip(chain.origin), EMPTY_RANGE, SegmentCutter(limits), signed.roots, signed.segments
    )


def resume(
    reader: CommittedReader, chain: ChainSettings, signed: Signed, start: int, first: Record, tail: Record
) -> Growing:
    """The tree that is signed, with the first entry behind it; `reader` goes on from there.

    `start`: the topic's first offset; `first`, `tail`: its first and last record. The settings' limits count only where
    entry 0 was trimmed: wrong ones are found as the last signed segment is cut again.
    """
    topic = ChainTopics.of(chain.name, chain.prefix).chain
    limits = _sealed_limits(first, chain) if entry_number(topic, first) == 0 else chain.limits
    size = signed.beginning.size
    go_to_entry(reader, topic, size, signed.chain_offset, start, tail)
    growing = Growing(
        chain.name,
        Tip(size, b"", -1, -1, ""),
        signed.beginning,
        SegmentCutter(limits, size),
        signed.roots,
        signed.segments,
    )
    growing.add_signed(read_entry(reader, topic))
    return growing


def read_entry(reader: CommittedReader, topic: str) -> Record:
    """The next record, of which it is known that it is there."""
    records = reader.read(1, _ANSWER_S)
    if not records:
        raise Unavailable(f"{topic}: no entry came in {_ANSWER_S:.0f} s, though there is one")
    return records[0]


def _sealed_limits(record: Record, chain: ChainSettings) -> SegmentLimits:
    """The segment limits in entry 0. Raises `Forked` when it is another chain's, or names another key."""
    where = f"entry 0 of {ChainTopics.of(chain.name, chain.prefix).chain}"
    try:
        created = msgspec.json.decode(split_sealed(record.value or b"").body, type=_Created)
    except (NotCanonical, msgspec.DecodeError) as error:
        raise ChainBroken(f"{where} is no {_NEW_ACTION}: {error}") from error
    if created.action != _NEW_ACTION:
        raise ChainBroken(f"{where} is {created.action!r}: expected {_NEW_ACTION}")
    for name, expected in (("origin", chain.origin), ("vkey", chain.vkey)):
        if created.metadata.get(name) != expected:
            raise Forked(
                f"{where} says {name} {created.metadata.get(name)!r}: expected {expected!r}; a chain is signed by its "
                "own key only"
            )
    numbers = [created.metadata.get(f"segment_{name}") for name in SegmentLimits._fields]
    limits = [number for number in numbers if type(number) is int and number > 0]  # True is an int elsewhere
    if len(limits) != len(numbers):
        raise ChainBroken(f"{where} has the segment limits {numbers}: expected three integers above 0")
    return SegmentLimits(*limits)
