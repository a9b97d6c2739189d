"""The doctor on a pipeline that is watched, and whose alerts somebody is told: it passes, until one of them stops."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime

import pytest
from tests.doctor.looking import failing, later, passing, system_for
from tests.forward.conftest import SECRET, make_alert
from tests.forward.receivers import HttpReceiver
from tests.long_runs import long_run
from tests.pipeline import Pipeline, wait_until

from sealstream.cli.settings import write_settings
from sealstream.devstack import ProcessSpec
from sealstream.devstack.running import spawn
from sealstream.doctor import CHECKS, State, System, outcome_of
from sealstream.events import format_timestamp
from sealstream.kafka import StandingProducer
from sealstream.layout import SegmentLimits
from sealstream.layout.activity import ActivityTopics
from sealstream.layout.alerts import encode_alert

pytestmark = long_run

WATCHERS = ("activity", "anomaly", "watch", "forward")
STARTS_S = 120.0


class Watched:
    """A pipeline with those who watch it."""

    def __init__(self, pipeline: Pipeline, receiver: HttpReceiver) -> None:
        self.pipeline = pipeline
        self.receiver = receiver
        self.running: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, name: str) -> None:
        command = [sys.executable, "-m", "sealstream.cli.entry", "--config", str(self.pipeline.config), "run", name]
        self.running[name] = spawn(ProcessSpec(name=name, argv=command), self.pipeline.folder / f"{name}.log")

    def stop(self, name: str) -> None:
        process = self.running.pop(name)
        process.terminate()
        process.wait(60)

    def send(self, first: int) -> None:
        """Events of now, for which detectors are there."""
        now = format_timestamp(datetime.now(UTC))
        self.pipeline.send([self.pipeline.event(n, timestamp=now) for n in range(first, first + 20)])
        self.pipeline.wait_sealed()

    def waits_for(self, check_id: str, state: State) -> None:
        def is_so() -> bool:
            return outcome_of(check_id, self.system()).state is state

        wait_until(is_so, STARTS_S, lambda: f"{CHECKS[check_id]}: {outcome_of(check_id, self.system())}")

    def system(self) -> System:
        return system_for(self.pipeline)


@pytest.fixture(scope="module")
def watched(make_pipeline: Callable[..., Pipeline]) -> Iterator[Watched]:
    pipeline = make_pipeline(SegmentLimits(entries=500, bytes=10_000_000, seconds=3_600))
    with HttpReceiver() as receiver:
        soc = {"kind": "webhook", "url": receiver.url, "secret": SECRET, "allow_networks": ["127.0.0.0/8"]}
        write_settings(pipeline.config, {"forward": {"targets": {"soc": soc}}, "watch": {"every_seconds": 1}})
        made = Watched(pipeline, receiver)
        pipeline.start("sequencer")
        made.send(0)
        for name in WATCHERS:
            made.start(name)
        yield made
        for name in list(made.running):
            made.stop(name)
        pipeline.kill_all()


def test_who_counts_and_who_looks_passes_and_fails_when_it_stopped(watched: Watched) -> None:
    for check_id in ("watch.activity", "watch.detectors", "watch.pipeline", "alerts.forwarded"):
        watched.waits_for(check_id, State.PASS)
    passing("watch.activity", watched.system())
    passing("watch.detectors", watched.system())
    passing("watch.pipeline", watched.system())
    failing("watch.pipeline", watched.system()._replace(**later(minutes=20)))
    watched.stop("anomaly")
    watched.send(100)
    watched.waits_for("watch.activity", State.PASS)
    wait_until(
        lambda: outcome_of("watch.detectors", watched.system()._replace(**later(minutes=20))).state is State.FAIL,
        STARTS_S,
    )
    assert "behind, the oldest for" in failing("watch.detectors", watched.system()._replace(**later(minutes=20)))
    watched.stop("activity")
    watched.send(200)
    failing("watch.activity", watched.system()._replace(**later(minutes=20)))


def test_an_alert_that_is_sent_passes_and_one_that_is_refused_or_waits_fails(watched: Watched) -> None:
    watched.waits_for("alerts.forwarded", State.PASS)
    passing("alerts.forwarded", watched.system())
    alert = make_alert(chain=watched.pipeline.name)
    watched.stop("forward")
    with StandingProducer(watched.pipeline.kafka) as producer:
        producer.send(ActivityTopics.of(watched.pipeline.prefix).alerts, encode_alert(alert), key=b"user-1")
    assert "target soc: 1 alerts are still to be sent" in failing("alerts.forwarded", watched.system())
    watched.start("forward")
    wait_until(lambda: len(watched.receiver.requests) == 1, STARTS_S)
    watched.waits_for("alerts.forwarded", State.PASS)
