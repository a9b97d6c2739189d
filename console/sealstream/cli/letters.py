"""A dead letter as it is read back, and what the chain says of its record. Reads only.

A dead letter is a copy: the record itself stays in its input topic until that is trimmed, and the chain accounts for it
(`input.passed`). The letters' topic is not sealed; so what is done because of a letter is first held against the chain.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Any, NamedTuple

from sealstream.cli.sealed import chain_offset_at
from sealstream.errors import Misconfigured
from sealstream.events import format_timestamp
from sealstream.kafka import CommittedReader, KafkaSettings, Record, end_offset, read_until_end, start_offset
from sealstream.layout import ChainTopics, decode_entry

__all__ = ["Letter", "Refusal", "all_letters", "one_letter", "refusal_of"]

_WAIT_S = 10.0
_CLOCKS_DIFFER = timedelta(seconds=61)  # a sequencer whose clock is further from the broker's seals nothing
_NEEDLE = b'"action":"input.passed"'


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


class Refusal(NamedTuple):
    """The entry that accounts for a record, and what it says: `refused`, `repeated`."""

    seq: int
    what: str


def all_letters(kafka: KafkaSettings, topics: ChainTopics) -> Iterator[Letter]:
    """Every letter that is kept (90 days), the oldest first."""
    for records in read_until_end(kafka, topics.deadletter):
        yield from map(_letter, records)


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


def refusal_of(kafka: KafkaSettings, topics: ChainTopics, letter: Letter) -> Refusal | None:
    """What the chain says of the letter's record; None where its topic no longer reaches back to it.

    The account stands in the same transaction as the letter, so it is looked for around the letter's time. Raises
    `Misconfigured` when the chain says nothing of the record: anybody may have written such a letter.
    """
    for seq, item in _accounts(kafka, topics, letter):
        if _speaks_of(item, letter):
            return Refusal(seq, str(item["what"]))
    if start_offset(kafka, topics.chain) == 0:
        raise Misconfigured(
            f"the chain does not say that offset {letter.topic_offset} of {letter.topic} was refused or repeated, as "
            f"letter {letter.offset} does: the letters' topic is not sealed, and whoever may write to Kafka may have "
            "written this one"
        )
    return None


def _accounts(kafka: KafkaSettings, topics: ChainTopics, letter: Letter) -> Iterator[tuple[int, dict[str, Any]]]:
    """What the chain's accounts of around the letter's time say of its topic: each item, with the entry's seq."""
    member = {topics.raw: "raw", topics.control: "control"}.get(letter.topic)
    begin = chain_offset_at(kafka, topics.chain, letter.refused_at - _CLOCKS_DIFFER)
    latest = format_timestamp(letter.refused_at + _CLOCKS_DIFFER)
    for records in read_until_end(kafka, topics.chain, begin):
        for record in records:
            if _NEEDLE not in (record.value or b""):
                continue
            entry = decode_entry(record.value or b"")
            if entry.written.sequenced_at > latest:
                return
            said = entry.metadata or {}
            if (entry.action, entry.written.kind, said.get("topic")) == ("input.passed", "log", member):
                yield from ((entry.written.seq, item) for item in said.get("items", []))


def _speaks_of(item: dict[str, Any], letter: Letter) -> bool:
    """Whether an item of the account is about this record: by its offset and, alone in its item, its SHA-256."""
    if not item["first"] <= letter.topic_offset <= item["last"]:
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
