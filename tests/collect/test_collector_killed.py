"""A broker and collectors killed amid requests: what was acknowledged is sealed, and a retry is sealed once."""

from __future__ import annotations

import json
import random
import threading
import time
import uuid
from collections import Counter
from pathlib import Path

import httpx
import pytest
from tests.collect.conftest import make_key, start_collector
from tests.collect.test_collector import event
from tests.long_runs import long_run
from tests.pipeline import LOG, Pipeline, wait_until
from tests.search.test_search_following import Broker, broker

from sealstream.cli.chain import create_chain
from sealstream.cli.settings import load_settings, write_settings
from sealstream.devstack.ports import free_port
from sealstream.layout import SegmentLimits

__all__ = ["broker"]

SENDERS = 6


class Sender(threading.Thread):
    """Sends one request after the other, each again until it is called written, as docs/collector.md says."""

    def __init__(self, url: str, key: str, stop: threading.Event) -> None:
        super().__init__(daemon=True)
        self._url, self._key, self._stop_sending = url, key, stop
        self.acknowledged: list[str] = []
        self.again = 0
        self.fault = ""

    def run(self) -> None:
        try:
            with httpx.Client(base_url=self._url, timeout=30) as client:
                while not self._stop_sending.is_set():
                    self._send(client)
        except BaseException as error:  # told by the test
            self.fault = repr(error)
            raise

    def _send(self, client: httpx.Client) -> None:
        # Some have ids of their own; of others ids are made.
        count, own = random.choice((1, 5)), random.random() < 0.5
        lines = [json.dumps(event() if own else event(id=None)) for _ in range(count)]
        headers = {"authorization": f"Bearer {self._key}", "content-type": "application/x-ndjson"}
        headers["idempotency-key"] = str(uuid.uuid4())
        deadline = time.monotonic() + 120
        while True:
            try:
                answer = client.post("/v1/events", content="\n".join(lines), headers=headers)
                if answer.status_code == 202:
                    self.acknowledged += answer.json()["ids"]
                    return
                assert answer.status_code == 503, answer.text
                assert int(answer.headers["retry-after"]) >= 1
            except httpx.TransportError:
                pass  # the collector is gone, with an answer perhaps
            self.again += 1
            assert time.monotonic() < deadline
            time.sleep(0.2)


@long_run
@pytest.mark.timeout(500)
def test_nothing_acknowledged_is_lost_and_a_retry_is_sealed_once(broker: Broker, tmp_path: Path) -> None:
    config = tmp_path / "sealstream.toml"
    servers = {"kafka": {"bootstrap": broker.settings.bootstrap}, "archive": {"bucket": ""}}
    write_settings(config, {"log": LOG, **servers, "collect": {"acknowledged_in_seconds": 2}})
    create_chain(config, load_settings(config), "main", retention="1d", limits=SegmentLimits(10_000, 10_000_000, 3_600))
    pipeline = Pipeline(tmp_path, "main", "")
    key = make_key(pipeline, "shop")
    port = free_port(set())
    url, process = start_collector(pipeline, port=port)
    pipeline.start("sequencer")
    stop = threading.Event()
    senders = [Sender(url, key, stop) for _ in range(SENDERS)]
    try:
        for sender in senders:
            sender.start()
        for _ in range(3):
            time.sleep(1.5)
            broker.program.kill()
            time.sleep(random.uniform(0.2, 4))
            broker.start()
        for _ in range(2):
            time.sleep(1.5)
            process.kill()
            process.wait()
            _, process = start_collector(pipeline, port=port)
        count = sum(len(sender.acknowledged) for sender in senders)
        wait_until(lambda: sum(len(sender.acknowledged) for sender in senders) > count + 50, 60)
        stop.set()
        for sender in senders:
            sender.join(130)
        assert not any(sender.fault for sender in senders), [sender.fault for sender in senders]
        pipeline.wait_sealed()
        acknowledged = [each for sender in senders for each in sender.acknowledged]
        sealed = Counter(entry["id"] for entry in pipeline.entries() if entry["written"]["kind"] == "event")
        raw = [json.loads(record.value or b"")["id"] for record in pipeline.records(pipeline.topics.raw)]
    finally:
        stop.set()
        process.kill()
        process.wait()
        pipeline.kill_all()
    assert len(acknowledged) == len(set(acknowledged)) > 100
    assert sum(sender.again for sender in senders) >= 2 * SENDERS  # so they were hindered, each time
    assert set(sealed) == set(acknowledged) == set(raw)
    assert set(sealed.values()) == {1}
