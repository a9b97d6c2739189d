"""What the sequencer says of its own: one function for each statement, giving what is sealed but its id and time.

Pure. The members of `metadata` are those of docs/format.md; `sealstream.events` refuses to make a statement that does
not fit, so a mistake here stops the sequencer before anything is written.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from sealstream.events import RefusedSignature
from sealstream.layout import ChainSettings, retention_members
from sealstream.layout.chains import Continued
from sealstream.sealing import canonical_json
from sealstream.sequencer.account import Item
from sealstream.sequencer.deduplication import Place
from sealstream.sequencer.producers import ProducerState, Range

__all__ = [
    "Statement",
    "chain_continued",
    "chain_created",
    "chain_heartbeat",
    "input_lost",
    "input_passed",
    "producer_conflict",
    "producer_gap",
    "producer_unsure",
    "producers_listed",
    "sequencer_started",
    "sequencer_stopped",
    "signature_refused",
]

_LISTED_BYTES = 50_000  # of a list of producers in one statement, so that the entry stays below 61,440


class Statement(NamedTuple):
    """One statement of the log: its action, what it concerns, and the facts."""

    action: str
    resource_type: str
    resource_id: str
    metadata: Mapping[str, object] | None = None


def chain_created(chain: ChainSettings, nonce: bytes) -> Statement:
    """Entry 0. `nonce`: 32 random bytes, so that no two chains begin alike."""
    facts = {
        "origin": chain.origin,
        "vkey": chain.vkey,
        "nonce": nonce.hex(),
        "retention": retention_members(chain.retention),
        "segment_entries": chain.limits.entries,
        "segment_bytes": chain.limits.bytes,
        "segment_seconds": chain.limits.seconds,
    }
    return Statement("chain.created", "chain", chain.name, facts)


def chain_continued(chain: str, continued: Continued) -> Statement:
    """Entry 1 of a lost chain's successor."""
    return Statement("chain.continued", "chain", chain, continued._asdict())


def sequencer_started(chain: str, *, host: str, version: str, raw_topic_id: str, control_topic_id: str) -> Statement:
    """The first that is sealed after a chain was taken."""
    facts = {"host": host, "version": version, "raw_topic_id": raw_topic_id, "control_topic_id": control_topic_id}
    return Statement("sequencer.started", "chain", chain, facts)


def sequencer_stopped(chain: str, *, host: str, version: str) -> Statement:
    """The last that is sealed before a chain is given up in good order."""
    return Statement("sequencer.stopped", "chain", chain, {"host": host, "version": version})


def chain_heartbeat(chain: str) -> Statement:
    """A minute has passed without an entry."""
    return Statement("chain.heartbeat", "chain", chain)


def input_passed(topic: str, topic_name: str, items: Sequence[Item]) -> Statement:
    """Offsets of `topic` (`raw` or `control`) that became no entry."""
    return Statement("input.passed", "topic", topic_name, {"topic": topic, "items": list(items)})


def input_lost(
    topic: str, topic_name: str, *, old_topic_id: str, new_topic_id: str, first: int, last: int | None
) -> Statement:
    """An operator went on although records of `topic` from `first` on (to `last`, if known) are lost."""
    facts: dict[str, object] = {
        "topic": topic,
        "old_topic_id": old_topic_id,
        "new_topic_id": new_topic_id,
        "first": first,
    }
    if last is not None:
        facts["last"] = last
    return Statement("input.lost", "topic", topic_name, facts)


def producer_gap(producer_id: str, ranges: Sequence[Range]) -> Statement:
    """Numbers of this producer that are missing so far."""
    return Statement("producer.gap", "producer", producer_id, {"producer_id": producer_id, "ranges": _lists(ranges)})


def producer_unsure(producer_id: str, number: int) -> Statement:
    """The entry before may be sealed a second time: its number lies below what is remembered."""
    facts = {"producer_id": producer_id, "ranges": [[number, number]]}
    return Statement("producer.unsure", "producer", producer_id, facts)


def producer_conflict(seq: int, digest: bytes, earlier: Place) -> Statement:
    """Entry `seq`, the one before this, has the id or the number of `earlier` and says something else."""
    facts = {"seq": seq, "of": earlier.seq, "digest": digest.hex(), "of_digest": earlier.digest.hex()}
    return Statement("producer.conflict", "entry", str(seq), facts)


def signature_refused(seq: int, refused: RefusedSignature) -> Statement:
    """Entry `seq`, the event before, is not signed as it should be."""
    facts: dict[str, object] = {"seq": seq, "why": refused.why}
    if refused.key is not None:
        facts["key"] = refused.key
    return Statement("signature.refused", "entry", str(seq), facts)


def producers_listed(action: str, chain: str, states: Iterable[tuple[str, ProducerState]]) -> Iterator[Statement]:
    """`producer.silent` or `producer.dropped`, in as many statements as the producers' names need."""
    listed: list[Mapping[str, object]] = []
    size = 0
    for producer_id, state in states:
        one = {"producer_id": producer_id, "next": state.stated_next, "last_seen": state.last_seen}
        one_size = len(canonical_json(one)) + 1
        if listed and size + one_size > _LISTED_BYTES:
            yield Statement(action, "chain", chain, {"producers": listed})
            listed, size = [], 0
        listed.append(one)
        size += one_size
    if listed:
        yield Statement(action, "chain", chain, {"producers": listed})


def _lists(ranges: Sequence[Range]) -> list[list[int]]:
    return [list(one) for one in ranges]
