"""What is remembered of ids and numbers, made again from Kafka: step 4 of taking a chain.

From the states in `audit.producers.C` and the entries after what they are as of; or, where they are missing, malformed
or of a transaction that was torn, from the chain alone. Torn ones are told by three signs: they are as of more entries
than there are; as of an entry that the chain does not hold; or the record of what they are as of, which every
transaction writes last, is not the last one. Else a number would be taken for sealed whose event never was, and that
event would be passed over as a repeat. The invariant: what is remembered is what the entries up to the tail say,
whatever the states' topic holds. Nothing is written; a crash leaves all as it was.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import structlog

from sealstream.errors import ChainBroken, ChainStopped, NotCanonical, Unavailable
from sealstream.events import ProducerKey
from sealstream.kafka import CommittedReader, KafkaSettings, Record, read_until_end, start_offset
from sealstream.layout import ChainTopics
from sealstream.sealing import Tip, read_written, split_sealed
from sealstream.sequencer.batch import garbage_waits
from sealstream.sequencer.producers import (
    AS_OF_KEY,
    KEYS_PREFIX,
    AsOf,
    ProducerState,
    decode_as_of,
    decode_key,
    decode_state,
    key_label_of,
    producer_of,
)
from sealstream.sequencer.replay import Memory

__all__ = ["READ_TIMEOUT_S", "remember"]

READ_TIMEOUT_S = 30.0
_READ_LIMIT = 5_000
_OF_KEYS = b'"action":"producer_key.'


class _States(NamedTuple):
    as_of: AsOf | None
    events: dict[str, ProducerState]
    controls: dict[str, ProducerState]
    keys: dict[str, ProducerKey]


def remember(
    kafka: KafkaSettings,
    topics: ChainTopics,
    tail: Record | None,
    tip: Tip,
    origin: str,
    recent_entries: int,
    log: structlog.stdlib.BoundLogger,
) -> Memory:
    """The memory that goes with this tail (None: an empty chain)."""
    states = _load_states(kafka, topics.producers, log)
    as_of = states.as_of
    if tail is not None and as_of is not None and _is_of_chain(kafka, topics.chain, as_of, tail, tip):
        keys = states.keys.values() if as_of.keys >= 0 else ()
        memory = Memory(as_of, states.events, states.controls, keys, origin=origin, recent_entries=recent_entries)
        if as_of.keys < 0:
            _read_keys(kafka, topics.chain, tail, memory)
            memory.keys.write_again(states.keys)
    else:  # none, or of a transaction whose entries are not there: the chain alone says what was sealed
        if tail is not None:
            log.warning("producers' states are made again from the whole chain", as_of=as_of, size=tip.size)
        memory = Memory(AsOf(0, "", ""), origin=origin, recent_entries=recent_entries)
        memory.events.write_again(states.events)
        memory.controls.write_again(states.controls)
        memory.keys.write_again(states.keys)
    if tail is None:
        return memory
    wanted = min(memory.as_of, max(0, tip.size - recent_entries))
    if wanted == tip.size:
        return memory
    with garbage_waits():
        for index, value in enumerate(_entries_from(kafka, topics.chain, wanted, tail)):
            if index == 0 and (first := _seq(value)) > memory.as_of:
                raise ChainStopped(
                    f"{topics.chain} begins with entry {first}, but the producers' states are as of {memory.as_of}: "
                    f"the entries between are needed to tell repeats; restore them, or {topics.producers}"
                )
            memory.replay(value)
    return memory


def _read_keys(kafka: KafkaSettings, topic: str, tail: Record, memory: Memory) -> None:
    """What was said of producers' signing keys before the states were made, by a version that did not heed it.

    Once, when a chain comes to this version: from then on the states have the keys.
    """
    for value in _entries_from(kafka, topic, 0, tail):
        if _OF_KEYS in value and (written := read_written(split_sealed(value).body)).seq < memory.as_of:
            memory.replay_keys(value, written)


def _is_of_chain(kafka: KafkaSettings, topic: str, as_of: AsOf, tail: Record, tip: Tip) -> bool:
    """Whether the entries that the states are as of are the chain's. Without a hash on record, their number decides."""
    if as_of.size >= tip.size:
        return as_of.size == tip.size and as_of.hash in ("", tip.hash.hex())
    if not as_of.hash:
        return True
    following = next(_entries_from(kafka, topic, as_of.size, tail))
    return _seq(following) != as_of.size or split_sealed(following).prev_hash.hex() == as_of.hash  # else trimmed


def _load_states(kafka: KafkaSettings, topic: str, log: structlog.stdlib.BoundLogger) -> _States:
    states = _States(None, {}, {}, {})
    key = AS_OF_KEY
    for records in read_until_end(kafka, topic):
        for record in records:
            key = record.key or b""
            try:
                if key == AS_OF_KEY:
                    states = states._replace(as_of=decode_as_of(record.value or b""))
                    continue
                if key.startswith(KEYS_PREFIX):
                    if record.value is None:
                        states.keys.pop(key_label_of(key), None)
                    else:
                        states.keys[key_label_of(key)] = decode_key(record.value)
                    continue
                kind, producer_id = producer_of(key)
                of_kind = states.controls if kind == "control" else states.events
                if record.value is None:
                    of_kind.pop(producer_id, None)
                else:
                    of_kind[producer_id] = decode_state(record.value)
            except NotCanonical as error:
                log.critical("a producer's state is malformed", topic=topic, offset=record.offset, reason=str(error))
                return _States(None, states.events, states.controls, states.keys)
    whole = key == AS_OF_KEY and (states.as_of is None or states.as_of.keys in (-1, len(states.keys)))
    return states if whole else states._replace(as_of=None)


def _entries_from(kafka: KafkaSettings, topic: str, seq: int, tail: Record) -> Iterator[bytes]:
    """The committed entries from `seq` (or the first that is held) to the tail."""
    with CommittedReader(kafka, topic, start_offset(kafka, topic)) as reader:
        reader.seek(_offset_before(reader, seq, tail))
        offset = -1
        while offset < tail.offset:
            records = reader.read(_READ_LIMIT, READ_TIMEOUT_S)
            if not records:
                raise Unavailable(f"{topic} gave no record after offset {offset} within {READ_TIMEOUT_S:.0f} s")
            for record in records:
                offset = record.offset
                value = record.value or b""
                if seq > 0 and _seq(value) < seq:
                    continue
                seq = 0
                yield value
                if offset == tail.offset:
                    return


def _offset_before(reader: CommittedReader, seq: int, tail: Record) -> int:
    """An offset not far before the entry `seq`: markers and aborted records make offsets run ahead of numbers."""
    low, high = reader.position(), tail.offset - (_seq(tail.value or b"") - seq)
    while high - low > _READ_LIMIT:
        middle = (low + high) // 2
        reader.seek(middle)
        found = reader.read(1, READ_TIMEOUT_S)
        if not found:
            raise Unavailable(f"the chain's topic gave no record from offset {middle} on")
        if _seq(found[0].value or b"") <= seq:
            low = middle
        else:
            high = middle
    return low


def _seq(value: bytes) -> int:
    try:
        return read_written(split_sealed(value).body).seq
    except NotCanonical as error:
        raise ChainBroken(f"a record of the chain's topic is no sealed entry: {error}") from error
