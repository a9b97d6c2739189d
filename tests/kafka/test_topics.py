"""Topics: made once, checked by name and value, told apart after they were made again."""

from __future__ import annotations

import uuid

import pytest
from confluent_kafka.admin import AdminClient

from sealstream.errors import InputLost, Misconfigured
from sealstream.kafka import (
    KafkaSettings,
    check_topics,
    create_topics,
    produce,
    read_until_end,
    start_offset,
    topic_ids,
    trim,
)
from sealstream.layout import ChainTopics, TopicConfig


def test_a_chain_s_topics_are_made_repeatably_and_are_as_described(kafka: KafkaSettings) -> None:
    topics = ChainTopics.of(f"t{uuid.uuid4().hex[:10]}")
    create_topics(kafka, topics.configs()[:3])  # as after a crash in the middle
    create_topics(kafka, topics.configs())
    create_topics(kafka, topics.configs())
    check_topics(kafka, topics.configs())
    assert set(topic_ids(kafka, topics)) == set(topics)
    assert len(set(topic_ids(kafka, topics).values())) == len(topics)


def test_every_difference_is_named_with_what_mends_it(kafka: KafkaSettings, topic: str) -> None:
    wanted = TopicConfig(topic, {"cleanup.policy": "compact", "message.timestamp.type": "LogAppendTime"}, 3)
    with pytest.raises(Misconfigured) as raised:
        check_topics(kafka, [wanted])
    for part in (
        f"{topic} has 1 partitions: expected 3",
        "cleanup.policy=delete: expected compact",
        "message.timestamp.type=CreateTime: expected LogAppendTime",
        "kafka-configs.sh",
    ):
        assert part in str(raised.value)
    with pytest.raises(Misconfigured):
        create_topics(kafka, [wanted])


@pytest.mark.parametrize(
    ("wanted", "found", "fits"),
    [
        ("1000", "1000", True),
        ("1000", "2000", True),
        ("1000", "-1", True),
        ("2000", "1000", False),
        ("-1", "-1", True),
        ("-1", "1000", False),
    ],
)
def test_records_may_be_kept_longer_than_described_and_never_shorter(
    kafka: KafkaSettings, wanted: str, found: str, fits: bool
) -> None:
    name = f"kafka-tests.{uuid.uuid4().hex}"
    create_topics(kafka, [TopicConfig(name, {"retention.ms": found})])
    if fits:
        check_topics(kafka, [TopicConfig(name, {"retention.ms": wanted})])
    else:
        with pytest.raises(Misconfigured, match=r"retention\.ms"):
            check_topics(kafka, [TopicConfig(name, {"retention.ms": wanted})])


def test_a_missing_topic_and_too_many_replicas_are_faults_of_the_settings(kafka: KafkaSettings) -> None:
    name = f"missing-{uuid.uuid4().hex}"
    with pytest.raises(Misconfigured, match=f"{name} does not exist"):
        check_topics(kafka, [TopicConfig(name, {})])
    with pytest.raises(Misconfigured, match="99 replicas"):
        create_topics(kafka, [TopicConfig(name, {})], replication=99)


def test_a_topic_made_again_has_another_id_in_kafka_s_own_spelling(kafka: KafkaSettings, topic: str) -> None:
    before = topic_ids(kafka, [topic])[topic]
    assert before == topic_ids(kafka, [topic])[topic]
    assert len(before) == 22
    assert set("+/=").isdisjoint(before)
    client = AdminClient({"bootstrap.servers": kafka.bootstrap})
    client.delete_topics([topic], operation_timeout=30)[topic].result()
    create_topics(kafka, [TopicConfig(topic, {})])
    assert topic_ids(kafka, [topic])[topic] != before


def test_trimming_deletes_what_is_below_and_can_be_repeated(kafka: KafkaSettings, topic: str) -> None:
    produce(kafka, topic, [b"x"] * 10)
    trim(kafka, topic, 4)
    trim(kafka, topic, 4)
    trim(kafka, topic, 2)
    assert start_offset(kafka, topic) == 4
    with pytest.raises(InputLost, match="ends below"):
        trim(kafka, topic, 11)
    trim(kafka, topic, 10)
    assert start_offset(kafka, topic) == 10


def test_produce_waits_for_every_acknowledgement_in_order(kafka: KafkaSettings, topic: str) -> None:
    produce(kafka, topic, [b"%d" % n for n in range(30_000)])
    produce(kafka, topic, [])
    with pytest.raises(Misconfigured):
        produce(kafka, topic, [b"x" * 2_000_000])
    assert [r.value for records in read_until_end(kafka, topic) for r in records] == [b"%d" % n for n in range(30_000)]
