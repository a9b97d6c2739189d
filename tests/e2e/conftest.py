"""A pipeline of its own for each test."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from tests.pipeline import Pipeline, make_pipeline, pipeline_roles

__all__ = ["make_pipeline", "pipeline", "pipeline_roles"]


@pytest.fixture
def pipeline(make_pipeline: Callable[..., Pipeline]) -> Iterator[Pipeline]:
    """A new chain whose processes do not run yet; they are gone when the test ends."""
    made = make_pipeline()
    yield made
    made.kill_all()
