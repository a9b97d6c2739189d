"""Reading: in order, each once, nothing that is not committed, and never a silent jump."""

from __future__ import annotations

import random
import time
import uuid
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from confluent_kafka.admin import AdminClient
from tests.markers import wait_for_markers

from sealstream.errors import InputLost, Misconfigured, Unavailable
from sealstream.kafka import (
    CommittedReader,
    KafkaSettings,
    TransactionalProducer,
    create_topics,
    end_offset,
    last_record,
    offsets,
    produce,
    read_until_end,
    record_before,
    start_offset,
    trim,
)
from sealstream.layout import TopicConfig

Open = Callable[..., TransactionalProducer]
NOBODY = KafkaSettings("127.0.0.1:1")


def write(
    kafka: KafkaSettings, producer: TransactionalProducer, topic: str, count: int, *, commit: bool = True
) -> None:
    """One transaction, which every reader has seen decided."""
    producer.begin()
    for n in range(count):
        producer.produce(topic, b"%d" % n)
    producer.flush()
    producer.commit() if commit else producer.abort()
    wait_for_markers(kafka, topic)


def test_read_returns_as_soon_as_something_is_there_and_nothing_when_time_is_up(
    kafka: KafkaSettings, topic: str
) -> None:
    with CommittedReader(kafka, topic, 0) as reader:
        begun = time.monotonic()
        assert reader.read(100, 0.5) == []
        assert 0.5 <= time.monotonic() - begun < 2
        assert reader.read(100, 0) == []
        produce(kafka, topic, [b"a", b"b"])
        begun = time.monotonic()
        got = reader.read(100, 30)
        got += reader.read(100, 5) if len(got) < 2 else []
        assert [record.value for record in got] == [b"a", b"b"]
        assert time.monotonic() - begun < 5
        assert reader.position() == 2


def test_the_limit_is_kept_and_what_is_left_comes_next(kafka: KafkaSettings, topic: str) -> None:
    produce(kafka, topic, [b"%d" % n for n in range(25)])
    with CommittedReader(kafka, topic, 3) as reader:
        batches = []
        while reader.position() < 25:
            batches.append(reader.read(10, 10))
            assert reader.position() == batches[-1][-1].offset + 1
    assert max(map(len, batches)) <= 10
    assert [record.value for batch in batches for record in batch] == [b"%d" % n for n in range(3, 25)]


def test_position_passes_markers_once_the_end_is_seen(kafka: KafkaSettings, topic: str, open_producer: Open) -> None:
    producer = open_producer()
    write(kafka, producer, topic, 3)
    with CommittedReader(kafka, topic, 0) as reader:
        assert len(reader.read(10, 10)) == 3
        reader.read(10, 1)
        assert reader.position() == 4 == end_offset(kafka, topic, committed=True)
        write(kafka, producer, topic, 2)
        assert [record.offset for record in reader.read(10, 10)] == [4, 5]


def test_seek_goes_anywhere_at_any_time(kafka: KafkaSettings, topic: str) -> None:
    produce(kafka, topic, [b"%d" % n for n in range(20_000)])
    choose = random.Random(7)
    with CommittedReader(kafka, topic, 0) as reader:
        for _ in range(60):
            offset = choose.randrange(20_000)
            reader.seek(offset)
            assert reader.position() == offset
            got = reader.read(choose.choice([1, 10, 10_000]), 10)
            assert got[0].offset == offset
            assert [record.value for record in got] == [b"%d" % n for n in range(offset, offset + len(got))]


@pytest.mark.parametrize("where", ["trimmed", "beyond the end", "recreated"])
def test_a_position_that_no_longer_exists_is_an_alarm(kafka: KafkaSettings, topic: str, where: str) -> None:
    produce(kafka, topic, [b"x"] * 10)
    offset = {"trimmed": 3, "beyond the end": 11, "recreated": 8}[where]
    if where == "trimmed":
        trim(kafka, topic, 5)
    if where == "recreated":
        client = AdminClient({"bootstrap.servers": kafka.bootstrap})
        client.delete_topics([topic], operation_timeout=30)[topic].result()
        create_topics(kafka, [TopicConfig(topic, {})])
        produce(kafka, topic, [b"y"])
    with CommittedReader(kafka, topic, offset) as reader:
        with pytest.raises(InputLost, match=f"offset {offset}"):
            reader.read(10, 10)
        with pytest.raises(InputLost):
            reader.read(10, 0)
        reader.seek(start_offset(kafka, topic))
        assert reader.read(10, 10)[0].offset == start_offset(kafka, topic)


