"""Pipelines to break, and how to lose topics and databases of theirs."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator

import pytest
from confluent_kafka.admin import AdminClient
from tests.pipeline import Pipeline, make_pipeline, pipeline_roles, wait_until

from sealstream.errors import Misconfigured
from sealstream.kafka import topic_ids

__all__ = ["drill", "lived", "lose_topics", "make_pipeline", "pipeline", "pipeline_roles", "wait_ended"]

drill = pytest.mark.skipif(not os.environ.get("SEALSTREAM_DRILLS"), reason="a drill: `make drills` runs it")


@pytest.fixture
def pipeline(make_pipeline: Callable[..., Pipeline], monkeypatch: pytest.MonkeyPatch) -> Iterator[Pipeline]:
    """A new chain whose processes do not run yet; what verifiers keep is its own."""
    made = make_pipeline()
    monkeypatch.setenv("XDG_STATE_HOME", str(made.folder / "state"))
    yield made
    made.kill_all()


@pytest.fixture
def lived(pipeline: Pipeline) -> Pipeline:
    """A chain of several segments, the last still open, whose processes have ended in order."""
    pipeline.start()
    pipeline.send([pipeline.event(n, producer="p") for n in range(1_200)])
    pipeline.wait_archived(1_000)
    pipeline.wait_quiet()
    assert set(pipeline.stop().values()) == {0}
    pipeline.start("checkpointing", "postgres-sink")  # what the sequencer said as it stopped is signed and stored, too
    pipeline.wait_stored(pipeline.size())
    pipeline.stop()
    return pipeline


def lose_topics(pipeline: Pipeline, topics: Iterable[str]) -> None:
    """Delete topics, and return when they are gone."""
    names = list(topics)
    client = AdminClient({"bootstrap.servers": pipeline.kafka.bootstrap})
    for future in client.delete_topics(names, operation_timeout=30).values():
        future.result()

    def gone() -> bool:
        for name in names:
            try:
                topic_ids(pipeline.kafka, [name])
            except Misconfigured:
                continue
            return False
        return True

    wait_until(gone, 30)


def wait_ended(pipeline: Pipeline, name: str, timeout_s: float = 30) -> int:
    """The exit code of a process that ends by itself."""
    deadline = time.monotonic() + timeout_s
    while pipeline.running[name].poll() is None:
        assert time.monotonic() < deadline, pipeline.why()
        time.sleep(0.1)
    return pipeline.running.pop(name).returncode
