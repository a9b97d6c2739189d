"""A short bench on the session's servers: kills, pauses, cut and wrong answers while an application emits.

The long one, with servers of its own that are broken too, is `make faults`.
"""

from __future__ import annotations

import random
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from tests.faults.judging import judge
from tests.faults.kinds import KINDS
from tests.faults.program import Program
from tests.faults.proxy import Network
from tests.faults.running import planned_rounds
from tests.faults.s3_proxy import S3Proxy
from tests.faults.servers import at_port
from tests.faults.watching import Journals
from tests.long_runs import long_run
from tests.pipeline import Pipeline, make_pipeline, pipeline_roles, wait_until

from sealstream.cli.settings import write_settings
from sealstream.devstack import ProcessSpec
from sealstream.layout import SegmentLimits

__all__ = ["make_pipeline", "pipeline_roles"]

pytestmark = long_run

SEED = 20_261_124
RATE = 100


@pytest.fixture
def network() -> Iterator[Network]:
    made = Network()
    yield made
    made.close()


@pytest.fixture
def pipeline(make_pipeline: Callable[..., Pipeline]) -> Iterator[Pipeline]:
    made = make_pipeline(SegmentLimits(entries=500, bytes=10_000_000, seconds=2))
    yield made
    for process in made.running.values():
        process.send_signal(signal.SIGCONT)
    made.kill_all()


@pytest.mark.slow
def test_a_minute_of_faults_in_short_loses_and_doubles_nothing(pipeline: Pipeline, network: Network) -> None:
    postgres = network.listen("sinks", "postgres", urlsplit(pipeline.reader_dsn).port or 0)
    s3 = S3Proxy(network, urlsplit(pipeline.archive.endpoint_url or "").port or 0, hold_s=3)
    sink_dsn = at_port(pipeline.settings.postgres.sink_dsn, postgres)
    # The processes read these; the test's own questions go straight to the servers.
    through = {"postgres": {"sink_dsn": sink_dsn}, "archive": {"endpoint_url": f"http://127.0.0.1:{s3.port}"}}
    write_settings(pipeline.config, through)
    application = emitting(pipeline)
    pipeline.start()
    application.start()
    try:
        pipeline.wait_beyond(50)
        break_things(pipeline, network, s3)
    finally:
        code = application.end(signal.SIGTERM)
    assert code == 0, application.last_words()
    sent = [pipeline.event(n) for n in range(pipeline.archive_all(0))]
    pipeline.wait_quiet()

    verdict = judge(pipeline, Journals(pipeline.folder), sent)
    assert verdict.faults == []
    assert verdict.verify_code == 0, verdict.verify_said
    assert verdict.acknowledged == verdict.events > 300  # its only application ended in order
    assert s3.hits > 0
    assert all(process.poll() is None for process in pipeline.running.values()), pipeline.why()


def emitting(pipeline: Pipeline) -> Program:
    """The bench's own application, with its journal."""
    command = [sys.executable, "-m", "tests.faults.application", "--bootstrap", pipeline.kafka.bootstrap]
    command += ["--prefix", pipeline.prefix, "--chain", pipeline.name, "--rate", str(RATE)]
    spec = ProcessSpec(
        name="application",
        argv=[*command, "--journal", str(pipeline.folder / "application.journal")],
        env={"PYTHONPATH": str(Path(__file__).parents[2])},
    )
    return Program(spec, pipeline.folder / "application.log")


def break_things(pipeline: Pipeline, network: Network, s3: S3Proxy) -> None:
    """One of each kind that these servers stand, in the order that the seed gives."""
    rng = random.Random(SEED)
    link = network.link("sinks", "postgres")
    for fault in rng.sample(["sequencer", "pause", "cut", "silence", "delay", "lost answer", "archive"], 7):
        if fault in ("sequencer", "archive"):
            name = "sequencer" if fault == "sequencer" else "archive-sink"
            pipeline.kill(name)
            time.sleep(rng.uniform(0, 0.3))
            pipeline.start(name)
        elif fault == "pause":
            paused = pipeline.running["checkpointing"]
            paused.send_signal(signal.SIGSTOP)
            time.sleep(1)
            paused.send_signal(signal.SIGCONT)
        elif fault == "lost answer":
            hits, s3.fault = s3.hits, "500 after the write"
            wait_until(lambda: s3.hits > hits, 30, pipeline.why)  # noqa: B023 - it is over before the next fault
            s3.fault = None
        else:
            link.stalled, link.delay_s = fault == "silence", (0.0, 0.2) if fault == "delay" else None
            if fault == "cut":
                network.cut(link)
            time.sleep(rng.uniform(0.5, 1))
            network.heal(link)


def test_a_seed_gives_one_plan_and_every_kind_comes_before_any_comes_again() -> None:
    def plan(seed: int) -> list[list[str]]:
        rounds = planned_rounds(random.Random(seed), list(KINDS.values()))
        return [[kind.name for kind in next(rounds)] for _ in range(100)]

    assert plan(1) == plan(1) != plan(2)
    drawn = [name for names in plan(1) for name in names]
    assert sorted(drawn[: len(KINDS)]) == sorted(KINDS)
    for names in plan(1):
        touched = [thing for name in names for thing in KINDS[name].touches]
        assert len(touched) == len(set(touched))
