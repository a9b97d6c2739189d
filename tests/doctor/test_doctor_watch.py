"""The doctor on a pipeline that is watched, and whose alerts somebody is told: it passes, until one of them stops."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from tests.doctor.looking import failing, later, passing, system_for
from tests.forward.conftest import make_alert
from tests.forward.receivers import HttpReceiver
from tests.long_runs import long_run
from tests.pipeline import Pipeline, wait_until

from sealstream.cli.settings import write_settings
from sealstream.doctor import State, outcome_of
from sealstream.kafka import StandingProducer
from sealstream.layout import SegmentLimits
from sealstream.layout.activity import ActivityTopics
from sealstream.layout.alerts import encode_alert

pytestmark = long_run


@pytest.fixture(scope="module")
def receiver() -> Iterator[HttpReceiver]:
    with HttpReceiver() as made:
        yield made


@pytest.fixture(scope="module")
def watched(make_pipeline: Callable[..., Pipeline], receiver: HttpReceiver) -> Iterator[Pipeline]:
    made = make_pipeline(SegmentLimits(entries=500, bytes=10_000_000, seconds=3_600))
    write_settings(made.config, {"forward": {"targets": {"soc": {"kind": "webhook", "url": receiver.url}}}})
    made.send([made.event(n) for n in range(30)])
    made.start("sequencer", "postgres-sink")
    made.wait_sealed()
    yield made
    made.kill_all()


def test_a_watched_pipeline_passes_and_fails_when_it_is_no_longer(watched: Pipeline) -> None:
    pass