def test_the_end_itself_is_a_position(kafka: KafkaSettings, topic: str) -> None:
    produce(kafka, topic, [b"x"] * 10)
    with CommittedReader(kafka, topic, 10) as reader:
        assert reader.read(10, 0.5) == []
        produce(kafka, topic, [b"next"])
        assert [record.value for record in reader.read(10, 10)] == [b"next"]


def test_a_topic_that_was_trimmed_while_it_was_read_is_an_alarm(kafka: KafkaSettings, topic: str) -> None:
    produce(kafka, topic, [b"x" * 1000] * 10)
    with CommittedReader(kafka, topic, 0) as reader:
        assert reader.read(1, 10)
        trim(kafka, topic, 10)
        reader.seek(4)
        with pytest.raises(InputLost, match="begins at 10"):
            reader.read(10, 10)


def test_the_last_record_is_found_behind_any_number_of_markers_and_aborted_records(
    kafka: KafkaSettings, topic: str, open_producer: Open
) -> None:
    producer = open_producer()
    assert last_record(kafka, topic) is None
    write(kafka, producer, topic, 100, commit=False)
    assert last_record(kafka, topic) is None
    write(kafka, producer, topic, 7)
    for _ in range(3):
        write(kafka, producer, topic, 900, commit=False)
    found = last_record(kafka, topic)
    assert found is not None
    assert (found.offset, found.value) == (107, b"6")
    before = record_before(kafka, topic, found.offset)
    assert before is not None
    assert (before.offset, before.value) == (106, b"5")
    assert record_before(kafka, topic, 101) is None
    assert record_before(kafka, topic, 10**9) == found
    trim(kafka, topic, 104)
    assert record_before(kafka, topic, 104) is None
    assert record_before(kafka, topic, 105).offset == 104  # type: ignore[union-attr]


def test_read_until_end_ends_where_the_end_was_when_it_was_asked(
    kafka: KafkaSettings, topic: str, open_producer: Open
) -> None:
    producer = open_producer()
    write(kafka, producer, topic, 10)
    write(kafka, producer, topic, 10, commit=False)
    asked = read_until_end(kafka, topic)
    write(kafka, producer, topic, 5)
    assert sum(map(len, asked)) == 10
    assert sum(map(len, read_until_end(kafka, topic))) == 15
    assert sum(map(len, read_until_end(kafka, topic, 9))) == 6
    assert list(read_until_end(kafka, topic, end_offset(kafka, topic, committed=True))) == []


def test_a_topic_that_does_not_exist_is_named_with_what_makes_it(kafka: KafkaSettings) -> None:
    name = f"missing-{uuid.uuid4().hex}"
    for call in (
        lambda: CommittedReader(kafka, name, 0),
        lambda: start_offset(kafka, name),
        lambda: end_offset(kafka, name, committed=True),
        lambda: last_record(kafka, name),
        lambda: read_until_end(kafka, name),
        lambda: produce(kafka, name, [b"x"]),
    ):
        with pytest.raises(Misconfigured, match=f"{name} does not exist.*sealstream chain create"):
            call()
    with pytest.raises(Misconfigured):
        end_offset(kafka, name, committed=True)  # and asking did not make it


def test_an_absent_broker_is_named_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sealstream.kafka.admin.ANSWER_S", 1.0)
    for call in (
        lambda: CommittedReader(NOBODY, "t", 0),
        lambda: end_offset(NOBODY, "t", committed=True),
        lambda: produce(NOBODY, "t", [b"x"]),
    ):
        begun = time.monotonic()
        with pytest.raises(Unavailable, match=r"127\.0\.0\.1:1"):
            call()
        assert time.monotonic() - begun < 5


