"""One event, one trace: from the span of a real application to the row in Postgres, by real processes."""

from __future__ import annotations

import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from tests.long_runs import long_run
from tests.pipeline import Pipeline, wait_until
from tests.tracing.receiver import Receiver

from sealstream.cli.settings import write_settings
from sealstream.devstack.ports import free_port
from sealstream.layout import Figure, figures

pytestmark = long_run

APPLICATION = Path(__file__).with_name("application.py")
WHOLE = {"GET /patients", "sealstream emit", "sealstream seal", "sealstream store"}
SLACK_NS = 1_000_000  # Kafka's times are in whole milliseconds


class Emitted(NamedTuple):
    trace_id: str
    event_id: str
    sampled: bool


def run_application(
    pipeline: Pipeline, endpoint: str, *, ratio: float = 1.0, count: int = 1, spool: str = ""
) -> list[Emitted]:
    words = [pipeline.kafka.bootstrap, pipeline.prefix, pipeline.name, endpoint, str(ratio), str(count)]
    done = subprocess.run(
        [sys.executable, str(APPLICATION), *words, *([spool] if spool else [])],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    lines = [line.split() for line in done.stdout.splitlines()]
    return [Emitted(trace_id, event_id, sampled == "1") for trace_id, event_id, sampled in lines]


def stored(pipeline: Pipeline, events: list[Emitted]) -> Callable[[], bool]:
    return lambda: {each.event_id for each in events} <= set(pipeline.stored_ids())


def figure(port: int, wanted: Figure) -> float:
    """What a process serves."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
        lines = answer.read().decode().splitlines()
    return float(next(line.split()[-1] for line in lines if line.startswith(f"{wanted.name}{{")))


def test_one_trace_leads_from_the_application_to_the_row(pipeline: Pipeline, receiver: Receiver) -> None:
    tracing = {"endpoint": receiver.endpoint, "headers": "x-key=a%20b", "ratio": 1.0}
    write_settings(pipeline.config, {"tracing": tracing})
    pipeline.start("sequencer", "postgres-sink")
    (emitted,) = run_application(pipeline, receiver.endpoint)
    receiver.wait(4)
    trace = receiver.traces()[emitted.trace_id]
    assert trace.keys() == WHOLE
    own, emit, seal, store = (trace[name] for name in ("GET /patients", *sorted(WHOLE - {"GET /patients"})))
    assert (own.parent_id, emit.parent_id, seal.parent_id, store.parent_id) == (
        *("", own.span_id, emit.span_id, seal.span_id),
    )
    assert [each.service for each in (own, emit, seal, store)] == [
        *("clinic", "clinic", "sealstream-sequencer", "sealstream-postgres-sink"),
    ]
    assert own.start_ns <= emit.start_ns <= emit.end_ns <= own.end_ns
    assert emit.start_ns - SLACK_NS <= seal.start_ns <= seal.events["read"] <= seal.end_ns
    assert seal.start_ns <= store.start_ns <= store.events["read"] <= store.end_ns
    assert seal.end_ns <= store.end_ns

    entry = next(each for each in pipeline.entries() if each["id"] == emitted.event_id)
    assert seal.span_id == entry["hash"][:16]
    about = {
        "sealstream.chain": pipeline.name,
        "sealstream.seq": entry["written"]["seq"],
        "sealstream.event.id": emitted.event_id,
        "sealstream.kind": "event",
    }
    assert seal.attributes == store.attributes == about
    assert "secret-name" not in str(receiver.spans)
    assert any(each.get("x-key") == "a b" for each in receiver.headers)

    (record,) = [each for each in pipeline.records(pipeline.topics.chain) if each.key == emitted.event_id.encode()]
    assert record.headers == ()  # nothing of it is on the chain


def test_what_the_application_does_not_sample_leaves_nothing(pipeline: Pipeline, receiver: Receiver) -> None:
    write_settings(pipeline.config, {"tracing": {"endpoint": receiver.endpoint, "ratio": 0.5}})
    pipeline.start("sequencer", "postgres-sink")
    emitted = run_application(pipeline, receiver.endpoint, ratio=0.5, count=32)
    sampled = {each.trace_id for each in emitted if each.sampled}
    assert 0 < len(sampled) < len(emitted)
    wait_until(stored(pipeline, emitted), 60, pipeline.why)
    receiver.wait(4 * len(sampled))
    pipeline.stop()  # what waits is sent before the end
    traces = receiver.traces()
    assert traces.keys() == sampled
    assert all(trace.keys() == WHOLE for trace in traces.values())


@long_run
def test_an_event_that_waited_in_a_spool_is_stored_and_its_spans_are_those_that_are_known(
    pipeline: Pipeline, receiver: Receiver, tmp_path: Path
) -> None:
    write_settings(pipeline.config, {"tracing": {"endpoint": receiver.endpoint}})
    pipeline.start("sequencer", "postgres-sink")
    emitted = run_application(pipeline, receiver.endpoint, count=3, spool=str(tmp_path / "spool"))
    wait_until(stored(pipeline, emitted), 60, pipeline.why)
    pipeline.stop()  # what waits is sent before the end
    assert receiver.traces().keys() == {each.trace_id for each in emitted}
    for trace in receiver.traces().values():
        assert WHOLE - trace.keys() <= {"sealstream seal"}  # sent from the disk, a record has no header


@pytest.fixture(params=["away", "slow"])
def no_receiver(request: pytest.FixtureRequest) -> Iterator[str]:
    if request.param == "away":
        yield f"http://127.0.0.1:{free_port(set())}"
        return
    hanging = Receiver(hangs=True)
    yield hanging.endpoint
    hanging.close()


@long_run
def test_a_receiver_that_is_away_or_slow_holds_nothing_up_and_what_is_dropped_is_counted(
    pipeline: Pipeline, receiver: Receiver, no_receiver: str
) -> None:
    taken: set[int] = set()
    ports = {name: free_port(taken) for name in ("sequencer", f"postgres-sink-{pipeline.name}")}
    write_settings(pipeline.config, {"tracing": {"endpoint": no_receiver}, "metrics": {"ports": ports}})
    pipeline.start("sequencer", "postgres-sink")
    emitted = run_application(pipeline, receiver.endpoint, count=50)
    took_s = wait_until(stored(pipeline, emitted), 60, pipeline.why)
    assert took_s < 20

    for port in ports.values():
        wait_until(lambda port=port: figure(port, figures.SPANS_DROPPED) >= 50, 30, pipeline.why)
        assert figure(port, figures.SPANS_SENT) == 0
    again = run_application(pipeline, receiver.endpoint, count=50)
    wait_until(stored(pipeline, again), 20, pipeline.why)
    begun = time.monotonic()
    assert set(pipeline.stop().values()) == {0}
    assert time.monotonic() - begun < 15
    assert "spans are dropped" in (pipeline.folder / "sequencer.log").read_text()


def test_without_the_section_no_process_imports_opentelemetry(pipeline: Pipeline, receiver: Receiver) -> None:
    def imported(process: str) -> str:
        log = pipeline.folder / f"{process}-imports.log"
        words = ["--config", str(pipeline.config), "run", process, "--chain", pipeline.name]
        with log.open("wb") as file:
            running = subprocess.Popen(
                [sys.executable, "-X", "importtime", "-m", "sealstream.cli.entry", *words], stderr=file
            )
        try:
            wait_until(lambda: '"started"' in log.read_text(errors="replace"), 60, lambda: log.read_text()[-2_000:])
        finally:
            running.terminate()
            running.wait(30)
        return log.read_text(errors="replace")

    assert "opentelemetry" not in imported("sequencer")
    assert "opentelemetry" not in imported("postgres-sink")
    write_settings(pipeline.config, {"tracing": {"endpoint": receiver.endpoint}})
    assert "opentelemetry.sdk" in imported("sequencer")
