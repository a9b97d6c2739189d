"""A dead letter as it is read back, and what the chain says of its record. Reads only.

A dead letter is a copy: the record itself stays in its input topic until that is trimmed, and the chain accounts for it
(`input.passed`). The letters' topic is not sealed; so what is done because of a letter is first held against the chain.
"""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Any, NamedTuple

from sealstream.cli.sealed import chain_offset_at
from sealstream.errors import Misconfigured
from sealstream.kafka import CommittedReader, KafkaSettings, Record, end_offset, read_until_end, start_offset
from sealstream.layout import ChainTopics, decode_entry
from sealstream.sealing import read_written, split_sealed

__all__ = [
    "Letter",
    "RecordKey",
    "Refusal",
    "all_letters",
    "input_of",
    "letters_between",
    "one_letter",
    "refusal_of",
    "refusals_of",
    "unaccounted",
]

_WAIT_S = 10.0
_CLOCKS_DIFFER = timedelta(seconds=61)  # a sequencer whose clock is further from the broker's seals nothing
_NEEDLE = b'"action":"input.passed"'
_HEX_64 = re.compile("[0-9a-f]{64}")

RecordKey = tuple[str, int, str]
"""A record that was refused: its topic's name, its offset there, its SHA-256. The offset alone would not do, where a
topic was made anew.
"""


class Letter(NamedTuple):
    """One dead letter: its own offset, and what its headers say of the record. `length` and `sha256`: of the record,
    of which `value` holds the first 65,536 bytes.
    """

    offset: int
    refused_at: datetime
    reason: str
    topic: str
    topic_offset: int
    length: int
    sha256: str
    value: bytes

    @property
    def record(self) -> RecordKey:
        """The record that it is about."""
        return self.topic, self.topic_offset, self.sha256


class Refusal(NamedTuple):
    """The entry that accounts for a record, and what it says: `refused`, `repeated`."""

    seq: int
    what: str


def all_letters(kafka: KafkaSettings, topics: ChainTopics) -> Iterator[Letter]:
    """Every letter that is kept (90 days), the oldest first."""
    for records in read_until_end(kafka, topics.deadletter):
        yield from map(_letter, records)


def letters_between(kafka: KafkaSettings, topics: ChainTopics, first: int, last: int) -> Iterator[Letter]:
    """Those that are kept with these numbers, both included; there are fewer letters than numbers."""
    begin = max(first, start_offset(kafka, topics.deadletter))
    for records in read_until_end(kafka, topics.deadletter, begin):
        for record in records:
            if record.offset > last:
                return
            yield _letter(record)


def one_letter(kafka: KafkaSettings, topics: ChainTopics, number: int) -> Letter:
    """The letter at this offset. Raises `Misconfigured` when there is none (any more)."""
    topic = topics.deadletter
    first, end = start_offset(kafka, topic), end_offset(kafka, topic, committed=True)
    if first <= number < end:
        with CommittedReader(kafka, topic, number) as reader:
            records = reader.read(1, _WAIT_S)
        if records and records[0].offset == number:
            return _letter(records[0])
    raise Misconfigured(f"there is no dead letter {number}: `sealstream deadletter list` shows those that are kept")


def input_of(letter: Letter, topics: ChainTopics) -> str | None:
    """Of which input its record was, as statements call it: `raw`, `control`. None: of none of this chain."""
    return {topics.raw: "raw", topics.control: "control"}.get(letter.topic)


def refusal_of(kafka: KafkaSettings, topics: ChainTopics, letter: Letter) -> Refusal | None:
    """What the chain says of the letter's record; None where its topic no longer reaches back to it.

    Raises `Misconfigured` when the chain says nothing of the record: anybody may have written such a letter.
    """
    found = refusals_of(kafka, topics, [letter])
    if letter.offset not in found:
        raise Misconfigured(unaccounted(letter))
    return found[letter.offset]


def unaccounted(letter: Letter) -> str:
    """The sentence about a letter of which the chain knows nothing."""
    return (
        f"the chain does not say that offset {letter.topic_offset} of {letter.topic} was refused or repeated, as "
        f"letter {letter.offset} does: the letters' topic is not sealed, and whoever may write to Kafka may have "
        "written this one"
    )


