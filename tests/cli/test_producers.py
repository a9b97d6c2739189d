"""`sealstream producers` and `status` count producers by the one topic that remembers them, of ten thousand too."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from confluent_kafka import Producer as KafkaProducer
from tests.pipeline import Pipeline

from sealstream.cli.producers import Producer
from sealstream.events import ProducerKey
from sealstream.health.asking import producers
from sealstream.sealing import new_signing_key, signer
from sealstream.sequencer.producers import (
    AS_OF_KEY,
    AsOf,
    ProducerState,
    Source,
    encode_as_of,
    encode_key,
    encode_state,
    key_record_key,
    record_key,
)


@pytest.mark.parametrize(
    ("source", "words"),
    [
        (Source("billing", "ward-3"), "billing at ward-3"),
        (Source("billing", ""), "billing"),
        (Source("", "ward-3"), "at ward-3"),
        (Source("", ""), "not said"),
        (None, "not said"),
    ],
)
def test_an_application_is_called_by_what_its_events_say(source: Source | None, words: str) -> None:
    assert Producer("p", "event", ProducerState(source=source)).application == words


def test_ten_thousand_producers_are_named_by_one_reading_of_their_topic(
    make_pipeline: Callable[..., Pipeline], monkeypatch: pytest.MonkeyPatch
) -> None:
    pipeline = make_pipeline()
    producer = KafkaProducer({"bootstrap.servers": pipeline.kafka.bootstrap, "linger.ms": 20})
    for number in range(10_000):
        source = Source(f"service-{number % 40}", f"host-{number}") if number else None
        state = ProducerState(next=5, missing=[(2, 2)], last_seen="2026-11-24T03:00:00.000000Z", source=source)
        producer.produce(
            pipeline.topics.producers, encode_state(state), record_key("event", f"producer-{number}"), partition=0
        )
        producer.poll(0)
    assert producer.flush(60) == 0
    monkeypatch.setenv("SEALSTREAM_POSTGRES__READER_DSN", "postgresql://nobody@127.0.0.1:9/none")
    said = pipeline.command("producers", "--chain", pipeline.name, "--limit", "10000", "--json")
    assert said.code == 0, said.err
    shown = {one["producer_id"]: (one["service"], one["host"]) for one in json.loads(said.out)["shown"]}
    assert len(shown) == 10_000
    assert shown["producer-0"] == (None, None)
    assert shown["producer-9999"] == ("service-39", "host-9999")
    table = pipeline.command("producers", "--chain", pipeline.name, "--limit", "20")
    assert table.out.count(" at host-") == 19
    assert "not said" in table.out


def test_signing_keys_beside_the_producers_are_no_producers(make_pipeline: Callable[..., Pipeline]) -> None:
    pipeline = make_pipeline()
    key = ProducerKey(signer(new_signing_key("billing")).vkey, "billing", None, True, None, registered=3)
    producer = KafkaProducer({"bootstrap.servers": pipeline.kafka.bootstrap})
    for name, value in (
        (record_key("event", "gone"), encode_state(ProducerState(next=9, missing=[(0, 3)]))),
        (key_record_key("billing+0a1b2c3d"), encode_key(key)),
        (key_record_key("billing+99999999"), None),
        (record_key("event", "billing-1"), encode_state(ProducerState(next=5, missing=[(2, 3)], silent=True))),
        (record_key("event", "gone"), None),
        (AS_OF_KEY, encode_as_of(AsOf(7, "raw", "control", keys=1))),
    ):
        producer.produce(pipeline.topics.producers, value, name, partition=0)
    assert producer.flush(60) == 0
    counted = producers(pipeline.kafka, pipeline.chain)
    assert counted == (1, 1, 1, 2)
    said = pipeline.command("producers", "--chain", pipeline.name, "--json")
    assert [one["producer_id"] for one in json.loads(said.out)["shown"]] == ["billing-1"]
