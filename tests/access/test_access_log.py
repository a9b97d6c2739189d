"""Access to the log is in the log before its answer is shown, or nothing is shown."""

from __future__ import annotations

import json
import threading
from typing import Any

import pytest

from sealstream.access import MAX_QUERY_BYTES, Access, AccessLog, NotRecorded, Reader, Streamed, person_at_this_machine
from sealstream.errors import InvalidEvent, Unavailable
from sealstream.events import validate_control
from sealstream.kafka import KafkaSettings, StandingProducer, read_until_end
from sealstream.layout import ChainSettings, ChainTopics

ANN = Reader("ann@ward-3", "user", {"service": "sealstream cli", "host": "ward-3"}, ip_address="10.0.0.9")


def said(kafka: KafkaSettings, chain: str) -> list[dict[str, Any]]:
    """What the control topic holds, each valid as the sequencer judges."""
    values = [record.value or b"" for batch in read_until_end(kafka, ChainTopics.of(chain).control) for record in batch]
    return [json.loads(validate_control(value).canonical) for value in values]


def interrupted(log: AccessLog, access: Access) -> Streamed:
    """A stream that Ctrl-C ended after two rows."""
    stream: Streamed | None = None
    try:
        with log.streamed(ANN, access) as stream:
            stream.rows += 2
            raise KeyboardInterrupt
    except KeyboardInterrupt:
        assert stream is not None
        return stream


def test_an_answer_is_recorded_with_who_what_and_how_many(kafka: KafkaSettings, chain: ChainSettings) -> None:
    with AccessLog(kafka, chain.prefix) as log:
        read_id = log.record(ANN, Access(chain.name, "search", "postgres", "actor:bob  -action:read", "req-1"), 17)
        (event,) = said(kafka, chain.name)  # acknowledged, so it is there when `record` returns
    assert event["id"] == read_id
    assert (event["actor_id"], event["actor_type"], event["action"]) == ("ann@ward-3", "user", "log.read")
    assert (event["resource_type"], event["resource_id"], event["result"]) == ("chain", chain.name, "success")
    assert event["ip_address"] == "10.0.0.9"
    assert event["metadata"] == {
        "what": "search",
        "store": "postgres",
        "phase": "whole",
        "query": "actor:bob  -action:read",
        "request_id": "req-1",
        "rows": 17,
    }


def test_a_stream_has_a_beginning_before_its_rows_and_an_end(kafka: KafkaSettings, chain: ChainSettings) -> None:
    with AccessLog(kafka, chain.prefix) as log:
        with log.streamed(ANN, Access(chain.name, "export", "archive")) as stream:
            assert [event["metadata"]["phase"] for event in said(kafka, chain.name)] == ["begin"]
            stream.rows += 3
        cut = interrupted(log, Access(chain.name, "tail", "kafka"))
        log.end(ANN, Access(chain.name, "tail", "kafka"), cut, complete=False)  # said twice
    _, end, begun, *ends = said(kafka, chain.name)
    facts = ("phase", "rows", "outcome", "begin_id")
    assert [end["metadata"][fact] for fact in facts] == ["end", 3, "complete", stream.begin_id]
    assert begun["metadata"] == {"what": "tail", "store": "kafka", "phase": "begin"}
    for end in ends:
        assert [end["metadata"][fact] for fact in facts] == ["end", 2, "cut short", cut.begin_id]
    assert len({end["id"] for end in ends}) == 1  # the sequencer knows the second as a repeat


def test_without_a_record_there_is_no_answer(kafka: KafkaSettings, chain_name: str) -> None:
    rows_were_asked_for = False
    with AccessLog(kafka, "audit") as log:
        with pytest.raises(NotRecorded, match=r"nothing is shown.*does not exist"):
            log.record(ANN, Access(chain_name, "show", "postgres"), 1)
        with pytest.raises(NotRecorded), log.streamed(ANN, Access(chain_name, "export", "postgres")):
            rows_were_asked_for = True
    assert not rows_were_asked_for


def test_who_reads_a_closed_chain_is_recorded_in_the_one_that_goes_on(
    kafka: KafkaSettings, chain: ChainSettings
) -> None:
    with AccessLog(kafka, chain.prefix, continued={"old": "old-r2", "old-r2": chain.name}) as log:
        log.record(ANN, Access("old", "search", "archive", "ip:10.0.0.0/8"), 0)
    (event,) = said(kafka, chain.name)
    assert (event["resource_id"], event["metadata"]["rows"]) == ("old", 0)


def test_many_threads_record_at_once(kafka: KafkaSettings, chain: ChainSettings) -> None:
    with AccessLog(kafka, chain.prefix) as log:
        threads = [
            threading.Thread(target=log.record, args=(ANN, Access(chain.name, "search", "postgres"), n))
            for n in range(20)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert sorted(event["metadata"]["rows"] for event in said(kafka, chain.name)) == list(range(20))


def test_a_topic_that_is_made_later_is_found(kafka: KafkaSettings, chain_name: str) -> None:
    from sealstream.kafka import create_topics

    with AccessLog(kafka, "audit") as log:
        with pytest.raises(NotRecorded):
            log.record(ANN, Access(chain_name, "show", "postgres"), 1)
        create_topics(kafka, ChainTopics.of(chain_name).configs())
        log.record(ANN, Access(chain_name, "show", "postgres"), 1)
    assert len(said(kafka, chain_name)) == 1


def test_while_kafka_is_away_only_the_first_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if a broker did not answer."""
    waited: list[str] = []

    def in_vain(_self: StandingProducer, topic: str, _value: bytes) -> None:
        waited.append(topic)
        raise Unavailable("writing: no acknowledgement in 10 s")

    monkeypatch.setattr(StandingProducer, "send", in_vain)
    with AccessLog(KafkaSettings("127.0.0.1:1"), "audit") as log:
        for _ in range(5):
            with pytest.raises(NotRecorded, match=r"nothing is shown.*no acknowledgement"):
                log.record(ANN, Access("main", "show", "postgres"), 1)
    assert waited == ["audit.control.main"]


@pytest.mark.parametrize("query", ["a\0b", "\udcff", "x" * (MAX_QUERY_BYTES + 1)])
def test_what_can_not_be_recorded_is_refused(kafka: KafkaSettings, chain: ChainSettings, query: str) -> None:
    with AccessLog(kafka, chain.prefix) as log, pytest.raises(InvalidEvent):
        log.record(ANN, Access(chain.name, "search", "postgres", query), 1)
    assert said(kafka, chain.name) == []


def test_a_person_is_named_by_the_kernel_and_not_by_a_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    before = person_at_this_machine()
    for name in ("USER", "LOGNAME", "SUDO_USER"):
        monkeypatch.setenv(name, "mallory")
    assert person_at_this_machine() == before
    assert "@" in before.id
    assert "mallory" not in before.id