def refusals_of(kafka: KafkaSettings, topics: ChainTopics, letters: Sequence[Letter]) -> dict[int, Refusal | None]:
    """What the chain says of many letters' records, by the letters' numbers; None where its topic no longer reaches
    back to one. Left out: a letter of which it reaches back far enough to know, and says nothing.

    The account stands in the same transaction as the letter, so it is looked for around the letter's time; of letters
    that are near in time the chain is read once.
    """
    real = [letter for letter in letters if input_of(letter, topics) and letter.topic_offset >= 0]
    real = sorted((letter for letter in real if _HEX_64.fullmatch(letter.sha256)), key=lambda one: one.refused_at)
    held_since = _held_since(kafka, topics.chain)
    found: dict[int, Refusal | None] = {
        letter.offset: None for letter in real if held_since and letter.refused_at - _CLOCKS_DIFFER < held_since
    }
    while real:
        count = 1
        while count < len(real) and real[count].refused_at - real[count - 1].refused_at <= 2 * _CLOCKS_DIFFER:
            count += 1
        together, real = real[:count], real[count:]
        begin = chain_offset_at(kafka, topics.chain, together[0].refused_at - _CLOCKS_DIFFER)
        latest = together[-1].refused_at + _CLOCKS_DIFFER
        found |= _spoken_of(_accounts(kafka, topics, begin, latest), together, topics)
    return found


def _held_since(kafka: KafkaSettings, topic: str) -> datetime | None:
    """When the first entry was sealed that the chain's topic still holds; None: it holds all from the first one."""
    start = start_offset(kafka, topic)
    if start == 0:
        return None
    with CommittedReader(kafka, topic, start, ahead_kb=64) as reader:
        records = reader.read(1, _WAIT_S)
    return _sealed_at(records[0]) if records else datetime.max.replace(tzinfo=UTC)


def _sealed_at(record: Record) -> datetime:
    return datetime.fromisoformat(read_written(split_sealed(record.value or b"").body).sequenced_at)


class _Item(NamedTuple):
    """A part of an account: the entry's seq and when it was sealed, the input, and the item itself."""

    seq: int
    sealed_at: datetime
    topic: str
    item: dict[str, Any]


def _accounts(kafka: KafkaSettings, topics: ChainTopics, begin: int, latest: datetime) -> Iterator[_Item]:
    """What the chain's accounts say from an offset on, of what was sealed until `latest`."""
    for records in read_until_end(kafka, topics.chain, begin):
        for record in records:
            if _NEEDLE not in (record.value or b""):
                continue
            entry = decode_entry(record.value or b"")
            said = entry.metadata or {}
            if (entry.action, entry.written.kind) == ("input.passed", "log"):
                for item in said.get("items", []):
                    yield _Item(entry.written.seq, _sealed_at(record), str(said.get("topic")), item)
        if records and _sealed_at(records[-1]) > latest:
            return


def _spoken_of(items: Iterator[_Item], letters: Sequence[Letter], topics: ChainTopics) -> dict[int, Refusal]:
    """The first account of each letter's record that was sealed about when the letter was written."""
    found: dict[int, Refusal] = {}
    by_topic: dict[str | None, list[Letter]] = {}
    for letter in letters:
        by_topic.setdefault(input_of(letter, topics), []).append(letter)
    for one_topic in by_topic.values():
        one_topic.sort(key=lambda letter: letter.topic_offset)
    offsets = {topic: [letter.topic_offset for letter in listed] for topic, listed in by_topic.items()}
    for seq, sealed_at, topic, item in items:
        if topic not in by_topic or item["what"] == "empty":
            continue
        first = bisect_left(offsets[topic], item["first"])
        last = bisect_right(offsets[topic], item["last"])
        for letter in by_topic[topic][first:last]:
            if _speaks_of(item, sealed_at, letter):
                found.setdefault(letter.offset, Refusal(seq, str(item["what"])))
    return found


def _speaks_of(item: dict[str, Any], sealed_at: datetime, letter: Letter) -> bool:
    """Whether an item that has the record's offset is about this record: by its time and, alone in it, its SHA-256."""
    if abs(sealed_at - letter.refused_at) > _CLOCKS_DIFFER:
        return False
    alone = item["first"] == item["last"]
    return not alone or item.get("sha256") == sha256(bytes.fromhex(letter.sha256)).hexdigest()


def _letter(record: Record) -> Letter:
    headers = dict(record.headers)

    def text(name: str) -> str:
        return headers.get(name, b"").decode(errors="replace")

    def number(name: str) -> int:
        return int(text(name)) if text(name).isdigit() else -1

    return Letter(
        record.offset,
        datetime.fromtimestamp(record.timestamp_ms / 1000, UTC),
        text("reason"),
        text("topic"),
        number("offset"),
        number("length"),
        text("sha256"),
        record.value or b"",
    )
