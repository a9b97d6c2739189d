"""Real workers on a real broker: what they find is found once, whatever happens to them."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.anomaly.bench import Story, WatchBench, freeze, logins

from sealstream.kafka import KafkaSettings
from sealstream.layout.activity import encode_activity
from sealstream.layout.alerts import decode_alert


@pytest.fixture
def bench(kafka: KafkaSettings, tmp_path: Path) -> Iterator[WatchBench]:
    made = WatchBench(kafka, tmp_path)
    yield made
    made.close()


def test_an_attack_is_raised_once_in_both_topics_and_a_stop_is_in_order(bench: WatchBench) -> None:
    bench.start()
    bench.send(logins("user-1", 12))
    bench.wait_done()
    (alert,) = bench.alerts()
    assert decode_alert(alert).subject == "user-1"
    assert len(bench.statements()) == 1
    assert bench.check() == 1
    worker, begun = bench.worker(), time.monotonic()
    assert bench.stop() == 0
    assert time.monotonic() - begun < 10
    assert not worker.is_running()
