"""The verdict over a bench that has come to rest: the independent checker over all stores, then `sealstream verify`."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from confluent_kafka import Consumer, TopicPartition
from tests.faults.watching import Journals
from tests.histories.checker import Emitted, StoredEntry, check_history
from tests.pipeline import Pipeline

from sealstream.archive import ArchiveStore, read_rows
from sealstream.kafka import KafkaSettings
from sealstream.postgres import PostgresStore
from sealstream.sealing import open_checkpoint

__all__ = ["Verdict", "judge"]


_APART = timedelta(seconds=60)


class Verdict(NamedTuple):
    """`faults`: what the checker found; `verify_code`, `verify_said`: of `sealstream verify all`."""

    faults: list[str]
    verify_code: int
    verify_said: str
    entries: int
    events: int
    acknowledged: int


def judge(
    pipeline: Pipeline,
    journals: Journals,
    also_sent: Iterable[bytes] = (),
    earlier: Mapping[str, Sequence[Mapping[int, bytes | None]]] | None = None,
) -> Verdict:
    """Everything there is, held against everything that was emitted: what the journals name, and `also_sent`.

    `earlier`: by `raw` and `control`, what was in a topic of that name before it was made again.
    """
    topics, before = pipeline.topics, earlier or {"raw": [], "control": []}
    chain = [record.value or b"" for record in pipeline.records(topics.chain)]
    emitted = list(_emitted(journals, also_sent))
    faults = check_history(
        origin=pipeline.chain.origin,
        chain=chain,
        emitted=emitted,
        raw=[*before["raw"], _held(pipeline, topics.raw)],
        control=[*before["control"], _held(pipeline, topics.control)],
        dead_letters=_held(pipeline, topics.deadletter),
        notes=_notes(pipeline),
        stores={"postgres": list(_postgres(pipeline)), "archive": list(_archive(pipeline))},
    )
    faults += _time_faults(chain)
    said = pipeline.command("verify", "all", "--chain", pipeline.name, "--state-dir", str(pipeline.folder))
    return Verdict(
        faults,
        said.code,
        said.out + said.err,
        len(chain),
        len(emitted),
        sum(each.acknowledged for each in emitted),
    )


def _time_faults(chain: list[bytes]) -> list[str]:
    """Sealed times only rise, so one sealed by a clock that was ahead shows in the last entry."""
    sealed_at = datetime.fromisoformat(json.loads(chain[-1])["written"]["sequenced_at"])
    return [f"the last entry claims {sealed_at}, which is to come"] if sealed_at > datetime.now(UTC) + _APART else []


def _held(pipeline: Pipeline, topic: str) -> dict[int, bytes | None]:
    return {record.offset: record.value for record in pipeline.records(topic)}


def _emitted(journals: Journals, also_sent: Iterable[bytes]) -> Iterator[Emitted]:
    journals.look()
    acknowledged = journals.acknowledged
    for _, sent in journals.events():
        for order, (digest, event) in enumerate(sent):
            yield _one(event, digest in acknowledged, order)
    for order, event in enumerate(also_sent):
        yield _one(event, True, order)


def _one(event: bytes, acknowledged: bool, order: int) -> Emitted:
    fields = json.loads(event)
    return Emitted(fields["id"], fields.get("producer_id"), fields.get("producer_seq"), event, acknowledged, order)


def _postgres(pipeline: Pipeline) -> Iterator[StoredEntry]:
    with PostgresStore(pipeline.reader_dsn) as store:
        for rows in store.rows(pipeline.name):
            for row in rows:
                yield StoredEntry(row.seq, row.body, row.prev_hash, row.hash)


def _archive(pipeline: Pipeline) -> Iterator[StoredEntry]:
    store = ArchiveStore(pipeline.archive, pipeline.name)
    try:
        for segment in store.segments():
            data = store.read(segment.name.object_key, segment.object.versions[0])
            for row in read_rows(data, ["seq", "body", "prev_hash", "hash"]):
                yield StoredEntry(*row)
    finally:
        store.close()


def _notes(pipeline: Pipeline) -> Iterator[tuple[int, bytes]]:
    """Every note that was ever written, committed or not."""
    topics, kafka = pipeline.topics, pipeline.kafka
    for topic in (topics.checkpoints, topics.segments):
        for value in _uncommitted(kafka, topic):
            checkpoint = open_checkpoint(value, pipeline.chain.vkey)
            yield checkpoint.size, checkpoint.root


def _uncommitted(kafka: KafkaSettings, topic: str) -> Iterator[bytes]:
    consumer = Consumer(
        {
            "bootstrap.servers": kafka.bootstrap,
            "group.id": "judge",
            "isolation.level": "read_uncommitted",
            "enable.auto.commit": False,
            "enable.partition.eof": True,
            "auto.offset.reset": "earliest",
            "log_level": 0,
        }
    )
    try:
        consumer.assign([TopicPartition(topic, 0, 0)])
        while True:
            message = consumer.poll(30)
            if message is None:
                raise AssertionError(f"{topic} did not come to its end within 30 s")
            if message.error() is not None:
                return
            if message.value() is not None:
                yield message.value()
    finally:
        consumer.close()
