"""Of a chain that was closed, or whose topics were lost, commands say what is left; repeats wait for nobody."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable
from datetime import UTC, datetime

import httpx
import pytest
from confluent_kafka import Producer as KafkaProducer
from confluent_kafka.admin import AdminClient
from tests.long_runs import long_run
from tests.pipeline import Pipeline, wait_until
from tests.web.conftest import make_token, start_service

from sealstream.cli import reporting
from sealstream.cli.progress import chain_progress
from sealstream.cli.sealed import sealed_news
from sealstream.cli.settings import load_settings, write_settings
from sealstream.events import format_timestamp
from sealstream.health.asking import newest_note, signed
from sealstream.health.letters import dead_letters
from sealstream.kafka import end_offset, trim
from sealstream.layout import SegmentLimits
from sealstream.sealing import open_checkpoint
from sealstream.sequencer.judging import REPEATED, dead_letter

pytestmark = long_run

CLOSED_AT = "2026-11-24T03:00:00.000000Z"


@pytest.fixture(scope="module")
def lived(make_pipeline: Callable[..., Pipeline]) -> Pipeline:
    """A chain with entries in Kafka and Postgres and ended segments, whose processes were stopped."""
    pipeline = make_pipeline(SegmentLimits(entries=20, bytes=10_000_000, seconds=3_600))
    pipeline.start("sequencer", "checkpointing", "postgres-sink", "archive-sink")
    pipeline.send([pipeline.event(n) for n in range(50)])
    pipeline.wait_stored(pipeline.wait_sealed())
    settings = load_settings(pipeline.config)
    wait_until(lambda: (chain_progress(settings, pipeline.name).archive_size or 0) > 0, 60)
    pipeline.kill_all()
    return pipeline


def test_what_was_signed_is_known_when_checkpoints_time_is_over(lived: Pipeline) -> None:
    before = signed(lived.kafka, lived.chain)
    trim(lived.kafka, lived.topics.checkpoints, end_offset(lived.kafka, lived.topics.checkpoints, committed=False))
    note = newest_note(lived.kafka, lived.topics, lived.chain.vkey)
    assert note is not None
    assert open_checkpoint(note.value or b"", lived.chain.vkey).size == before.segment_size > 0
    assert chain_progress(load_settings(lived.config), lived.name, stores=False).signed_size == before.segment_size
    shown = json.loads(lived.command("chain", "show", lived.name, "--json").out)
    assert shown["sealed"]["checkpoint"]["size"] == before.segment_size
    token = make_token(lived, "auditor", "--chain", lived.name)
    url, process = start_service(lived)
    try:
        headers = {"authorization": f"Bearer {token}"}
        answer = httpx.get(f"{url}/v1/chains/{lived.name}/checkpoint", headers=headers, timeout=60)
    finally:
        process.terminate()
        process.wait(30)
    assert (answer.status_code, answer.content) == (200, note.value)


def test_a_closed_chain_is_verified_as_of_its_closing(lived: Pipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[datetime | None] = []
    monkeypatch.setattr(reporting, "verify_store", lambda request, _store: asked.append(request.until))
    reporting.verified_stores(load_settings(lived.config), lived.name, ["kafka"], quiet=True)
    settings = load_settings(lived.config)
    settings.chains[lived.name].closed_at = CLOSED_AT
    reporting.verified_stores(settings, lived.name, ["kafka"], quiet=True)
    assert asked == [None, datetime(2026, 11, 24, 3, tzinfo=UTC)]


def test_a_repeat_among_the_dead_letters_waits_for_nobody(lived: Pipeline) -> None:
    producer = KafkaProducer({"bootstrap.servers": lived.kafka.bootstrap})
    for offset, reason in enumerate((REPEATED, "timestamp: missing")):
        letter = dead_letter(lived.topics.raw, offset, b"{}", bytes(32), reason)
        producer.produce(lived.topics.deadletter, letter.value, partition=0, headers=letter.headers)
    assert producer.flush(30) == 0
    assert dead_letters(lived.kafka, lived.chain, time.time(), lived.reader_dsn).waiting == 1


def test_where_a_closed_chains_topics_were_lost_its_stores_answer(lived: Pipeline) -> None:
    client = AdminClient({"bootstrap.servers": lived.kafka.bootstrap})
    for each in client.delete_topics(list(lived.topics)).values():
        each.result(30)
    assert lived.command("alerts", "list", "--chain", lived.name).code == 2
    follows = f"{lived.name}x"
    assert lived.command("chain", "create", follows).code == 0
    closed = {"closed_at": format_timestamp(datetime.now(UTC)), "continued_as": follows}
    write_settings(lived.config, {"chains": {lived.name: closed}})
    for command in (("alerts", "list"), ("alerts", "mutes"), ("chain", "retention", lived.name, "--json")):
        said = lived.command(*command)
        assert said.code == 0, said.err
    news = sealed_news(load_settings(lived.config), lived.name, ["chain.created"], 0)
    assert [entry.written.seq for entry in news.statements] == [0]
    assert news.next_seq > 0
    verified = lived.command("verify", "all", "--chain", lived.name, "--json")
    assert verified.code == 0, verified.err
    assert f"kafka is passed over: chain {lived.name} was closed" in verified.err
    assert re.findall(r'"store": "(\w+)"', verified.out) == ["postgres", "archive"]
    alone = lived.command("verify", "kafka", "--chain", lived.name)
    assert alone.code == 2, alone.err
    month = f"{datetime.now(UTC):%Y-%m}"
    report = lived.command("report", "--month", month, "--chain", lived.name, "--source", "postgres", "--json")
    assert report.code == 0, report.err
    page = json.loads(report.out)
    assert page["verdict"].startswith("Verified: every hash, link, root and signature in postgres and archive holds.")
    assert "kafka is passed over" in report.out
    document = json.loads(lived.command("status", "--json", "--timeout", "20").out)
    about = [each for each in document["findings"] if lived.topics.chain in each["words"]]
    assert about
    assert {each["severity"] for each in about} == {"note"}
