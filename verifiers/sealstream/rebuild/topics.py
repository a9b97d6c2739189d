"""What Kafka itself holds of a chain before a restore: its tail, its notes; and how it is set aside.

What contradicts the stores is evidence: it is written to files, whole, before a topic is deleted. A crash leaves the
files, and some topics deleted or all; the same command goes on.
"""

from __future__ import annotations

import base64
import json
import os
import time
from pathlib import Path
from typing import NamedTuple

from confluent_kafka import KafkaError

from sealstream.errors import ChainBroken, Forked, Misconfigured, NotCanonical, Unavailable
from sealstream.kafka import KafkaSettings, Record, last_record, read_until_end, topic_ids
from sealstream.kafka.admin import answers
from sealstream.kafka.settings import ANSWER_S, translated
from sealstream.layout import ChainSettings, ChainTopics
from sealstream.rebuild.remaining import PublishedNote
from sealstream.sealing import BadNote, Tip, open_checkpoint, tip_after

__all__ = ["NOTHING", "InKafka", "look_into_kafka", "rebuilt_topics", "set_aside"]

_GONE_WITHIN_S = 30.0
_PAUSE_S = 0.1


class InKafka(NamedTuple):
    """`tip`: after the last entry in the chain's topic, None when it holds none or does not exist; `segments`: at which
    sizes segments end that have a note; `complete`: every topic of the chain is there.
    """

    tip: Tip | None
    notes: list[PublishedNote]
    segments: set[int]
    complete: bool


NOTHING = InKafka(None, [], set(), complete=False)
"""No topic, or empty ones."""


def rebuilt_topics(topics: ChainTopics) -> tuple[str, ...]:
    """The topics that follow from the entries: they can be made again from any store. The inputs can't."""
    return topics.chain, topics.producers, topics.segments, topics.checkpoints


def look_into_kafka(kafka: KafkaSettings, chain: ChainSettings, *, pass_over: bool = False) -> InKafka:
    """What is there now. Raises `ChainBroken`, `Forked` for what is not the chain's, unless to `pass_over` it."""
    topics = ChainTopics.of(chain.name, chain.prefix)
    missing = [topic for topic in topics if not _exists(kafka, topic)]
    tip = None
    if topics.chain not in missing and (tail := last_record(kafka, topics.chain)) is not None:
        try:
            tip = tip_after(tail.value or b"")
        except NotCanonical as error:
            if not pass_over:
                raise ChainBroken(
                    f"{topics.chain}, offset {tail.offset}: the last record is no entry: {error}"
                ) from error
    notes: dict[str, list[PublishedNote]] = {topics.segments: [], topics.checkpoints: []}
    for topic, listed in notes.items():
        for records in read_until_end(kafka, topic) if topic not in missing else ():
            listed += [note for record in records if (note := _note(record, topic, chain, pass_over)) is not None]
    every = [note for listed in notes.values() for note in listed]
    return InKafka(tip, every, {note.size for note in notes[topics.segments]}, complete=not missing)


def set_aside(kafka: KafkaSettings, topics: ChainTopics, folder: Path) -> list[Path]:
    """Write the rebuilt topics to files in `folder`, a record a line, and delete them. Files are never overwritten."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        there = [topic for topic in rebuilt_topics(topics) if _exists(kafka, topic)]
        written = [_write(kafka, topic, folder) for topic in there]
    except OSError as error:
        raise Misconfigured(f"can't keep the evidence in {folder}: {error}; nothing was deleted") from error
    if there:
        _delete(kafka, there)
    return written


def _exists(kafka: KafkaSettings, topic: str) -> bool:
    try:
        return bool(topic_ids(kafka, [topic]))
    except Misconfigured:
        return False


def _note(record: Record, topic: str, chain: ChainSettings, pass_over: bool) -> PublishedNote | None:
    place = f"{topic} offset {record.offset}"
    try:
        return PublishedNote(record.value or b"", place, open_checkpoint(record.value or b"", chain.vkey))
    except BadNote as error:
        if pass_over:
            return None
        raise Forked(f"{place}: not a checkpoint that {chain.origin} has signed: {error}") from error


def _write(kafka: KafkaSettings, topic: str, folder: Path) -> Path:
    number = 0
    while (path := folder / f"{topic}{f'.{number}' if number else ''}.ndjson").exists():
        number += 1
    with path.open("x") as file:
        for records in read_until_end(kafka, topic):
            file.writelines(_line(record) for record in records)
        file.flush()
        os.fsync(file.fileno())
    return path


def _line(record: Record) -> str:
    def text(data: bytes | None) -> str | None:
        return None if data is None else base64.b64encode(data).decode()

    members = {
        "offset": record.offset,
        "timestamp_ms": record.timestamp_ms,
        "key": text(record.key),
        "value": text(record.value),
        "headers": [[name, text(value)] for name, value in record.headers],
    }
    return json.dumps(members) + "\n"


def _delete(kafka: KafkaSettings, names: list[str]) -> None:
    deleted = answers(
        kafka,
        f"deleting {', '.join(names)}",
        lambda client: client.delete_topics(names, operation_timeout=ANSWER_S, request_timeout=ANSWER_S),
    )
    for name, answer in deleted.items():
        if isinstance(answer, KafkaError):
            raise translated(answer, kafka, f"deleting {name}", name)
    deadline = time.monotonic() + _GONE_WITHIN_S
    while left := [name for name in names if _exists(kafka, name)]:
        if time.monotonic() > deadline:
            raise Unavailable(f"{', '.join(left)}: deleted, but still there after {_GONE_WITHIN_S:.0f} s")
        time.sleep(_PAUSE_S)
