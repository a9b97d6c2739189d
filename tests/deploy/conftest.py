"""A pipeline for what the chart starts."""

from __future__ import annotations

from tests.pipeline import make_pipeline, pipeline_roles

__all__ = ["make_pipeline", "pipeline_roles"]
