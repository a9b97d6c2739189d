"""A pipeline whose spans go to a receiver that listens here."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from tests.pipeline import Pipeline, make_pipeline, pipeline_roles
from tests.tracing.receiver import Receiver

__all__ = ["make_pipeline", "pipeline", "pipeline_roles", "receiver"]


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    made = Receiver()
    yield made
    made.close()


@pytest.fixture
def pipeline(make_pipeline: Callable[..., Pipeline]) -> Iterator[Pipeline]:
    made = make_pipeline()
    yield made
    made.kill_all()
