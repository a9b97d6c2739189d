"""Pipelines to break, and how to lose topics and databases of theirs."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator

import pytest
from confluent_kafka.admin import AdminClient
from tests.pipeline import Pipeline, make_pipeline, pipeline_roles, wait_until

from sealstream.errors import Misconfigured
from sealstream.kafka import topic_ids

__all__ = ["make_pipeline", "pipeline_roles"]


@pytest.fixture
def pipeline(make_pipeline: Callable[..., Pipeline], monkeypatch: pytest.MonkeyPatch) -> Iterator[Pipeline]:
    """A new chain whose processes do not run yet; what verifiers keep is its own."""
    made = make_pipeline()
    monkeypatch.setenv("XDG_STATE_HOME", str(made.folder / "state"))
    yield made
    made.kill_all()


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
