"""Taking a chain: everything between owning its transactional id and sealing the first entry (steps 2 to 4).

Starting for the first time, restarting and taking over from a dead sequencer are these same lines; there is no other
recovery. By now `init_transactions` has fenced the owner before us and waited for its last transaction, so what a
reader sees as committed is all there is, and only we may add to it:

2. the tail is the last committed entry; it must reach the newest signed checkpoint, and where there is none, there must
   be nothing else either;
3. the inputs must still be the topics that the chain has recorded, and still hold the offset that comes next;
4. what is remembered of ids and numbers is made again from `audit.producers.C` and the chain, or from the chain alone.

Nothing is written here. A crash between any two lines leaves everything as it was.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import NamedTuple

import msgspec
import structlog

from sealstream.errors import ChainBroken, ChainStopped, Fenced, Forked, InputLost, NotCanonical, Unavailable
from sealstream.kafka import (
    CommittedReader,
    KafkaSettings,
    Record,
    end_offset,
    last_record,
    start_offset,
    topic_ids,
)
from sealstream.layout import ChainSettings, ChainTopics
from sealstream.sealing import (
    BadNote,
    Tip,
    entry_hash,
    open_checkpoint,
    read_written,
    split_sealed,
    start_tip,
    tip_after,
)
from sealstream.sequencer.deduplication import RECENT_ENTRIES
from sealstream.sequencer.remembering import READ_TIMEOUT_S, remember
from sealstream.sequencer.replay import Memory

__all__ = ["LostInput", "Taken", "check_same", "take"]

_SETTLED_WITHIN_S = 5.0


class LostInput(NamedTuple):
    """Records of an input that an operator has decided to go on without. `next`: the offset that is read next."""

    kind: str
    old_topic_id: str
    new_topic_id: str
    last: int | None
    next: int


class Taken(NamedTuple):
    """A chain as it was found. `is_new`: nothing was ever sealed; `next_offset`: where the chain's topic goes on;
    `topic_ids`: the inputs' as they are now, by `raw` and `control`.
    """

    is_new: bool
    next_offset: int
    tip: Tip
    memory: Memory
    topic_ids: Mapping[str, str]
    lost: list[LostInput]


def take(
    kafka: KafkaSettings,
    chain: ChainSettings,
    *,
    accept_input_lost: bool = False,
    recent_entries: int = RECENT_ENTRIES,
) -> Taken:
    """The chain as it stands, ready to go on with.

    Raises `Unavailable` (a transaction is open somewhere), `InputLost`, `Forked`, `ChainBroken` or `ChainStopped`.
    """
    topics = ChainTopics.of(chain.name, chain.prefix)
    end = end_offset(kafka, topics.chain, committed=True)
    try:
        return _take(kafka, chain, topics, accept_input_lost, recent_entries)
    except ChainStopped as error:
        if end_offset(kafka, topics.chain, committed=True) == end:
            raise
        # What was read before another sequencer took over and what it wrote since do not fit together: no alarm.
        raise Fenced(f"{topics.chain} grew while it was being taken: by another sequencer") from error


def check_same(kafka: KafkaSettings, topics: ChainTopics, taken_ids: Mapping[str, str]) -> None:
    """Raises `InputLost` when an input is another topic than it was when the chain was taken (ids by raw, control)."""
    ids = topic_ids(kafka, [topics.raw, topics.control])
    for kind, name in (("raw", topics.raw), ("control", topics.control)):
        if ids[name] != taken_ids[kind]:
            raise InputLost(
                f"{name} was recreated while it was read: it had the topic id {taken_ids[kind]}, it has {ids[name]} "
                "now; records that were not sealed are lost; `--accept-input-lost` seals the loss and goes on"
            )


def _take(
    kafka: KafkaSettings, chain: ChainSettings, topics: ChainTopics, accept_input_lost: bool, recent_entries: int
) -> Taken:
    log = structlog.get_logger().bind(chain=chain.name)
    tail, tip = _find_tail(kafka, chain, topics, log)
    memory = remember(kafka, topics, tail, tip, chain.origin, recent_entries, log)
    ids = topic_ids(kafka, [topics.raw, topics.control])
    now = {"raw": ids[topics.raw], "control": ids[topics.control]}
    lost = []
    for topic, kind, name, next_offset in (
        ("raw", "event", topics.raw, tip.raw_offset + 1),
        ("control", "control", topics.control, tip.control_offset + 1),
    ):
        one = _check_input(kafka, kind, name, next_offset, memory.topic_ids[topic] or now[topic], now[topic])
        if one is not None:
            sentence, found = one
            if not accept_input_lost or found is None:
                raise InputLost(sentence)
            log.critical("going on without lost input, as decided", topic=name, reason=sentence)
            lost.append(found)
    return Taken(tail is None, 0 if tail is None else tail.offset + 1, tip, memory, now, lost)


def _find_tail(
    kafka: KafkaSettings, chain: ChainSettings, topics: ChainTopics, log: structlog.stdlib.BoundLogger
) -> tuple[Record | None, Tip]:
    _wait_until_settled(kafka, topics.chain, log)
    tail = last_record(kafka, topics.chain)
    signed = _newest_signed_size(kafka, chain, topics)
    if tail is None:
        _check_new(kafka, topics, signed)
        return None, start_tip(chain.origin)
    try:
        sealed = split_sealed(tail.value or b"")
        tip, written = tip_after(sealed), read_written(sealed.body)
    except NotCanonical as error:
        raise ChainBroken(
            f"{topics.chain}, offset {tail.offset}: the last record is no sealed entry: {error}"
        ) from error
    if entry_hash(sealed.prev_hash, sealed.body) != sealed.hash or written.chain != chain.name:
        raise ChainBroken(
            f"{topics.chain}, offset {tail.offset}: the last record is no entry of chain {chain.name}: expected chain "
            f"and hash to fit its bytes, got chain {written.chain!r} and hash {sealed.hash.hex()}"
        )
    if tip.size < signed:
        raise ChainStopped(
            f"chain {chain.name} has {tip.size} entries in {topics.chain}, but a checkpoint of {signed} is signed: "
            "entries that were published are gone; restore them, a log must not be continued below its checkpoint"
        )
    _check_identity(kafka, chain, topics)
    return tail, tip


def _wait_until_settled(kafka: KafkaSettings, topic: str, log: structlog.stdlib.BoundLogger) -> None:
    """Until no transaction is open: then both ends are the same, and the committed tail is the tail."""
    deadline = time.monotonic() + _SETTLED_WITHIN_S
    while (committed := end_offset(kafka, topic, committed=True)) != (end := end_offset(kafka, topic, committed=False)):
        if time.monotonic() > deadline:
            log.critical("a transaction is open in the chain's topic: nothing is sealed until it ends", topic=topic)
            raise Unavailable(
                f"{topic} is committed up to offset {committed} but ends at {end}: a transaction is open; "
                "`kafka-transactions.sh find-hanging` names it"
            )
        time.sleep(0.05)


def _newest_signed_size(kafka: KafkaSettings, chain: ChainSettings, topics: ChainTopics) -> int:
    newest = 0
    for topic in (topics.checkpoints, topics.segments):
        record = last_record(kafka, topic)
        if record is None:
            continue
        try:
            newest = max(newest, open_checkpoint(record.value or b"", chain.vkey).size)
        except BadNote as error:
            raise ChainStopped(
                f"{topic}, offset {record.offset}: the newest checkpoint does not open with the chain's key "
                f"{chain.vkey}: {error}"
            ) from error
    return newest


def _check_new(kafka: KafkaSettings, topics: ChainTopics, signed: int) -> None:
    """An empty chain is a new one only if nothing speaks of an older one.

    Where the chain's topic still has all that was ever written to it, and that was aborted, records elsewhere are of a
    first transaction that was torn: they speak of no entry.
    """
    witnesses = [f"a checkpoint of size {signed} is signed"] if signed else []
    if (start := start_offset(kafka, topics.chain)) > 0:
        witnesses.append(f"{topics.chain} begins at offset {start}: it was trimmed")
    elif end_offset(kafka, topics.chain, committed=False) == 0:
        witnesses += [
            f"{topic} holds records" for topic in (topics.producers, topics.deadletter) if last_record(kafka, topic)
        ]
    if witnesses:
        raise ChainStopped(
            f"{topics.chain} holds no entry, but {' and '.join(witnesses)}: the chain was lost; restore it or create "
            "another chain, it can't begin a second time"
        )


def _check_identity(kafka: KafkaSettings, chain: ChainSettings, topics: ChainTopics) -> None:
    """Entry 0, where the topic still holds it, is of the chain that the settings describe."""
    with CommittedReader(kafka, topics.chain, start_offset(kafka, topics.chain)) as reader:
        first = reader.read(1, READ_TIMEOUT_S)
    if not first:
        raise Unavailable(f"{topics.chain} gave no record within {READ_TIMEOUT_S:.0f} s")
    body = split_sealed(first[0].value or b"").body
    if read_written(body).seq != 0:
        return
    metadata = msgspec.json.decode(body).get("metadata", {})
    for name, expected in (("origin", chain.origin), ("vkey", chain.vkey)):
        if metadata.get(name) != expected:
            raise Forked(
                f"chain {chain.name} was created with {name} {metadata.get(name)!r}: the settings say {expected!r}"
            )


def _check_input(
    kafka: KafkaSettings, kind: str, topic: str, next_offset: int, recorded_id: str, topic_id: str
) -> tuple[str, LostInput | None] | None:
    """None: nothing is lost. Else what is, and how to go on without it (None: that can't be decided)."""
    start, end = start_offset(kafka, topic), end_offset(kafka, topic, committed=False)
    advice = "`--accept-input-lost` seals the loss and goes on"
    if recorded_id != topic_id:
        sentence = (
            f"{topic} was recreated: the chain has recorded topic id {recorded_id}, it is {topic_id} now; records from "
            f"offset {next_offset} on may be lost; {advice}"
        )
        return sentence, LostInput(kind, recorded_id, topic_id, None, start)
    if start > next_offset:
        sentence = (
            f"{topic} begins at offset {start}, but {next_offset} comes next: {start - next_offset} offsets were "
            f"trimmed before they were sealed; {advice}"
        )
        return sentence, LostInput(kind, recorded_id, topic_id, start - 1, start)
    if end < next_offset:
        sentence = (
            f"{topic} ends at offset {end}, but the chain has sealed it up to {next_offset - 1}: Kafka has lost "
            f"records that were acknowledged, and would give their offsets to others; recreate the topic, then {advice}"
        )
        return sentence, None
    return None
