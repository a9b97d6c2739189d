"""`sealstream spool`: what a person sees of a dead application's events, and how they are sent."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.pipeline import Said, say

from sealstream.client import AuditClient, spool_directory
from sealstream.kafka import KafkaSettings, read_until_end
from sealstream.layout import ChainSettings, ChainTopics

Command = Callable[..., Said]
NOWHERE = "127.0.0.1:1"


@pytest.fixture
def command(kafka: KafkaSettings, tmp_path: Path) -> Command:
    """`sealstream spool ...`, with the broker in the settings."""
    config = tmp_path / "sealstream.toml"
    config.write_text(f'[kafka]\nbootstrap = "{kafka.bootstrap}"\n')

    def run(*words: str) -> Said:
        return say(config, "spool", *words)

    return run


def leave(chain: ChainSettings, spool: Path, count: int, **more: object) -> list[str | None]:
    """Events of an application that could not reach Kafka."""
    client = AuditClient(chain.name, NOWHERE, mode="spool", spool_directory=spool, **more)  # type: ignore[arg-type]
    ids = [client.emit("read", resource_type="r", resource_id=n) for n in range(count)]
    client.close(0)
    return ids


def sent(kafka: KafkaSettings, chain: ChainSettings) -> list[dict[str, Any]]:
    topic = ChainTopics.of(chain.name).raw
    return [json.loads(record.value) for records in read_until_end(kafka, topic) for record in records]


def test_what_an_application_left_is_seen_sent_in_order_and_gone(
    command: Command, kafka: KafkaSettings, chain: ChainSettings, tmp_path: Path
) -> None:
    spool = tmp_path / "spool"
    ids = leave(chain, spool, 300)
    for said in (command("status", str(spool)), command("drain", str(spool), "--dry-run")):
        assert said.code == 0
        assert f"301 events wait for audit.raw.{chain.name}, process {os.getpid()} on" in said.out
        assert "301 events of dead processes wait" in said.out
    (seen,) = json.loads(command("status", str(spool), "--json").out)
    assert (seen["waiting"], seen["held"], seen["damaged"]) == (301, False, 0)
    assert not sent(kafka, chain)

    said = command("drain", str(spool))
    assert (said.code, said.err) == (0, "")
    assert "301 events of 1 dead processes sent" in said.out
    assert [event["id"] for event in sent(kafka, chain)][:-1] == ids
    again = command("drain", str(spool))
    assert again.code == 0
    assert "0 events" in again.out
    assert "is empty" in command("status", str(spool)).out
    assert len(sent(kafka, chain)) == 301


def test_a_living_applications_events_are_refused_by_name(
    command: Command, chain: ChainSettings, tmp_path: Path
) -> None:
    spool = tmp_path / "spool"
    client = AuditClient(chain.name, NOWHERE, mode="spool", spool_directory=spool)
    client.emit("read", resource_type="r", resource_id=1)
    (held,) = spool_directory.streams(spool)
    said = command("drain", str(spool))
    assert said.code == 2
    assert held.name in said.out
    assert "held by processes that live" in said.out
    assert re.search(f"process {os.getpid()} on .* lives", command("status", str(spool)).out)
    client.close(0)
    assert command("drain", str(spool)).code == 0


def test_lost_events_are_an_exit_code_and_a_sentence_once(
    command: Command, kafka: KafkaSettings, chain: ChainSettings, tmp_path: Path
) -> None:
    spool = tmp_path / "spool"
    ids = leave(chain, spool, 20)
    (segment,) = spool.rglob("*.events")
    segment.write_bytes(segment.read_bytes().replace(str(ids[3]).encode(), b"0" * 36))
    said = command("drain", str(spool))
    assert said.code == 1
    assert "1 events were lost before; the log was told of them" in said.out
    (loss,) = [event for event in sent(kafka, chain) if event["action"] == "audit.loss"]
    assert loss["metadata"] == {"reason": "spool damaged", "count": 1}
    assert command("drain", str(spool)).code == 0


def test_without_kafka_or_directory_it_says_what_to_do(command: Command, chain: ChainSettings, tmp_path: Path) -> None:
    spool = tmp_path / "spool"
    leave(chain, spool, 5)
    said = command("drain", str(spool), "--bootstrap", NOWHERE, "--patience", "1")
    assert said.code == 2
    assert re.search(r"acknowledged nothing for 1 s .*6 events wait in .*nothing is lost, try again later", said.err)
    for words in (("drain", str(tmp_path / "no")), ("status", str(tmp_path / "no"))):
        said = command(*words)
        assert said.code == 2
        assert "No such file or directory" in said.err


def test_ctrl_c_amid_a_drain_breaks_nothing(kafka: KafkaSettings, chain: ChainSettings, tmp_path: Path) -> None:
    spool = tmp_path / "spool"
    ids = leave(chain, spool, 10_000)
    argv = [sys.executable, "-m", "sealstream.cli.entry", "spool", "drain", str(spool), "--bootstrap", kafka.bootstrap]
    drain = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    (folder,) = spool_directory.streams(spool)
    while drain.poll() is None and not spool_directory.read_mark(folder).acknowledged:
        time.sleep(0.001)
    drain.send_signal(signal.SIGINT)
    _out, err = drain.communicate(timeout=30)
    assert drain.returncode in (0, 130), err
    assert err in ("", "sealstream: stopped\n")
    assert subprocess.run(argv, check=False, capture_output=True, timeout=60).returncode == 0
    first = dict.fromkeys(event["id"] for event in sent(kafka, chain))
    assert list(first)[:-1] == ids
