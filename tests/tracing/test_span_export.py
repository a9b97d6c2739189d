"""What leaves a process: bounded, counted, and never waited for. Without Kafka or Postgres."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest
from opentelemetry.sdk.trace.sampling import Decision, TraceIdRatioBased
from tests.pipeline import say
from tests.tracing.receiver import Receiver

from sealstream.cli.settings import Settings, write_settings
from sealstream.cli.tracing_section import TracingSection
from sealstream.health.span_export import exporting
from sealstream.layout import Figures, figures
from sealstream.layout.spans import Span, Tracing, handed_on, parse_traceparent, traceparent

TRACE, PARENT = 0x4BF92F3577B34DA6A3CE929D0E0E4736, 0x00F067AA0BA902B7


def spans(count: int) -> list[Span]:
    now = time.time_ns()
    return [Span("sealstream seal", TRACE, n + 1, PARENT, now, now, now, "main", n, f"id-{n}") for n in range(count)]


def test_spans_arrive_with_the_ids_that_they_were_given(receiver: Receiver) -> None:
    tally = Figures()
    section = TracingSection(endpoint=receiver.endpoint)
    with exporting(section.receiver(), "sequencer", tally) as tracing:
        assert tracing is not None
        tracing.send(spans(3))
    receiver.wait(3, 5)
    assert [
        (each.trace_id, each.span_id, each.parent_id) for each in sorted(receiver.spans, key=lambda s: s.span_id)
    ] == [(f"{TRACE:032x}", f"{n:016x}", f"{PARENT:016x}") for n in (1, 2, 3)]
    assert tally.value(figures.SPANS_SENT) == 3
    assert tally.value(figures.SPANS_DROPPED) == 0


def test_a_receiver_that_never_answers_costs_nobody_a_moment() -> None:
    hanging, tally = Receiver(hangs=True), Figures()
    with exporting(TracingSection(endpoint=hanging.endpoint).receiver(), "sequencer", tally) as tracing:
        assert tracing is not None
        begun = time.thread_time()
        tracing.send(spans(6_000))
        assert time.thread_time() - begun < 3
        dropped = tally.value(figures.SPANS_DROPPED) or 0
        assert 6_000 - 4_096 - 1 <= dropped < 6_000
        ends = time.monotonic()
    assert time.monotonic() - ends < 2
    assert tally.value(figures.SPANS_SENT) == 0
    hanging.close()


@pytest.mark.parametrize("ratio", [0.0, 0.001, 0.1, 0.5, 1.0])
def test_the_ratio_takes_the_traces_that_opentelemetrys_own_sampler_takes(ratio: float) -> None:
    tracing, sampler = Tracing(ratio, time.time_ns, lambda _: None), TraceIdRatioBased(ratio)
    edges = [0, sampler.bound - 1, sampler.bound, 2**64 - 1]
    for low in [each for each in edges if 0 <= each < 2**64] + [n * (2**64 // 997) for n in range(997)]:
        trace_id = (7 << 64) | low
        taken = sampler.should_sample(None, trace_id, "x").decision is Decision.RECORD_AND_SAMPLE
        assert tracing.looks_at(trace_id) is taken


@pytest.mark.parametrize(
    "header",
    [
        b"",
        b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00",  # not sampled
        b"00-00000000000000000000000000000000-00f067aa0ba902b7-01",
        b"00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
        b"ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        b"00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
        b"\xff\x00" * 40,
        None,
    ],
)
def test_a_header_that_names_no_sampled_span_is_none(header: bytes | None) -> None:
    assert handed_on([("traceparent", header)]) is None


def test_a_header_is_read_as_it_is_written() -> None:
    assert parse_traceparent(traceparent(TRACE, PARENT)) == (TRACE, PARENT, True)
    headers = [("other", b"x"), ("traceparent", traceparent(TRACE, PARENT).encode())]
    assert handed_on(headers) == (TRACE, PARENT, True)


def test_headers_of_requests_are_a_secret(tmp_path: Path) -> None:
    config = tmp_path / "sealstream.toml"
    write_settings(config, {"tracing": {"endpoint": "http://127.0.0.1:4318", "headers": "x-key=hush"}})
    shown = say(config, "config", "show", "tracing")
    assert shown.code == 0
    assert "hush" not in shown.out
    write_settings(config, {"tracing": {"headers": "hush"}})
    refused = say(config, "config", "show")
    assert (refused.code, "hush" in refused.out + refused.err) == (2, False)
    assert "name=value" in refused.err


def test_config_check_says_whether_the_receiver_answers(receiver: Receiver, tmp_path: Path) -> None:
    config = tmp_path / "sealstream.toml"
    write_settings(config, {"tracing": {"endpoint": receiver.endpoint, "ratio": 0.25}})
    assert f"{receiver.endpoint}/v1/traces answers 200; 25% of traces are told of" in say(config, "config", "check").out
    receiver.close()
    said = say(config, "config", "check").out
    assert "does not answer" in said
    assert "spans are dropped and counted; everything else goes on" in said
    assert receiver.spans == []  # nothing was written there


def test_without_the_extra_check_and_start_say_what_to_install(tmp_path: Path) -> None:
    config = tmp_path / "sealstream.toml"
    write_settings(config, {"tracing": {"endpoint": "http://127.0.0.1:4318"}})
    write_settings(config, {"chains": {"main": {"vkey": "x"}}})
    script = """
import sys
sys.modules["opentelemetry.sdk"] = None
sys.modules["opentelemetry"] = None
from sealstream.cli.main import run
sys.exit(run(sys.argv[1:]))
"""
    for words in (["config", "check"], ["run", "sequencer"]):
        done = subprocess.run(
            [sys.executable, "-c", script, "--config", str(config), *words], capture_output=True, text=True, check=False
        )
        assert done.returncode == (1 if words[0] == "config" else 2)
        assert "pip install 'sealstream[otel]'" in done.stdout + done.stderr


def test_the_section_is_off_by_default() -> None:
    assert Settings().tracing.receiver() is None
