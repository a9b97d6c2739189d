"""Taking a prefix over, and where each chain goes on: by the positions that were written, held to the chain as it is.

A position's entry number is the truth; its offset is a hint, since a chain that was restored stands at other offsets.
Starting for the first time, restarting and taking over are these same lines. Nothing is written here; a crash leaves
nothing behind, but that whoever wrote to the prefix before is fenced.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack

import structlog

from sealstream.anomaly.following import Following, counted
from sealstream.anomaly.rolling import WrittenCounted
from sealstream.anomaly.writing import ActivityWriter
from sealstream.errors import Fenced, HistoryLost, InputLost, Misconfigured, NotCanonical, RolledBack, Unavailable
from sealstream.kafka import (
    CommittedReader,
    KafkaSettings,
    TransactionalProducer,
    check_topics,
    end_offset,
    last_record,
    offset_reaching,
    read_until_end,
    start_offset,
)
from sealstream.kafka.settings import TopicMissing
from sealstream.layout import ChainSettings, ChainTopics
from sealstream.layout.activity import (
    ActivityPosition,
    ActivityTopics,
    activity_transactional_id,
    decode_position,
)

__all__ = ["ActivityLost", "begin_chain", "read_positions", "take_over"]

_ANSWER_S = 10.0

OpenProducer = Callable[[KafkaSettings, str], TransactionalProducer]
OpenReader = Callable[[KafkaSettings, str, int], CommittedReader]


class ActivityLost(InputLost):
    """Entries are gone that were never rolled up; a person must decide."""

    runbook = "docs/runbooks/input-lost.md"


def take_over(
    kafka: KafkaSettings,
    prefix: str,
    partitions: int,
    held: ExitStack,
    *,
    read_back_s: float = 5.0,
    open_producer: OpenProducer = TransactionalProducer,
    open_reader: OpenReader = CommittedReader,
) -> tuple[ActivityWriter, Mapping[str, ActivityPosition]]:
    """Fence who wrote to this prefix before; what writes now, and how far each chain has come. `held` closes it.

    Raises `Misconfigured` when a topic is not there or not as it must be.
    """
    topics = ActivityTopics.of(prefix)
    _check_topics(kafka, topics, partitions)
    producer = open_producer(kafka, activity_transactional_id(prefix))
    held.callback(producer.close)
    producer.open()
    seen = open_reader(kafka, topics.positions, end_offset(kafka, topics.positions, committed=True))
    held.callback(seen.close)
    return ActivityWriter(producer, topics, seen, read_back_s=read_back_s), read_positions(kafka, topics.positions)


def _check_topics(kafka: KafkaSettings, topics: ActivityTopics, partitions: int) -> None:
    written = (topics.activity, topics.addresses, topics.positions)
    try:
        check_topics(kafka, [config for config in topics.configs(partitions) if config.name in written])
    except TopicMissing as error:
        raise Misconfigured(
            f"a topic of {', '.join(written)} does not exist at Kafka {kafka.bootstrap}: `sealstream chain create "
            "NAME`, for a chain that there is, makes it; without positions each chain is rolled up from its first entry"
        ) from error


def read_positions(kafka: KafkaSettings, topic: str) -> dict[str, ActivityPosition]:
    """The newest of each chain. Raises `Misconfigured` for a record that is none."""
    found: dict[str, ActivityPosition] = {}
    for records in read_until_end(kafka, topic):
        for record in records:
            try:
                found[(record.key or b"").decode()] = decode_position(record.value or b"")
            except (NotCanonical, UnicodeDecodeError) as error:
                raise Misconfigured(
                    f"{topic}, offset {record.offset}: {error}; only the roll-up may write there. Delete and make the "
                    "topic anew, and each chain is rolled up from its first entry again"
                ) from error
    return found


def begin_chain(
    kafka: KafkaSettings,
    chain: ChainSettings,
    position: ActivityPosition | None,
    open_reader: OpenReader = CommittedReader,
    *,
    accept_lost: bool = False,
) -> tuple[CommittedReader, Following]:
    """A reader of the chain's topic where it goes on, and what follows it. None: it was never rolled up.

    `accept_lost`: a person's decision to go on without entries that are gone. Raises `ActivityLost`, `RolledBack`.
    """
    topic = ChainTopics.of(chain.name, chain.prefix).chain
    check_topics(
        kafka, [config for config in ChainTopics.of(chain.name, chain.prefix).configs() if config.name == topic]
    )
    start = start_offset(kafka, topic)
    try:
        return _begin(kafka, chain.name, topic, start, position, open_reader)
    except ActivityLost as error:
        if not accept_lost:
            raise
        structlog.get_logger().critical(
            "going on without lost entries, as decided", chain=chain.name, reason=str(error)
        )
        return open_reader(kafka, topic, start), Following(chain.name, topic, None)
    except InputLost as error:
        if isinstance(error, HistoryLost) or start_offset(kafka, topic) == start:
            raise
        raise Fenced(f"{topic} was trimmed while it was looked at: {error}") from error


def _begin(
    kafka: KafkaSettings,
    chain: str,
    topic: str,
    start: int,
    position: ActivityPosition | None,
    open_reader: OpenReader,
) -> tuple[CommittedReader, Following]:
    if position is None:
        return open_reader(kafka, topic, start), Following(chain, topic, None)
    last = last_record(kafka, topic)
    if last is None:
        raise HistoryLost(
            f"{topic} is empty, but {chain} was rolled up through entry {position.told}: it was recreated or trimmed "
            "whole"
        )
    if (end := counted(last, topic).written.seq) < max(position.seq, position.told):
        raise RolledBack(
            f"{topic} ends with entry {end}, but {chain} was rolled up through entry {position.told}: it was rolled "
            "back"
        )
    reader = open_reader(kafka, topic, min(max(position.offset, start), last.offset))
    try:
        first = _peek(reader, topic)
        if first.seq != position.seq:
            reader.seek(offset_reaching(kafka, topic, lambda each: counted(each, topic).written.seq >= position.seq))
            first = _peek(reader, topic)
        if first.seq == position.seq:
            return reader, Following(chain, topic, position)
        if position.told >= first.seq - 1 and f"{first.sequenced_at[:19]}Z" > position.second:
            return reader, Following(chain, topic, None)  # what was trimmed was told, to the end of a second
        raise ActivityLost(
            f"{topic} begins with entry {first.seq}, but {chain} was rolled up through entry {position.told} only: it "
            f"was trimmed meanwhile, and no activity is known of {first.seq - position.told - 1} entries. `sealstream "
            "run activity --accept-input-lost` goes on with what is there; `sealstream replay activity` makes the "
            "activity of them from the archive"
        )
    except BaseException:
        reader.close()
        raise


def _peek(reader: CommittedReader, topic: str) -> WrittenCounted:
    """What was written beside the next entry, of which it is known that it is there; the reader stays before it."""
    at = reader.position()
    records = reader.read(1, _ANSWER_S)
    if not records:
        raise Unavailable(f"{topic}: no entry came from offset {at} on in {_ANSWER_S:.0f} s, though there is one")
    reader.seek(at)
    return counted(records[0], topic).written