def test_an_option_that_does_not_exist_is_a_fault_of_the_settings(kafka: KafkaSettings) -> None:
    wrong = kafka._replace(options={"security.protocoll": "ssl"})
    for call in (lambda: CommittedReader(wrong, "t", 0), lambda: TransactionalProducer(wrong, "t")):
        with pytest.raises(Misconfigured, match=r"security\.protocoll"):
            call()


def test_options_can_t_undo_what_correct_reading_needs(kafka: KafkaSettings, topic: str, open_producer: Open) -> None:
    write(kafka, open_producer(), topic, 3, commit=False)
    loose = kafka._replace(options={"isolation.level": "read_uncommitted", "auto.offset.reset": "earliest"})
    with CommittedReader(loose, topic, 0) as reader:
        assert reader.read(10, 1) == []


def test_an_offset_that_the_leader_does_not_know_yet_is_asked_for_again(
    kafka: KafkaSettings, topic: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    produce(kafka, topic, [b"a", b"b"])
    real, unknown = offsets.ask, [-1001, -1001, -1001]

    def just_elected(*arguments: Any) -> Any:
        """As three brokers answer right after one of them came back (seen in the bench of real faults)."""
        answer = real(*arguments)
        return SimpleNamespace(offset=unknown.pop()) if unknown else answer

    monkeypatch.setattr(offsets, "ask", just_elected)
    assert end_offset(kafka, topic, committed=True) == 2
    unknown[:] = [-1001]
    last = last_record(kafka, topic)
    assert last is not None
    assert last.value == b"b"
    unknown[:] = [-1001] * 1_000
    monkeypatch.setattr(offsets, "ANSWER_S", 0.3)
    with pytest.raises(Unavailable, match="gave no offset"):
        end_offset(kafka, topic, committed=True)


def test_a_driver_that_stands_still_is_noticed_and_a_topic_that_is_at_rest_is_not(
    kafka: KafkaSettings, topic: str, open_producer: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sealstream.kafka.reader._STILL_S", 0.2)
    producer = open_producer()
    with CommittedReader(kafka, topic, 0) as reader:
        write(kafka, producer, topic, 3)
        while reader.position() < 4:
            reader.read(10, 0.1)
        for _ in range(2):  # what is aborted is passed without a word, and what is open is waited for
            producer.begin()
            for _ in range(3):
                producer.produce(topic, b"open")
            producer.flush()
            reads_nothing(reader)
            producer.abort()
            wait_for_markers(kafka, topic)
            reads_nothing(reader)
        assert reader.position() == end_offset(kafka, topic, committed=True) == 12

        produce(kafka, topic, [b"more"])
        monkeypatch.setattr(reader, "_consumer", StandingStill(reader._consumer))
        with pytest.raises(Unavailable, match=r"stands still at offset 12, though the topic goes on"):
            reads_nothing(reader)


def reads_nothing(reader: CommittedReader) -> None:
    for _ in range(20):
        assert reader.read(10, 0.1) == []


class StandingStill:
    """As the driver sometimes is after its brokers have changed their leaders: it answers, and fetches nothing."""

    def __init__(self, driver: Any) -> None:
        self._driver = driver

    def consume(self, _limit: int, timeout_s: float) -> list[Any]:
        time.sleep(timeout_s)
        return []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._driver, name)


def test_a_topic_that_others_trim_while_it_is_looked_at_is_waited_for_and_no_alarm(
    kafka: KafkaSettings, topic: str, open_producer: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(kafka, open_producer(), topic, 3)

    def trimmed(*_arguments: Any, **_options: Any) -> CommittedReader:
        raise InputLost(f"{topic} no longer has the offset 0")

    monkeypatch.setattr("sealstream.kafka.lookup.CommittedReader", trimmed)
    with pytest.raises(Unavailable, match="trimmed again and again"):
        record_before(kafka, topic, 3)
