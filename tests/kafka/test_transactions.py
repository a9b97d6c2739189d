"""Transactions: all or nothing, one owner, and `Fenced` for whatever can't be known."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Sequence

import pytest
from confluent_kafka import Consumer, TopicPartition
from tests.markers import wait_for_markers

from sealstream.errors import Fenced, Misconfigured, Unavailable
from sealstream.kafka import (
    CommittedReader,
    KafkaSettings,
    TransactionalProducer,
    create_topics,
    end_offset,
    last_record,
    read_until_end,
)
from sealstream.layout import TopicConfig

Open = Callable[..., TransactionalProducer]
NOBODY = KafkaSettings("127.0.0.1:1")


def values_of(kafka: KafkaSettings, topic: str) -> list[bytes | None]:
    """What a reader gets when every transaction in the topic is decided."""
    wait_for_markers(kafka, topic)
    return [record.value for records in read_until_end(kafka, topic) for record in records]


def write(producer: TransactionalProducer, topic: str, values: Sequence[bytes]) -> None:
    producer.begin()
    for value in values:
        producer.produce(topic, value)


def test_a_committed_transaction_is_read_whole_in_order_with_keys_and_headers(
    kafka: KafkaSettings, topic: str, open_producer: Open
) -> None:
    producer = open_producer()
    producer.begin()
    producer.produce(topic, b"one", b"key", [("a", b"\0\xff"), ("b", b"")])
    producer.produce(topic, None, b"forget")
    producer.produce(topic, b"")
    producer.commit()
    wait_for_markers(kafka, topic)
    (records,) = read_until_end(kafka, topic)
    assert [(record.offset, record.key, record.value, list(record.headers)) for record in records] == [
        (0, b"key", b"one", [("a", b"\0\xff"), ("b", b"")]),
        (1, b"forget", None, []),
        (2, None, b"", []),
    ]


@pytest.mark.parametrize("count", [1, 2, 3, 20_000])
def test_delivered_names_the_first_and_the_last_offset_of_each_topic(
    kafka: KafkaSettings, topic: str, open_producer: Open, count: int
) -> None:
    other = f"{topic}.other"
    create_topics(kafka, [TopicConfig(other, {})])
    producer = open_producer()
    for first in (0, count + 1):  # a marker lies between
        producer.begin()
        for n in range(count):
            producer.produce(topic, b"%d" % n)
        producer.produce(other, b"x")
        producer.commit()
        assert producer.delivered()[topic] == (first, first + count - 1)
    assert producer.delivered()[other] == (2, 2)
    assert values_of(kafka, topic) == [b"%d" % n for n in range(count)] * 2


def murmur2(key: bytes) -> int:
    """As Kafka's own `Utils.murmur2` reckons it, as 32 bits without a sign."""
    mask, factor = 0xFFFFFFFF, 0x5BD1E995
    found = (0x9747B28C ^ len(key)) & mask
    whole = len(key) // 4 * 4
    for at in range(0, whole, 4):
        word = int.from_bytes(key[at : at + 4], "little") * factor & mask
        found = (found * factor ^ (word ^ word >> 24) * factor) & mask
    if rest := key[whole:]:
        found = (found ^ int.from_bytes(rest, "little")) * factor & mask
    found = (found ^ found >> 13) * factor & mask
    return found ^ found >> 15


@pytest.mark.parametrize(
    ("key", "hashed"),
    [
        (b"21", -973932308),
        (b"foobar", -790332482),
        (b"a-little-bit-long-string", -985981536),
        (b"a-little-bit-longer-string", -1486304829),
        (b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58897971),
        (b"abc", 479470107),
    ],
)
def test_murmur2_here_is_that_of_kafka(key: bytes, hashed: int) -> None:
    """The values of the Java client's own test, `UtilsTest.testMurmur2`."""
    assert murmur2(key) == hashed & 0xFFFFFFFF


def test_spread_records_stand_in_the_partition_that_other_clients_choose_for_the_key(
    kafka: KafkaSettings, open_producer: Open
) -> None:
    """Java's default partitioner, and with it aiokafka's and Faust's: murmur2, without the sign, by partitions."""
    spread, count = f"kafka-tests.{uuid.uuid4().hex}", 7
    create_topics(kafka, [TopicConfig(spread, {}, count)])
    keys = [f"user-{n}".encode() for n in range(200)] + ["m\u00fcller".encode(), b"", b"x" * 513]
    producer = open_producer()
    for round_ in range(2):  # before the driver has heard of the partitions, and after
        producer.begin()
        producer.spread(spread, [(key, b"%d %d" % (round_, n)) for n in range(3) for key in keys])
        producer.commit()
    found: dict[tuple[int, bytes], list[bytes]] = {}
    consumer = Consumer({"bootstrap.servers": kafka.bootstrap, "group.id": "test", "isolation.level": "read_committed"})
    consumer.assign([TopicPartition(spread, partition, 0) for partition in range(count)])
    while sum(map(len, found.values())) < 6 * len(keys):
        for message in consumer.consume(1_000, 0.1):
            found.setdefault((message.partition(), message.key()), []).append(message.value())
    consumer.close()
    order = [b"%d %d" % (round_, n) for round_ in range(2) for n in range(3)]
    assert found == {((murmur2(key) & 0x7FFFFFFF) % count, key): order for key in keys}


