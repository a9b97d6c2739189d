"""A chain that can't go on is closed, and its successor begins by saying so (docs/format.md, `chain.continued`).

A log is never continued below a checkpoint that was published: whoever kept it would hold proof of another history. And
a chain whose key is lost can't be signed any more. In both cases the old chain stays as it is, for ever, and entry 1 of
`<chain>-r2` names the last checkpoint that is known and the entries of which no store holds a copy that a signature
covers. What the old raw topic still holds behind the signed entries is carried over, so that it is sealed once more.

Reads only, but for `carry_over`, which may be repeated: the successor's sequencer knows what came twice.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from sealstream.errors import Misconfigured
from sealstream.kafka import KafkaSettings, produce, read_until_end, start_offset, topic_ids
from sealstream.layout import ChainSettings, ChainTopics, decode_entry
from sealstream.layout.chains import Continued
from sealstream.rebuild.remaining import PublishedNote, Remainder, by_size, survey
from sealstream.rebuild.topics import look_into_kafka
from sealstream.sealing import tip_after

__all__ = ["CarriedOver", "Closing", "carry_over", "plan_successor"]

_AT_ONCE = 1_000
_NEEDLES = (b'"action":"sequencer.started"', b'"action":"input.lost"')


class Closing(NamedTuple):
    """How a chain ends: `held` entries are in the stores, the first `signed` of them under a checkpoint; `closed_at`:
    the time of the last; `raw_topic_id`, `raw_offset`: as of which record of its input the signed entries account.
    """

    continued: Continued
    held: int
    signed: int
    closed_at: str
    raw_topic_id: str
    raw_offset: int


class CarriedOver(NamedTuple):
    """Records of the topic with this id, up to (not with) this offset."""

    topic_id: str
    offset: int
    records: int


def plan_successor(
    kafka: KafkaSettings,
    chain: ChainSettings,
    remainder: Remainder,
    *,
    kept: Sequence[PublishedNote] = (),
    key_lost: bool = False,
    progress: Callable[[int, int | None], None] = lambda _done, _total: None,
) -> Closing:
    """Check all that is left, and say how the chain ends.

    Raises `Misconfigured` when the chain need not be closed: every published checkpoint is reached, and its key is
    not lost; or when nothing was ever published.
    """
    notes = by_size([*remainder.notes(), *kept])
    there = look_into_kafka(kafka, chain, pass_over=True)
    in_kafka = there.notes
    found = survey(remainder, chain, notes, doubted=in_kafka, progress=progress)
    for note in in_kafka:
        if note not in found.contradicting:
            notes.setdefault(note.size, note)
    if not notes or found.tip is None:
        raise Misconfigured(f"chain {chain.name}: nothing of it was ever published: make another chain instead")
    newest = notes[max(notes)]
    if newest.size <= found.size and not key_lost:
        raise Misconfigured(
            f"chain {chain.name} need not be closed: the stores hold {found.size} entries, and the largest checkpoint "
            f"that is known has {newest.size} ({newest.place}); if somebody holds a larger one, give it with "
            "--checkpoint; if Kafka is lost, `sealstream restore kafka`; if the signing key is lost, --key-lost"
        )
    signed = 0 if found.newest is None else found.newest.size
    last = max(newest.size, found.size, 0 if there.tip is None else there.tip.size) - 1
    topic_id, offset = _input_as_of(remainder, signed)
    continued = Continued(chain.origin, newest.note.decode(), signed, last)
    return Closing(continued, found.size, signed, found.tip.sequenced_at, topic_id, offset)


def carry_over(kafka: KafkaSettings, old: ChainSettings, new: ChainSettings, topic_id: str, offset: int) -> CarriedOver:
    """Write what the old raw topic holds behind `offset` to the new one; all of it where the topic was recreated."""
    source = ChainTopics.of(old.name, old.prefix).raw
    try:
        found = topic_ids(kafka, [source])[source]
    except Misconfigured:  # lost with everything else
        return CarriedOver(topic_id, offset, 0)
    begin = start_offset(kafka, source)
    if found == topic_id:
        begin = max(begin, offset)
    records = 0
    target = ChainTopics.of(new.name, new.prefix).raw
    for batch in read_until_end(kafka, source, begin):
        for first in range(0, len(batch), _AT_ONCE):
            produce(kafka, target, [record.value or b"" for record in batch[first : first + _AT_ONCE]])
        records += len(batch)
        begin = batch[-1].offset + 1
    return CarriedOver(found, begin, records)


def _input_as_of(remainder: Remainder, size: int) -> tuple[str, int]:
    """Which raw topic the first `size` entries have recorded, and the offset behind what they account for."""
    topic_id, offset, done = "", 0, remainder.begin().size
    for values in remainder.values():
        if done >= size:
            break
        run = values[: size - done]
        done += len(run)
        offset = tip_after(run[-1]).raw_offset + 1
        for value in run:
            if any(needle in value for needle in _NEEDLES):
                entry = decode_entry(value)
                said = entry.metadata or {}
                if entry.written.kind != "log":
                    continue
                if entry.action == "sequencer.started":
                    topic_id = topic_id or str(said.get("raw_topic_id", ""))
                elif said.get("topic") == "raw":
                    topic_id = str(said.get("new_topic_id", ""))
    return topic_id, offset