def test_an_aborted_transaction_is_never_read(kafka: KafkaSettings, topic: str, open_producer: Open) -> None:
    producer = open_producer()
    write(producer, topic, [b"aborted"] * 500)
    producer.flush()
    producer.abort()
    write(producer, topic, [b"committed"])
    producer.commit()
    write(producer, topic, [b"aborted"] * 500)
    producer.flush()
    producer.abort()
    with CommittedReader(kafka, topic, 0) as reader:
        assert [record.value for record in reader.read(10_000, 10)] == [b"committed"]
        assert reader.read(10_000, 1) == []
        wait_for_markers(kafka, topic)
        assert reader.read(10_000, 1) == []
        assert reader.position() == end_offset(kafka, topic, committed=True)
    assert values_of(kafka, topic) == [b"committed"]


def test_an_open_transaction_is_not_read_and_holds_the_committed_end(
    kafka: KafkaSettings, topic: str, open_producer: Open
) -> None:
    producer = open_producer()
    write(producer, topic, [b"one"])
    producer.commit()
    wait_for_markers(kafka, topic)
    write(producer, topic, [b"open"] * 3)
    producer.flush()
    assert end_offset(kafka, topic, committed=True) == 2
    assert end_offset(kafka, topic, committed=False) == 5
    assert [record.value for records in read_until_end(kafka, topic) for record in records] == [b"one"]
    assert last_record(kafka, topic).value == b"one"  # type: ignore[union-attr]
    producer.commit()
    assert values_of(kafka, topic) == [b"one", b"open", b"open", b"open"]


def test_the_next_owner_fences_the_last_and_aborts_what_it_left(
    kafka: KafkaSettings, topic: str, open_producer: Open
) -> None:
    first = open_producer()
    write(first, topic, [b"left open"])
    first.flush()
    second = open_producer()
    assert end_offset(kafka, topic, committed=True) == end_offset(kafka, topic, committed=False)
    first.produce(topic, b"late")
    with pytest.raises(Fenced):
        first.commit()
    begun = time.monotonic()
    for call in (first.begin, first.commit, first.abort, lambda: first.produce(topic, b"again")):
        with pytest.raises(Fenced):
            call()
    first.close()
    assert time.monotonic() - begun < 2
    write(second, topic, [b"ours"])
    second.commit()
    assert values_of(kafka, topic) == [b"ours"]


def test_a_fenced_owner_that_begins_anew_writes_nothing(kafka: KafkaSettings, topic: str, open_producer: Open) -> None:
    first = open_producer()
    open_producer()
    write(first, topic, [b"late"])
    with pytest.raises(Fenced):
        first.commit()
    assert values_of(kafka, topic) == []


def test_a_fenced_owner_that_waits_for_its_records_is_told_so(
    kafka: KafkaSettings, topic: str, open_producer: Open
) -> None:
    """In whichever way the driver says so: amid the report of a record, its words are a SystemError."""
    for _ in range(10):
        first = open_producer()
        write(first, topic, [b"one"])
        first.flush()
        first.commit()
        open_producer()
        with pytest.raises(Fenced):
            write_and_wait(first, topic)
    assert values_of(kafka, topic) == [b"one"] * 10


def write_and_wait(producer: TransactionalProducer, topic: str) -> None:
    write(producer, topic, [b"two", b"three"])
    producer.flush()
    producer.commit()


def test_a_transaction_beyond_its_time_is_fenced_and_not_read(
    kafka: KafkaSettings, topic: str, open_producer: Open
) -> None:
    producer = open_producer(timeout_s=1.0)
    write(producer, topic, [b"slow"])
    producer.flush()
    deadline = time.monotonic() + 60
    while end_offset(kafka, topic, committed=True) < 2 and time.monotonic() < deadline:
        time.sleep(0.2)  # the broker looks for such transactions every 10 s
    with pytest.raises(Fenced):
        producer.commit()
    producer.close()
    assert values_of(kafka, topic) == []


def test_close_aborts_what_is_open_so_that_nobody_waits_for_it(
    kafka: KafkaSettings, topic: str, open_producer: Open
) -> None:
    producer = open_producer()
    write(producer, topic, [b"one", b"two"])
    producer.flush()
    assert end_offset(kafka, topic, committed=True) == 0
    producer.close()
    producer.close()
    wait_for_markers(kafka, topic)
    assert end_offset(kafka, topic, committed=True) == end_offset(kafka, topic, committed=False) == 3
    with pytest.raises(Fenced, match="is closed"):
        producer.begin()


def test_more_than_the_driver_holds_at_once_is_written_in_order(
    kafka: KafkaSettings, topic: str, open_producer: Open
) -> None:
    producer = open_producer()
    write(producer, topic, [b"%d" % n for n in range(150_000)])
    producer.commit()
    assert values_of(kafka, topic) == [b"%d" % n for n in range(150_000)]


def test_a_record_that_is_too_large_is_a_fault_for_a_person(topic: str, open_producer: Open) -> None:
    producer = open_producer()
    with pytest.raises(Misconfigured, match=topic):
        write(producer, topic, [b"x" * 2_000_000])


def test_a_topic_that_does_not_exist_is_not_written(open_producer: Open) -> None:
    producer = open_producer()
    write(producer, f"missing-{uuid.uuid4().hex}", [b"x"])
    with pytest.raises((Fenced, Misconfigured)):
        producer.commit()


def test_an_absent_broker_is_named_in_time() -> None:
    begun = time.monotonic()
    producer = TransactionalProducer(NOBODY, "nobody")
    with pytest.raises(Unavailable, match=r"127\.0\.0\.1:1"):
        producer.open()
    producer.close()
    assert time.monotonic() - begun < 15
